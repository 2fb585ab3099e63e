"""What is true of containers on the node, and what the collector was told of them.

Every process of `images.work` says in its arguments which pod and container started it, so each event can be held against its
own truth; what Kubernetes says of that pod is the truth about the rest.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from harness.agents import Collector
from peerwatch.v1 import event_pb2, query_pb2

from cluster.api import Api, ApiError
from cluster.images import WORK

__all__ = ["Pods", "Told", "tell"]

NOTHING = "/bin/nothing"
PAUSE = "/bin/pause"
Object = dict[str, Any]

Container = tuple[str, str]
"""`<namespace>/<pod>` and the container's name."""


class Pods:
    """Everything that the API server ever said of a namespace's pods, by uid: the newest object, and every container id."""

    def __init__(self, api: Api, namespace: str) -> None:
        self.objects: dict[str, Object] = {}
        self.ids: dict[str, Container] = {}
        """Whose each container id is."""
        self.namespace = namespace
        self.begin = Timestamp()
        self.begin.GetCurrentTime()
        self._api, self._path = api, f"/api/v1/namespaces/{namespace}/pods"
        self._version = api.get(self._path)["metadata"]["resourceVersion"]
        self._stop = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def until(self, condition: Callable[[list[Object]], bool], timeout_s: float = 150) -> list[Object]:
        """Wait until this is true of the pods that exist now, and return them."""
        deadline = time.monotonic() + timeout_s
        while not condition(found := self._api.get(self._path)["items"]):
            assert time.monotonic() < deadline, [(pod["metadata"]["name"], pod["status"]) for pod in found][:3]
            time.sleep(0.1)
        self._see(found)
        return found

    def stop(self) -> None:
        """Listen no more."""
        self._stop.set()

    def by_name(self) -> dict[str, Any]:
        """Return the newest object of each name."""
        return {pod["metadata"]["name"]: pod for pod in list(self.objects.values())}

    def _watch(self) -> None:
        while not self._stop.is_set():
            try:
                for event in self._api.watch(self._path, resourceVersion=self._version, timeoutSeconds="600"):
                    if event["type"] not in {"ADDED", "MODIFIED", "DELETED"}:
                        break
                    self._version = event["object"]["metadata"]["resourceVersion"]
                    self._see([event["object"]])
            except (ApiError, OSError, ValueError):
                self._version = ""  # begins with all that there are
                self._stop.wait(0.2)

    def _see(self, pods: Iterable[Object]) -> None:
        for pod in pods:
            metadata = pod["metadata"]
            known = self.objects.get(metadata["uid"])
            if known is None or int(known["metadata"]["resourceVersion"]) <= int(metadata["resourceVersion"]):
                self.objects[metadata["uid"]] = pod
            for kind in ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"):
                for each in pod["status"].get(kind, ()):
                    container_id = each.get("containerID", "").partition("://")[2]
                    if container_id:
                        self.ids[container_id] = (f"{metadata['namespace']}/{metadata['name']}", each["name"])


@dataclass
class Told:
    """What was told of one namespace's containers."""

    execs: Counter[Container] = field(default_factory=Counter)
    """Of `NOTHING`, by whose they are in truth."""
    connects: Counter[Container] = field(default_factory=Counter)
    injected: Counter[Container] = field(default_factory=Counter)
    """Those of `execs` that came from outside of the container."""
    events: dict[Container, list[event_pb2.Event]] = field(default_factory=dict)
    pauses: Counter[str] = field(default_factory=Counter)
    """Execs of pods' pause containers, by the pod that was told."""
    ids: dict[Container, set[str]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    """Events that were told to be somebody else's."""
    unresolved: Counter[Container] = field(default_factory=Counter)
    """Events whose pod was not told."""
    partial: Counter[Container] = field(default_factory=Counter)
    """Events of which the pod was told, and of the container only its id."""

    def add(self, event: event_pb2.Event, owners: Mapping[str, Container]) -> None:
        """Take in an event; `owners` says whose each container id is, as far as Kubernetes has said."""
        if event.process.exe == PAUSE and event.HasField("exec"):
            self.pauses[event.pod.name] += event.exec.count or 1
        words = event.process.args
        if event.process.exe not in {NOTHING, WORK} or len(words) < 4 or words[1] == "-":
            return
        uid, pod, (container, _, _) = words[1], words[2], words[3].partition("/")
        who = (pod, container)
        self._hold_against(event, who, uid, owners)
        self.events.setdefault(who, []).append(event)
        self.ids.setdefault(who, set()).add(event.container.id)
        match event.WhichOneof("kind"):
            case "exec" if event.process.exe == NOTHING:
                self.execs[who] += event.exec.count or 1
                if event_pb2.Process.Flag.INJECTED in event.process.flags:
                    self.injected[who] += event.exec.count or 1
            case "connect" if event.connect.port == 9:
                self.connects[who] += event.connect.count or 1

    def _hold_against(self, event: event_pb2.Event, who: Container, uid: str, owners: Mapping[str, Container]) -> None:
        told = (f"{event.pod.namespace}/{event.pod.name}", event.container.name)
        if not event.pod.name:
            self.unresolved[who] += 1
        elif told[0] != who[0] or event.pod.uid != uid:
            self.wrong.append(f"{who} ({uid}) was told as {told} ({event.pod.uid})")
        elif not event.container.name:
            self.partial[who] += 1
        elif told != who:
            self.wrong.append(f"{who} was told as {told}")
        if owners.get(event.container.id, who) != who:
            self.wrong.append(f"container {event.container.id} of {owners[event.container.id]} was told as that of {who}")


def tell(collector: Collector, cluster: str, pods: Pods, *, until: Callable[[Told], bool], timeout_s: float = 60) -> Told:
    """Return what the collector was told of a namespace, once the condition holds; a second later would show too much."""
    deadline = time.monotonic() + timeout_s
    asked = query_pb2.ReplayEventsRequest(cluster=cluster, **{"from": pods.begin})
    done_at = 0.0
    while True:
        told, asked_at = Told(), time.monotonic()
        with collector.query() as stub:
            for response in stub.ReplayEvents(asked, timeout=60):
                for event in response.events:
                    words = event.process.args
                    if event.pod.namespace == pods.namespace or (len(words) > 2 and words[2].startswith(f"{pods.namespace}/")):
                        told.add(event, pods.ids)
        now = time.monotonic()
        done_at = done_at or (now if until(told) else 0)
        if now > deadline or (done_at and now - done_at > 1):
            return told  # what is missing is said by who compares
        time.sleep(max(0.3, 2 * (now - asked_at)))  # who asks all the time keeps the collector from what it is asked for
