"""What the probes count instead of handing it over: which folds have news, and which may be used again.

The table is mapped, so looking at it costs no call. The agent only looks: it is the program `control` that hands over counts,
through the ring like every event, and that takes folds out.
"""

import ctypes
import os
import platform
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from agent.capture.libbpf import run
from agent.capture.records import FoldUse, Operation
from agent.capture.tables import map_table

__all__ = ["Folds", "await_grace_period"]

OPERANDS = 11
"""Folds that one call takes; as in `bpf/control.h`."""

IDLE_S = 60
"""A fold without a repeat for so long is taken out: the next of its kind goes out at once again."""

CROWDED_IDLE_S = 2
"""The same, when more than `CROWDED` of the table is in use."""

CROWDED = 0.5


class Folds:
    """The folds of one generation of probes."""

    def __init__(self, table: int, fold: np.dtype[Any], number: int, control: int) -> None:
        """`table` and `control` are descriptors of map and program; both stay the caller's, the mapping does not need them."""
        self._folds = map_table(table, fold, number)
        self._control = control
        self._retired: npt.NDArray[np.intp] = np.empty(0, np.intp)

    def close(self) -> None:
        """Unmap."""
        del self._folds

    @property
    def used(self) -> int:
        """How many places are in use."""
        return int(np.count_nonzero(self._folds["in_use"]))

    @property
    def size(self) -> int:
        """How many places there are."""
        return len(self._folds)

    def report(self) -> int:
        """Have all that was counted handed over, the oldest first; return how many folds had news."""
        counted = self._folds["counted"] != self._folds["reported"]
        places = np.flatnonzero(counted & (self._folds["in_use"] != FoldUse.FREE))
        if len(places):
            self._operate(Operation.REPORT, places[np.argsort(self._folds["first_time"][places])])
        return len(places)

    def recycle(self, now: int) -> None:
        """Take out what has been idle, and free what was taken out the last time; call it after `report`.

        Args:
            now: boot clock, ns.
        """
        in_use = self._folds["in_use"]
        if len(self._retired) or (in_use == FoldUse.RETIRED).any():  # by this agent, or by one before it
            # A probe that found one of them before may still be counting; whatever it counted is reported first.
            await_grace_period()
            self.report()
            self._operate(Operation.FREE, np.flatnonzero(in_use == FoldUse.RETIRED))
        used = np.count_nonzero(in_use)
        idle = (CROWDED_IDLE_S if used > CROWDED * len(in_use) else IDLE_S) * 10**9
        old = (in_use == FoldUse.IN_USE) & (self._folds["last_time"] + np.uint64(idle) < np.uint64(now))
        self._retired = np.flatnonzero(old & (self._folds["counted"] == self._folds["reported"]))
        self._operate(Operation.RETIRE, self._retired)

    def _operate(self, operation: Operation, places: npt.NDArray[Any]) -> None:
        for chunk in _chunks(places):
            # What is beyond the table ends the list.
            run(self._control, [operation, *chunk, *[self.size] * (OPERANDS - len(chunk))])


def _chunks(places: npt.NDArray[Any]) -> Iterator[list[int]]:
    for begin in range(0, len(places), OPERANDS):
        yield places[begin : begin + OPERANDS].tolist()


def await_grace_period() -> None:
    """Wait until every probe that runs now has ended: membarrier(MEMBARRIER_CMD_GLOBAL) is synchronize_rcu() in the kernel."""
    number = {"x86_64": 324, "aarch64": 283}[platform.machine()]
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(number, 1, 0, 0) < 0:
        raise OSError(ctypes.get_errno(), "membarrier: " + os.strerror(ctypes.get_errno()))
