"""What is missing when segments are given up."""

from collections.abc import Sequence

from agent.spool.folder import Folder
from agent.spool.losses import Losses
from agent.spool.segments import EVENTS, Segment, records

__all__ = ["sum_up"]


def sum_up(folder: Folder, segments: Sequence[Segment], reason: str) -> tuple[int, Losses]:
    """Return how many events are lost with these segments, and all losses: these, for this reason, and those they report.

    A segment that was written by another agent is read for that.
    """
    losses = Losses()
    lost = 0
    before: Segment | None = None
    for segment in segments:
        if segment.content is None:
            segment.content = _look(folder, segment)
        found = 0
        for why, count, begin, end in segment.content:
            losses.add(why or reason, count, begin, end)
            found += 0 if why else count
        # What damage took; what a gap stands for was lost before.
        expected = 0 if segment.is_gap else segment.after - segment.before
        if before is not None and before.session == segment.session:
            expected += segment.before - before.after
        losses.add(reason, max(0, expected - found), 0, 0)
        lost += max(found, expected)
        before = segment
    return lost, losses


def _look(folder: Folder, segment: Segment) -> Losses:
    content = Losses()
    for found in records(folder, segment):
        for batch in found.record.batches:
            content.update(batch.losses)
            content.add(EVENTS, batch.events, batch.begin, batch.end)
    return content
