"""The running sums behind volume detection: columns for workloads' items and replicas, and for each pair of both a cell.

An *item* is one behaviour of a container of a workload, a *cell* that item on one replica. Numbers are good until `forget`.
Each replica that connects has one more cell, its *fan*: how many distinct destinations it had.
"""

import numpy as np
import numpy.typing as npt
from peerwatch.columns import NANOSECONDS

from collector.analysis import behaviour_keys
from collector.analysis.behaviours import Behaviour
from collector.analysis.groups import Place
from collector.analysis.growing import Columns
from collector.analysis.index import Index
from collector.detect.context import is_outside
from collector.detect.volume import Habit

__all__ = ["AGAIN", "WINDOW", "Counts"]

I64 = npt.NDArray[np.int64]

WINDOW = 30 * NANOSECONDS
"""Long enough to hold several flushes of an agent that folds (1 s to 10 s), short enough that two are told within 90 s."""

AGAIN = 30
"""Windows, a quarter of an hour, that a silent replica still counts as running, and until the same excess is judged again;
meanwhile it is learned as the workload's new habit."""

GONE = 120
"""Windows, an hour, after which a silent replica is forgotten; its counts remain in its workload's habit."""

MOST_PER_GROUP = 2_000
"""Items of one container, as many as behaviours are kept; what comes after is counted as one: a scan crowds out nobody."""

MOST_CELLS, MOST_ITEMS, MOST_GROUPS = 2_500_000, 500_000, 20_000
"""Ten thousand replicas with two hundred behaviours each, some hundred bytes a cell; above, the longest unseen half is
forgotten, and with too many groups everything."""

MOST_ARRIVALS = 1_024
"""New destinations remembered per replica: with so many in an hour the number says nothing any more."""

_GROUP = {"born": np.int64, "exposure": np.int64, "window": np.int64, "arrivals": np.int64, "items": np.int64}
_ITEM = {
    "group": np.int64,
    "born": np.int64,
    "connects": np.bool_,
    "outside": np.bool_,
    "inside": np.bool_,
    "loopback": np.bool_,
    "dns": np.bool_,
    "before": np.int64,
    "total": np.float64,
    "squares": np.float64,
    "top": np.float64,
    "cells": np.int64,
    "window": np.int64,
}
_REPLICA = {"group": np.int64, "first": np.int64, "window": np.int64, "fan": np.int64, "quiet_until": np.int64}
_CELL = {
    "item": np.int64,
    "replica": np.int64,
    "count": np.int64,
    "last": np.int64,
    "gaps": np.int64,
    "folded": np.int64,
    "gap_total": np.float64,
    "gap_squares": np.float64,
    "exceeded": np.int64,
    "told": np.int64,
    "window": np.int64,
    "windows": np.int64,
    "ever": np.int64,
}


class Counts:
    """All sums, and the dictionaries that find them."""

    def __init__(self, left_out: int = 0) -> None:
        self.groups, self.items, self.replicas, self.cells = Columns(_GROUP), Columns(_ITEM), Columns(_REPLICA), Columns(_CELL)
        self.places: list[Place] = []
        self.behaviours: list[Behaviour] = []
        self.uids: list[str] = []
        self.arrivals: dict[int, list[int]] = {}
        """Replica → windows in which it was the first of its workload to go somewhere in the cluster."""
        self.left_out = left_out
        self._group_of: dict[Place, int] = {}
        self._item_of: dict[tuple[int, int, str], int] = {}
        self._replica_of: dict[tuple[int, str], int] = {}
        self._cell_of = Index()
        """By item and replica in one number."""

    def group(self, place: Place, time: int, window: int) -> int:
        """Return the number of a container of a workload."""
        known = self._group_of.get(place)
        if known is None:
            known = self._group_of[place] = self.groups.add(born=time, window=window)
            self.places.append(place)
        return known

    def replica(self, group: int, uid: str, time: int) -> int:
        """Return the number of a replica."""
        known = self._replica_of.get((group, uid))
        if known is None:
            known = self._replica_of[group, uid] = self.replicas.add(group=group, first=time, window=-1, fan=-1)
            self.uids.append(uid)
        return known

    def item(self, group: int, behaviour: Behaviour, time: int) -> tuple[int, bool]:
        """Return the number of an item, and whether it is new."""
        name = (group, int(behaviour.type), behaviour_keys.merged(behaviour.key))
        known = self._item_of.get(name)
        if known is not None:
            return known, False
        if self.groups.items[group] < MOST_PER_GROUP:
            return self._add_item(name, behaviour, time), True
        self.left_out += 1
        name = (group, -1, "")
        known = self._item_of.get(name)
        return self._add_item(name, behaviour, time) if known is None else known, True

    def _add_item(self, name: tuple[int, int, str], behaviour: Behaviour, time: int) -> int:
        group, kind, _ = name
        where = behaviour.target.rpartition(":")[0]
        connects = kind > 0 and bool(behaviour.target)
        outside = connects and is_outside(behaviour.target)
        loopback, dns = connects and where == "loopback", connects and where == "dns"
        number = self._item_of[name] = self.items.add(
            group=group,
            born=time,
            connects=connects,
            outside=outside,
            inside=connects and not (outside or loopback or dns),
            loopback=loopback,
            dns=dns,
            before=self.groups.exposure[group],
        )
        self.groups.items[group] += 1
        self.behaviours.append(behaviour)
        return number

    def cell(self, item: int, replica: int) -> int:
        """Return the number of a cell."""
        pair = item << 32 | replica
        known = self._cell_of.get(pair)
        if known < 0:
            known = self.cells.add(item=item, replica=replica, exceeded=-1, told=-1)
            self._cell_of.add(pair, known)
            self.items.cells[item] += 1
        return known

    def fan_of(self, replica: int, behaviour: Behaviour, time: int) -> None:
        """Give a replica its fan, if it has none."""
        if self.replicas.fan[replica] < 0:
            name = (int(self.replicas.group[replica]), 0, "")
            known = self._item_of.get(name)
            self.replicas.fan[replica] = self.cell(self._add_item(name, behaviour, time) if known is None else known, replica)

    def arrive(self, group: int, replica: int, window: int) -> None:
        """Note that a replica went to a place in the cluster where none of its workload ever was."""
        windows = self.arrivals.setdefault(replica, [])
        if len(windows) < MOST_ARRIVALS:
            windows.append(window)
            self.groups.arrivals[group] += 1

    def beat(self, cell: I64, clock: I64, count: I64) -> None:
        """Take the gaps between occurrences, by cell and in order."""
        cells = self.cells
        if not len(cell):
            return
        first = np.concatenate([[True], cell[1:] != cell[:-1]])
        before = np.where(first, cells.last[cell], np.concatenate([[0], clock[:-1]]))
        gap = np.where(before > 0, (clock - before) / NANOSECONDS, 0.0)
        known = gap > 0
        np.add.at(cells.gaps, cell[known], 1)
        np.add.at(cells.gap_total, cell[known], gap[known])
        np.add.at(cells.gap_squares, cell[known], gap[known] ** 2)
        np.add.at(cells.folded, cell[count > 1], 1)
        np.maximum.at(cells.last, cell, clock)

    def running(self, window: int) -> I64:
        """Return the replicas that did anything lately."""
        return np.flatnonzero(self.replicas.window[: len(self.replicas)] > window - AGAIN).astype(np.int64)

    def exposed(self, item: I64) -> I64:
        """Return over how many windows of replicas items were counted."""
        windows: I64 = self.groups.exposure[self.items.group[item]] - self.items.before[item]
        return windows

    def habit(self, item: I64) -> tuple[I64, Habit]:
        """Return over how many windows of replicas items were counted, and their habits."""
        windows = self.exposed(item)
        return windows, Habit.of_sums(windows, self.items.total[item], self.items.squares[item])

    def lately_outside(self, item: int) -> tuple[int, int]:
        """Return how many places outside an item's program met in the later half of its workload's life until then.

        And how many windows of replicas that half had: what a start meets says nothing about later.
        """
        items, program, before = self.items, self.behaviours[item].exe, self.items.before.item(item)
        size = len(items)
        others = (items.group[:size] == items.group.item(item)) & items.outside[:size]
        others &= (items.born[:size] < items.born.item(item)) & (items.before[:size] >= before // 2)
        return sum(self.behaviours[each].exe == program for each in np.flatnonzero(others).tolist()), before - before // 2

    def end_window(self, window: int, touched: I64) -> I64:
        """Complete the counts of a window in which these cells counted; return its active cells, ascending."""
        cells, items, replicas, groups = self.cells, self.items, self.replicas, self.groups
        # A mark for each is a tenth of what `unique` takes, which hashes them.
        chosen = np.zeros(len(cells), bool)
        chosen[touched] = True
        chosen &= cells.count[: len(cells)] > 0
        touched = np.flatnonzero(chosen)
        going = touched[items.connects[cells.item[touched]]]
        some, destinations = np.unique(cells.replica[going], return_counts=True)
        fans = replicas.fan[some]
        cells.count[fans] = destinations
        chosen[fans] = True
        active = np.flatnonzero(chosen).astype(np.int64)
        item, replica = cells.item[active], cells.replica[active]
        cells.window[active] = items.window[item] = replicas.window[replica] = window
        cells.windows[active] += 1
        cells.ever[active] += cells.count[active]
        # Each running replica was exposed in each window since the last: that it counted nothing is part of the habit.
        present = np.flatnonzero(np.bincount(items.group[item]))
        running = np.bincount(replicas.group[self.running(window)], minlength=len(groups))
        passed = np.clip(window - groups.window[present], 1, AGAIN)
        groups.exposure[present] += running[present] * passed
        groups.window[present] = window
        return active

    def learn(self, taken: I64) -> None:
        """Let the counts of these cells become part of their items' habits."""
        items, item, count = self.items, self.cells.item[taken], self.cells.count[taken]
        logs = np.log1p(count)
        np.add.at(items.total, item, logs)
        np.add.at(items.squares, item, logs**2)
        together = np.bincount(item, weights=count, minlength=len(items))
        items.top[: len(items)] = np.maximum(items.top[: len(items)], together)

    def begin_window(self, active: I64) -> None:
        """Count from 0 again."""
        self.cells.count[active] = 0

    @property
    def full(self) -> bool:
        """Whether all has to begin anew: groups are not forgotten one by one."""
        return len(self.groups) > MOST_GROUPS

    def forget(self, window: int) -> bool:
        """Forget who is gone and, when there is too much, what was not seen for long; return whether: numbers change then."""
        cells, items, replicas = self.cells, self.items, self.replicas
        size = len(cells)
        stale = replicas.window[: len(replicas)] <= window - GONE
        crowded = size > MOST_CELLS or len(items) > MOST_ITEMS
        if not crowded and np.count_nonzero(stale) <= max(64, len(replicas) // 4):
            return False
        kept_cells, kept_items = np.ones(size, bool), np.ones(len(items), bool)
        if crowded:
            fans = replicas.fan[: len(replicas)]
            kept_cells[np.argsort(cells.window[:size], kind="stable")[: size // 2]] = False
            kept_items[np.argsort(items.window[: len(items)], kind="stable")[: len(items) // 2]] = False
            kept_cells[fans[fans >= 0]] = True
            kept_items[cells.item[fans[fans >= 0]]] = True
            self.left_out += int(np.count_nonzero(~kept_cells))
        self._keep(kept_cells & kept_items[cells.item[:size]] & ~stale[cells.replica[:size]], kept_items, ~stale)
        return True

    def _keep(self, cells: npt.NDArray[np.bool_], items: npt.NDArray[np.bool_], replicas: npt.NDArray[np.bool_]) -> None:
        gone = np.bincount(self.items.group[np.flatnonzero(~items)], minlength=len(self.groups))
        self.groups.items[: len(self.groups)] -= gone
        item, replica, cell = self.items.keep(items), self.replicas.keep(replicas), self.cells.keep(cells)
        self.behaviours = [each for number, each in enumerate(self.behaviours) if item[number] >= 0]
        self.uids = [each for number, each in enumerate(self.uids) if replica[number] >= 0]
        self.arrivals = {int(replica[old]): windows for old, windows in self.arrivals.items() if replica[old] >= 0}
        self._item_of = {key: int(item[old]) for key, old in self._item_of.items() if item[old] >= 0}
        self._replica_of = {key: int(replica[old]) for key, old in self._replica_of.items() if replica[old] >= 0}
        size = len(self.cells)
        self.cells.item[:size] = item[self.cells.item[:size]]
        self.cells.replica[:size] = replica[self.cells.replica[:size]]
        fans = self.replicas.fan[: len(self.replicas)]
        fans[fans >= 0] = cell[fans[fans >= 0]]
        self._cell_of = Index(self.cells.item[:size] << 32 | self.cells.replica[:size], np.arange(size))
