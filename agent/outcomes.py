"""Joins connects with how they ended: the kernel reports a TCP connect when it begins and its outcome when there is one.

An event must not wait for a far host's answer, so a connect without an outcome goes out as IN_PROGRESS after `HOLD_NS`. Each
connect goes out once.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from peerwatch.columns import ConnectResult

from agent.capture.records import OUTCOME, SMALL_EVENT

__all__ = ["HOLD_NS", "Outcomes"]

HOLD_NS = 200_000_000
"""Longer than most round trips inside and between regions, short enough for detection within a second."""

FORGET_NS = 5_000_000_000
"""An outcome whose connect was not read by then has none: it was lost, or went out as IN_PROGRESS."""

MOST_WAITING = 16_384
"""As many as the kernel side follows (map `attempts`): 8 MiB. Beyond, the oldest go out as IN_PROGRESS at once."""

Array = npt.NDArray[Any]


class Outcomes:
    """Connects that wait for their outcome, and outcomes that were read before their connect."""

    def __init__(self) -> None:
        self._waiting: Array = np.empty(0, SMALL_EVENT)
        self._unmatched: Array = np.empty(0, OUTCOME)

    def __len__(self) -> int:
        """Return how many connects wait."""
        return len(self._waiting)

    def join(self, events: Array, outcomes: Array, now: int) -> Array:
        """Return what can go out, in order of time: all that is not waiting any more, `result` filled in.

        Args:
            events: small events as read; those with `result` 0 and kind CONNECT wait.
            outcomes: outcomes as read.
            now: boot clock, ns.
        """
        open_ended = (events["kind"] == 2) & (events["result"] == 0)
        ready = events[~open_ended]
        waiting = np.concatenate([self._waiting, events[open_ended]])
        known = np.concatenate([self._unmatched, outcomes])
        if len(waiting) and len(known):
            match = _find(waiting["socket"], waiting["time"], known["socket"], known["attempt"])
            found = match >= 0
            waiting["result"][found] = known["result"][match[found]]
            unused = np.ones(len(known), bool)
            unused[match[found]] = False
            known = known[unused]
            ready = np.concatenate([ready, waiting[found]])
            waiting = waiting[~found]
        late = waiting["time"] < np.uint64(max(now - HOLD_NS, 0))
        if len(waiting) > MOST_WAITING:
            late[np.argsort(waiting["time"])[: len(waiting) - MOST_WAITING]] = True
        if late.any():
            gone = waiting[late]
            gone["result"] = ConnectResult.IN_PROGRESS
            ready = np.concatenate([ready, gone])
            waiting = waiting[~late]
        self._waiting = waiting
        self._unmatched = known[known["time"] >= np.uint64(max(now - FORGET_NS, 0))]
        in_order: Array = ready[np.argsort(ready["time"], kind="stable")]
        return in_order


def _find(sockets: Array, attempts: Array, known_sockets: Array, known_attempts: Array) -> npt.NDArray[np.int64]:
    """Return for each (socket, attempt) its row among the known ones, -1 where there is none."""
    # One number per pair: an attempt's time is unique per CPU, so equal sums of unequal pairs are rare, and checked for.
    wanted, known = sockets ^ (attempts << np.uint64(1)), known_sockets ^ (known_attempts << np.uint64(1))
    order = np.argsort(known)
    place = np.minimum(np.searchsorted(known, wanted, sorter=order), len(known) - 1)
    row = order[place]
    equal = (known_sockets[row] == sockets) & (known_attempts[row] == attempts)
    return np.where(equal, row, -1)
