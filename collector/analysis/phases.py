"""When in a replica's life something is done: while it starts, in between, or at its end. Pure.

That a replica ends is known in hindsight only: events say nothing of a deletion, and a hook runs before the container's first
process has ended. So the end is what is shown and what decay goes by; nothing is judged milder for it.
"""

import numpy as np
from peerwatch.columns import NANOSECONDS

from collector.analysis.questions import Replicas
from collector.analysis.sightings import Entry, Group, SightingTable
from collector.records import Phase

__all__ = ["END", "phases_of"]

END = 60 * NANOSECONDS
"""Nanoseconds before a replica's last event that are its end: twice the 30 s that Kubernetes grants by default, in which hooks
and the shutdown have to be done."""


def phases_of(group: Group, entry: Entry, table: SightingTable, replicas: Replicas, startup: int) -> tuple[Phase, ...]:
    """Return the phases of the replicas that are known one by one.

    Args:
        group: whose behaviour it is.
        entry: the behaviour.
        table: all sightings.
        replicas: those of the group.
        startup: how long a replica counts as starting, nanoseconds.
    """
    if not entry.rows:
        return ()
    rows = np.fromiter(entry.rows.values(), np.int64, len(entry.rows))
    place = np.searchsorted(replicas.ids, np.fromiter(entry.rows, np.int64, len(entry.rows)))
    born = np.array([group.replicas[each].first for each in entry.rows], np.int64)
    first, last = table.first[rows], table.last[rows]
    starting = first - born < startup
    ending = ~starting & ~replicas.running[place] & (first >= replicas.last[place] - END)
    steady = ~ending & (last - born >= startup)
    found = ((Phase.START, starting), (Phase.STEADY, steady), (Phase.STOP, ending))
    return tuple(phase for phase, where in found if bool(np.any(where)))
