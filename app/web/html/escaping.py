"""Text in HTML that is written in Python."""

from markupsafe import escape


def text(value: str) -> str:
    """Any text as HTML that shows it, between tags or in a quoted attribute."""
    return str(escape(value))
