"""The pods of this node, by container: what turns a `ContainerRef` into a `Subject`."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable

from peerwatch.kubernetes.pods import PodRecord
from peerwatch.subjects import Container, Subject

from agent.identity.cgroups import ContainerRef

__all__ = ["PodIndex"]

MAX_PODS = 5000
"""Pods held at a time. A node runs 110 by default, 500 at most in practice; a `--pods` file may list a whole cluster's."""

MAX_DELETED = 1000
"""Deleted pods still known: five minutes of a node that replaces three pods a second."""

DELETED_FOR_S = 300.0
"""How long a deleted pod is still known, seconds: longer than any event waits in a buffer or behind a restart."""

MAX_INSTANCES = 32
"""Container instances remembered per pod beyond those in its status: restarts push the older ones out of it."""


class _Entry:
    """One pod with the subjects of its containers, current ones and those of earlier restarts."""

    __slots__ = ("record", "subjects")

    def __init__(self, record: PodRecord, subjects: dict[str, Subject]) -> None:
        self.record = record
        self.subjects = subjects


class PodIndex:
    """Pods by container id and by uid. Thread safe: a source writes, the assembly of events reads.

    `version` rises whenever a pod was added, changed or deleted, and never otherwise: who holds events of a pod that is not
    known yet tries them again when it rose. Memory is bounded by `MAX_PODS`, `MAX_DELETED` and the bounds of a record;
    `refused` counts pods beyond.
    """

    def __init__(self, cluster: str, node: str, clock: Callable[[], float] = time.monotonic) -> None:
        """`cluster` and `node` go into each subject; `clock` gives seconds."""
        self._cluster = cluster
        self._node = node
        self._clock = clock
        self._lock = threading.Lock()
        self._pods: dict[str, _Entry] = {}
        self._deleted: OrderedDict[str, tuple[float, _Entry]] = OrderedDict()
        self._by_container: dict[str, _Entry] = {}
        self._by_uid: dict[str, _Entry] = {}
        self._version = 0
        self._refused = 0

    def __len__(self) -> int:
        """Return how many pods there are, without deleted ones."""
        return len(self._pods)

    @property
    def version(self) -> int:
        """How many real changes there were."""
        return self._version

    @property
    def refused(self) -> int:
        """How many pods were not taken in because `MAX_PODS` were there; each try counts."""
        return self._refused

    def apply(self, record: PodRecord) -> None:
        """Add a pod or replace what is known of it."""
        with self._lock:
            self._forget_expired()
            self._apply(record)

    def delete(self, key: str) -> None:
        """Note that a pod is gone; `key` is `PodRecord.key`. Its containers are found for `DELETED_FOR_S` more."""
        with self._lock:
            self._forget_expired()
            self._delete(key)

    def replace(self, records: Iterable[PodRecord]) -> None:
        """Make these all pods there are: what a fresh list says. Only what differs changes anything."""
        wanted = {record.key: record for record in records}  # before the lock: they may come from a slow server, page by page
        with self._lock:
            self._forget_expired()
            for key in [key for key in self._pods if key not in wanted]:
                self._delete(key)
            for record in wanted.values():
                self._apply(record)

    def lookup(self, ref: ContainerRef, *, final: bool = False) -> Subject | None:
        """Return whose container it is, None if that is not known (yet).

        A container that its pod's status does not name yet is unknown, too. With `final`, when there is no more time to wait,
        it gets its pod and a container of which only the id is known: that is also what a pod's sandbox (pause container)
        gets, since no status ever names it. A ref that is not `certain` belongs to nobody: it may be a claim.
        """
        if not ref.certain:
            return None
        with self._lock:
            self._forget_expired()
            entry = self._by_container.get(ref.id)
            if entry is not None:
                return entry.subjects[ref.id]
            entry = self._by_uid.get(ref.pod_uid) if final and ref.pod_uid else None
            return None if entry is None else self._subject(entry.record, Container(id=ref.id))

    def _subject(self, record: PodRecord, container: Container) -> Subject:
        return Subject(self._cluster, self._node, record.pod, container)

    def _apply(self, record: PodRecord) -> None:
        old = self._pods.get(record.key)
        if old is not None and old.record == record:
            return
        if old is None:
            back = self._deleted.pop(record.key, None)  # a list can bring back what a late deletion took
            old = back[1] if back is not None else None
            if len(self._pods) >= MAX_PODS:
                self._refused += 1
                if old is not None:
                    self._unlink(old)
                return
        entry = _Entry(record, self._subjects(record, old))
        if old is not None:
            self._unlink(old)
        self._pods[record.key] = entry
        self._by_uid[record.pod.uid] = entry
        for container_id in entry.subjects:
            self._by_container[container_id] = entry
        self._version += 1

    def _subjects(self, record: PodRecord, old: _Entry | None) -> dict[str, Subject]:
        current = {container.id: container for container in record.containers}
        earlier: dict[str, Container] = {}
        for container_id, subject in old.subjects.items() if old is not None else ():
            known = current.get(container_id)
            if known is None:
                earlier[container_id] = subject.container
            elif not known.image_digest and subject.container.image_digest:
                # After a restart the status no longer says which digest the instance before it ran; it did before.
                current[container_id] = subject.container
        kept = list(earlier.values())[-MAX_INSTANCES:]
        return {container.id: self._subject(record, container) for container in (*kept, *current.values())}

    def _delete(self, key: str) -> None:
        entry = self._pods.pop(key, None)
        if entry is None:
            return
        self._deleted[key] = (self._clock() + DELETED_FOR_S, entry)
        self._version += 1
        if len(self._deleted) > MAX_DELETED:
            self._unlink(self._deleted.popitem(last=False)[1][1])

    def _forget_expired(self) -> None:
        now = self._clock()
        while self._deleted:
            key, (until, entry) = next(iter(self._deleted.items()))
            if until > now:
                return
            del self._deleted[key]
            self._unlink(entry)

    def _unlink(self, entry: _Entry) -> None:
        # A static pod's mirror that was made again has taken over uid and containers: what belongs to it stays.
        uid = entry.record.pod.uid
        if self._by_uid.get(uid) is entry:
            del self._by_uid[uid]
        for container_id in entry.subjects:
            if self._by_container.get(container_id) is entry:
                del self._by_container[container_id]
