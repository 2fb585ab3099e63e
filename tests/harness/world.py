"""One node's worth of containers with the pods' file beside them: where a test begins."""

import re
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from harness import pods
from harness.deployment import Deployment
from harness.network import Network
from harness.rootfs import Layers, Program
from harness.session import CGROUPS, Session

__all__ = ["World"]


class World:
    """A session, its network and its deployments; `pods_file` always says what runs."""

    def __init__(self, *, node: str = "node-1", pods_file: Path | None = None) -> None:
        self.node = node
        self.session = Session()
        self.deployments: list[Deployment] = []
        self._pods_file = pods_file
        self._version = 0
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        """Make the network and an empty list of pods."""
        self.session.__enter__()
        try:
            self.network = Network(self.session)
            self.layers = Layers(self.session.path / "layers")
            self.pods_file = self._pods_file or self.session.path / "pods.json"
            self.write_pods()
        except BaseException:
            self.session.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        """Remove everything."""
        self.session.__exit__(kind, error, traceback)

    def deploy(
        self,
        name: str,
        *,
        program: Program,
        namespace: str = "default",
        replicas: int = 1,
        sidecars: Mapping[str, Program] | None = None,
        hosts: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
    ) -> Deployment:
        """Start a Deployment: it returns when the first processes of all its containers run."""
        deployment = Deployment(
            name,
            session=self.session,
            network=self.network,
            layers=self.layers,
            changed=self.write_pods,
            program=program,
            namespace=namespace,
            replicas=replicas,
            node=self.node,
            sidecars=sidecars,
            hosts=hosts,
            labels=labels,
            annotations=annotations,
        )
        self.deployments.append(deployment)
        return deployment.start()

    def strangers(self) -> set[str]:
        """Return the ids of other containers on this host: on a shared machine there may be some, and they are seen, too."""
        own = {
            each.id
            for deployment in self.deployments
            for replica in deployment.replicas
            for each in replica.containers.values()
        }
        return {path.name for path in CGROUPS.rglob("pod*/*") if re.fullmatch("[0-9a-f]{64}", path.name)} - own

    def write_pods(self) -> None:
        """Bring the pods' file up to date."""
        with self._lock:
            self._version += 1
            pods.write(self.pods_file, [spec for each in self.deployments for spec in each.pods()], self._version)
