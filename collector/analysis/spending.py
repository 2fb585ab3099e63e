"""The budget holds: how many alerts a container of a workload may have is earned by the time that its replicas live.

How odd something must be to be told is an estimate, and where that is wrong it is wrong again and again: a workload nobody
gets to know would tell of itself for ever. So alerts are paid for. Each container begins with some, earns the budget per
replica and day, and keeps at most what it began with. However its numbers are distributed it has no more alerts than that, and
its spending is nobody else's. What is left is kept for what says most: the milder an alert, the earlier there is none of its
kind. What cannot be paid is noted as INFO, so nothing is lost, and teaches as little as if it had been told.
"""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from collector.analysis.lives import DAY
from collector.analysis.questions import Replicas
from collector.analysis.sightings import MOST_ALERTS, Group
from collector.records import Severity

__all__ = ["LEFT", "pay", "replica_days"]

I64 = npt.NDArray[np.int64]

LEFT = {Severity.LOW: 24, Severity.MEDIUM: 12, Severity.HIGH: 1}
"""How many must be left for an alert of a severity; others need none."""


def replica_days(groups: Iterable[Group]) -> float:
    """Return how long the replicas of one workload lived, as far as they are known one by one, in days.

    Args:
        groups: its containers; the one that was seen longest counts.
    """
    return max((_lived(group, 0, group.table.lives.last[group.members()[1]]) for group in groups), default=0.0)


def _lived(group: Group, since: int, until: I64) -> float:
    first = group.table.lives.first[group.members()[1]]
    return float(np.maximum(until - np.maximum(first, since), 0).sum()) / DAY


def pay(group: Group, severity: Severity, now: int, *, budget: float) -> bool:
    """Return whether a group can pay for one more alert, and take the price.

    Args:
        group: who tells.
        severity: of what.
        now: event time, nanoseconds.
        budget: alerts that a replica earns in a day.
    """
    replicas = Replicas.of(group, now)
    until = np.where(replicas.running, now, replicas.last)
    group.alerts_left = min(MOST_ALERTS, group.alerts_left + budget * _lived(group, group.paid_until, until))
    group.paid_until = max(group.paid_until, now)
    if severity not in LEFT:
        return True
    if group.alerts_left < LEFT[severity]:
        return False
    group.alerts_left -= 1
    return True
