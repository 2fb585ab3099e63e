"""A cluster on paper in a real API server: nodes without a kubelet, and pods as a kubelet would report them.

Every object is one that the API server has admitted and keeps in etcd, with all it adds to it; only nothing runs. Controllers,
scheduler and kubelet must not, or they would repair what looks broken: the objects that they would make are made here.
"""

import itertools
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from cluster.api import Api

if TYPE_CHECKING:
    import http.client

__all__ = ["Fleet", "PaperPod", "Request", "Writer"]

Object = dict[str, Any]
_Item = TypeVar("_Item")

Request = tuple[str, str, Object | None]
"""Method, path, body."""

PER_WORKLOAD = 30
PER_NAMESPACE = 20
"""Workloads of a namespace."""
PER_NODE = 110
"""What a kubelet takes by default."""

AT_ONCE = 16
"""Connections; the API server is busy with fewer."""

IDLE_S = 30
"""After so many seconds unused a connection is not used again: the API server may have closed it, and nobody has heard."""

IMAGE = "registry.example.com/{namespace}/{name}/{container}:1.{version}"


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


class Writer:
    """Changes objects over a few connections that stay open."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._mine = threading.local()
        self._pool = ThreadPoolExecutor(AT_ONCE)

    def all(self, requests: Iterable[Request]) -> list[Object]:
        """Ask for all of these, in about this order; return the answers."""
        return list(self._pool.map(self.ask, requests))

    def each(self, work: Callable[[_Item], object], items: Iterable[_Item]) -> None:
        """Do something with each of these, as many at a time as there are connections."""
        list(self._pool.map(work, items))

    def ask(self, request: Request) -> Object:
        """Ask for one, from any thread.

        Raises:
            RuntimeError: the answer is no.
        """
        method, path, body = request
        kind = "strategic-merge-patch+json" if method == "PATCH" else "json"
        connection: http.client.HTTPSConnection | None = getattr(self._mine, "connection", None)
        if connection is None or time.monotonic() - self._mine.used_at > IDLE_S:
            connection = self._mine.connection = self._api.connect()
        self._mine.used_at = time.monotonic()
        connection.request(method, path, json.dumps(body) if body else None, {"Content-Type": f"application/{kind}"})
        response = connection.getresponse()
        answer: Object = json.loads(response.read())
        if response.status >= 300:
            raise RuntimeError(f"{method} {path}: HTTP {response.status}: {answer.get('message')}")
        return answer

    def close(self) -> None:
        """End."""
        self._pool.shutdown()


@dataclass
class PaperPod:
    """One pod: whose it is, where, and which containers it has now."""

    namespace: str
    name: str
    workload: int
    node: str
    ip: str
    uid: str = ""
    started: int = 0
    """How often its containers were started."""
    ids: dict[str, str] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """Where the API server has it."""
        return f"/api/v1/namespaces/{self.namespace}/pods/{self.name}"


class Fleet:
    """Workloads of thirty pods each, every third with a sidecar, each behind a service. Addresses are used once."""

    def __init__(self, writer: Writer) -> None:
        self.pods: list[PaperPod] = []
        self._writer = writer
        self._numbers = itertools.count()
        self._owners: dict[int, Object] = {}

    def grow(self, pods: int) -> None:
        """Make so many pods, and all that is around them."""
        first, last = len(self._owners), len(self._owners) + -(-pods // PER_WORKLOAD)
        self._writer.all(
            ("POST", "/api/v1/namespaces", {"metadata": {"name": _namespace(number * PER_NAMESPACE)}})
            for number in range(-(-first // PER_NAMESPACE), -(-last // PER_NAMESPACE))
        )
        nodes = range(-(-len(self.pods) // PER_NODE), -(-(len(self.pods) + pods) // PER_NODE))
        self._writer.all(("POST", "/api/v1/nodes", _node(number)) for number in nodes)
        self._writer.all(_account(number) for number in range(first, last))
        deployments = self._writer.all(_deployment(number) for number in range(first, last))
        sets = self._writer.all(_replica_set(first + place, each) for place, each in enumerate(deployments))
        for place, each in enumerate(sets):
            self._owners[first + place] = _reference(each)
        made = [self._new(first + number // PER_WORKLOAD) for number in range(pods)]
        self.create(made)
        self._writer.all(_service(number) for number in range(first, last))
        members: dict[int, list[PaperPod]] = {}
        for pod in made:
            members.setdefault(pod.workload, []).append(pod)
        self._writer.all(_slice(number, behind) for number, behind in members.items())

    def on_node(self, node: str, pods: int) -> list[PaperPod]:
        """Make pods of the workloads that there are on a node of its own, each with a sidecar; return them."""
        self._writer.ask(("POST", "/api/v1/nodes", _node(0) | {"metadata": {"name": node}}))
        made = [self._new(number % (len(self._owners) // 3) * 3, node) for number in range(pods)]
        self.create(made)
        return made

    def replaced(self, pods: Sequence[PaperPod]) -> list[PaperPod]:
        """Delete pods and make as many new ones of the same workloads, on the same nodes."""
        self.delete(pods)
        made = [self._new(each.workload, each.node) for each in pods]
        self.create(made)
        return made

    def create(self, pods: Sequence[PaperPod]) -> None:
        """Make pods and report their containers as running."""
        answers = self._writer.all(("POST", each.path.rpartition("/")[0], self._pod(each)) for each in pods)
        for pod, answer in zip(pods, answers, strict=True):
            pod.uid = answer["metadata"]["uid"]
        self._writer.all(self.restart(each) for each in pods)
        self.pods += pods

    def delete(self, pods: Sequence[PaperPod]) -> None:
        """Delete pods at once: no kubelet would say that they have ended."""
        self._writer.all(("DELETE", each.path, {"gracePeriodSeconds": 0}) for each in pods)
        gone = {each.uid for each in pods}
        self.pods = [each for each in self.pods if each.uid not in gone]

    def restart(self, pod: PaperPod) -> Request:
        """Return what a kubelet says when it has started a pod's containers, once more if they ran."""
        states = []
        for name in _containers(pod.workload):
            earlier, pod.ids[name] = pod.ids.get(name), secrets.token_hex(32)
            state: Object = {
                "name": name, "image": _image(pod.workload, name), "imageID": f"sha256:{pod.workload:064x}",
                "containerID": f"containerd://{pod.ids[name]}", "ready": True, "started": True, "restartCount": pod.started,
                "state": {"running": {"startedAt": _now()}},
            }  # fmt: skip
            if earlier:
                ended = {"containerID": f"containerd://{earlier}", "exitCode": 1, "reason": "Error"}
                state["lastState"] = {"terminated": ended | {"startedAt": _now(), "finishedAt": _now()}}
            states.append(state)
        pod.started += 1
        kinds = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
        status = {
            "phase": "Running",
            "startTime": _now(),
            "hostIP": "10.64.0.1",
            "hostIPs": [{"ip": "10.64.0.1"}],
            "podIP": pod.ip,
            "podIPs": [{"ip": pod.ip}],
            "conditions": [{"type": kind, "status": "True", "lastTransitionTime": _now()} for kind in kinds],
            "containerStatuses": states,
        }
        return "PATCH", f"{pod.path}/status", {"status": status if pod.started == 1 else {"containerStatuses": states}}

    def _new(self, workload: int, node: str = "") -> PaperPod:
        number = next(self._numbers)
        name = f"service-{workload}-{_hash(workload)}-{number:05x}"
        return PaperPod(_namespace(workload), name, workload, node or f"paper-{number // PER_NODE}", _ip(96 << 16 | number))

    def _pod(self, pod: PaperPod) -> Object:
        metadata = {"name": pod.name, "labels": _labels(pod.workload), "ownerReferences": [self._owners[pod.workload]]}
        containers = [_container(pod.workload, each) for each in _containers(pod.workload)]
        spec = {"nodeName": pod.node, "serviceAccountName": f"service-{pod.workload}", "containers": containers}
        return {"metadata": metadata, "spec": spec}


def _ip(number: int) -> str:
    return f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


def _hash(workload: int) -> str:
    return f"{workload * 7919:09x}"


def _namespace(workload: int) -> str:
    return f"team-{workload // PER_NAMESPACE}"


def _containers(workload: int) -> list[str]:
    return ["app"] if workload % 3 else ["app", "proxy"]


def _image(workload: int, container: str) -> str:
    names = {"namespace": _namespace(workload), "name": f"service-{workload}", "container": container}
    return IMAGE.format(version=workload % 40, **names)


def _labels(workload: int) -> dict[str, str]:
    return {
        "app.kubernetes.io/name": f"service-{workload}",
        "app.kubernetes.io/instance": f"service-{workload}-prod",
        "app.kubernetes.io/part-of": _namespace(workload),
        "app.kubernetes.io/version": f"1.{workload % 40}.{workload % 7}",
        "team": _namespace(workload),
        "pod-template-hash": _hash(workload),
    }


def _container(workload: int, name: str) -> Object:
    probe = {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 10}
    return {
        "name": name,
        "image": _image(workload, name),
        "env": [{"name": f"SETTING_{number}", "value": f"value {number} of {workload}"} for number in range(8)],
        "ports": [{"name": name, "containerPort": 8080 if name == "app" else 15001}],
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
        "livenessProbe": probe,
        "readinessProbe": probe,
    }


def _node(number: int) -> Object:
    addresses = [
        {"type": "InternalIP", "address": _ip(64 << 16 | number + 1)},
        {"type": "Hostname", "address": f"paper-{number}"},
    ]
    return {"metadata": {"name": f"paper-{number}"}, "status": {"addresses": addresses}}


def _reference(owner: Object) -> Object:
    metadata = owner["metadata"]
    said = {"apiVersion": "apps/v1", "kind": owner["kind"], "name": metadata["name"], "uid": metadata["uid"]}
    return said | {"controller": True, "blockOwnerDeletion": True}


def _account(workload: int) -> Request:
    metadata = {"name": f"service-{workload}"}
    return "POST", f"/api/v1/namespaces/{_namespace(workload)}/serviceaccounts", {"metadata": metadata}


def _template(workload: int) -> Object:
    return {
        "metadata": {"labels": _labels(workload)},
        "spec": {"containers": [_container(workload, each) for each in _containers(workload)]},
    }


def _deployment(workload: int) -> Request:
    selector = {"matchLabels": {"app.kubernetes.io/name": f"service-{workload}"}}
    spec = {"replicas": PER_WORKLOAD, "selector": selector, "template": _template(workload)}
    metadata = {"name": f"service-{workload}", "labels": _labels(workload)}
    return "POST", f"/apis/apps/v1/namespaces/{_namespace(workload)}/deployments", {"metadata": metadata, "spec": spec}


def _replica_set(workload: int, deployment: Object) -> Request:
    selector = {"matchLabels": {"pod-template-hash": _hash(workload)}}
    spec = {"replicas": PER_WORKLOAD, "selector": selector, "template": _template(workload)}
    name = f"service-{workload}-{_hash(workload)}"
    metadata = {"name": name, "labels": _labels(workload), "ownerReferences": [_reference(deployment)]}
    return "POST", f"/apis/apps/v1/namespaces/{_namespace(workload)}/replicasets", {"metadata": metadata, "spec": spec}


def _service(workload: int) -> Request:
    selector = {"app.kubernetes.io/name": f"service-{workload}"}
    spec = {"selector": selector, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]}
    body = {"metadata": {"name": f"service-{workload}"}, "spec": spec}
    return "POST", f"/api/v1/namespaces/{_namespace(workload)}/services", body


def _slice(workload: int, pods: Sequence[PaperPod]) -> Request:
    endpoints = [
        {
            "addresses": [pod.ip],
            "conditions": {"ready": True},
            "nodeName": pod.node,
            "targetRef": {"kind": "Pod", "namespace": pod.namespace, "name": pod.name, "uid": pod.uid},
        }
        for pod in pods
    ]
    metadata = {"name": f"service-{workload}-abc", "labels": {"kubernetes.io/service-name": f"service-{workload}"}}
    body = {"metadata": metadata, "addressType": "IPv4", "endpoints": endpoints, "ports": [{"name": "http", "port": 8080}]}
    return "POST", f"/apis/discovery.k8s.io/v1/namespaces/{_namespace(workload)}/endpointslices", body
