"""One test's share of a cluster: a namespace, what is deployed in it, and what the collector was told of it."""

from collections.abc import Callable
from types import TracebackType
from typing import Self

from harness.agents import Collector

from cluster.manifests import CRON_JOB, JOB, Object
from cluster.node import Node
from cluster.truth import Pods, Told, tell

__all__ = ["Scene", "is_ready"]

PLURALS = {"Pod": "pods", "CronJob": "cronjobs", "Job": "jobs", "DaemonSet": "daemonsets", "Deployment": "deployments",
           "StatefulSet": "statefulsets", "Service": "services"}  # fmt: skip


def is_ready(pod: Object) -> bool:
    """Return whether all containers of a pod run and said so, or the pod is done."""
    if pod["status"].get("phase") == "Succeeded":
        return True
    return any(each["type"] == "Ready" and each["status"] == "True" for each in pod["status"].get("conditions", ()))


class Scene:
    """A namespace from its beginning to its end. `pods` is all that was ever said of its pods."""

    def __init__(self, node: Node, collector: Collector, *, cluster: str, namespace: str) -> None:
        self.node, self.collector, self.cluster, self.namespace = node, collector, cluster, namespace
        self.api = node.api
        self.pods: Pods

    def __enter__(self) -> Self:
        self.api.make_namespace(self.namespace)
        self.pods = Pods(self.api, self.namespace)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.pods.stop()
        self.api.delete(f"/api/v1/namespaces/{self.namespace}")

    def path(self, kind: str, name: str = "") -> str:
        """Return where objects of a kind are."""
        group = "/api/v1" if kind in {"Pod", "Service"} else "/apis/batch/v1" if kind in {JOB, CRON_JOB} else "/apis/apps/v1"
        return f"{group}/namespaces/{self.namespace}/{PLURALS[kind]}" + (f"/{name}" if name else "")

    def create(self, *objects: Object) -> None:
        """Create these in the namespace."""
        for each in objects:
            self.api.post(self.path(each["kind"]), each)

    def kubectl(self, *words: str) -> str:
        """Run kubectl in the namespace."""
        return self.node.kubectl(f"--namespace={self.namespace}", *words)

    def until_ready(self, count: int, *, prefix: str = "", timeout_s: float = 150) -> list[Object]:
        """Wait until exactly so many pods exist, all of them ready, and return them."""

        def condition(pods: list[Object]) -> bool:
            mine = [pod for pod in pods if pod["metadata"]["name"].startswith(prefix)]
            return len(mine) == count and all(is_ready(pod) and "deletionTimestamp" not in pod["metadata"] for pod in mine)

        pods = self.pods.until(condition, timeout_s)
        return [pod for pod in pods if pod["metadata"]["name"].startswith(prefix)]

    def told(self, until: Callable[[Told], bool], *, timeout_s: float = 60) -> Told:
        """Return what the collector was told, once the condition holds or the time is up."""
        return tell(self.collector, self.cluster, self.pods, until=until, timeout_s=timeout_s)
