"""Puts names to events: the cgroup key of a record becomes a container, and that a pod; events wait for pods not known yet.

An event whose pod is unknown waits up to `PATIENCE_NS` for the news of it, then goes out with what the kernel knows: the
container's id and the pod's uid. It is neither dropped nor guessed. Each answer says what waits from now on and what no longer
does, so that a spool can keep what waits for the next agent.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import count

import numpy as np
import numpy.typing as npt
from peerwatch.columns import EventColumns, ProcessFlag
from peerwatch.subjects import Container, Pod, Subject

from agent.identity.cgroups import ContainerRef, container_of
from agent.identity.index import PodIndex
from agent.step import Held

__all__ = ["Resolution", "Resolver"]

PATIENCE_NS = 5_000_000_000
"""How long an event waits for its pod: kubelet reports a started container within a second or two."""

MOST_WAITING = 20_000
"""Rows that wait at a time, some 10 MB; beyond, the oldest go out unresolved."""

MOST_KEYS = 8192
"""Cgroup keys remembered: twice what the kernel side remembers (map `cgroups`)."""

_FOREIGN = Subject(container=Container(id="-"))
"""Stands for cgroups that only looked like a container's to the probes, a container's monitor for example; never goes out."""


@dataclass(frozen=True, slots=True)
class Resolution:
    """What became of the events: `ready` goes out, `held` waits from now on, `settled` waits no more, by number."""

    ready: list[EventColumns] = field(default_factory=list)
    held: dict[int, Held] = field(default_factory=dict)
    settled: list[int] = field(default_factory=list)


@dataclass(slots=True)
class _Waiting:
    table: EventColumns
    until: int
    tried: int  # version of the index
    number: int | None = None  # as it was told; None: not told yet


class Resolver:
    """Resolves tables whose subjects are what `subject_of` returned. Times are of the boot clock, ns.

    `unresolved` counts events that went out without a pod, `foreign` those of cgroups that are no container's.
    """

    def __init__(
        self,
        cluster: str,
        node: str,
        index: PodIndex | None,
        path_of: Callable[[int], str],
        *,
        held: Mapping[int, Held] | None = None,
        host: bool = False,
    ) -> None:
        """Begin with what waited when the last agent ended.

        Args:
            cluster: goes into every subject.
            node: goes into every subject.
            index: None: there is no source of pods, nothing waits.
            path_of: gives a cgroup key's path, or an empty text.
            held: what an earlier agent's resolver still held, by number.
            host: processes that belong to no container are the node's own, not foreign.
        """
        self.unresolved = 0
        self.foreign = 0
        self._cluster = cluster
        self._node = node
        self._index = index
        self._path_of = path_of
        self._host = host
        self._subjects: OrderedDict[int, Subject] = OrderedDict()
        held = held or {}
        self._waiting = [_Waiting(each.table, each.until, -1, number) for number, each in sorted(held.items())]
        self._numbers = count(max(held, default=0) + 1)

    def __len__(self) -> int:
        """Return how many rows wait."""
        return sum(len(each.table) for each in self._waiting)

    @property
    def held_events(self) -> int:
        """How many events wait."""
        return sum(int(each.table.counts().sum()) for each in self._waiting)

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
            subject = Subject(self._cluster, self._node) if self._host else _FOREIGN
        elif not ref.certain:  # perhaps another container's name: it must not be taken for that one
            subject = Subject(self._cluster, self._node)
        else:
            subject = Subject(self._cluster, self._node, Pod(uid=ref.pod_uid), Container(id=ref.id))
        self._subjects[key] = subject
        if len(self._subjects) > MOST_KEYS:
            self._subjects.popitem(last=False)
        return subject

    def resolve(self, table: EventColumns, now: int) -> Resolution:
        """Take these events in; what goes out is theirs and of those that waited, if the pod is known or the time is up."""
        out = self.overdue(now)
        keep = np.array([subject is not _FOREIGN for subject in table.subjects], bool)[table.subject]
        keep |= table.flagged(ProcessFlag.CANARY)  # the agent's own, which may run outside of any container
        if not keep.all():
            self.foreign += _events(table, ~keep)
            table = table.take(np.flatnonzero(keep))
        if len(table):
            home = Subject(self._cluster, self._node)
            table = replace(table, subjects=[home if each is _FOREIGN else each for each in table.subjects])
            self._split(_Waiting(table, now + PATIENCE_NS, -1), out, final=self._index is None)
        return out

    def overdue(self, now: int) -> Resolution:
        """Let waiting events go whose pods have become known, or which have waited long enough."""
        out = Resolution()
        waiting, self._waiting = self._waiting, []
        excess = sum(len(each.table) for each in waiting) - MOST_WAITING
        for each in waiting:
            # The boot clock begins anew with each boot: what waits since before waits no longer than what is new.
            each.until = min(each.until, now + PATIENCE_NS)
            final = now >= each.until or excess > 0 or self._index is None
            excess -= len(each.table)
            if final or each.tried != self._version:
                self._split(each, out, final=final)
            else:
                self._waiting.append(each)
        return out

    @property
    def _version(self) -> int:
        return 0 if self._index is None else self._index.version

    def _split(self, waiting: _Waiting, out: Resolution, *, final: bool) -> None:
        """Let the part go whose subjects are known, and the rest wait, unless this is the last try."""
        table = waiting.table
        # Read first: what changes during the look-ups leads to another try.
        waiting.tried = self._version
        found = [self._lookup(subject, final=final) for subject in table.subjects]
        known = np.array([subject is not None for subject in found], bool)[table.subject]
        if final:
            self.unresolved += _events(table, ~known)
            known[:] = True
        if known.any():
            subjects = [subject or named for subject, named in zip(found, table.subjects, strict=True)]
            ready = table if known.all() else table.take(np.flatnonzero(known))
            out.ready.append(replace(ready, subjects=subjects))
            if waiting.number is not None:
                out.settled.append(waiting.number)
                waiting.number = None
        if not known.all():
            if known.any():
                # Without what only the others refer to: a few events that wait must not keep a large table alive.
                waiting.table = table.take(np.flatnonzero(~known)).compact()
            if waiting.number is None:
                waiting.number = next(self._numbers)
                out.held[waiting.number] = Held(waiting.table, waiting.until)
            self._waiting.append(waiting)

    def _lookup(self, subject: Subject, *, final: bool) -> Subject | None:
        if not subject.container.id and self._host:  # the node's own, which no pod will ever be known for
            return subject
        if self._index is None or not subject.container.id:  # nobody knows whose it is, or it is only claimed
            return None
        return self._index.lookup(ContainerRef(subject.container.id, subject.pod.uid), final=final)


def _events(table: EventColumns, rows: npt.NDArray[np.bool_]) -> int:
    return int(table.counts()[rows].sum())
