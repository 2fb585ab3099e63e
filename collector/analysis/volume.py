"""How often replicas do what they do: bursts, fan-out, beacons, trickles. What they do is judged elsewhere.

Event time is cut into windows of half a minute. When one is over, each replica's counts are held against the habit of its
workload, what its peers did in the same window, its own activity as a whole, and the most that the whole workload ever did: a
replica that takes over its peers' load does no more than that. Only lasting excess is told, once, and as a deviation of volume.
What is new has no habit yet and is not judged here, unless one replica floods it; silence never is. Habits are not saved:
after a restart they are learned anew, half an hour of one replica, minutes of several.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from peerwatch.subjects import Subject

from collector.analysis import behaviour_keys, excess
from collector.analysis.behaviours import Behaviour
from collector.analysis.counts import WINDOW, Counts
from collector.analysis.excess import Excess
from collector.analysis.findings import Finding
from collector.analysis.groups import Groups, place_of
from collector.detect import software
from collector.detect.tools import Context
from collector.records import Evidence, IncidentKind

__all__ = ["Deviation", "Edge", "Seen", "VolumeWatch"]

I64 = npt.NDArray[np.int64]


EVIDENCE = 8
"""Events kept of a deviation, as of other findings."""

MOST_KEPT = 1_000_000
"""Events of a window that can become evidence, 32 bytes each: 30,000 a second. What comes after is counted all the same."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What one table showed, one entry per event and behaviour, in order."""

    subjects: Sequence[Subject]
    behaviours: Sequence[Behaviour] | Mapping[int, Behaviour]
    subject: I64
    behaviour: I64
    count: I64
    time: I64
    pid: I64
    sighting: I64
    """Row of what it belongs to in the table of sightings, -1 where that is not known."""
    example: Callable[[int], tuple[str, ...]] = lambda _: ()
    """Arguments of one of these."""


@dataclass(frozen=True, slots=True)
class Deviation:
    """A finding with the events that it rests on."""

    finding: Finding
    evidence: list[Evidence]


class Edge(NamedTuple):
    """The row before which a window is over, and when it was."""

    row: int
    time: int


class VolumeWatch:
    """Counts what is seen and, window by window, says what is too much."""

    def __init__(self, groups: Groups) -> None:
        self._groups = groups
        self._counts = Counts()
        self._window = -1
        self._clock = 0
        self._rows: list[tuple[I64, I64, I64, I64]] = []
        """Cell, count, time and pid of the events of the current window, for evidence."""
        self._kept = 0
        self._touched: list[I64] = []
        """Cells of the current window."""

    @property
    def left_out(self) -> int:
        """How many candidates were not judged, and cells in use forgotten, because there were too many."""
        return self._counts.left_out

    @property
    def next_due(self) -> int | None:
        """When the current window ends, nanoseconds; None while it is empty."""
        return None if self._window < 0 else (self._window + 1) * WINDOW

    def edges(self, clock: I64) -> list[Edge]:
        """Return where in a table, whose events come at these times, a window is over."""
        windows = clock // WINDOW
        before = np.concatenate([windows[:1] if self._window < 0 else [self._window], windows[:-1]])
        rows = np.flatnonzero(windows != before)
        return [Edge(row, (window + 1) * WINDOW) for row, window in zip(rows.tolist(), before[rows].tolist(), strict=True)]

    def add(self, seen: Seen, now: int) -> None:
        """Count what was seen, all within one window; `now` is a time in it."""
        if not len(seen.time):
            return
        self._window = now // WINDOW
        cell = np.where(seen.sighting < 0, -1, self._groups.table.cell[seen.sighting]).astype(np.int64)
        missing = np.flatnonzero(cell < 0)
        if len(missing):
            self._find_cells(seen, cell, missing.tolist())
        clock = np.maximum.accumulate(np.maximum(seen.time, self._clock))
        self._clock = int(clock[-1])
        order = np.argsort(cell, kind="stable")
        ordered = cell[order]
        counts = self._counts
        np.add.at(counts.cells.count, cell, seen.count)
        counts.beat(ordered, clock[order], seen.count[order])
        self._touched.append(ordered[np.append(True, ordered[1:] != ordered[:-1])])
        if self._kept < MOST_KEPT:
            self._kept += len(cell)
            self._rows.append((cell, seen.count, seen.time, seen.pid))
        else:
            counts.left_out += len(cell)

    def _find_cells(self, seen: Seen, cell: I64, places: list[int]) -> None:
        """Fill in the cells of these events; each pair, subject and behaviour is looked up once."""
        counts, cell_of = self._counts, self._groups.table.cell
        replicas: dict[int, tuple[int, int]] = {}
        items: dict[tuple[int, int], int] = {}
        cells: dict[tuple[int, int], int] = {}
        for place in places:
            pair = who, what = seen.subject.item(place), seen.behaviour.item(place)
            known = cells.get(pair)
            if known is not None:
                cell[place] = known
                continue
            time, behaviour = seen.time.item(place), seen.behaviours[what]
            if who not in replicas:
                subject = seen.subjects[who]
                group = counts.group(place_of(subject), time, self._window)
                replicas[who] = group, counts.replica(group, subject.pod.uid or subject.pod.name, time)
            group, replica = replicas[who]
            new = False
            if (group, what) not in items:
                items[group, what], new = counts.item(group, behaviour, time)
            item = items[group, what]
            if new:
                counts.behaviours[item] = behaviour.of(seen.example(place))
                counts.items.born[item] = self._first_seen(group, behaviour, time)
            if behaviour.target:
                counts.fan_of(replica, behaviour, time)
                late = counts.items.born[item] - counts.replicas.first[replica] >= excess.WARM
                if new and late and counts.items.inside[item]:
                    counts.arrive(group, replica, self._window)
            cell[place] = cells[pair] = counts.cell(item, replica)
            sighting = seen.sighting.item(place)
            if not new and sighting >= 0:  # what came after all items were taken is new each time
                cell_of[sighting] = cells[pair]

    def _first_seen(self, number: int, behaviour: Behaviour, time: int) -> int:
        """Return since when a behaviour is known: habits begin anew after a restart, but what was saved is nothing new."""
        group = self._groups.by_place.get(self._counts.places[number])
        entry = None if group is None else group.find_behaviour(behaviour)
        return time if entry is None else min(time, *entry.firsts(self._groups.table))

    def close(self) -> list[Deviation]:
        """End the current window: judge it, learn from it, and forget what is over."""
        counts, window = self._counts, self._window
        if window < 0:
            return []
        active = counts.end_window(window, np.concatenate(self._touched))
        found = [
            *excess.bursts(counts, window, active),
            *excess.rhythms(counts, window, active),
            *excess.newcomers(counts, window, active),
            *excess.trickles(counts, window, active),
        ]
        deviations = [each for each in map(self._deviation, found) if each is not None]
        cells, replicas = counts.cells, counts.replicas
        # What exceeds and is not yet told teaches nothing; nor does a replica's start, unless it is the workload's own.
        waiting = (cells.exceeded[active] == window) & (cells.told[active] != window)
        warm = window * WINDOW - replicas.first[cells.replica[active]] >= excess.WARM
        beginning = counts.exposed(cells.item[active]) < excess.ENOUGH
        counts.learn(active[~waiting & (warm | beginning)])
        counts.begin_window(active)
        self._rows, self._touched, self._kept, self._window = [], [], 0, -1
        if counts.full:
            self._counts = Counts(counts.left_out + len(cells))
            self._groups.table.cell[:] = -1
        elif counts.forget(window):
            self._groups.table.cell[:] = -1
        return deviations

    def _deviation(self, found: Excess) -> Deviation | None:
        """Return the finding about a cell, None if detection has forgotten its replica."""
        counts, cell = self._counts, found.cell
        number = int(counts.cells.replica[cell])
        place = int(counts.replicas.group[number])
        group = self._groups.by_place.get(counts.places[place])
        known = None if group is None else group.by_uid.get(counts.uids[number])
        if group is None or known is None:
            return None
        if "T1046" in found.techniques and any(map(software.reaches_everything, group.names)):
            return None
        replica = group.replicas[known]
        evidence = self._evidence(cell, replica.pod, found.behaviour)
        running = counts.running(self._window)
        peers = int(np.count_nonzero(counts.replicas.group[running] == place)) - 1
        finding = Finding(
            group=group,
            replica=replica,
            behaviour=found.behaviour,
            time=(self._window + 1) * WINDOW,
            first_event=min((each.time for each in evidence), default=self._window * WINDOW),
            severity=found.severity,
            score=round(1 - found.probability, 4),
            kind=IncidentKind.VOLUME_DEVIATION,
            compared=peers,
            sharing=0,
            earlier=max(len(group.replicas) + group.past_replicas - 1 - peers, 0),
            earlier_sharing=0,
            context=Context(techniques=found.techniques),
            followed=False,
            deed=found.deed,
        )
        return Deviation(finding, evidence)

    def _evidence(self, cell: int, pod: str, behaviour: Behaviour) -> list[Evidence]:
        """Return the events of the window that weigh most: of a folded burst one event is nearly all."""
        fan = int(self._counts.replicas.fan[self._counts.cells.replica[cell]]) == cell
        found: list[tuple[int, int, int]] = []
        for cells, count, time, pid in self._rows:
            at = np.flatnonzero(np.isin(cells, self._connecting(cell)) if fan else cells == cell)
            at = at[np.argsort(-count[at], kind="stable")][:EVIDENCE]
            found += zip((-count[at]).tolist(), time[at].tolist(), pid[at].tolist(), strict=True)
        file = behaviour_keys.file_of(behaviour.exe)
        chosen = sorted((time, pid) for _, time, pid in sorted(found)[:EVIDENCE])
        return [Evidence(time, pod, pid, file) for time, pid in chosen]

    def _connecting(self, fan: int) -> I64:
        """Return the cells that a fan counts, those of the newest destinations."""
        cells, items = self._counts.cells, self._counts.items
        size = len(cells)
        own = (cells.replica[:size] == cells.replica[fan]) & items.connects[cells.item[:size]] & (cells.count[:size] > 0)
        places = np.flatnonzero(own)
        return places[np.argsort(-items.born[cells.item[places]], kind="stable")][:EVIDENCE]
