"""Events that are missing: how many, from when to when and why, and the loss events that say so in the stream."""

from collections.abc import Iterable, Iterator

from peerwatch.columns import ColumnsBuilder, EventColumns
from peerwatch.subjects import Subject

__all__ = ["Loss", "Losses"]

Loss = tuple[str, int, int, int]
"""Reason, count, and the times of the first and the last that are missing, ns since 1970; 0 if nobody knows."""

MAX_COUNT = 2**32 - 1
"""Most events that one loss event can report: its column is a uint32."""


class Losses:
    """Losses added up by reason. Reasons come from the code, so they are few."""

    def __init__(self, losses: Iterable[Loss] = ()) -> None:
        """Begin with these."""
        self._by_reason: dict[str, Loss] = {}
        self.update(losses)

    def add(self, reason: str, count: int, begin: int, end: int) -> None:
        """Add one; a loss of nothing is none."""
        if count:
            _, count_before, begin_before, end_before = self._by_reason.get(reason, (reason, 0, begin, end))
            begin = min(begin, begin_before) if begin and begin_before else begin or begin_before
            self._by_reason[reason] = (reason, count_before + count, begin, max(end, end_before))

    def update(self, losses: Iterable[Loss]) -> None:
        """Add several: they keep their reasons."""
        for loss in losses:
            self.add(*loss)

    def __iter__(self) -> Iterator[Loss]:
        """Yield one loss for each reason."""
        return iter(self._by_reason.values())

    def span(self) -> tuple[int, int]:
        """Return the first and the last time, 0 where nobody knows it."""
        return min((loss[2] for loss in self), default=0), max((loss[3] for loss in self), default=0)

    def table(self, home: Subject, now: int) -> EventColumns:
        """Return loss events, each at the time of the last event that it stands for, or at `now` if nobody knows it."""
        builder = ColumnsBuilder()
        subject = builder.subject(home)
        for reason, count, known_begin, known_end in self:
            end = known_end or now
            begin = known_begin or end
            left = count
            while left:
                part = min(left, MAX_COUNT)
                builder.loss(end, subject, reason=reason, count=part, begin=begin, end=end)
                left -= part
        return builder.build()
