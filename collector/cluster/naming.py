"""Puts the view's names to tables of events: whose they are, and what their addresses were at their time. Pure.

Work is per distinct subject and per distinct address and port; per event there are only array operations.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from peerwatch.columns import I64, PARTS, Accepts, Connects, EventColumns, EventKind, Peer
from peerwatch.subjects import Container, Pod, Subject

from collector.archive.unsettled import UNSETTLED, unsettled
from collector.cluster.history import FOREVER
from collector.cluster.view import FIXED, ClusterView, Unnamed

__all__ = ["NamedTable", "bare", "complete", "name", "name_later", "unnamed"]

U32 = npt.NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class NamedTable:
    """A table with the view's names; `foreign` counts events that were left out since the node must not speak for them."""

    table: EventColumns
    foreign: int


def name(view: ClusterView, table: EventColumns, node: str, *, heard: int = FOREVER) -> NamedTable:
    """Return a node's events as the view knows them. What the agent claims beyond ids is not used.

    Whose pod is not known keeps the container's id and the pod's uid only, so that nobody learns from it. Where the node's
    clock leaves in doubt when something happened, a peer must have had its address all of that while.

    The view is right about addresses for times before `heard`. Since then somebody else may have one: the peer of such an event
    is marked as unsettled, if the address had a holder or the event waits for its own name anyway.
    """
    found = [_named(view, subject, node) for subject in table.subjects]
    mine = np.array([each is not Unnamed.FOREIGN for each in found], bool)
    keep = mine[table.subject] if len(table) else np.zeros(0, bool)
    foreign = int(np.maximum(table.counts(), 1)[~keep].sum())
    subjects = [
        each if isinstance(each, Subject) else bare(subject) for each, subject in zip(found, table.subjects, strict=True)
    ]
    table = replace(table, subjects=subjects)
    if foreign:
        table = table.take(np.flatnonzero(keep))
    return NamedTable(_with_peers(view, table, heard), foreign)


def name_later(view: ClusterView, table: EventColumns, *, heard: int = FOREVER) -> EventColumns:
    """Return the same events, with the names that were missing as far as they are known by now; the same table if none is."""
    subjects = list(table.subjects)
    for at, subject in enumerate(subjects):
        if unnamed(subject) and subject.cluster == view.cluster:
            found = view.subject(subject.node, subject.pod.uid, subject.container.id, final=True)
            if isinstance(found, Subject):
                subjects[at] = found
    if subjects != list(table.subjects):
        table = replace(table, subjects=subjects)
    return _settled(view, table, heard)


def complete(table: EventColumns) -> npt.NDArray[np.bool_]:
    """Say of each event whether its names will stay as they are."""
    named = np.array([not unnamed(subject) for subject in table.subjects], bool)
    return named[table.subject] & ~unsettled(table) if len(table) else np.zeros(0, bool)


def unnamed(subject: Subject) -> bool:
    """Say whether a subject is a container whose pod, or whose name in it, is not known."""
    return bool(subject.container.id and not subject.container.name) or bool(subject.pod.uid and not subject.pod.name)


def bare(subject: Subject) -> Subject:
    """Return what the kernel alone says of a subject: node, container's id, pod's uid."""
    return Subject(subject.cluster, subject.node, Pod(uid=subject.pod.uid), Container(id=subject.container.id))


def _named(view: ClusterView, subject: Subject, node: str) -> Subject | Unnamed:
    if not subject.pod.uid and not subject.container.id:
        return bare(subject)  # the node's own
    return view.subject(node, subject.pod.uid, subject.container.id, final=True)


def _with_peers(view: ClusterView, table: EventColumns, heard: int) -> EventColumns:
    """Return the table with what the other sides were. Whoever the agent says they were is forgotten."""
    peers: dict[Peer, int] = {}
    waits = np.array([unnamed(subject) for subject in table.subjects], bool)
    first, last = _while(view, table)
    parts: dict[str, Any] = {}
    for kind, part in _sockets(table):
        rows = table.rows_of(kind)
        asked = _Asked(part.address, _ports(kind, part), first[rows], last[rows], waits[table.subject[rows]])
        parts[PARTS[kind].name] = replace(part, peer=_peers(view, asked, peers, heard))
    return replace(table, peers=list(peers), **parts)


def _settled(view: ClusterView, table: EventColumns, heard: int) -> EventColumns:
    """Return the table with the peers of those events that were before `heard`: by now it is known what became of addresses."""
    first, last = _while(view, table)
    ready = unsettled(table)
    ready &= last < heard
    if not bool(ready.any()):
        return table
    found: dict[Peer, int] = {}
    parts: dict[str, Any] = {}
    for kind, part in _sockets(table):
        rows = table.rows_of(kind)
        own = ready[rows]
        waits = np.zeros(int(own.sum()), bool)
        asked = _Asked(part.address[own], _ports(kind, part)[own], first[rows][own], last[rows][own], waits)
        numbers = _peers(view, asked, found, heard)
        peer = part.peer.copy()
        peer[own] = np.where(numbers > 0, numbers + len(table.peers), 0)
        parts[PARTS[kind].name] = replace(part, peer=peer)
    return replace(table, peers=[*table.peers, *found], **parts)


def _while(view: ClusterView, table: EventColumns) -> tuple[I64, I64]:
    """Return from when to when each event may have happened, as the clocks of their nodes are."""
    doubts = [view.clocks.of(subject.node) for subject in table.subjects]
    if not any(doubts):
        return table.time, table.time
    least, most = (np.array([getattr(each, name) for each in doubts], np.int64) for name in ("least", "most"))
    return table.time + least[table.subject], table.time + most[table.subject]


def _sockets(table: EventColumns) -> list[tuple[EventKind, Connects | Accepts]]:
    return [(EventKind.CONNECT, table.connects), (EventKind.ACCEPT, table.accepts)]


def _ports(kind: EventKind, part: Connects | Accepts) -> npt.NDArray[np.uint16]:
    # The port of an accept is this side's; the other's was chosen by its kernel and says nothing.
    return part.port if kind is EventKind.CONNECT else np.zeros(len(part), np.uint16)


@dataclass(frozen=True, slots=True)
class _Asked:
    """Whose these addresses were from `first` to `last`, a row each; `waits`: the event waits for another name anyway."""

    address: npt.NDArray[np.uint8]
    port: npt.NDArray[np.uint16]
    first: I64
    last: I64
    waits: npt.NDArray[np.bool_]


def _peers(view: ClusterView, asked: _Asked, peers: dict[Peer, int], heard: int) -> U32:
    """Return for each row the number of its peer, 0 for nobody, n for the n-th of `peers`, to which new ones come."""
    address, port, first_time, last_time = asked.address, asked.port, asked.first, asked.last
    numbers = np.zeros(len(address), np.uint32)
    if not len(address):
        return numbers
    keys = np.concatenate([address, np.ascontiguousarray(port).view(np.uint8).reshape(-1, 2)], axis=1)
    _, first, code = np.unique(np.ascontiguousarray(keys).view("V18").ravel(), return_index=True, return_inverse=True)
    order = np.argsort(code, kind="stable")
    ends = np.cumsum(np.bincount(code, minlength=len(first)))
    for at, row in enumerate(first.tolist()):
        rows = order[ends[at - 1] if at else 0 : ends[at]]
        packed = address[row].tobytes()
        for span in view.spans(packed, int(port[row])):
            begins, ends_after = first_time[rows], last_time[rows]
            inside = (begins >= span.begin) & (ends_after < span.end)
            if inside.any():
                numbers[rows[inside]] = peers.setdefault(span.who, len(peers)) + 1
            # It may have been this one or whoever was said before: nobody, unless that is the same.
            partly = ~inside & (ends_after >= span.begin) & (begins < span.end)
            partly &= numbers[rows] != peers.get(span.who, -1) + 1
            numbers[rows[partly]] = 0
        if heard < FOREVER and packed not in FIXED:
            doubtful = rows[(last_time[rows] >= heard) & ((numbers[rows] > 0) | asked.waits[rows])]
            if len(doubtful):
                numbers[doubtful] = peers.setdefault(UNSETTLED, len(peers)) + 1
    return numbers
