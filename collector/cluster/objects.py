"""From the API server's JSON to what the view keeps of each object. Pure.

Nothing that is read has to have the right type or a sensible size. Times in Kubernetes have no fractions: each is the
second in which something happened.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain

from peerwatch.addresses import pack_address
from peerwatch.kubernetes.fields import MalformedError, items_of, name_of, object_of, text_of, time_of
from peerwatch.kubernetes.pods import PodRecord, controller_of, parse_pod
from peerwatch.kubernetes.workloads import OwnerRef

from collector.cluster.facts import facts_of
from collector.cluster.history import BLUR
from collector.risk import Fact

__all__ = [
    "ClusterPod",
    "NodeObject",
    "Owned",
    "Port",
    "ServiceObject",
    "SliceObject",
    "identity_of",
    "parse_node",
    "parse_owned",
    "parse_pod_of_cluster",
    "parse_service",
    "parse_slice",
    "raw_object",
]

MOST_PORTS = 256
"""Ports kept of one pod, service or slice; real ones have under 20."""

OUTWARD = frozenset({"LoadBalancer", "NodePort"})
"""Types of services that lead into the cluster. A load balancer may be for the company's own network only: each cloud says so
in an annotation of its own, and an intruder's next host is on that network."""

SERVICE_NAME = "kubernetes.io/service-name"
"""The label of an endpoint slice that names its service."""

Port = tuple[bytes, int]
"""A packed address and a port on it."""


@dataclass(frozen=True, slots=True)
class ClusterPod:
    """A pod with what only the whole cluster's view needs.

    It got its addresses at some time from `begin` to `certain`, and gave them up at `ended`; 0 where the status does not say.
    """

    record: PodRecord
    owner: OwnerRef | None
    node: str
    addresses: tuple[bytes, ...]
    """Its own; none if it uses its node's."""
    host_ports: tuple[Port, ...]
    facts: Fact
    """What it may do to its node."""
    begin: int
    certain: int
    ended: int

    @property
    def key(self) -> str:
        """The uid in the API server."""
        return self.record.key


@dataclass(frozen=True, slots=True)
class ServiceObject:
    """A service: addresses of its own, ports of others that lead to it, and addresses that anybody may have written there."""

    key: str
    namespace: str
    name: str
    created_at: int
    addresses: tuple[bytes, ...]
    balancer_ports: tuple[Port, ...]
    """Set by whoever runs the load balancer."""
    node_ports: tuple[int, ...]
    claimed: tuple[bytes, ...]
    """`externalIPs`: whoever may write a service may claim any address, so everything else is believed before these."""
    outward: str
    """By what it can be reached from outside of the cluster; empty if it cannot."""


@dataclass(frozen=True, slots=True)
class SliceObject:
    """An endpoint slice: which pods and which other addresses are behind a service, and at which ports."""

    key: str
    namespace: str
    service: str
    created_at: int
    pods: frozenset[str]
    """By uid."""
    addresses: frozenset[bytes]
    """Of endpoints that are no pods."""
    ports: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class NodeObject:
    """A node and its addresses."""

    key: str
    name: str
    created_at: int
    addresses: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Owned:
    """A ReplicaSet or Job, of which only the owner matters: None if nobody controls it."""

    key: str
    namespace: str
    name: str
    owner: OwnerRef | None


def parse_pod_of_cluster(raw: object) -> ClusterPod:
    """Return what is kept of a pod.

    Raises:
        MalformedError: it is none.
    """
    record = parse_pod(raw)
    metadata, spec, status = (object_of(raw_object(raw), name) for name in ("metadata", "spec", "status"))
    hosts = _addresses(status, "hostIPs", "hostIP")
    mine = _addresses(status, "podIPs", "podIP")
    shares = spec.get("hostNetwork") is True
    begin, certain = _began(status)
    return ClusterPod(
        record=record,
        owner=controller_of(metadata),
        node=name_of(spec, "nodeName"),
        addresses=() if shares else tuple(mine),
        host_ports=tuple((host, port) for host in hosts for port in _host_ports(spec)),
        facts=facts_of(spec),
        begin=begin,
        certain=certain,
        ended=_ended(status),
    )


def parse_service(raw: object) -> ServiceObject:
    """Return what is kept of a service.

    Raises:
        MalformedError: it is none.
    """
    key, metadata = identity_of(raw)
    spec, status = object_of(raw_object(raw), "spec"), object_of(raw_object(raw), "status")
    ports = items_of(spec, "ports")[:MOST_PORTS]
    ingress = items_of(object_of(status, "loadBalancer"), "ingress")
    balancers = [packed for each in ingress for packed in _packed(text_of(each, "ip"))]
    return ServiceObject(
        key=key,
        namespace=name_of(metadata, "namespace"),
        name=name_of(metadata, "name"),
        created_at=time_of(metadata, "creationTimestamp"),
        addresses=tuple(_texts(spec, "clusterIPs", "clusterIP")),
        balancer_ports=tuple((each, port) for each in balancers for port in _numbers(ports, "port")),
        node_ports=tuple(_numbers(ports, "nodePort")),
        claimed=tuple(_texts(spec, "externalIPs", "")),
        outward=_outward(spec),
    )


def parse_slice(raw: object) -> SliceObject:
    """Return what is kept of an endpoint slice.

    Raises:
        MalformedError: it is none.
    """
    key, metadata = identity_of(raw)
    pods: set[str] = set()
    addresses: set[bytes] = set()
    service = name_of(object_of(metadata, "labels"), SERVICE_NAME)
    for endpoint in items_of(raw_object(raw), "endpoints") if service else ():
        target = object_of(endpoint, "targetRef")
        if target.get("kind") == "Pod":
            pods.add(name_of(target, "uid"))
        else:
            addresses.update(_texts(endpoint, "addresses", ""))
    return SliceObject(
        key=key,
        namespace=name_of(metadata, "namespace"),
        service=service,
        created_at=time_of(metadata, "creationTimestamp"),
        pods=frozenset(pods),
        addresses=frozenset(addresses),
        ports=tuple(_numbers(items_of(raw_object(raw), "ports")[:MOST_PORTS], "port")),
    )


def parse_node(raw: object) -> NodeObject:
    """Return what is kept of a node.

    Raises:
        MalformedError: it is none.
    """
    key, metadata = identity_of(raw)
    found = items_of(object_of(raw_object(raw), "status"), "addresses")
    return NodeObject(
        key=key,
        name=name_of(metadata, "name"),
        created_at=time_of(metadata, "creationTimestamp"),
        # Host names among them are no addresses.
        addresses=tuple(dict.fromkeys(packed for each in found for packed in _packed(text_of(each, "address")))),
    )


def parse_owned(raw: object) -> Owned:
    """Return what is kept of a ReplicaSet or Job, of which only the metadata is read.

    Raises:
        MalformedError: it is none.
    """
    key, metadata = identity_of(raw)
    return Owned(key, name_of(metadata, "namespace"), name_of(metadata, "name"), controller_of(metadata))


def raw_object(raw: object) -> Mapping[str, object]:
    """Return an object as it came.

    Raises:
        MalformedError: it is none.
    """
    if not isinstance(raw, Mapping):
        raise MalformedError("it must be an object")
    return raw


def identity_of(raw: object) -> tuple[str, Mapping[str, object]]:
    """Return an object's uid and its metadata.

    Raises:
        MalformedError: it is none.
    """
    metadata = object_of(raw_object(raw), "metadata")
    key = name_of(metadata, "uid")
    if not key:
        raise MalformedError("metadata.uid is missing")
    return key, metadata


def _packed(text: str) -> Iterator[bytes]:
    try:
        yield pack_address(text)
    except ValueError:  # "None" of a headless service, a host name
        return


def _addresses(status: Mapping[str, object], many: str, one: str) -> list[bytes]:
    """Return the addresses of a list of objects with `ip`, or of the single field of older servers."""
    texts = [text_of(each, "ip") for each in items_of(status, many)] or [text_of(status, one)]
    return [packed for text in texts for packed in _packed(text)]


def _texts(holder: Mapping[str, object], many: str, one: str) -> list[bytes]:
    """Return the addresses of a list of texts, or of the single field of older servers."""
    value = holder.get(many)
    texts = value[:MOST_PORTS] if isinstance(value, list) else [holder.get(one)]
    return [packed for text in texts if isinstance(text, str) for packed in _packed(text)]


def _numbers(holders: list[Mapping[str, object]], name: str) -> Iterator[int]:
    for each in holders:
        port = each.get(name)
        if isinstance(port, int) and not isinstance(port, bool) and 0 < port < 1 << 16:
            yield port


def _outward(spec: Mapping[str, object]) -> str:
    kind = name_of(spec, "type")
    if kind in OUTWARD:
        return kind
    return "externalIPs" if spec.get("externalIPs") else ""


def _host_ports(spec: Mapping[str, object]) -> list[int]:
    containers = chain(items_of(spec, "containers"), items_of(spec, "initContainers"))
    ports = [port for each in containers for port in _numbers(items_of(each, "ports"), "hostPort")]
    return ports[:MOST_PORTS]


def _states(status: Mapping[str, object]) -> Iterator[Mapping[str, object]]:
    for each in items_of(status, "containerStatuses"):
        yield object_of(each, "state")


def _began(status: Mapping[str, object]) -> tuple[int, int]:
    """Return from when to when the pod's network was made: as the kubelet says (Kubernetes 1.29), else by what ran already.

    Containers as they are now only: after a node's restart the pod gets another address, and earlier instances had the former.
    """
    for each in items_of(status, "conditions"):
        if each.get("type") == "PodReadyToStartContainers" and each.get("status") == "True":
            time = time_of(each, "lastTransitionTime")
            if time:
                return time, time + BLUR
    ran = [time_of(object_of(state, each), "startedAt") for state in _states(status) for each in ("running", "terminated")]
    first = min((time for time in ran if time), default=0)
    return time_of(status, "startTime"), first + BLUR if first else 0


def _ended(status: Mapping[str, object]) -> int:
    """Return when the last container of a pod that will not run again ended: the object stays, its address does not."""
    if status.get("phase") not in ("Succeeded", "Failed"):
        return 0
    return max((time_of(object_of(state, "terminated"), "finishedAt") for state in _states(status)), default=0)
