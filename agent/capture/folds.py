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

    def close(self) -> None:
        """Unmap."""
        del self._folds

    @property
    def used(self) -> int:
        """How many places are in use."""
        return len(self._places())

    @property
    def size(self) -> int:
        """How many places there are."""
        return len(self._folds)

    def report(self) -> int:
        """Have all that was counted handed over, the oldest first; return how many folds had news."""
        places = self._places()
        places = places[self._folds["counted"][places] != self._folds["reported"][places]]
        if len(places):
            self._operate(Operation.REPORT, places[np.argsort(self._folds["first_time"][places])])
        return len(places)

    def recycle(self, now: int) -> None:
        """Take out what has been idle, and free what was taken out the last time; call it after `report`.

        Args:
            now: boot clock, ns.
        """
        places = self._places()
        if (self._folds["in_use"][places] == FoldUse.RETIRED).any():  # by this agent, or by one before it
            # A probe that found one of them before may still be counting; whatever it counted is reported first.
            await_grace_period()
            self.report()
            self._operate(Operation.FREE, places[self._folds["in_use"][places] == FoldUse.RETIRED])
        idle = (CROWDED_IDLE_S if len(places) > CROWDED * self.size else IDLE_S) * 10**9
        old = self._folds["last_time"][places] + np.uint64(idle) < np.uint64(now)
        old &= self._folds["counted"][places] == self._folds["reported"][places]
        self._operate(Operation.RETIRE, places[old & (self._folds["in_use"][places] == FoldUse.IN_USE)])

    def _places(self) -> npt.NDArray[np.intp]:
        """Return which places are in use; to look at all of the others would be most of what an idle agent does."""
        return np.flatnonzero(self._folds["in_use"])

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
