"""What a judgement asks about: one sighting, and the replicas of its group as arrays."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from collector.analysis.behaviours import Behaviour
from collector.analysis.sightings import Group
from collector.detect import peers

__all__ = ["Question", "Replicas", "running_replicas"]


@dataclass(frozen=True, slots=True)
class Replicas:
    """The replicas of a group as arrays, one entry each."""

    ids: npt.NDArray[np.int64]
    first: npt.NDArray[np.int64]
    last: npt.NDArray[np.int64]
    count: npt.NDArray[np.int64]
    running: npt.NDArray[np.bool_]
    revision: npt.NDArray[np.int64]
    """A number per revision."""
    start_seen: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, group: Group, now: int) -> "Replicas":
        """Return the replicas of a group."""
        ids, slots = group.members()
        lives = group.table.lives
        first, last, count = lives.first[slots], lives.last[slots], lives.count[slots]
        running = peers.running(first, last, count, now)
        return cls(ids, first, last, count, running, lives.revision[slots], lives.start_seen[slots])

    def places(self, ids: Collection[int]) -> npt.NDArray[np.intp]:
        """Return which of the entries these replicas are."""
        return self.ids.searchsorted(np.fromiter(ids, np.int64, len(ids)))


def running_replicas(group: Group, now: int) -> int:
    """Return how many replicas of a group run, as far as their events tell; of all that is known of them, no more is asked."""
    slots, lives = group.members()[1], group.table.lives
    return int(np.count_nonzero(peers.running(lives.first[slots], lives.last[slots], lives.count[slots], now)))


@dataclass(frozen=True, slots=True)
class Question:
    """One sighting to be judged."""

    group: Group
    row: int
    """The sighting."""
    behaviour: Behaviour
    now: int
    """Event time, nanoseconds."""
    held: bool
    """Its hold is over."""
    startup: int
    """How long a replica counts as starting, nanoseconds."""
