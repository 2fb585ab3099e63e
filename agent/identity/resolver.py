"""Puts names to events: the cgroup key of a record becomes a container, and that a pod; events wait for pods not known yet.

An event whose pod is unknown waits up to `PATIENCE_NS` for the news of it, then goes out with what the kernel knows: the
container's id and the pod's uid. It is neither dropped nor guessed.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from peerwatch.columns import EventColumns
from peerwatch.subjects import Container, Pod, Subject

from agent.identity.cgroups import ContainerRef, container_of
from agent.identity.index import PodIndex

__all__ = ["Resolver"]

PATIENCE_NS = 5_000_000_000
"""How long an event waits for its pod: kubelet reports a started container within a second or two."""

MOST_WAITING = 20_000
"""Events that wait at a time, some 10 MB; beyond, the oldest go out unresolved."""

MOST_KEYS = 8192
"""Cgroup keys remembered: twice what the kernel side remembers (map `cgroups`)."""

_FOREIGN = Subject(container=Container(id="-"))
"""Stands for cgroups that only looked like a container's to the probes, a container's monitor for example; never goes out."""


@dataclass(slots=True)
class _Waiting:
    table: EventColumns
    until: int
    tried: int  # version of the index


class Resolver:
    """Resolves tables whose subjects are what `subject_of` returned. Times are of any one monotonic clock, ns.

    `unresolved` counts events that went out without a pod, `foreign` those of cgroups that are no container's.
    """

    def __init__(self, cluster: str, node: str, index: PodIndex | None, path_of: Callable[[int], str]) -> None:
        """`index` None: there is no source of pods, nothing waits. `path_of` gives a cgroup key's path, or an empty text."""
        self.unresolved = 0
        self.foreign = 0
        self._cluster = cluster
        self._node = node
        self._index = index
        self._path_of = path_of
        self._subjects: OrderedDict[int, Subject] = OrderedDict()
        self._waiting: list[_Waiting] = []

    def __len__(self) -> int:
        """Return how many events wait."""
        return sum(len(each.table) for each in self._waiting)

    def subject_of(self, key: int) -> Subject:
        """Return what a cgroup's name alone tells: the container's id and the pod's uid."""
        known = self._subjects.get(key)
        if known is not None:
            return known
        path = self._path_of(key)
        if not path:  # the probes have forgotten it: nobody can say
            return Subject(self._cluster, self._node)
        ref = container_of(path)
        if ref is None:
            subject = _FOREIGN
        elif not ref.certain:  # perhaps another container's name: it must not be taken for that one
            subject = Subject(self._cluster, self._node)
        else:
            subject = Subject(self._cluster, self._node, Pod(uid=ref.pod_uid), Container(id=ref.id))
        self._subjects[key] = subject
        if len(self._subjects) > MOST_KEYS:
            self._subjects.popitem(last=False)
        return subject

    def resolve(self, table: EventColumns, now: int) -> list[EventColumns]:
        """Return what can go out: these events and those that waited, as far as their pods are known or their time is up."""
        out = self.overdue(now)
        keep = np.array([subject is not _FOREIGN for subject in table.subjects], bool)[table.subject]
        if not keep.all():
            self.foreign += int(np.count_nonzero(~keep))
            table = table.take(np.flatnonzero(keep))
        if len(table):
            version = 0 if self._index is None else self._index.version
            out += self._split(_Waiting(table, now + PATIENCE_NS, version), final=self._index is None)
        return out

    def overdue(self, now: int) -> list[EventColumns]:
        """Return waiting events whose pods have become known, or which have waited long enough."""
        waiting, self._waiting = self._waiting, []
        out = []
        excess = sum(len(each.table) for each in waiting) - MOST_WAITING
        for each in waiting:
            final = now >= each.until or excess > 0
            excess -= len(each.table)
            if final or (self._index is not None and each.tried != self._index.version):
                out += self._split(each, final=final)
            else:
                self._waiting.append(each)
        return out

    def _split(self, waiting: _Waiting, *, final: bool) -> list[EventColumns]:
        """Return the part whose subjects are known; keep the rest waiting, unless this is the last try."""
        table = waiting.table
        # Read first: what changes during the look-ups leads to another try.
        waiting.tried = 0 if self._index is None else self._index.version
        found = [self._lookup(subject, final=final) for subject in table.subjects]
        known = np.array([subject is not None for subject in found], bool)[table.subject]
        if final:
            self.unresolved += int(np.count_nonzero(~known))
            known[:] = True
        subjects = [subject or named for subject, named in zip(found, table.subjects, strict=True)]
        if not known.all():
            waiting.table = table.take(np.flatnonzero(~known))
            self._waiting.append(waiting)
        ready = table.take(np.flatnonzero(known))
        return [replace(ready, subjects=subjects)] if len(ready) else []

    def _lookup(self, subject: Subject, *, final: bool) -> Subject | None:
        if self._index is None or not subject.container.id:  # nobody knows whose it is, or it is only claimed
            return None
        return self._index.lookup(ContainerRef(subject.container.id, subject.pod.uid), final=final)
