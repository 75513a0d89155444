"""A sentence that somebody tried, as one more example of a latent."""

from typing import NamedTuple

from sqlalchemy.orm import Session

from app.services.latents.examples import Token
from app.services.sentences.queries import firing_of
from app.web.latent.opened import Opened
from app.web.urls import url
from models import Sentence


class OnSentence(NamedTuple):
    """A latent on a sentence."""

    page: str
    """Of the sentence."""
    try_page: str
    text: str
    tokens: list[Token]
    """Empty before it is read."""
    top: float
    """The latent's largest activation in the explain set."""
    peak: float
    strongest: str
    """The token with the largest activation."""
    simulated: bool


def on_sentence(session: Session, opened: Opened, sentence: Sentence) -> OnSentence:
    """The activations of the latent on a sentence."""
    firing = firing_of(session, opened.study, sentence, opened.latent, opened.shown)
    slug = opened.study.slug
    return OnSentence(
        url("sentence", slug, sentence.id),
        url("try", slug),
        sentence.text,
        firing.tokens,
        firing.max_activation,
        firing.peak,
        firing.tokens[firing.position].text if firing.tokens else "",
        firing.simulated is not None,
    )
