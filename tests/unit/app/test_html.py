"""HTML that is written in Python: whatever a field holds, it stays text."""

from html.parser import HTMLParser
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from app.services.formatting import visible
from app.services.latents.examples import ShownExample, Token, Window
from app.web.html.lanes import LANES, Look, lanes_html, window_html
from app.web.html.rows import rows_html
from app.web.roles import Person, asking
from interp.vocabulary import Role

TEXTS = st.one_of(
    st.text(max_size=40),
    st.sampled_from(["<script>alert(1)</script>", "' onload='x", '" x="', "&lt;", "</td>", "<!--"]),
)
COLUMNS: list[Any] = [("firing_rate", "fires on"), ("author", "author")]


class Read(HTMLParser):
    """What a browser makes of it: its tags with the names of their attributes, and its texts."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, tuple[str, ...]]] = []
        self.texts = ""
        self.values: list[str] = []
        self.feed(str(html))  # the parser cuts it up, and Markup would escape the pieces
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, tuple(name for name, _ in attrs)))
        self.values += [value or "" for _, value in attrs]

    def handle_data(self, data: str) -> None:
        self.texts += data


def _row(explanation: str, author: str, imported_by: str) -> dict[str, Any]:
    return {
        "index": 3,
        "starred": False,
        "explanation": explanation,
        "firing_rate": 0.1,
        "author": author,
        "imported_by": imported_by,
        "nearness": None,
    }


@settings(deadline=None)
@given(TEXTS.filter(bool), TEXTS.filter(bool), TEXTS.filter(bool), TEXTS)
def test_any_text_in_a_row_stays_text(words: str, author: str, by: str, query: str) -> None:
    asking.set(Person("ana", Role.EDITOR))  # who is shown stars and boxes

    def read(words: str, author: str, by: str, query: str) -> Read:
        rows = [_row(words, author, by)]
        return Read(rows_html(rows, COLUMNS, "study", {"q": query}, False))

    found, expected = read(words, author, by, query), read("x", "x", "x", "x")
    assert found.tags == expected.tags
    for text in (words, author, by):
        assert text in found.texts
    assert words in found.values


@settings(deadline=None)
@given(st.lists(TEXTS, min_size=1, max_size=5), st.sampled_from(list(LANES)), st.booleans())
def test_any_text_in_a_token_stays_text(texts: list[str], lanes: Any, breaks: bool) -> None:
    tokens = [Token(text, 1.0, 2.0, 1.5, "simulated", 7) for text in texts]
    window = Window(ShownExample("top", 0, 1, "d", 0, tokens), 0, len(tokens), [])
    found = Read(window_html(window, Look(lanes, breaks, 9.0)))
    assert [tag for tag, _ in found.tags if tag != "br"] == ["span"] * len(texts)
    assert found.texts == "".join(map(visible, texts))
    paired = Read(lanes_html(tokens, 9.0, others=tokens))
    assert [tag for tag, _ in paired.tags] == ["span", "i"] * len(texts)
    assert paired.texts == "".join(map(visible, texts))
