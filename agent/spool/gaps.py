"""What is missing when segments are given up."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from agent.spool.folder import Folder
from agent.spool.losses import Losses
from agent.spool.reader import items_of
from agent.spool.records import HeldEntry
from agent.spool.recovery import held_of
from agent.spool.segments import Segment, records

__all__ = ["Missing", "sum_up"]


@dataclass(slots=True)
class Missing:
    """What segments had: events, losses with these among them, and tables that still wait, which must be kept."""

    events: int = 0
    losses: Losses = field(default_factory=Losses)
    held: list[tuple[HeldEntry, bytes]] = field(default_factory=list)


def sum_up(folder: Folder, segments: Sequence[Segment], live: Mapping[int, int], reason: str) -> Missing:
    """Return what is lost with these segments, for this reason; losses that they report keep theirs.

    `live` says of the tables that wait, by id, which segments they are in.
    """
    missing = Missing()
    for segment in segments:
        number, before = segment.first, segment.before
        for found in records(folder, segment):
            for item in items_of(segment, found, number=number, events=before):
                missing.losses.update(item.losses)
                missing.losses.add(reason, item.events, item.begin, item.end)
                missing.events += item.events
            number, before = found.record.last + 1, found.record.after
        at_the_end = max(0, segment.after - before)  # nothing there is a record
        missing.losses.add(reason, at_the_end, 0, 0)
        missing.events += at_the_end
        ids = [(id_, id_) for id_, where in live.items() if where == segment.number]
        if ids:
            missing.held += held_of(folder, segment, records(folder, segment), ids)
    return missing
