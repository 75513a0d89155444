"""The head of a latent's page: which one it is, its neighbours, its lists."""

from typing import NamedTuple

from app.services.latents.filter_schemas import STARRED
from app.web.html.rows import star_html
from app.web.latent.opened import Opened
from app.web.latents.within import Here, Within


class Header(NamedTuple):
    """The head of the page."""

    dead: bool
    """True if it never fires on the explain set."""
    star: str
    here: Here
    within: Within
    lists: list[str]
    """Names of the lists it is on, but for the stars."""


def header(opened: Opened) -> Header:
    """The head of a latent's page."""
    index, lists = opened.latent.index, opened.around.lists
    return Header(
        opened.latent.firing_rate == 0,
        star_html(opened.study.slug, index, STARRED in lists),
        opened.here,
        opened.within,
        [name for name in lists if name != STARRED],
    )
