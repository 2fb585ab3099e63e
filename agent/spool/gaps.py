"""What is missing when segments are given up."""

from collections.abc import Sequence

from agent.spool.folder import Folder
from agent.spool.losses import Losses
from agent.spool.segments import Segment, content_of

__all__ = ["sum_up"]


def sum_up(folder: Folder, segments: Sequence[Segment], reason: str) -> tuple[int, Losses]:
    """Return how many events are lost with these segments, and all losses: these, for this reason, and those they report.

    A segment that was written by another agent is read for that.
    """
    losses, lost = Losses(), 0
    for segment in segments:
        if segment.content is None:
            segment.content = content_of(folder, segment)
        found = 0
        for why, count, begin, end in segment.content:
            losses.add(why or reason, count, begin, end)
            found += 0 if why else count
        # What damage took is lost with the rest; what a gap stands for was lost before.
        damage = 0 if segment.is_gap else max(0, segment.after - segment.before - found)
        losses.add(reason, damage, 0, 0)
        lost += found + damage
    return lost, losses
