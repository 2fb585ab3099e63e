"""One recording as plain columns, for the rules of others: one entry per exec or connect, whole numbers for all texts.

A baseline is a function of a frame that returns hits; `alerts` makes of them what an operator would see. All is worked out over
the whole recording at once, but no baseline looks ahead of the time at which it raises something.
"""

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from detector import ALERT_COOL_DOWN_S, Alert, Detector, Severity, WorkloadKey
from peerwatch.columns import NANOSECONDS, EventColumns, EventKind, ProcessFlag

from collector.analysis import behaviour_keys

__all__ = ["Frame", "Hits", "codes", "detector_of", "first_of"]

COOL_DOWN = ALERT_COOL_DOWN_S * NANOSECONDS
QUIET = 60 * NANOSECONDS

I64: TypeAlias = npt.NDArray[np.int64]
Bools: TypeAlias = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Frame:
    """Columns, one entry per exec or connect of a known container, in time order."""

    time: I64
    count: I64
    connects: Bools
    workload: I64
    group: I64
    """Container of a workload."""
    pod: I64
    begun: I64
    """When the container started, as far as it is known, else its first event."""
    exe: I64
    args: I64
    """Equal argument lists have equal numbers."""
    cwd: I64
    parent: I64
    """Nearest ancestor inside the container, 0 for none."""
    grandparent: I64
    flags: I64
    pid: I64
    port: I64
    edge: I64
    """Address, port and protocol, -1 for an exec."""
    network: I64
    """The same with workloads, services and names where they are known, else a prefix of the address."""
    public: Bools
    workloads: list[WorkloadKey]
    pods: list[str]
    strings: list[str]
    lists: list[tuple[int, ...]]
    networks: list[str]

    def __len__(self) -> int:
        """Return how many entries there are."""
        return len(self.time)

    def of_strings(self, test: Callable[[str], bool]) -> Bools:
        """Return for each string whether it passes a test."""
        return np.array([test(text) for text in self.strings], bool)

    @classmethod
    def of(cls, tables: Iterable[EventColumns]) -> "Frame":
        """Return the frame of a recording."""
        events = EventColumns.concatenate([*tables]).sorted_by_time()
        kept = ((events.kind == EventKind.EXEC) | (events.kind == EventKind.CONNECT)) & ~events.flagged(ProcessFlag.CANARY)
        named = np.array([bool(each.pod.workload.name and each.container.name) for each in events.subjects], bool)
        row = np.flatnonzero(kept & named[events.subject] if len(events) else kept)
        subject, process = events.subject[row], events.process[row]
        columns = events.processes
        keys = [_key(each) for each in events.subjects]
        workload_of, workloads = _numbers(key for key, *_ in keys)
        group_of, _ = _numbers((key, container) for key, container, *_ in keys)
        pod_of, pods = _numbers((uid, name) for *_, uid, name in keys)
        lists = [tuple(events.lists.values[b:e].tolist()) for b, e in zip(*_edges(events.lists.offsets), strict=True)]
        list_of, distinct = _numbers(lists)
        ancestors = np.array([(*each, 0, 0)[:2] for each in lists], np.int64).reshape(-1, 2)[columns.ancestors[process]]
        exe = columns.exe[process].astype(np.int64)
        connects = events.kind[row] == EventKind.CONNECT
        edge, network, public, networks = _destinations(events, row, connects)
        port = np.zeros(len(row), np.int64)
        port[connects] = events.connects.port[events.places()[row[connects]]]
        injected = (columns.flags[process] >> ProcessFlag.INJECTED & 1) == 1
        parent = np.where(injected, 0, np.where(ancestors[:, 0] > 0, ancestors[:, 0], columns.parent_exe[process]))
        started = np.array([each.container.started_at for each in events.subjects] or [0], np.int64)
        pod = pod_of[subject]
        first = np.full(len(pods), np.iinfo(np.int64).max)
        np.minimum.at(first, pod, events.time[row])
        begun = np.where(started[subject] > 0, started[subject], first[pod]) if len(row) else events.time[row]
        return cls(
            time=events.time[row],
            count=events.counts()[row],
            connects=connects,
            workload=workload_of[subject],
            group=group_of[subject],
            pod=pod,
            begun=begun,
            exe=exe,
            args=list_of[columns.args[process]],
            cwd=columns.cwd[process].astype(np.int64),
            parent=parent.astype(np.int64),
            grandparent=ancestors[:, 1],
            flags=columns.flags[process].astype(np.int64),
            pid=columns.pid[process].astype(np.int64),
            port=port,
            edge=edge,
            network=network,
            public=public,
            workloads=workloads,
            pods=[name for _, name in pods],
            strings=list(events.strings),
            lists=distinct,
            networks=networks,
        )


def _key(subject: Any) -> tuple[WorkloadKey, str, str, str]:  # noqa: ANN401 — a Subject; its module has no other use here
    pod = subject.pod
    workload = WorkloadKey(subject.cluster, pod.namespace, pod.workload.kind, pod.workload.name)
    return workload, subject.container.name, pod.uid or pod.name, pod.name


def _numbers(values: Iterable[Any]) -> tuple[I64, list[Any]]:
    known: dict[Hashable, int] = {}
    index = np.array([known.setdefault(value, len(known)) for value in values], np.int64)
    return index, list(known)


def _edges(offsets: npt.NDArray[Any]) -> tuple[list[int], list[int]]:
    return offsets[:-1].tolist(), offsets[1:].tolist()


def _destinations(events: EventColumns, row: npt.NDArray[np.intp], connects: Bools) -> tuple[I64, I64, Bools, list[str]]:
    edge, network = np.full(len(row), -1, np.int64), np.full(len(row), -1, np.int64)
    public = np.zeros(len(row), bool)
    part = events.connects.take(events.places()[row[connects]])
    if not len(part):
        return edge, network, public, []
    address = np.ascontiguousarray(part.address).view(np.dtype((np.void, 16))).ravel()
    place = codes(np.unique(address, return_inverse=True)[1], part.port, part.protocol)
    edge[connects] = place
    whole = codes(place, part.peer)
    _, first, which = np.unique(whole, return_index=True, return_inverse=True)
    texts = []
    for each in first.tolist():
        peer = events.peers[part.peer[each] - 1] if part.peer[each] else None
        packed = part.address[each].tobytes()
        texts.append(behaviour_keys.destination(packed, int(part.port[each]), int(part.protocol[each]), peer))
    number, networks = _numbers(texts)
    network[connects] = number[which]
    public[connects] = np.array([text.startswith("public ") for text in texts], bool)[which]
    return edge, network, public, networks


def codes(*columns: npt.NDArray[Any]) -> I64:
    """Return one number per row that is equal where all columns are."""
    code = np.zeros(len(columns[0]), np.int64)
    for column in columns:
        place = np.unique(column, return_inverse=True)[1]
        code = np.unique(code * (int(place.max(initial=0)) + 1) + place, return_inverse=True)[1].astype(np.int64)
    return code


def first_of(code: I64) -> npt.NDArray[np.intp]:
    """Return the rows in which each number comes for the first time, in order."""
    return np.sort(np.unique(code, return_index=True)[1])


@dataclass(frozen=True, slots=True)
class Hits:
    """Rows of a frame that a rule objects to, and when it says so."""

    row: npt.NDArray[np.intp]
    raised: I64

    @classmethod
    def at_once(cls, frame: Frame, row: npt.NDArray[np.intp]) -> "Hits":
        """Return hits that are said with their event."""
        return cls(row, frame.time[row])

    def of(self, which: Bools) -> "Hits":
        """Return some of the hits."""
        return Hits(self.row[which], self.raised[which])

    def __or__(self, other: "Hits") -> "Hits":
        """Return the hits of both."""
        return Hits(np.concatenate([self.row, other.row]), np.concatenate([self.raised, other.raised]))


def detector_of(rule: Callable[[Frame], Hits]) -> Detector:
    """Return a rule as a detector."""
    return lambda tables: alerts(rule, tables)


def alerts(rule: Callable[[Frame], Hits], tables: Iterable[EventColumns]) -> list[Alert]:
    """Return what an operator would see of a rule.

    The same file or destination on the same pod is told once in the cool-down. What remains of one pod is one alert as long as
    it goes on without a quiet minute, and no longer than the cool-down: otherwise a false alert would hide the attack after it.
    """
    kept = [*tables]
    if not kept:
        return []
    frame = Frame.of(kept)
    hits = rule(frame)
    item = np.where(frame.connects, frame.network + len(frame.strings), frame.exe)
    told: dict[tuple[int, int], int] = {}
    growing: dict[int, tuple[int, list[int]]] = {}
    latest: dict[int, int] = {}
    gathered: list[tuple[int, list[int]]] = []
    for each in np.lexsort((hits.row, hits.raised)).tolist():
        row, time = int(hits.row[each]), int(hits.raised[each])
        pod = int(frame.pod[row])
        since = told.setdefault((pod, int(item[row])), time)
        if time > since:
            if time - since <= COOL_DOWN:
                continue
            told[pod, int(item[row])] = time
        current = growing.get(pod)
        if current is None or time - latest[pod] > QUIET or time - current[0] > COOL_DOWN:
            current = growing[pod] = time, []
            gathered.append(current)
        latest[pod] = time
        current[1].append(row)
    return [_alert(frame, time, rows) for time, rows in gathered]


def _alert(frame: Frame, time: int, rows: list[int]) -> Alert:
    exes = dict.fromkeys(frame.strings[frame.exe[row]] for row in rows)
    return Alert(
        time=time,
        severity=Severity.MEDIUM,
        workload=frame.workloads[frame.workload[rows[0]]],
        pods=frozenset({frame.pods[frame.pod[rows[0]]]}),
        evidence=frozenset((int(frame.time[row]), frame.pods[frame.pod[row]], int(frame.pid[row])) for row in rows),
        label=", ".join(list(exes)[:4]),
        subjects=len(exes),
    )
