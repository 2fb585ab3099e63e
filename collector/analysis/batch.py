"""One table of events on its way through learning and detection.

What repeats is counted in bulk; where something is new, watched or due, the table is handled event by event, so that what comes
out does not depend on how the events were cut into tables.
"""

import dataclasses
import heapq

import numpy as np
import numpy.typing as npt
from peerwatch.columns import EventColumns, EventKind
from peerwatch.subjects import Subject

from collector.analysis import behaviours
from collector.analysis.behaviours import Behaviour
from collector.analysis.groups import Groups
from collector.analysis.verdicts import Verdicts
from collector.records import Evidence

__all__ = ["Batch"]


class Batch:
    """Walks through one table.

    A *pair* is one (subject, behaviour) of the table; a *place* is a position among its observations; a *step* is a place that
    has to be looked at by itself.
    """

    def __init__(self, groups: Groups, verdicts: Verdicts, events: EventColumns) -> None:
        self._groups, self._verdicts, self._events = groups, verdicts, events
        seen = behaviours.observe(events)
        subject = events.subject[seen.row].astype(np.int64)
        resolved = np.array([_is_resolved(each) for each in events.subjects], bool)
        keep = resolved[subject] if len(subject) else np.zeros(0, bool)
        groups.counters.events += len(events)
        groups.counters.unresolved += int(np.count_nonzero(~keep))
        self._behaviours = seen.behaviours
        self._row, self._behaviour, self._count = seen.row[keep], seen.behaviour[keep], seen.count[keep]
        self._subject = subject[keep]
        code = self._subject * (len(seen.behaviours) + 1) + self._behaviour
        _, first, pair = np.unique(code, return_index=True, return_inverse=True)
        self._pair = pair.astype(np.int64)
        self._order = np.argsort(self._pair, kind="stable")  # the places of pair p: _order[_starts[p]:_starts[p + 1]]
        self._starts = np.searchsorted(self._pair[self._order], np.arange(len(first) + 1))
        self._time = events.time[self._row]
        self._sighting: npt.NDArray[np.int64] = np.full(len(first), -1, np.int64)
        self._steps: list[tuple[int, int]] = []
        for number, place in enumerate(first.tolist()):
            self._sighting[number] = groups.find(
                self._events.subjects[self._subject[place]], self._behaviours[self._behaviour[place]]
            )
            if self._sighting[number] < 0:
                self._steps.append((place, number))
        heapq.heapify(self._steps)
        for number, place in enumerate(first.tolist()):
            if self._sighting[number] >= 0:
                self._watch(number, place)

    def run(self) -> None:
        """Count and decide everything in the table."""
        if not len(self._events):
            return
        verdicts, end = self._verdicts, len(self._events)
        losses = self._events.rows_of(EventKind.LOSS).tolist()
        clock = np.maximum.accumulate(np.maximum(self._events.time, verdicts.now))
        applied = loss = 0
        while True:
            step = int(self._row[self._steps[0][0]]) if self._steps else end
            due = verdicts.next_due
            timer = end if due is None else int(np.searchsorted(clock, due))
            lost = losses[loss] if loss < len(losses) else end
            stop = min(step, timer, lost)
            until = int(np.searchsorted(self._row, stop))
            self._apply(applied, until)
            applied = until
            if stop == end:
                break
            if due is not None and timer == stop:
                verdicts.advance(due)
                continue
            verdicts.advance(int(clock[stop]))
            if lost == stop:
                self._lose(loss, stop)
                loss += 1
            else:
                self._step(*heapq.heappop(self._steps))
        verdicts.advance(int(clock[-1]))

    def _watch(self, pair: int, after: int) -> None:
        """Look at the next events of a sighting one by one while its evidence is collected."""
        if self._groups.table.hot[self._sighting[pair]]:
            places = self._order[self._starts[pair] : self._starts[pair + 1]]
            begin = int(np.searchsorted(places, after))
            for place in places[begin : begin + self._groups.settings.evidence].tolist():
                heapq.heappush(self._steps, (place, pair))

    def _step(self, place: int, pair: int) -> None:
        subject = self._events.subjects[self._subject[place]]
        if self._sighting[pair] < 0:
            behaviour = self._of_this_event(place)
            row, new = self._groups.see(subject, behaviour, int(self._time[place]))
            self._sighting[pair] = row
            if new:
                self._verdicts.hold(row, behaviour)
            self._watch(pair, place)
        elif self._groups.table.hot[self._sighting[pair]]:
            columns, process = self._events.processes, int(self._events.process[self._row[place]])
            exe = self._events.strings[columns.exe[process]]
            evidence = Evidence(int(self._time[place]), subject.pod.name, int(columns.pid[process]), exe)
            self._verdicts.evidence(int(self._sighting[pair]), evidence, int(columns.parent_pid[process]))

    def _of_this_event(self, place: int) -> Behaviour:
        """Return the behaviour with the arguments of this very event; the table's first may be another's."""
        behaviour: Behaviour = self._behaviours[int(self._behaviour[place])]
        events = self._events
        arguments = events.processes.args[int(events.process[self._row[place]])]
        return dataclasses.replace(behaviour, example=tuple(events.string_list(int(arguments))))

    def _apply(self, begin: int, end: int) -> None:
        if end > begin:
            rows = self._sighting[self._pair[begin:end]]
            known = rows >= 0
            self._groups.table.apply(rows[known], self._count[begin:end][known], self._time[begin:end][known])

    def _lose(self, index: int, row: int) -> None:
        losses = self._events.losses
        node = self._events.subjects[self._events.subject[row]].node
        begin, end = int(losses.begin[index]), int(losses.end[index])
        self._verdicts.losses.add(node, begin, end, int(losses.count[index]))


def _is_resolved(subject: Subject) -> bool:
    # A container without a name is a pod's sandbox, or was gone before anybody could say which of the pod's it was.
    pod = subject.pod
    return bool(pod.workload.name and (pod.uid or pod.name) and subject.container.name)
