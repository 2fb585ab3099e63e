"""When replicas lived that are only numbers by now: on which days, and since when the latest of them. Pure."""

from collections.abc import Iterable

from peerwatch.columns import NANOSECONDS

__all__ = ["DAY", "LATEST", "Lives"]

DAY = 86_400 * NANOSECONDS

MOST_DAYS = 400
"""Days that are remembered, back from the last: a year and a month, 64 bytes."""

LATEST = 3
"""Starts that are remembered, the latest: nobody asks for more."""


class Lives:
    """Days (UTC) on which somebody lived, as the bits of one number: bit n is n days before the last."""

    __slots__ = ("_bits", "_last", "_starts")

    def __init__(self) -> None:
        self._bits = 0
        self._last = 0
        """The last day, in days since 1970."""
        self._starts: list[int] = []

    def copy(self) -> "Lives":
        """Return lives of which more can be told without changing these."""
        other = Lives()
        other._bits, other._last, other._starts = self._bits, self._last, list(self._starts)
        return other

    def add(self, first: int, last: int) -> None:
        """Add a life from its first to its last sign, nanoseconds."""
        self._starts = sorted([*self._starts, first])[-LATEST:]
        begin, end = first // DAY, last // DAY
        if end > self._last:
            # A shift by thousands of days would make a number of thousands of bits first.
            self._bits = self._bits << end - self._last if end - self._last < MOST_DAYS else 0
            self._last = end
        latest, earliest = self._last - end, min(self._last - begin, MOST_DAYS - 1)
        if latest <= earliest:
            self._bits |= (1 << earliest + 1) - (1 << latest)
        self._bits &= (1 << MOST_DAYS) - 1

    def add_all(self, lives: Iterable[tuple[int, int]]) -> None:
        """Add several."""
        for first, last in lives:
            self.add(first, last)

    def days_after(self, time: int) -> int:
        """Return on how many days after the one of this time somebody lived."""
        days = min(max(0, self._last - time // DAY), MOST_DAYS)
        return (self._bits & (1 << days) - 1).bit_count()

    def starts_after(self, time: int) -> int:
        """Return how many lives began after this time, `LATEST` at most."""
        return sum(each > time for each in self._starts)
