"""What a judgement asks about: one sighting, and the replicas of its group as arrays."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from collector.analysis.behaviours import Behaviour
from collector.analysis.sightings import ARGUMENTS, Group, SightingTable
from collector.detect import peers

__all__ = ["Question", "Replicas"]


@dataclass(frozen=True, slots=True)
class Replicas:
    """The replicas of a group as arrays, one entry each."""

    ids: npt.NDArray[np.int64]
    first: npt.NDArray[np.int64]
    last: npt.NDArray[np.int64]
    count: npt.NDArray[np.int64]
    running: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, group: Group, table: SightingTable, now: int) -> "Replicas":
        """Return the replicas of a group."""
        ids = np.fromiter(group.replicas, np.int64, len(group.replicas))  # ascending: ids only grow
        first = np.array([replica.first for replica in group.replicas.values()], np.int64)
        rows = group.rows()
        rows = rows[table.type[rows] != ARGUMENTS]  # the same events, told more exactly
        place = np.searchsorted(ids, table.replica[rows])
        count = np.zeros(len(ids), np.int64)
        np.add.at(count, place, table.count[rows])
        last = first.copy()
        np.maximum.at(last, place, table.last[rows])
        return cls(ids, first, last, count, peers.running(first, last, count, now))


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
