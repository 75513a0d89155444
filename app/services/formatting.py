"""Figures, times, sizes and names as people read them."""

from datetime import UTC, datetime
from math import isfinite
from pathlib import Path

from models import Simulator

UNITS = [("day", 86_400), ("hour", 3_600), ("minute", 60)]


def figure(value: float | None, digits: int = 3, sign: bool = False) -> str:
    """A number for reading; an en dash where there is none."""
    if value is None or not isfinite(value):
        return "–"
    if value >= 0 and not sign:  # as most are, and a page has hundreds
        return f"{value + 0.0:.{digits}f}"  # without the sign of a negative zero
    text = f"{value:{'+' if sign else ''}.{digits}f}"
    # A minus that is as wide as a plus; no sign on what rounds to zero.
    return text.replace("-", "−") if text.strip("+-0.") else text.lstrip("+-")


def interval(low: float | None, high: float | None, digits: int = 3, sign: bool = False) -> str:
    """A 95% interval, or nothing where it is not defined."""
    if low is None or high is None or not (isfinite(low) and isfinite(high)):
        return ""
    return f"[{figure(low, digits, sign)}, {figure(high, digits, sign)}]"


def percent(share: float | None) -> str:
    """A share as a percentage, with more digits the smaller it is."""
    if share is None or not isfinite(share):
        return "–"
    size = abs(share)
    if size == 0:
        return "0%"
    # What is small is told from nothing, and what is nearly all from all.
    least = min(size, 1 - size) if 0.99 < size < 1 else size
    digits = 0 if least >= 0.1 else 1 if least >= 0.01 else 2 if least >= 0.001 else 3
    if size < 1 and float(f"{size:.{digits}%}"[:-1]) >= 100:
        return "> 99.999%".replace("> ", "> −" if share < 0 else "> ")
    return f"{share:.{digits}%}".replace("-", "−")


def percents(low: float | None, high: float | None) -> str:
    """A 95% interval of a share, or nothing where it is not defined."""
    if low is None or high is None or not (isfinite(low) and isfinite(high)):
        return ""
    return f"[{percent(low)}, {percent(high)}]"


def p_value(p: float | None, relation: bool = False) -> str:
    """The p value of a test, on request with its equals sign."""
    if p is None or not isfinite(p):
        return "not known" if relation else "–"
    return "< 0.001" if p < 0.001 else f"{'= ' if relation else ''}{p:.3f}"


def about(count: float | None) -> str:
    """A rough number: two digits that count."""
    if count is None or not isfinite(count):
        return "–"
    return f"{float(f'{count:.2g}'):,.0f}"


def ago(moment: datetime | None) -> str:
    """The time since a moment, in the largest unit that fits."""
    if moment is None:
        return ""
    seconds = (datetime.now(UTC) - moment).total_seconds()
    for unit, length in UNITS:
        if seconds >= length:
            count = int(seconds // length)
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now"


def duration(start: datetime | None, end: datetime | None) -> str:
    """The time that something took, or has taken until now."""
    if start is None:
        return ""
    return seconds_in_words(((end or datetime.now(UTC)) - start).total_seconds())


def seconds_in_words(seconds: float) -> str:
    """A time, with no more digits than matter."""
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def in_bytes(size: int) -> str:
    """A size of files, with no more digits than matter."""
    for unit, length in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= length:
            return f"{size / length:.1f} {unit}"
    return f"{size} bytes"


def simulator_name(simulator: Simulator) -> str:
    """A simulator in a few words: method, model, and what is not the default."""
    options = simulator.options
    parts = [f"{simulator.method} on {Path(simulator.model).name}"]
    if "folder" in options and (folder := Path(options["folder"]).name) != simulator.method:
        parts.append(folder)
    if backend := options.get("backend"):
        parts.append(
            f"by {backend}" + (f" at {options['base_url']}" if "base_url" in options else "")
        )
    if options.get("show_score"):
        parts.append("shown the score")
    if contexts := options.get("calibrate_contexts"):
        parts.append(f"{contexts} calibrate contexts")
    return ", ".join(parts)


def visible(token: str) -> str:
    """A token with its white space made visible."""
    shown = token.replace("\r", "").replace("\n", "↵").replace("\t", "⇥")
    return shown if shown.strip() else shown.replace(" ", "␣") or "∅"
