"""Tokens with their activations as HTML: two lanes, or the difference between them.

Written in Python and not in a template, as a page has hundreds of them. Templates that show a whole
text in both lanes have it as the filter ``lanes``.
"""

from collections.abc import Iterable
from functools import lru_cache
from math import sqrt
from typing import Literal, NamedTuple

from markupsafe import Markup

from app.services.formatting import figure, visible
from app.services.latents.examples import RAW_MAX, Token, Window
from app.web.html.escaping import text
from app.web.templates import environment

Lanes = Literal["both", "real", "simulated", "difference"]
LANES: dict[Lanes, str] = {
    "both": "Both",
    "real": "Real",
    "simulated": "Simulated",
    "difference": "Difference",
}
"""Each choice of values to show on tokens, and its label."""


class Look(NamedTuple):
    """The display options of tokens."""

    lanes: Lanes
    breaks: bool
    """True to end the line where a line of the text ends."""
    top: float
    """The activation with the strongest colour: the latent's largest."""


def ramp(value: float, top: float) -> float:
    """The strength of an activation's colour, from 0 to 1.

    It grows with the square root: calibrated values of a weak simulator are a small part of the
    largest activation, and would all look alike.
    """
    return sqrt(min(max(value / top, 0.0), 1.0)) if top > 0 else 0.0


def window_html(window: Window, look: Look) -> Markup:
    """The shown tokens of an example."""
    tokens = window.example.tokens
    parts = [token_html(token, look) for token in tokens[window.start : window.stop]]
    return Markup(
        _cut(window.start, "before") + "".join(parts) + _cut(len(tokens) - window.stop, "after")
    )


def lanes_html(
    tokens: Iterable[Token],
    top: float,
    others: Iterable[Token] | None = None,
    here: int | None = None,
) -> Markup:
    """A text in both lanes.

    Args:
        top: The latent's largest activation.
        others: The same tokens with what another explanation makes of them: a third lane.
        here: The token that is meant, counted from 0.
    """
    look = Look("both", False, top)
    second: list[Token] | None = None if others is None else list(others)
    return Markup(
        "".join(
            token_html(token, look, other=second[at] if second else None, here=at == here)
            for at, token in enumerate(tokens)
        )
    )


environment.filters["lanes"] = lanes_html


def _cut(count: int, where: str) -> str:
    if not count:
        return ""
    tokens = f"{count} more {'token' if count == 1 else 'tokens'} {where}"
    return f'<span class="cut" title="{tokens}">…</span>'


def token_html(token: Token, look: Look, *, other: Token | None = None, here: bool = False) -> str:
    """One token: its text, its colours as custom properties, its values as a title.

    Args:
        other: Another explanation's prediction for it: a lane below the others.
        here: True if it is the marked token.
    """
    shown = _shown(token.text)
    names = _CLASSES[token.state]
    second = ""
    if other is not None:
        names += " paired"
        # Its own lane's value even where that is 0: it would inherit the other's.
        state = "" if other.state == "simulated" else other.state
        second = f'<i class="{state}" style="--s:{_simulated(other, look):.2f}"></i>'
    if here:
        names += " here"
    html = (
        f'<span class="{names}"{_style(token, look)} '
        f'title="{_title(token, shown, other)}">{shown}{second}</span>'
    )
    if look.breaks and "\n" in token.text:
        lines = "<br>" * token.text.count("\n")
        # The sign of a break that is followed by text in its own token begins the new line.
        return html + lines if token.text.strip(" ").endswith("\n") else lines + html
    return html


@lru_cache(maxsize=100_000)
def _shown(token: str) -> str:
    return text(visible(token))


_CLASSES = {"simulated": "t", **{state: f"t {state}" for state in ("bos", "none", "missing")}}


def _simulated(token: Token, look: Look) -> float:
    """The strength of a simulated value's colour, or 0 if there is none."""
    if token.simulated is None:
        return 0.0
    # Without a calibration there is only the raw value; the legend says so.
    if token.calibrated is None:
        return ramp(token.simulated, RAW_MAX)
    return ramp(token.calibrated, look.top)


def _style(token: Token, look: Look) -> str:
    real = simulated = over = under = 0.0
    if token.real > 0 and look.lanes in ("both", "real"):
        real = ramp(token.real, look.top)
    if look.lanes in ("both", "simulated"):
        simulated = _simulated(token, look)
    elif look.lanes == "difference" and token.difference is not None:
        over, under = ramp(token.difference, look.top), ramp(-token.difference, look.top)
    values = ("r", real), ("s", simulated), ("o", over), ("u", under)
    style = ";".join([f"--{name}:{value:.2f}" for name, value in values if value >= 0.005])
    return f' style="{style}"' if style else ""


def _title(token: Token, shown: str, other: Token | None) -> str:
    real = f"real {figure(token.real, 2)}"
    if token.state == "bos":
        return f"Beginning of the text: never simulated. Token {token.id}&#10;{real}"
    said = (
        _said(token, "&#10;")
        if other is None
        else f"A: {_said(token, ', ')}&#10;B: {_said(other, ', ')}"
    )
    words = f"“{shown}”" if token.text else "A piece of the character that follows"
    return f"{words} · token {token.id}&#10;{real}&#10;{said}"


def _said(token: Token, apart: str) -> str:
    """An explanation's prediction for a token, in words with something between them."""
    if token.state != "simulated":
        return "not simulated" if token.state == "none" else "simulated value missing"
    said = f"simulated {figure(token.simulated, 2)} of 9"
    if token.calibrated is None:
        return f"{said}{apart}not calibrated"
    difference = figure(token.difference, 2, sign=True)
    return f"{said}{apart}calibrated {figure(token.calibrated, 2)}{apart}difference {difference}"
