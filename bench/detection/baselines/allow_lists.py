"""B0 to B3, B8: lists of what was seen while learning, as the industry builds them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from peerwatch.columns import NANOSECONDS

from baselines.frame import I64, Bools, Frame, Hits, codes, first_of

__all__ = ["AllowList", "ever_new", "late_execution", "new_and_alone"]

LATE = 300 * NANOSECONDS

Item = Callable[[Frame], tuple[I64, Bools]]
"""What is learned, as a number per row, and for which rows it is defined."""


def executable(frame: Frame) -> tuple[I64, Bools]:
    """Learn paths of executables."""
    return frame.exe, ~frame.connects


def arguments(frame: Frame) -> tuple[I64, Bools]:
    """Learn executables with their exact arguments."""
    return codes(frame.exe, frame.args), ~frame.connects


def edge(frame: Frame) -> tuple[I64, Bools]:
    """Learn addresses, ports and protocols."""
    return frame.edge, frame.connects


def network(frame: Frame) -> tuple[I64, Bools]:
    """Learn destinations as workloads, names and prefixes."""
    return frame.network, frame.connects


def ever_new(frame: Frame) -> Hits:
    """B0: everything new for a workload, for ever."""
    execs = np.flatnonzero(~frame.connects)
    return Hits.at_once(frame, execs[first_of(codes(frame.workload[execs], frame.exe[execs]))])


@dataclass(frozen=True, slots=True)
class AllowList:
    """Learn items per container of a workload until some time after its first event; then tell what is not on the list."""

    items: Sequence[Item]
    learning_s: float
    again_s: float | None = None
    """Tell of the same item again after this long; None: never again."""

    def __call__(self, frame: Frame) -> Hits:
        """Return the hits of one recording."""
        rows = [self._new(frame, *item(frame)) for item in self.items]
        return Hits.at_once(frame, np.unique(np.concatenate(rows)))

    def _new(self, frame: Frame, item: I64, defined: Bools) -> npt.NDArray[np.intp]:
        begin = np.full(int(frame.group.max(initial=-1)) + 1, np.iinfo(np.int64).max)
        np.minimum.at(begin, frame.group[defined], frame.time[defined])
        learning = frame.time - begin[frame.group] < self.learning_s * NANOSECONDS
        code = codes(frame.group, item)
        rows = np.flatnonzero(defined & ~np.isin(code, code[defined & learning]))
        if self.again_s is None:
            return rows[first_of(code[rows])]
        # Per pod as the node's own agent tells it, and again after its cool-down.
        place = codes(code[rows], frame.pod[rows])
        order = np.lexsort((frame.time[rows], place))
        told: list[int] = []
        last = -1, 0
        for each in order.tolist():
            now = int(place[each]), int(frame.time[rows[each]])
            if now[0] != last[0] or now[1] - last[1] >= self.again_s * NANOSECONDS:
                told.append(int(rows[each]))
                last = now
        return np.array(sorted(told), np.intp)


def late_execution(frame: Frame) -> Hits:
    """B8: a file executed more than 300 s after its container's start that was not executed before."""
    late = frame.time - frame.begun > LATE
    execs = ~frame.connects
    code = codes(frame.group, frame.pod, frame.exe)
    rows = np.flatnonzero(execs & late & ~np.isin(code, code[execs & ~late]))
    return Hits.at_once(frame, rows[first_of(code[rows])])


def new_and_alone(wait_s: float, learning_s: float) -> Callable[[Frame], Hits]:
    """Tell what is new for the workload and, some time after, on one replica only: executables and destinations."""

    def rule(frame: Frame) -> Hits:
        found: list[Hits] = []
        for item, defined in (executable(frame), network(frame)):
            begin = np.full(len(frame.workloads), np.iinfo(np.int64).max)
            np.minimum.at(begin, frame.workload, frame.time)
            code = codes(frame.workload, item)
            learning = frame.time - begin[frame.workload] < learning_s * NANOSECONDS
            new = np.flatnonzero(defined & ~np.isin(code, code[defined & learning]))
            first = new[first_of(code[new])]
            deadline = np.zeros(int(code.max(initial=-1)) + 1, np.int64)
            owner = np.zeros_like(deadline)
            deadline[code[first]] = frame.time[first] + int(wait_s * NANOSECONDS)
            owner[code[first]] = frame.pod[first]
            followed = new[(frame.pod[new] != owner[code[new]]) & (frame.time[new] <= deadline[code[new]])]
            rows = first[~np.isin(code[first], code[followed])]
            found.append(Hits(rows, deadline[code[rows]]))
        return found[0] | found[1]

    return rule
