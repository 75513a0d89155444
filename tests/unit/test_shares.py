"""A worker that does both what people wait for and the rest gives the rest its third."""

from jobs.kinds import BACKGROUND, ORDINARY, WAITED_FOR
from workers.turns import Shares


def simulate(shares: Shares, seconds: float, unit: float) -> float:
    """People wait all the time, and other work too. The share of the other work."""
    other = now = 0.0
    while now < seconds:
        first = max((ORDINARY, WAITED_FOR), key=shares.rank)
        shares.spent(first, unit)
        other += unit * (first == ORDINARY)
        now += unit
    return other / seconds


def test_the_rest_gets_a_third_whatever_people_do() -> None:
    for unit in (0.1, 0.7, 2.0):
        share = simulate(Shares(), 600, unit)
        assert 0.32 < share < 0.4, unit


def test_a_short_wait_is_not_made_longer() -> None:
    shares = Shares()
    for _ in range(10):
        shares.spent(WAITED_FOR, 1.0)
        assert shares.rank(WAITED_FOR) > shares.rank(ORDINARY) > shares.rank(BACKGROUND)


def test_the_debt_is_bounded_and_paid() -> None:
    shares = Shares()
    shares.spent(WAITED_FOR, 10_000)  # while nothing else waited
    assert shares.rank(WAITED_FOR) < shares.rank(BACKGROUND) < shares.rank(ORDINARY)
    shares.spent(BACKGROUND, 2 * Shares.BURST)
    assert shares.rank(WAITED_FOR) > shares.rank(ORDINARY)
