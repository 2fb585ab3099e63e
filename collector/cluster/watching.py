"""Keeps the view equal to the API server, from one thread for each kind of object, and lends it to those who ask."""

import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, KeysView
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, TypeVar

from peerwatch.columns import NANOSECONDS, EventColumns
from peerwatch.kubernetes.connection import ApiServer
from peerwatch.kubernetes.reflector import Reflector, Resource
from peerwatch.subjects import Subject, Workload

from collector.archive.unsettled import UNSETTLED
from collector.cluster import naming
from collector.cluster.clocks import Doubt
from collector.cluster.history import FOREVER
from collector.cluster.naming import NamedTable
from collector.cluster.objects import Owned, parse_node, parse_owned, parse_pod_of_cluster, parse_service, parse_slice
from collector.cluster.rights import Rights
from collector.cluster.surroundings import parse_ingress, parse_namespace
from collector.cluster.view import ClusterView, Unnamed
from collector.records import Incident, Risk
from collector.risk import Fact, risk_of

__all__ = ["ClusterWatch"]

LOG = logging.getLogger(__name__)

AT_ONCE = 100
"""Objects of a list that are taken in before whoever else wants the view gets it: a few milliseconds."""

OF_ADDRESSES = 4
"""Reflectors that say who has an address. ReplicaSets and jobs say what a workload is called, and they change nothing later."""

PODS = Resource("/api/v1/pods", "pods")
SERVICES = Resource("/api/v1/services", "services")
SLICES = Resource("/apis/discovery.k8s.io/v1/endpointslices", "endpoint slices")
NODES = Resource("/api/v1/nodes", "nodes")
REPLICA_SETS = Resource("/apis/apps/v1/replicasets", "replica sets", metadata_only=True)
JOBS = Resource("/apis/batch/v1/jobs", "jobs", metadata_only=True)
INGRESSES = Resource("/apis/networking.k8s.io/v1/ingresses", "ingresses")
NAMESPACES = Resource("/api/v1/namespaces", "namespaces", metadata_only=True)


_MEANS = "destinations are named only where that makes no difference, an address that changed hands in between is not"


class _HasKey(Protocol):
    @property
    def key(self) -> str: ...


_Item = TypeVar("_Item", bound=_HasKey)


class _Keyed(Protocol):
    def keys(self) -> KeysView[str]: ...


class ClusterWatch:
    """A view that follows the API server. All methods are safe from any thread.

    A server that is gone changes nothing but freshness: what was known stays, and of what happens meanwhile only that is told
    that cannot have become wrong.
    """

    def __init__(self, view: ClusterView, server: ApiServer, *, clock: Callable[[], int] = time.time_ns) -> None:
        """`view` belongs to this watch once it is started; `clock` gives nanoseconds since 1970."""
        self._lock = lock = threading.Lock()
        self._view = view
        self._clock = clock
        slices = _Store(view.slices, view.slices.apply, view.slices.delete, lock, clock)
        self._slices = _follow(server, SLICES, parse_slice, slices)
        # Those of `OF_ADDRESSES` first.
        self.reflectors: tuple[Reflector[Any], ...] = (
            _follow(server, PODS, parse_pod_of_cluster, _Store(view.pods, view.apply_pod, view.delete_pod, lock, clock)),
            _follow(
                server, SERVICES, parse_service, _Store(view.services, view.apply_service, view.delete_service, lock, clock)
            ),
            self._slices,
            _follow(server, NODES, parse_node, _Store(view.nodes, view.apply_node, view.delete_node, lock, clock)),
        )
        for resource, kind in ((REPLICA_SETS, "ReplicaSet"), (JOBS, "Job")):
            owned = _Owned(view, kind)
            store = _Store(view.owners[kind], owned.apply, owned.delete, lock, clock)
            self.reflectors += (_follow(server, resource, parse_owned, store),)
        self._naming = self.reflectors
        self.reflectors += (
            _follow(
                server,
                INGRESSES,
                parse_ingress,
                _Store(view.ingresses, view.ingresses.apply, view.ingresses.delete, lock, clock),
            ),
            _follow(
                server,
                NAMESPACES,
                parse_namespace,
                _Store(view.namespaces, view.namespaces.apply, view.namespaces.delete, lock, clock),
            ),
        )
        self.rights = Rights(server)

    @property
    def cluster(self) -> str:
        """The name of the cluster."""
        return self._view.cluster

    @property
    def version(self) -> int:
        """How many changes of pods there were: who waits for a name looks again when it rose."""
        return self._view.version

    @property
    def synced(self) -> bool:
        """Whether all names that there were at the beginning are known: nobody waits for what only ranks incidents."""
        return all(each.synced.is_set() for each in self._naming)

    def age_s(self) -> float:
        """Return how old the news are: since when the API server has said nothing about one kind of object, seconds."""
        return max((each.age_s() for each in self._naming if not each.watching), default=0.0)

    def heard(self) -> int:
        """Return until when the view is right about addresses; for ever as long as the API server is heard."""
        behind = max(each.behind_s() for each in self.reflectors[:OF_ADDRESSES])
        # Whole seconds, so that it stays the same while nothing is heard.
        return _ago(self._clock(), behind) // NANOSECONDS * NANOSECONDS if behind else FOREVER

    def start(self) -> None:
        """Begin; returns at once, also when the server cannot be reached."""
        for each in self.reflectors:
            # A slice names pods, whose workload is behind the service: what is not known yet would have to be remembered.
            each.start(after=[other for other in self._naming if other is not each] if each is self._slices else ())

    def stop(self) -> None:
        """End; the view keeps what it has."""
        self.rights.stop()
        for each in self.reflectors:
            each.stop(0)
        for each in self.reflectors:
            each.stop(1)  # all have been told

    def hear_clock(self, node: str, sent: int, now: int) -> bool:
        """Take note of a node's clock; see `ClusterView.hear_clock`."""
        with self._lock:
            doubted = self._view.hear_clock(node, sent, now)
            doubt = self._view.clocks.of(node)
        if doubted:
            LOG.warning("the clock of node %r is off: %s; %s", node, _off(doubt), _MEANS)
        return bool(doubt)

    def name(self, table: EventColumns, node: str) -> NamedTable:
        """Return a node's events with the view's names; see `naming.name`."""
        with self._lock:
            return naming.name(self._view, table, node, heard=self.heard())

    def name_later(self, table: EventColumns) -> EventColumns:
        """Return events with the names that were missing; see `naming.name_later`."""
        if UNSETTLED not in table.peers and not any(map(naming.unnamed, table.subjects)):
            return table
        with self._lock:
            return naming.name_later(self._view, table, heard=self.heard())

    def knows(self, node: str, refs: Iterable[tuple[str, str]]) -> bool:
        """Say whether waiting would change nothing for these pairs of pod uid and container id that a node speaks of."""
        with self._lock:
            return all(
                self._view.subject(node, pod_uid, container_id, final=False) is not Unnamed.UNKNOWN
                for pod_uid, container_id in refs
            )

    @property
    def answers(self) -> int:
        """How many answers about service accounts came: a risk that was not complete may be, when it rose."""
        return self.rights.version

    def risk(self, incident: Incident) -> tuple[Risk | None, bool]:
        """Return the risk of an incident as far as it is known, None in another cluster, and whether no more will be known.

        What its service account may is asked for in the background.
        """
        where = incident.workload
        if where.cluster != self.cluster:
            return None, True
        workload = Workload(where.kind, where.name)
        with self._lock:
            place = self._view.place(where.namespace, workload, (each.uid for each in incident.replicas))
        if Fact.TOKEN not in place.facts or not place.account:
            return risk_of(incident.severity, place), True
        rights = self.rights.of(where.namespace, place.account)
        facts = place.facts | (rights or Fact(0))
        return risk_of(incident.severity, replace(place, facts=facts)), rights is not None

    def subject(self, node: str, pod_uid: str, container_id: str) -> Subject | None:
        """Return whose container it is, None if this is not known or not that node's."""
        with self._lock:
            found = self._view.subject(node, pod_uid, container_id, final=False)
        return found if isinstance(found, Subject) else None


def _follow(
    server: ApiServer, resource: Resource, parse: Callable[[object], _Item], store: "_Store[_Item]"
) -> Reflector[_Item]:
    reflector = Reflector(server, resource, store, parse)
    store.behind_s = reflector.behind_s
    return reflector


def _off(doubt: Doubt) -> str:
    """Say how far a clock is off, or was lately."""
    ahead, behind = -doubt.least // NANOSECONDS, doubt.most // NANOSECONDS
    found = [f"up to {seconds} s {where}" for seconds, where in ((ahead, "ahead"), (behind, "behind")) if seconds]
    return " and ".join(found)


@dataclass(frozen=True, slots=True)
class _Owned:
    """ReplicaSets or Jobs: what they were when is nothing that anybody asks."""

    view: ClusterView
    kind: str

    def apply(self, owned: Owned, _now: int, _heard: int) -> None:
        self.view.apply_owned(self.kind, owned)

    def delete(self, key: str, _time: int, _now: int) -> None:
        self.view.delete_owned(self.kind, key)


class _Store(Generic[_Item]):
    """A part of the view as a reflector sees it."""

    def __init__(
        self,
        held: _Keyed,
        apply: Callable[[_Item, int, int], None],
        delete: Callable[[str, int, int], None],
        lock: threading.Lock,
        clock: Callable[[], int],
    ) -> None:
        self.behind_s: Callable[[], float] = lambda: 0.0
        self._held = held
        self._apply = apply
        self._delete = delete
        self._lock = lock
        self._clock = clock

    def __len__(self) -> int:
        return len(self._held.keys())

    def replace(self, items: Iterable[_Item]) -> None:
        """Make these all there are. What is gone was there when the server was last heard, and is not known later than that."""
        found: set[str] = set()
        some: list[_Item] = []
        for item in items:
            some.append(item)
            if len(some) == AT_ONCE:
                found |= self._apply_all(some)
                some = []
        found |= self._apply_all(some)
        with self._lock:
            for key in self._held.keys() - found:
                self._delete(key, self._heard(), self._clock())

    def _apply_all(self, items: list[_Item]) -> set[str]:
        with self._lock:
            now, heard = self._clock(), self._heard()
            for item in items:
                self._apply(item, now, heard)
        return {item.key for item in items}

    def apply(self, item: _Item) -> None:
        with self._lock:
            self._apply(item, self._clock(), self._heard())

    def delete(self, key: str) -> None:
        with self._lock:
            self._delete(key, self._heard(), self._clock())

    def _heard(self) -> int:
        """Return until when what is known was so: until now, or until what has been missed."""
        return _ago(self._clock(), self.behind_s())


def _ago(now: int, seconds: float) -> int:
    return max(0, now - int(seconds * 1e9)) if math.isfinite(seconds) else 0
