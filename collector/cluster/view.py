"""The cluster as one: whose a container is, and who had an address at a time. Pure: times are passed in, ns since 1970.

Not thread safe; `watching` fills it under the lock that `naming` reads it under.
"""

import enum
from collections.abc import Iterable
from dataclasses import replace
from typing import Final, TypeAlias

from peerwatch.addresses import pack_address
from peerwatch.columns import NANOSECONDS, Peer
from peerwatch.subjects import Container, Pod, Subject, Workload

from collector.cluster.clocks import Clocks, Doubt
from collector.cluster.history import BLUR, FOREVER, History, Span, told_from
from collector.cluster.objects import ClusterPod, NodeObject, Owned, ServiceObject
from collector.cluster.pods import KnownPod, Pods
from collector.cluster.services import API_SERVER, Services, Slices, service_peer
from collector.cluster.surroundings import Ingresses, Namespaces
from collector.risk import Fact, Place

__all__ = ["FIXED", "ClusterView", "Unnamed"]

METADATA = Peer("", Workload("metadata-service", "metadata-service"))
"""Where a cloud keeps credentials for its machines and pods: who asks it matters, whatever cloud it is."""

DNS = Peer("kube-system", Workload("Service", "kube-dns"))
"""The name that the cluster's DNS has by convention; a cache on the node answers for it."""

FIXED: Final = {
    pack_address("169.254.169.254"): METADATA,
    pack_address("fd00:ec2::254"): METADATA,
    pack_address("169.254.170.2"): METADATA,  # EKS, ECS: credentials of tasks
    pack_address("169.254.170.23"): METADATA,  # EKS: pod identity
    pack_address("fd00:ec2::23"): METADATA,
    pack_address("169.254.20.10"): DNS,  # NodeLocal DNSCache, by default
}
"""Addresses that are what they are, in every cluster and at every time."""

ENDED_FOR_NS = 3600 * NANOSECONDS
"""How long it is known what an address was that leads to no service or node any more."""

EXPIRE_EVERY_NS = 600 * NANOSECONDS


class Unnamed(enum.Enum):
    """Why a container has no name."""

    UNKNOWN = enum.auto()
    """Nobody has said (yet) which pod that is, or that it has this container."""
    FOREIGN = enum.auto()
    """It runs on another node, or is another pod's: this node must not speak for it."""


Named: TypeAlias = Subject | Unnamed


class ClusterView:
    """One cluster. `cluster` is its name in events."""

    def __init__(self, cluster: str) -> None:
        self.cluster = cluster
        self.clocks = Clocks()
        self.pods = Pods()
        self.services = Services()
        self.slices = Slices(self._workload_of_uid)
        self.nodes: dict[str, tuple[NodeObject, Peer]] = {}
        self.owners: dict[str, dict[str, Owned]] = {"ReplicaSet": {}, "Job": {}}
        self.ingresses = Ingresses()
        self.namespaces = Namespaces()
        self._owned: dict[tuple[str, str, str], Owned] = {}
        self._node_addresses: History[bytes, Peer] = History()
        self._expired_at = 0

    @property
    def version(self) -> int:
        """How many changes of pods there were."""
        return self.pods.version

    def apply_pod(self, found: ClusterPod, now: int, heard: int | None = None) -> None:
        """Add a pod or replace what is known of it, which was so until `heard` for sure: until now, if it is not given."""
        self.pods.apply(found, now, heard, self.clocks.of(found.node))
        self.slices.pod_known(found.record.key)

    def delete_pod(self, key: str, time: int, now: int) -> None:
        """Note that a pod is gone since `time`; its workload is settled while its owner may still be known."""
        known = self.pods.of_key(key)
        if known is not None:
            self._settle(known)
        self.pods.delete(key, time, now)
        self._expire(now)

    def hear_clock(self, node: str, sent: int, now: int) -> bool:
        """Take note of what a node's clock showed when something was sent that came now; say whether it is doubted anew.

        What its kubelet has said of its pods is doubted as much.
        """
        before = self.clocks.heard(node, sent, now)
        after = self.clocks.of(node)
        more = Doubt(min(0, after.least - before.least), max(0, after.most - before.most))
        if more:
            self.pods.doubt(node, more, now)
        return bool(more)

    def apply_service(self, service: ServiceObject, now: int, heard: int | None = None) -> None:
        """Add a service or replace what is known of it; see `apply_pod`."""
        self.services.apply(service, now, heard)

    def delete_service(self, key: str, time: int, now: int) -> None:
        """Note that a service is gone since `time`."""
        service = self.services.of_key(key)
        self.services.delete(key, time, now)
        if service is not None and self.services.named(service.namespace, service.name) is None:
            self.slices.service_gone(service.namespace, service.name)

    def apply_node(self, node: NodeObject, now: int, heard: int | None = None) -> None:
        """Add a node or replace what is known of it; see `apply_pod`."""
        heard = now if heard is None else heard
        before = self.nodes.get(node.key)
        peer = Peer("", Workload("Node", node.name)) if before is None else before[1]
        held = before[0].addresses if before is not None else ()
        for address in set(held).difference(node.addresses):
            self._node_addresses.end(address, peer, now, heard)
        certain = now if before is not None else node.created_at + BLUR
        begin = told_from(node.created_at, certain, heard=heard, now=now)
        for address in set(node.addresses).difference(held):
            self._node_addresses.hold(address, peer, begin, certain)
        self.nodes[node.key] = (node, peer)

    def delete_node(self, key: str, time: int, now: int) -> None:
        """Note that a node is gone since `time`."""
        before = self.nodes.pop(key, None)
        if before is not None:
            for address in before[0].addresses:
                self._node_addresses.end(address, before[1], now, time)
        self._expire(now)

    def apply_owned(self, kind: str, owned: Owned) -> None:
        """Note who owns a ReplicaSet or Job."""
        self.owners[kind][owned.key] = owned
        self._owned[owned.namespace, kind, owned.name] = owned

    def delete_owned(self, kind: str, key: str) -> None:
        """Forget a ReplicaSet or Job."""
        owned = self.owners[kind].pop(key, None)
        # One of the same name may have been made meanwhile.
        if owned is not None and self._owned.get((owned.namespace, kind, owned.name)) is owned:
            del self._owned[owned.namespace, kind, owned.name]

    def subject(self, node: str, pod_uid: str, container_id: str, *, final: bool) -> Named:
        """Return whose container it is that a node speaks of.

        A container that its pod's status does not name (yet) is unknown, too. With `final`, when there is no more time to wait,
        it gets its pod and a container of which only the id is known; so does a pod's sandbox, which no status ever names.
        """
        holder = self.pods.of_container(container_id) if container_id else None
        known = self.pods.of_uid(pod_uid) if pod_uid else holder
        if holder is not None and holder.node != node:
            return Unnamed.FOREIGN
        if known is None:
            return Unnamed.UNKNOWN if holder is None else Unnamed.FOREIGN
        if (known.node and known.node != node) or (holder is not None and holder is not known):
            return Unnamed.FOREIGN
        container = known.container(container_id) if container_id else Container()
        if container is None:
            if not final:
                return Unnamed.UNKNOWN
            container = Container(id=container_id)
        self._settle(known)
        return Subject(self.cluster, node, known.full_pod, container)

    def spans(self, address: bytes, port: int) -> list[Span[Peer]]:
        """Return what an address and port were, and when. Where two overlap, the later in the list is believed.

        `port` is 0 where it says nothing, as the port of a client.
        """
        fixed = FIXED.get(address)
        if fixed is not None:
            return [Span(0, FOREVER, fixed)]
        services, slices, pods = self.services, self.slices, self.pods
        # What anybody may have written comes first; then what is more and more particular.
        found = [*services.claimed.spans(address), *slices.addresses.spans((address, port))]
        nodes = self._node_addresses.spans(address)
        found += nodes
        found += [Span(each.begin, each.end, self._peer_of(each.who, port)) for each in pods.addresses.spans(address)]
        found += services.addresses.spans(address)
        found += services.ports.spans((address, port))
        if nodes and port:
            found += services.node_ports.spans(port)
        found += [Span(each.begin, each.end, self._peer_of(each.who, port)) for each in pods.ports.spans((address, port))]
        found += [each for each in slices.addresses.spans((address, port)) if each.who is API_SERVER]
        return found

    def place(self, namespace: str, workload: Workload, pods: Iterable[str]) -> Place:
        """Return what is known of where these pods (by uid) of a workload are."""
        known = [each for uid in pods if (each := self.pods.of_uid(uid)) is not None]
        facts = self.namespaces.purpose(namespace)
        for each in known:
            facts |= Fact(each.facts)
        way = self._way_to(namespace, workload)
        if way:
            facts |= Fact.REACHED
        account = next((each.pod.service_account for each in known), "")
        return Place(facts, way, account)

    def _way_to(self, namespace: str, workload: Workload) -> str:
        """Return what leads to a workload from outside of the cluster, the first by name of what does."""
        ways = [(each.name, f"service {each.name}, {each.outward}") for each in self.services.outward(namespace)]
        ways += [(service, f"ingress {name}") for service, name in self.ingresses.leading(namespace)]
        return min((text for service, text in ways if self.slices.leads_to(namespace, service, workload)), default="")

    def _peer_of(self, known: KnownPod, port: int) -> Peer:
        """Return the service that leads to this port of a pod, else the pod's workload."""
        pod = self._settle(known)
        names = self.slices.services_of(pod.namespace, pod.workload, port) if port else ()
        found = [each for name in names if (each := self.services.named(pod.namespace, name)) is not None]
        if not found:
            return Peer(pod.namespace, pod.workload)
        # One with an address of its own, as that is what clients use; then the oldest, so that a new one renames nothing.
        first = min(found, key=lambda each: (not each.addresses, each.created_at, each.name))
        return service_peer(first.namespace, first.name)

    def _settle(self, known: KnownPod) -> Pod:
        """Return a pod with the workload that a person would name, as its owner's owner says."""
        owner = known.owner
        if owner is not None:
            owned = self._owned.get((known.pod.namespace, owner.kind, owner.name))
            if owned is not None:
                top = owned.owner or owner
                workload = Workload(top.kind, top.name)
                if workload != known.pod.workload:
                    known.pod = replace(known.pod, workload=workload)
        return known.pod

    def _workload_of_uid(self, uid: str) -> tuple[str, Workload] | None:
        known = self.pods.of_key(uid)
        return None if known is None else (known.pod.namespace, self._settle(known).workload)

    def _expire(self, now: int) -> None:
        if now - self._expired_at < EXPIRE_EVERY_NS:
            return
        self._expired_at = now
        self.services.expire(now - ENDED_FOR_NS)
        self.slices.addresses.expire(now - ENDED_FOR_NS)
        self._node_addresses.expire(now - ENDED_FOR_NS)
