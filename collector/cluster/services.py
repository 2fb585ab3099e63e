"""Services: addresses and ports that lead to one, and which workloads are behind it. Pure: times are passed in.

Which workload's port belongs to a service is kept by workload, not by address: so a pod has its service's name from its first
second on, and no endpoint that comes and goes makes a known destination a new one.
"""

from collections.abc import Callable, Hashable, Iterable, KeysView
from dataclasses import dataclass, replace
from typing import TypeVar

from peerwatch.columns import Peer
from peerwatch.subjects import Workload

from collector.cluster.history import BLUR, History, told_from
from collector.cluster.objects import Port, ServiceObject, SliceObject

__all__ = ["API_SERVER", "Services", "Slices", "service_peer"]

API_SERVER = Peer("", Workload("apiserver", "kubernetes"))

WAITING_MAX = 20_000
"""Endpoints whose pod is not known yet, 10 MB; one more is forgotten until a slice names it again."""

_Key = TypeVar("_Key", bound=Hashable)

WorkloadPort = tuple[str, Workload, int]
"""Namespace, workload, port of its pods."""


def service_peer(namespace: str, name: str) -> Peer:
    """Return what connects to a service are said to go to."""
    # The service `kubernetes` exists in every cluster, and is how pods find the API server.
    return API_SERVER if (namespace, name) == ("default", "kubernetes") else Peer(namespace, Workload("Service", name))


class Services:
    """All services, with the histories of what leads to them."""

    def __init__(self) -> None:
        self.addresses: History[bytes, Peer] = History()
        self.ports: History[Port, Peer] = History()
        """Of load balancers."""
        self.node_ports: History[int, Peer] = History()
        self.claimed: History[bytes, Peer] = History()
        self._services: dict[str, tuple[ServiceObject, Peer]] = {}
        self._by_name: dict[tuple[str, str], ServiceObject] = {}
        self._outward: dict[str, set[str]] = {}
        """By namespace the names of those that can be reached from outside."""

    def __len__(self) -> int:
        """Return how many services there are."""
        return len(self._services)

    def keys(self) -> KeysView[str]:
        """Return the keys of the services there are."""
        return self._services.keys()

    def of_key(self, key: str) -> ServiceObject | None:
        """Return a service by its key."""
        found = self._services.get(key)
        return None if found is None else found[0]

    def named(self, namespace: str, name: str) -> ServiceObject | None:
        """Return a service by its name."""
        return self._by_name.get((namespace, name))

    def outward(self, namespace: str) -> list[ServiceObject]:
        """Return the services of a namespace that can be reached from outside of the cluster."""
        return [self._by_name[namespace, name] for name in self._outward.get(namespace, ())]

    def apply(self, service: ServiceObject, now: int, heard: int | None = None) -> None:
        """Add a service or replace what is known of it, which was so until `heard` for sure: until now, if it is not given."""
        before = self._services.get(service.key)
        peer = service_peer(service.namespace, service.name) if before is None else before[1]
        when = _When(now if heard is None else heard, now if before else service.created_at, now)
        _change(self.addresses, peer, before[0].addresses if before else (), service.addresses, when)
        _change(self.ports, peer, before[0].balancer_ports if before else (), service.balancer_ports, when)
        _change(self.node_ports, peer, before[0].node_ports if before else (), service.node_ports, when)
        _change(self.claimed, peer, before[0].claimed if before else (), service.claimed, when)
        self._services[service.key] = (service, peer)
        self._by_name[service.namespace, service.name] = service
        if service.outward:
            self._outward.setdefault(service.namespace, set()).add(service.name)
        else:
            self._not_outward(service)

    def delete(self, key: str, time: int, now: int) -> None:
        """Note that a service is gone since `time` or a later time that is not known."""
        before = self._services.pop(key, None)
        if before is None:
            return
        service, peer = before
        when = _When(time, now, now)
        _change(self.addresses, peer, service.addresses, (), when)
        _change(self.ports, peer, service.balancer_ports, (), when)
        _change(self.node_ports, peer, service.node_ports, (), when)
        _change(self.claimed, peer, service.claimed, (), when)
        if self._by_name.get((service.namespace, service.name)) is service:
            del self._by_name[service.namespace, service.name]
            self._not_outward(service)

    def _not_outward(self, service: ServiceObject) -> None:
        names = self._outward.get(service.namespace, set())
        names.discard(service.name)
        if not names:
            self._outward.pop(service.namespace, None)

    def expire(self, time: int) -> None:
        """Forget what led to a service only before this time."""
        for history in (self.addresses, self.claimed):
            history.expire(time)
        self.ports.expire(time)
        self.node_ports.expire(time)


class Slices:
    """All endpoint slices."""

    def __init__(self, workload_of: Callable[[str], tuple[str, Workload] | None]) -> None:
        """`workload_of` gives namespace and workload of a pod by uid, None if it is not known (yet)."""
        self.addresses: History[Port, Peer] = History()
        """Of endpoints that are no pods: what somebody wrote, as for a database outside of the cluster."""
        self._workload_of = workload_of
        self._slices: dict[str, tuple[SliceObject, Peer]] = {}
        self._behind: dict[WorkloadPort, set[str]] = {}
        self._of_service: dict[tuple[str, str], set[WorkloadPort]] = {}
        self._waiting: dict[str, set[tuple[str, str, tuple[int, ...]]]] = {}

    def __len__(self) -> int:
        """Return how many slices there are."""
        return len(self._slices)

    def keys(self) -> KeysView[str]:
        """Return the keys of the slices there are."""
        return self._slices.keys()

    def services_of(self, namespace: str, workload: Workload, port: int) -> Iterable[str]:
        """Return the names of the services that lead to this port of a workload's pods."""
        return self._behind.get((namespace, workload, port), ())

    def leads_to(self, namespace: str, service: str, workload: Workload) -> bool:
        """Say whether a service leads to any port of a workload."""
        return any(each[1] == workload for each in self._of_service.get((namespace, service), ()))

    def apply(self, found: SliceObject, now: int, heard: int | None = None) -> None:
        """Add a slice or replace what is known of it, which was so until `heard` for sure: until now, if it is not given."""
        before = self._slices.get(found.key)
        peer = service_peer(found.namespace, found.service) if before is None else before[1]
        held = [(address, port) for address in before[0].addresses for port in before[0].ports] if before else []
        wanted = [(address, port) for address in found.addresses for port in found.ports]
        when = _When(now if heard is None else heard, now if before else found.created_at, now)
        _change(self.addresses, peer, held, wanted, when)
        # Which pods it names is not kept: uids would be a tenth of what the view weighs.
        self._slices[found.key] = (replace(found, pods=frozenset()), peer)
        for uid in found.pods:
            self._join(uid, found.namespace, found.service, found.ports)

    def delete(self, key: str, time: int, now: int) -> None:
        """Note that a slice is gone since `time` or a later time that is not known.

        What its service leads to stays known until the service is gone.
        """
        before = self._slices.pop(key, None)
        if before is not None:
            held = [(address, port) for address in before[0].addresses for port in before[0].ports]
            _change(self.addresses, before[1], held, (), _When(time, now, now))

    def pod_known(self, uid: str) -> None:
        """Take note that a pod has become known that a slice may have named before."""
        for namespace, service, ports in self._waiting.pop(uid, ()):
            self._join(uid, namespace, service, ports)

    def service_gone(self, namespace: str, service: str) -> None:
        """Forget what was behind a service."""
        for each in self._of_service.pop((namespace, service), ()):
            self._behind[each].discard(service)
            if not self._behind[each]:
                del self._behind[each]

    def _join(self, uid: str, namespace: str, service: str, ports: tuple[int, ...]) -> None:
        found = self._workload_of(uid)
        if found is None:
            if len(self._waiting) < WAITING_MAX:
                self._waiting.setdefault(uid, set()).add((namespace, service, ports))
            return
        if found[0] != namespace:  # nobody speaks for another namespace's pods
            return
        for port in ports:
            behind = (*found, port)
            self._behind.setdefault(behind, set()).add(service)
            self._of_service.setdefault((namespace, service), set()).add(behind)


@dataclass(frozen=True, slots=True)
class _When:
    """When something changed: what is not there any more was until `heard` for sure, what is new began at `begun`."""

    heard: int
    begun: int
    now: int


def _change(history: History[_Key, Peer], peer: Peer, before: Iterable[_Key], after: Iterable[_Key], when: _When) -> None:
    before, after = set(before), set(after)
    for key in before - after:
        history.end(key, peer, when.now, when.heard)
    # Who listens is certain when it hears: `begun` is said by a clock that is not ours.
    certain = when.now if when.heard >= when.now else min(when.begun + BLUR, when.now)
    begin = told_from(when.begun, certain, heard=when.heard, now=when.now)
    for key in after - before:
        history.hold(key, peer, begin, certain)
