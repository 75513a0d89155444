"""What the page of a latent does with an earlier version of its text."""

import pytest

from app.services.formatting import seconds_in_words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "200 ms"),
        (5.25, "5.2 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (419.7, "7 min 00 s"),
        (3599.8, "1 h 00 min"),
    ],
)
def test_times_add_up(seconds: float, words: str) -> None:
    assert seconds_in_words(seconds) == words
