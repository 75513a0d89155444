"""Tokens with their activations as HTML: two lanes, or the difference between them.

Written in Python and not in a template, as a page has hundreds of them.
"""

from math import sqrt
from typing import Literal, NamedTuple

from markupsafe import Markup, escape

from app.latents.examples import RAW_MAX, Token, Window
from app.templates import figure, visible

Lanes = Literal["both", "real", "simulated", "difference"]
LANES: dict[Lanes, str] = {
    "both": "Both",
    "real": "Real",
    "simulated": "Simulated",
    "difference": "Difference",
}
"""What can be shown on tokens, and its label."""


class Look(NamedTuple):
    """How tokens are shown."""

    lanes: Lanes
    breaks: bool
    """Whether a line of the text ends the line."""
    top: float
    """The activation with the strongest colour: the latent's largest."""


def ramp(value: float, top: float) -> float:
    """How strong the colour of an activation is, from 0 to 1.

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


def _cut(count: int, where: str) -> str:
    if not count:
        return ""
    tokens = f"{count} more {'token' if count == 1 else 'tokens'} {where}"
    return f'<span class="cut" title="{tokens}">…</span>'


def token_html(token: Token, look: Look) -> str:
    """One token: its text, its colours as custom properties, its values as a title."""
    text = visible(token.text)
    shown = str(escape(text))
    state = "" if token.state == "simulated" else f" {token.state}"
    style = _style(token, look)
    html = f'<span class="t{state}"{style} title="{_title(token, shown)}">{shown}</span>'
    if look.breaks and "\n" in token.text:
        lines = "<br>" * token.text.count("\n")
        # The sign of a break that is followed by text in its own token begins the new line.
        return html + lines if token.text.strip(" ").endswith("\n") else lines + html
    return html


def _style(token: Token, look: Look) -> str:
    values: dict[str, float] = {}
    if look.lanes in ("both", "real"):
        values["r"] = ramp(token.real, look.top)
    if look.lanes in ("both", "simulated") and token.simulated is not None:
        # Without a calibration there is only the raw value; the legend says so.
        values["s"] = (
            ramp(token.simulated, RAW_MAX)
            if token.calibrated is None
            else ramp(token.calibrated, look.top)
        )
    if look.lanes == "difference" and token.difference is not None:
        values["o"] = ramp(token.difference, look.top)
        values["u"] = ramp(-token.difference, look.top)
    style = ";".join(f"--{name}:{value:.2f}" for name, value in values.items() if value >= 0.005)
    return f' style="{style}"' if style else ""


def _title(token: Token, shown: str) -> str:
    lines = [f"“{shown}” · token {token.id}", f"real {figure(token.real, 2)}"]
    match token.state:
        case "bos":
            lines[0] = f"Beginning of the context: not simulated. Token {token.id}"
        case "none":
            lines.append("not simulated yet")
        case "missing":
            lines.append("simulated value missing")
        case _:
            lines.append(f"simulated {figure(token.simulated, 2)} of 9")
            if token.calibrated is None:
                lines.append("not calibrated")
            else:
                lines.append(f"calibrated {figure(token.calibrated, 2)}")
                lines.append(f"difference {figure(token.difference, 2, sign=True)}")
    return "&#10;".join(lines)
