"""Pods on paper: objects in the real API server, of a node without a kubelet, changed as a kubelet would change them."""

import contextlib
import random
import secrets
import time
from dataclasses import dataclass, field
from typing import Any

from cluster.api import Api, ApiError

__all__ = ["Paper"]

IMAGE = "localhost/none:1"


@dataclass
class Paper:
    """The pods of one node that does not exist, in a namespace of their own."""

    api: Api
    namespace: str
    node: str
    owners: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Of each container id that there ever was: the pod's uid and name."""
    alive: dict[str, list[str]] = field(default_factory=dict)
    """Pods by name: uid, then the ids of their container, newest last."""

    @property
    def path(self) -> str:
        """Where the pods are."""
        return f"/api/v1/namespaces/{self.namespace}/pods"

    def begin(self) -> None:
        """Make the namespace; pods can be made when this returns."""
        self.api.make_namespace(self.namespace)

    def end(self) -> None:
        """Remove all of it, at once: no kubelet will say that they have ended."""
        for name in list(self.alive):
            self.delete(name)
        self.api.delete(f"/api/v1/namespaces/{self.namespace}")

    def create(self, name: str) -> None:
        """Make a pod, and have its container started."""
        spec = {"nodeName": self.node, "automountServiceAccountToken": False, "containers": [{"name": "app", "image": IMAGE}]}
        made = self.api.post(self.path, {"metadata": {"name": name}, "spec": spec})
        self.alive[name] = [made["metadata"]["uid"]]
        self.start(name)

    def start(self, name: str) -> None:
        """Start a pod's container, again if it ran."""
        uid, *earlier = self.alive[name]
        new = secrets.token_hex(32)
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        state: dict[str, Any] = {
            "name": "app", "image": IMAGE, "imageID": f"sha256:{new}", "ready": True, "restartCount": len(earlier),
            "containerID": f"containerd://{new}", "state": {"running": {"startedAt": now}},
        }  # fmt: skip
        if earlier:
            ended = {"containerID": f"containerd://{earlier[-1]}", "exitCode": 1, "startedAt": now, "finishedAt": now}
            state["lastState"] = {"terminated": ended}
        # Whose it is, is true before anybody can hear of it.
        self.owners[new] = (uid, name)
        self.api.patch(f"{self.path}/{name}/status", {"status": {"phase": "Running", "containerStatuses": [state]}})
        self.alive[name].append(new)

    def delete(self, name: str) -> None:
        """Delete a pod at once."""
        del self.alive[name]
        with contextlib.suppress(ApiError):  # the garbage collector was there first: its node does not exist
            self.api.delete(f"{self.path}/{name}", gracePeriodSeconds="0")

    def change(self, chance: random.Random) -> None:
        """Do any of this; names are used again soon."""
        name = f"db-{chance.randrange(5)}"
        if name not in self.alive:
            self.create(name)
        elif chance.random() < 0.5:
            self.start(name)
        else:
            self.delete(name)

    def listed(self) -> dict[str, set[str]]:
        """Return what the server itself says now: container ids that are in a status, by the pod's uid."""
        found = {}
        for pod in self.api.get(self.path)["items"]:
            states = pod["status"].get("containerStatuses", ())
            last = [each.get("lastState", {}).get("terminated", {}).get("containerID", "") for each in states]
            ids = [each.get("containerID", "") for each in states] + last
            found[str(pod["metadata"]["uid"])] = {each.partition("://")[2] for each in ids if each}
        return found
