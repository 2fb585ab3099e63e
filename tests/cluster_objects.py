"""Objects as the API server sends them, as much of them as the view reads."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from collector.cluster.objects import parse_node, parse_owned, parse_pod_of_cluster, parse_service, parse_slice
from collector.cluster.view import ClusterView

SECOND = 1_000_000_000
BEGIN = 1_790_000_000
"""A second that tests count from."""


def at(second: float) -> int:
    """Return a time in nanoseconds."""
    return int((BEGIN + second) * SECOND)


def text(second: float) -> str:
    """Return a time as Kubernetes writes it: cut to the second."""
    return datetime.fromtimestamp(int(BEGIN + second), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def container_id(name: str) -> str:
    """Return an id that belongs to a name."""
    return name.encode().hex().rjust(64, "0")[-64:]


def pod(
    name: str,
    *,
    uid: str = "",
    node: str = "node-1",
    ips: Iterable[str] = (),
    owner: tuple[str, str] | None = ("ReplicaSet", "web-5d9c"),
    labels: Mapping[str, str] | None = None,
    namespace: str = "shop",
    containers: Iterable[str] = ("app",),
    created: float = 0,
    started: float | None = None,
    ready: float | None = None,
    running: float | None = 0,
    ended: float | None = None,
    host_network: bool = False,
    host_port: int = 0,
    host_ip: str = "10.0.0.1",
) -> dict[str, Any]:
    """Return a pod; `ready` is when its network was there, `running` when its containers began, None where nothing says so.

    `started`: when its kubelet took it, by that one's clock; else when it was created.
    """
    state: dict[str, Any] = {}
    if running is not None:
        state = {"running": {"startedAt": text(running)}}
    if ended is not None:
        state = {"terminated": {"startedAt": text(running or 0), "finishedAt": text(ended)}}
    uid = uid or f"uid-{name}"
    return {
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": uid,
            "creationTimestamp": text(created),
            "labels": dict(labels or {"app": "web", "pod-template-hash": "5d9c"}),
            "ownerReferences": [{"kind": owner[0], "name": owner[1], "controller": True}] if owner else [],
        },
        "spec": {
            "nodeName": node,
            "hostNetwork": host_network,
            "containers": [
                {"name": each, "image": f"{each}:1", "ports": [{"hostPort": host_port}] if host_port else []}
                for each in containers
            ],
        },
        "status": {
            "phase": "Succeeded" if ended is not None else "Running",
            "startTime": text(created if started is None else started),
            "podIP": next(iter(ips), ""),
            "podIPs": [{"ip": ip} for ip in ips],
            "hostIP": host_ip,
            "conditions": []
            if ready is None
            else [{"type": "PodReadyToStartContainers", "status": "True", "lastTransitionTime": text(ready)}],
            "containerStatuses": [
                {"name": each, "containerID": f"containerd://{container_id(uid + each)}", "state": state}
                for each in (containers if running is not None else ())
            ],
        },
    }


def service(
    name: str,
    *,
    ips: Iterable[str] = (),
    ports: Iterable[Mapping[str, int]] = ({"port": 80},),
    namespace: str = "shop",
    created: float = 0,
    claimed: Iterable[str] = (),
    balancers: Iterable[str] = (),
    kind: str = "ClusterIP",
) -> dict[str, Any]:
    """Return a service, a headless one without addresses."""
    return {
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": f"svc-{namespace}-{name}",
            "creationTimestamp": text(created),
        },
        "spec": {
            "type": kind,
            "clusterIPs": [*ips] or ["None"],
            "ports": [dict(each) for each in ports],
            "externalIPs": [*claimed],
        },
        "status": {"loadBalancer": {"ingress": [{"ip": each} for each in balancers]}},
    }


def endpoint_slice(
    of: str,
    *,
    pods: Iterable[str] = (),
    addresses: Iterable[str] = (),
    ports: Iterable[int] = (8080,),
    namespace: str = "shop",
) -> dict[str, Any]:
    """Return an endpoint slice of a service: pods by uid, and addresses that are none."""
    endpoints: list[dict[str, Any]] = [{"addresses": ["0.0.0.1"], "targetRef": {"kind": "Pod", "uid": each}} for each in pods]
    endpoints += [{"addresses": [each]} for each in addresses]
    return {
        "metadata": {
            "name": f"{of}-abc",
            "namespace": namespace,
            "uid": f"slice-{namespace}-{of}",
            "creationTimestamp": text(0),
            "labels": {"kubernetes.io/service-name": of},
        },
        "endpoints": endpoints,
        "ports": [{"port": each} for each in ports],
    }


def node(name: str, *addresses: str) -> dict[str, Any]:
    """Return a node."""
    return {
        "metadata": {"name": name, "uid": f"node-{name}", "creationTimestamp": text(0)},
        "status": {"addresses": [{"type": "InternalIP", "address": each} for each in (*addresses, name)]},
    }


def owned(name: str, owner: tuple[str, str] | None, namespace: str = "shop") -> dict[str, Any]:
    """Return the metadata of a ReplicaSet or Job."""
    references = [{"kind": owner[0], "name": owner[1], "controller": True}] if owner else []
    return {"metadata": {"name": name, "namespace": namespace, "uid": f"owned-{name}", "ownerReferences": references}}


class Cluster:
    """A view that is told of objects."""

    def __init__(self, name: str = "test") -> None:
        self.view = ClusterView(name)

    def pod(self, name: str, *, now: float = 1, heard: int | None = None, **said: object) -> None:
        self.view.apply_pod(parse_pod_of_cluster(pod(name, **said)), at(now), heard)

    def service(self, name: str, *, now: float = 1, **said: object) -> None:
        self.view.apply_service(parse_service(service(name, **said)), at(now))

    def slice(self, name: str, *, now: float = 1, **said: object) -> None:
        self.view.slices.apply(parse_slice(endpoint_slice(name, **said)), at(now))

    def node(self, *args: str, now: float = 1) -> None:
        self.view.apply_node(parse_node(node(*args)), at(now))

    def owned(self, kind: str, name: str, owner: tuple[str, str] | None, namespace: str = "shop") -> None:
        self.view.apply_owned(kind, parse_owned(owned(name, owner, namespace)))
