"""Puts the view's names to tables of events: whose they are, and what their addresses were at their time. Pure.

Work is per distinct subject and per distinct address and port; per event there are only array operations.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from peerwatch.columns import EventColumns, EventKind, Peer
from peerwatch.subjects import Container, Pod, Subject

from collector.cluster.view import ClusterView, Unnamed

__all__ = ["NamedTable", "bare", "name", "name_later", "unnamed"]

U32 = npt.NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class NamedTable:
    """A table with the view's names; `foreign` counts events that were left out since the node must not speak for them."""

    table: EventColumns
    foreign: int


def name(view: ClusterView, table: EventColumns, node: str) -> NamedTable:
    """Return a node's events as the view knows them. What the agent claims beyond ids is not used.

    Whose pod is not known keeps the container's id and the pod's uid only, so that nobody learns from it.
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
    return NamedTable(_with_peers(view, table), foreign)


def name_later(view: ClusterView, table: EventColumns) -> EventColumns:
    """Return the same events, with the names that were missing as far as they are known by now."""
    subjects = list(table.subjects)
    for at, subject in enumerate(subjects):
        if unnamed(subject) and subject.cluster == view.cluster:
            found = view.subject(subject.node, subject.pod.uid, subject.container.id, final=True)
            if isinstance(found, Subject):
                subjects[at] = found
    return table if subjects == list(table.subjects) else replace(table, subjects=subjects)


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


def _with_peers(view: ClusterView, table: EventColumns) -> EventColumns:
    """Return the table with what the other sides were. Whoever the agent says they were is forgotten."""
    peers: dict[Peer, int] = {}
    connects, accepts = table.connects, table.accepts
    to = _peers(view, connects.address, connects.port, table.time[table.rows_of(EventKind.CONNECT)], peers)
    # The port of an accept is this side's; the other's was chosen by its kernel and says nothing.
    nothing = np.zeros(len(accepts), np.uint16)
    come_from = _peers(view, accepts.address, nothing, table.time[table.rows_of(EventKind.ACCEPT)], peers)
    return replace(table, connects=replace(connects, peer=to), accepts=replace(accepts, peer=come_from), peers=list(peers))


def _peers(
    view: ClusterView,
    address: npt.NDArray[np.uint8],
    port: npt.NDArray[np.uint16],
    time: npt.NDArray[np.int64],
    peers: dict[Peer, int],
) -> U32:
    """Return for each row the number of its peer, 0 for nobody, n for the n-th of `peers`, to which new ones come."""
    numbers = np.zeros(len(address), np.uint32)
    if not len(address):
        return numbers
    keys = np.concatenate([address, np.ascontiguousarray(port).view(np.uint8).reshape(-1, 2)], axis=1)
    _, first, code = np.unique(np.ascontiguousarray(keys).view("V18").ravel(), return_index=True, return_inverse=True)
    order = np.argsort(code, kind="stable")
    ends = np.cumsum(np.bincount(code, minlength=len(first)))
    for at, row in enumerate(first.tolist()):
        rows = order[ends[at - 1] if at else 0 : ends[at]]
        for span in view.spans(address[row].tobytes(), int(port[row])):
            inside = rows[(time[rows] >= span.begin) & (time[rows] < span.end)]
            if len(inside):
                numbers[inside] = peers.setdefault(span.who, len(peers)) + 1
    return numbers
