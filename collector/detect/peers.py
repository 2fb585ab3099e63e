"""Who else had the chance to do it, and who did?

Absence counts only where there was an opportunity: a peer that has lived for less time than the replica had when it showed the
behaviour says nothing. Silence is no death: a replica counts as running while its silence is short measured by its own habits.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Comparison", "compare", "running"]

I64 = npt.NDArray[np.int64]

SECOND = 1_000_000_000

GONE_AFTER = 60 * SECOND
"""Shortest silence after which a replica may count as gone: the slowest usual probe period."""

GONE_GAPS = 10
"""And its silence must be this many of its own mean gaps: for a steady process the chance of that is e^-10."""

HABIT = 10
UNKNOWN_HABIT = 3_600 * SECOND
"""Below so many events nobody knows a replica's habits: a server that executes nothing may be silent for ever. An hour bounds
how long a replica that is gone is taken for a silent one."""

OPPORTUNITY = 30 * SECOND
"""A peer that has run this long is past its start and comparable with any other, however old."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Leave-one-out: the other running replicas with opportunity, how many show the behaviour, and how many unsuspected."""

    compared: int
    sharing: int
    unsuspected: int


def running(first: I64, last: I64, count: I64, now: int) -> npt.NDArray[np.bool_]:
    """Return per replica whether it still runs as far as its events tell. Times in nanoseconds."""
    silence = now - last
    if not np.count_nonzero(silence > GONE_AFTER):  # the usual case, and less than anybody's patience
        return np.ones(len(silence), bool)
    gap = (last - first) // np.maximum(count - 1, 1)
    patience = np.where(count < HABIT, UNKNOWN_HABIT, np.maximum(GONE_AFTER, GONE_GAPS * gap))
    return np.asarray(silence <= patience)


def compare(
    *,
    replica: int,
    shows: npt.NDArray[np.bool_],
    suspected: npt.NDArray[np.bool_],
    comparable: npt.NDArray[np.bool_],
    alive: npt.NDArray[np.bool_],
    first: I64,
    age: int,
    now: int,
) -> Comparison:
    """Compare one replica with its peers.

    Args:
        replica: index of the replica in question.
        shows: per replica, whether it shows the behaviour.
        suspected: per replica, whether it was reported for that.
        comparable: per replica, whether it may be compared at all (same revision, where that matters).
        alive: per replica, whether it still runs (`running`).
        first: per replica, nanoseconds of its first event.
        age: how long the replica had run when it showed the behaviour, nanoseconds.
        now: event time, nanoseconds.
    """
    able = alive & (now - first >= min(age, OPPORTUNITY)) & comparable
    able |= shows & comparable  # who shows it had the opportunity
    able[replica] = False
    shares = able & shows
    return Comparison(int(np.count_nonzero(able)), int(np.count_nonzero(shares)), int(np.count_nonzero(shares & ~suspected)))
