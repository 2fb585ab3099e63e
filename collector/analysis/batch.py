"""One table of events on its way through learning and detection.

What repeats is counted in bulk; where something is new, watched or due, the table is handled event by event, so that what comes
out does not depend on how the events were cut into tables.
"""

import heapq
from bisect import bisect_left
from collections import deque

import numpy as np
from peerwatch.columns import EventColumns, EventKind
from peerwatch.subjects import Subject

from collector.analysis import behaviours
from collector.analysis.behaviours import Behaviour
from collector.analysis.groups import Groups
from collector.analysis.verdicts import Verdicts
from collector.analysis.volume import Seen, VolumeWatch
from collector.records import Evidence

__all__ = ["Batch"]


class Batch:
    """Walks through one table.

    A *pair* is one (subject, behaviour) of the table; a *place* is a position among its observations; a *step* is a place that
    has to be looked at by itself.
    """

    def __init__(self, groups: Groups, verdicts: Verdicts, volume: VolumeWatch, events: EventColumns) -> None:
        self._groups, self._verdicts, self._volume, self._events = groups, verdicts, volume, events
        seen = behaviours.observe(events, groups.vocabulary)
        subject = events.subject[seen.row].astype(np.int64)
        number = np.array([groups.vocabulary.subject(each) if _is_resolved(each) else -1 for each in events.subjects], np.int64)
        keep = number[subject] >= 0 if len(subject) else np.zeros(0, bool)
        groups.counters.events += len(events)
        groups.counters.unresolved += int(np.count_nonzero(~keep))
        self._behaviours = seen.behaviours
        self._row, self._behaviour, self._count = seen.row[keep], seen.behaviour[keep], seen.count[keep]
        self._subject, self._plain = subject[keep], seen.plain[keep]
        self._time = events.time[self._row]
        self._rows: list[int] = self._row.tolist()
        self._code = number[self._subject] << 32 | self._behaviour
        self._order = np.argsort(self._code, kind="stable")  # the places of pair p: _order[_starts[p]:_starts[p + 1]]
        ordered = self._code[self._order]
        new = np.ones(len(ordered), bool)
        new[1:] = ordered[1:] != ordered[:-1]
        starts = np.flatnonzero(new)
        self._starts: list[int] = [*starts.tolist(), len(ordered)]
        self._pair = np.empty(len(ordered), np.int64)
        self._pair[self._order] = np.cumsum(new) - 1
        first = self._order[starts].tolist()
        self._sighting = groups.known(ordered[starts])
        self._steps: list[tuple[int, int]] = []
        self._looking: set[int] = set()
        """Watched pairs whose next place is among the steps."""
        self._find({pair: first[pair] for pair in np.flatnonzero(self._sighting < 0).tolist()})
        heapq.heapify(self._steps)
        groups.table.heated.clear()
        for pair in np.flatnonzero(groups.table.hot[self._sighting] & (self._sighting >= 0)).tolist():
            self._watch(pair, first[pair])

    def run(self) -> None:
        """Count and decide everything in the table."""
        if not len(self._events):
            return
        verdicts, end = self._verdicts, len(self._events)
        losses = self._events.rows_of(EventKind.LOSS).tolist()
        times = np.maximum.accumulate(np.maximum(self._events.time, verdicts.now))
        edges = deque(self._volume.edges(times))
        clock: list[int] = times.tolist()
        applied = loss = counted = reached = 0
        while True:
            if self._groups.table.heated:
                self._watch_heated(reached)
            step = self._rows[self._steps[0][0]] if self._steps else end
            due = verdicts.next_due
            timer = end if due is None else bisect_left(clock, due)
            lost = losses[loss] if loss < len(losses) else end
            edge = edges[0].row if edges else end
            stop = min(step, timer, lost, edge)
            until = bisect_left(self._rows, stop)
            self._apply(applied, until)
            applied = until
            reached = max(reached, until)
            if stop == end:
                break
            if edge == stop and (due is None or timer > stop or edges[0].time <= due):
                over = edges.popleft().time
                self._tally(counted, until, over - 1)
                counted = until
                verdicts.end_window(self._volume, over)
                continue
            if due is not None and timer == stop:
                verdicts.advance(due)
                continue
            verdicts.advance(clock[stop])
            if lost == stop:
                self._lose(loss, stop)
                loss += 1
            else:
                reached = self._steps[0][0] + 1
                self._step(*heapq.heappop(self._steps))
        self._tally(counted, len(self._rows), clock[-1])
        verdicts.advance(clock[-1])

    def _find(self, unknown: dict[int, int]) -> None:
        """Find the sightings of pairs that were not noted, given with their first places; what is new is a step."""
        subjects = dict.fromkeys(self._subject.item(place) for place in unknown.values())
        replicas = {each: self._groups.replica_of(self._events.subjects[each]) for each in subjects}
        for pair, place in unknown.items():
            known, behaviour = replicas[self._subject.item(place)], self._behaviours[self._behaviour.item(place)]
            row = -1 if known is None else known[0].find_sighting(known[1], behaviour)
            if row < 0:
                self._steps.append((place, pair))
            else:
                self._sighting[pair] = row
                self._groups.note(self._code.item(place), row)

    def _tally(self, begin: int, end: int, now: int) -> None:
        """Count for volume what was seen, without argument templates: they say what, not how often."""
        if end == begin:
            return
        places = begin + np.flatnonzero(self._plain[begin:end])
        process = self._events.process[self._row[places]]
        lists = self._events.processes.args[process]
        seen = Seen(
            subjects=self._events.subjects,
            behaviours=self._behaviours,
            subject=self._subject[places],
            behaviour=self._behaviour[places],
            count=self._count[places],
            time=self._time[places],
            pid=self._events.processes.pid[process].astype(np.int64),
            sighting=self._sighting[self._pair[places]],
            example=lambda place: tuple(self._events.string_list(int(lists[place]))),
        )
        self._volume.add(seen, now)

    def _watch(self, pair: int, begin: int) -> None:
        """Look at the next event of a sighting, from a place on, while its evidence is collected."""
        if pair in self._looking or not self._groups.table.hot[self._sighting[pair]]:
            return
        places = self._order[self._starts[pair] : self._starts[pair + 1]]
        next_one = int(places.searchsorted(begin))
        if next_one < len(places):
            self._looking.add(pair)
            heapq.heappush(self._steps, (int(places[next_one]), pair))

    def _watch_heated(self, begin: int) -> None:
        """Look at the events, from a place on, of sightings that time or others made evidence of."""
        heated = self._groups.table.heated
        for pair in np.flatnonzero(np.isin(self._sighting, heated)).tolist():
            self._watch(pair, begin)
        heated.clear()

    def _step(self, place: int, pair: int) -> None:
        subject = self._events.subjects[self._subject[place]]
        self._looking.discard(pair)
        if self._sighting[pair] < 0:
            behaviour = self._of_this_event(place)
            removed = self._groups.table.removed
            before = len(removed)
            row, new = self._groups.see(subject, behaviour, int(self._time[place]))
            self._sighting[pair] = row
            if len(removed) > before:
                self._lose_sight(removed[before:], place)
            self._groups.note(self._code.item(place), row)
            if new:
                self._verdicts.hold(row, behaviour)
        if self._groups.table.hot[self._sighting[pair]]:
            columns, process = self._events.processes, int(self._events.process[self._row[place]])
            exe = self._events.strings[columns.exe[process]]
            evidence = Evidence(int(self._time[place]), subject.pod.name, int(columns.pid[process]), exe)
            self._verdicts.evidence(int(self._sighting[pair]), evidence, int(columns.parent_pid[process]))
            self._watch(pair, place + 1)

    def _lose_sight(self, removed: list[int], after: int) -> None:
        """See again what was removed to make room and happens again: its rows will be others'."""
        for pair in np.flatnonzero(np.isin(self._sighting, removed)).tolist():
            self._sighting[pair] = -1
            places = self._order[self._starts[pair] : self._starts[pair + 1]]
            later = places[np.searchsorted(places, after, "right") :][:1]
            for place in later.tolist() if pair not in self._looking else ():
                heapq.heappush(self._steps, (place, pair))

    def _of_this_event(self, place: int) -> Behaviour:
        """Return the behaviour with the arguments of this very event, as its example."""
        events = self._events
        arguments = events.processes.args[events.process[self._rows[place]]]
        return self._behaviours[self._behaviour.item(place)].of(tuple(events.string_list(int(arguments))))

    def _apply(self, begin: int, end: int) -> None:
        if end > begin:
            self._groups.table.apply(self._sighting[self._pair[begin:end]], self._count[begin:end], self._time[begin:end])

    def _lose(self, index: int, row: int) -> None:
        losses = self._events.losses
        at = self._events.subjects[self._events.subject[row]]
        begin, end = int(losses.begin[index]), int(losses.end[index])
        self._verdicts.lose((at.cluster, at.node), int(self._events.time[row]), begin, end, int(losses.count[index]))


def _is_resolved(subject: Subject) -> bool:
    # A container without a name is a pod's sandbox, or was gone before anybody could say which of the pod's it was.
    pod = subject.pod
    return bool(pod.workload.name and (pod.uid or pod.name) and subject.container.name)
