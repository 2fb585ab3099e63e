"""What is too much in one window of counts: bursts, fan-out, beacons, new places that stay, and trickles of new ones.

Functions of the counts alone; they note in them what was told, so that it is told once.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from peerwatch.columns import NANOSECONDS

from collector.analysis.behaviours import Behaviour
from collector.analysis.counts import AGAIN, WINDOW, Counts
from collector.detect import volume
from collector.detect.volume import Habit
from collector.records import Severity

__all__ = ["ENOUGH", "TRICKLE", "WARM", "Excess", "bursts", "newcomers", "rhythms", "trickles"]

I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]

WARM = 180 * NANOSECONDS
"""A replica's first minutes fill caches and connect to everything: they are neither judged nor learned from."""

ENOUGH = 60
"""Windows of replicas that make a habit: half an hour of one, six minutes of five."""

MANY = 30
"""Fewer in a window, one a second, is no volume."""

MANY_DESTINATIONS = 12
"""The same for distinct destinations: more than one program's configuration names, fewer than the smallest scan."""

SURPRISE = 4.0
"""Spreads above the habit, peers and activity taken off. The largest of ten thousand normal counts lies there."""

LEAST_TOP = 10
"""A workload's top counts as this at least: a job that was seen once runs ten times when it has more to do."""

TIMES_TOP = 2.0
"""And so many times what all replicas together ever did in a window: one that takes over all load does as much as that."""

EXTREME = 32.0
"""From so many times the top on, one window is enough; below, the next has to confirm it."""

MOST_JUDGED = 256
"""Candidates per window, the most surprising first: what exceeds that is a cluster-wide event, told by its worst."""

TRICKLE = 120
"""Windows, an hour, in which places in the cluster that are new to the whole workload are counted per replica. A cluster has
few, and a workload that is not new hardly ever meets another; there is no end of places outside …"""
FEW_NEW = 4
"""… in so many windows at least, or as many as a scan in fewer: what a job begins with is met at once …"""
UNLIKELY = 1e-3
"""… and as improbable as this at the rate at which all replicas meet new ones …"""
TIMES_USUAL = 4.0
"""… and so many times that rate: who calls clients that nobody knows, as relays of media do, never calls all equally often."""

STAYS = 4
"""Windows in which a replica contacts a new place outside: a time server, a revocation list or a report is contacted once …"""
STAYS_WITHIN = 20
"""… windows, ten minutes, after its first contact: what is used now and then takes longer …"""
RARE = 0.01
"""… while its program meets a new place outside in so few of the windows of replicas."""

BEATS = 6
"""Gaps between single connects that show a rhythm."""
STEADY = 0.2
"""Their spread as a share of the mean; 1 is chance, beacons with a usual jitter of 20 % have 0.12."""
SLOWEST_FOLD_S = 2.0
"""Shorter gaps may be those of an agent's flushes."""
SETTLED = 300 * NANOSECONDS
"""Destinations that came up while the workload was younger are its own."""


@dataclass(frozen=True, slots=True)
class Excess:
    """One cell that does too much."""

    cell: int
    behaviour: Behaviour
    deed: str
    """What was done, for the reason."""
    severity: Severity
    probability: float
    """Of so much in normal life."""
    techniques: tuple[str, ...] = ()


def bursts(counts: Counts, window: int, active: I64) -> Iterator[Excess]:
    """Yield cells that count far more than habit, peers, the replica's activity and the workload's own top explain."""
    cells, items, replicas = counts.cells, counts.items, counts.replicas
    many = np.flatnonzero(cells.count[active] >= min(MANY, MANY_DESTINATIONS))
    if not len(many):
        return
    windows, habit = counts.habit(cells.item[active])
    item, replica, count = cells.item[active], cells.replica[active], cells.count[active]
    surprise = habit.surprise(count)
    fans = replicas.fan[replica] == active
    top = np.maximum(items.top[item], LEAST_TOP)
    odd = (surprise >= SURPRISE) & (windows >= ENOUGH) & (count >= np.where(fans, MANY_DESTINATIONS, MANY))
    odd &= count >= TIMES_TOP * top
    odd |= _floods(counts, item, count, windows)
    odd &= window - cells.told[active] > AGAIN
    odd &= (window * WINDOW - replicas.first[replica] >= WARM) & ~items.loopback[item]  # within the pod: the load that came in
    places = np.flatnonzero(odd)
    if not len(places):
        return
    of_group = _Slices(items.group[item])
    running = counts.running(window)
    runs_in_group = _Slices(replicas.group[running])
    counts.left_out += max(0, len(places) - MOST_JUDGED)
    for place in places[np.lexsort((places, -surprise[places]))][:MOST_JUDGED].tolist():
        cell, which = int(active[place]), int(item[place])
        group = items.group.item(which)
        near = of_group.of(group)
        others = running[runs_in_group.of(group)]
        if _unexplained(counts, active, place, near=near, others=others, habit=habit) < SURPRISE:
            continue
        times = float(count[place] / top[place])
        before, cells.exceeded[cell] = int(cells.exceeded[cell]), window
        if times < EXTREME and before != window - 1:
            continue
        cells.told[cell] = window
        behaviour = counts.behaviours[which]
        if fans[place]:
            behaviour = counts.behaviours[int(cells.item[_newest(counts, active[near], int(replica[place]))])]
            deed = f"connected to {int(count[place]):,} different destinations"
        elif behaviour.target:
            deed = f"connected {int(count[place]):,} times from {behaviour.exe} to {behaviour.target}"
        else:
            deed = f"ran {behaviour.exe} {int(count[place]):,} times"
        deed += f" within {WINDOW // NANOSECONDS} s, "
        if most := items.top.item(which):
            deed += f"{count[place] / most:,.0f} times the most that the whole workload ever did"
        else:
            deed += "where none of the workload ever went"
        severity = Severity.MEDIUM if times >= EXTREME else Severity.LOW
        # Never before in so many windows: the next one is as rare, whatever the distribution.
        yield Excess(cell, behaviour, deed, severity, 1 / (1 + int(windows[place])), ("T1046",) if fans[place] else ())


def _floods(counts: Counts, item: I64, count: I64, windows: I64) -> npt.NDArray[np.bool_]:
    """Return which counts are beyond all reason for a place that only one replica of a workload that is known goes to.

    The place has no habit yet. But all the replicas had theirs without it.
    """
    items = counts.items
    known = counts.groups.exposure[items.group[item]] >= 2 * ENOUGH
    alone = items.connects[item] & (items.cells[item] == 1)
    flood = known & alone & (windows < ENOUGH) & (count >= EXTREME * np.maximum(items.top[item], LEAST_TOP))
    return np.asarray(flood, np.bool_)


class _Slices:
    """Where each group's stand among many, so that a candidate is held against its own group and not against all."""

    def __init__(self, group: I64) -> None:
        self._order = np.argsort(group, kind="stable")
        self._group = group[self._order]

    def of(self, group: int) -> npt.NDArray[np.intp]:
        """Return the places of one group, ascending."""
        begin, end = np.searchsorted(self._group, (group, group + 1)).tolist()
        return self._order[begin:end]


def _unexplained(counts: Counts, active: I64, place: int, *, near: npt.NDArray[np.intp], others: I64, habit: Habit) -> float:
    """Return what peers and the replica's own activity leave of a cell's surprise.

    Args:
        counts: all.
        active: the cells of this window.
        place: which of them it is.
        near: which of them are of its group.
        others: the running replicas of its group, ascending.
        habit: of each cell of the window.
    """
    cells, replicas = counts.cells, counts.replicas
    which, who = cells.item.item(active[place]), cells.replica.item(active[place])
    item, replica, mean = cells.item[active[near]], cells.replica[active[near]], habit.mean[near]
    logs = np.log1p(cells.count[active[near]])
    column = np.full(len(others), -habit.mean[place] / habit.spread[place])  # who did nothing counts 0
    same = np.flatnonzero(item == which)
    column[np.searchsorted(others, replica[same])] = (logs[same] - habit.mean[place]) / habit.spread[place]
    left = float(volume.beyond_peers(column[:, None])[np.searchsorted(others, who), 0])
    # Only what every window has says how busy the replica is; and names are looked up for whatever else it does.
    usual = (replica == who) & (item != which) & (mean > np.log(2)) & (replicas.fan[who] != active[near])
    usual &= ~counts.items.dns[item]
    return left - float(volume.lift((logs - mean)[usual])) / float(habit.spread[place])


def _newest(counts: Counts, active: I64, replica: int) -> int:
    """Return the replica's cell of the destination that the workload knows for the shortest time."""
    cells, items = counts.cells, counts.items
    mine = active[(cells.replica[active] == replica) & items.connects[cells.item[active]]]
    return int(mine[np.lexsort((mine, -items.born[cells.item[mine]]))[0]])


def rhythms(counts: Counts, window: int, active: I64) -> Iterator[Excess]:
    """Yield cells that connect like a clock to a place outside that came up late and on one replica only."""
    cells, items, groups, replicas = counts.cells, counts.items, counts.groups, counts.replicas
    # The rarest condition first: of most windows nothing is left after it.
    active = active[(items.cells[cells.item[active]] == 1) & (cells.gaps[active] >= BEATS) & (cells.told[active] < 0)]
    item = cells.item[active]
    born = items.born[item]
    late = (born - groups.born[items.group[item]] >= SETTLED) & (born - replicas.first[cells.replica[active]] >= WARM)
    odd = items.outside[item] & late & (cells.folded[active] * 5 <= cells.gaps[active])  # folded events have lost their rhythm
    for cell in active[odd].tolist():
        gaps = volume.Gaps(int(cells.gaps[cell]), float(cells.gap_total[cell]), float(cells.gap_squares[cell]))
        if gaps.jitter <= STEADY and gaps.mean >= SLOWEST_FOLD_S:
            cells.told[cell] = window
            behaviour = counts.behaviours[int(cells.item[cell])]
            deed = f"connects from {behaviour.exe} to {behaviour.target} every {gaps.mean:,.0f} s like a clock"
            yield Excess(cell, behaviour, deed, Severity.MEDIUM, gaps.jitter ** (gaps.number / 2), ("T1071.001",))


def newcomers(counts: Counts, window: int, active: I64) -> Iterator[Excess]:
    """Yield cells that go on contacting a place outside that came up late, on one replica only, of programs that meet few.

    A single new place is nothing odd, and who uses it soon uses it on all replicas.
    """
    cells, items, replicas = counts.cells, counts.items, counts.replicas
    active = active[(items.cells[cells.item[active]] == 1) & (cells.windows[active] > 1) & (cells.told[active] < 0)]
    born = items.born[cells.item[active]]
    many = (cells.windows[active] >= STAYS) | (cells.ever[active] >= MANY)
    late = (born - replicas.first[cells.replica[active]] >= WARM) & (window - born // WINDOW < STAYS_WITHIN)
    found = active[items.outside[cells.item[active]] & many & late]
    counts.left_out += max(0, len(found) - MOST_JUDGED)
    for cell in found[:MOST_JUDGED].tolist():
        item = cells.item.item(cell)
        met, windows = counts.lately_outside(item)
        chance = (met + 0.5) / max(windows, 1)
        if chance <= RARE:
            cells.told[cell] = window
            behaviour = counts.behaviours[item]
            minutes = (window + 1 - items.born.item(item) // WINDOW) * WINDOW / (60 * NANOSECONDS)
            deed = f"connected {cells.ever.item(cell):,} times from {behaviour.exe} to {behaviour.target}"
            deed += f" within {minutes:.0f} minutes of the first time"
            yield Excess(cell, behaviour, deed, Severity.MEDIUM, chance, ("T1071.001",))


def trickles(counts: Counts, window: int, active: I64) -> Iterator[Excess]:
    """Yield replicas that meet places in the cluster that are new to the whole workload more often than all replicas do."""
    groups, replicas = counts.groups, counts.replicas
    for replica in [each for each, windows in counts.arrivals.items() if windows[-1] == window]:
        recent = counts.arrivals[replica] = [each for each in counts.arrivals[replica] if each > window - TRICKLE]
        group = int(replicas.group[replica])
        exposure = int(groups.exposure[group])
        few = len(set(recent)) < FEW_NEW and len(recent) < MANY_DESTINATIONS
        if few or exposure < 2 * ENOUGH or replicas.quiet_until[replica] > window:
            continue
        # What this replica met lately is in question, so the rate comes from all the rest; the first only says since when.
        lately = window + 1 - recent[0]
        others = int(groups.arrivals[group]) - len(recent)
        usual = (others + 0.5) * lately / max(exposure - lately, 1)
        chance = volume.poisson_tail(len(recent) - 1, usual)
        if chance <= UNLIKELY and len(recent) >= TIMES_USUAL * usual:
            replicas.quiet_until[replica] = window + TRICKLE
            cell = _newest(counts, active[counts.items.inside[counts.cells.item[active]]], replica)
            minutes = lately * WINDOW // (60 * NANOSECONDS) + 1
            deed = f"connected to {len(recent)} destinations new to the workload within {minutes} minutes"
            yield Excess(cell, counts.behaviours[int(counts.cells.item[cell])], deed, Severity.LOW, chance, ("T1046",))
