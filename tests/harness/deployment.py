"""A Deployment and its replicas: what Kubernetes' controllers and a kubelet would do, in a hundred lines.

Each replica is a pod with one network namespace and address and one container per program. The pods' file says what the
API server would say, in the same order: a pod is known before its container runs, the container's id only afterwards.
"""

import subprocess
import time
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from harness.containers import Container
from harness.network import Network
from harness.pods import ContainerStatus, PodSpec, random_name
from harness.rootfs import Layers, Program
from harness.session import Session

__all__ = ["Deployment", "Replica"]

CONTAINER = "app"
"""Name of a replica's main container; others are beside it."""


class Replica:
    """One pod. Its containers are in `containers` by name; the methods mean the main one."""

    def __init__(self, name: str, uid: str, revision: str, network: Path, ip: str) -> None:
        self.name = name
        self.uid = uid
        self.revision = revision
        self.network = network
        self.ip = ip
        self.created_at = time.time()
        self.containers: dict[str, Container] = {}

    @property
    def container(self) -> Container:
        """Return the main container."""
        return self.containers[CONTAINER]

    @property
    def pid(self) -> int:
        """Return the first process of the main container, as the host sees it."""
        return self.container.pid

    def exec(
        self, *argv: str, text: str | None = None, timeout: float = 30, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a program in the main container, as `kubectl exec` does."""
        return self.container.exec(*argv, text=text, timeout=timeout, check=check)


class Deployment:
    """N replicas of the same programs. `World.deploy` makes and starts one."""

    def __init__(
        self,
        name: str,
        *,
        session: Session,
        network: Network,
        layers: Layers,
        changed: Callable[[], None],
        program: Program,
        namespace: str = "default",
        replicas: int = 1,
        node: str = "node-1",
        sidecars: Mapping[str, Program] | None = None,
        hosts: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.namespace = namespace
        self.node = node
        self.programs = {CONTAINER: program, **(sidecars or {})}
        self.hosts = dict(hosts or {})
        self.labels = dict(labels or {})
        self.annotations = dict(annotations or {})
        self.replicas: list[Replica] = []
        self._session, self._network, self._layers, self._changed = session, network, layers, changed
        self._wanted = replicas
        self._new_revision()

    def __enter__(self) -> Self:
        """Start the replicas."""
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        """Remove the replicas."""
        self.stop()

    def start(self) -> Self:
        """Start as many replicas as were asked for; returns when all their first processes run."""
        self.scale(self._wanted)
        return self

    def scale(self, replicas: int) -> None:
        """Start or remove replicas until there are so many."""
        self._wanted = replicas
        if replicas < len(self.replicas):
            self.remove(*self.replicas[replicas:])
            return
        with ThreadPoolExecutor(8) as pool:
            fresh = list(pool.map(lambda _: self._create(), range(replicas - len(self.replicas))))
            self.replicas += fresh
            self._changed()
            list(pool.map(self._run, fresh))
        self._changed()

    def rollout(self, program: Program) -> None:
        """Replace all replicas by ones of a new version, one after the other, the new one first."""
        self.programs = {**self.programs, CONTAINER: program}
        self._new_revision()
        for old in list(self.replicas):
            fresh = self._create()
            self.replicas.append(fresh)
            self._changed()
            self._run(fresh)
            self._changed()
            self.remove(old)

    def remove(self, *replicas: Replica) -> None:
        """Remove these replicas, as when their pods are deleted."""
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(self._delete, replicas))
        self.replicas = [replica for replica in self.replicas if replica not in replicas]
        self._changed()

    def stop(self) -> None:
        """Remove all replicas."""
        self.remove(*self.replicas)

    def pods(self) -> list[PodSpec]:
        """Return what is to be told about the replicas now."""
        return [self._spec(replica) for replica in self.replicas]

    def _new_revision(self) -> None:
        self.revision = random_name(9)
        self._replica_set_uid = str(uuid.uuid4())

    def _create(self) -> Replica:
        name = f"{self.name}-{self.revision}-{random_name(5)}"
        network, ip = self._network.pod(name)
        return Replica(name, str(uuid.uuid4()), self.revision, network, ip)

    def _run(self, replica: Replica) -> None:
        for name, program in self.programs.items():
            container = Container(
                self._session,
                self._layers,
                program,
                pod_uid=replica.uid,
                network=replica.network,
                hostname=replica.name,
                hosts={replica.name: replica.ip, **self.hosts},
            )
            container.start()
            replica.containers[name] = container

    def _delete(self, replica: Replica) -> None:
        for container in replica.containers.values():
            container.delete()
        self._network.release(replica.network)

    def _spec(self, replica: Replica) -> PodSpec:
        return PodSpec(
            deployment=self.name,
            namespace=self.namespace,
            name=replica.name,
            uid=replica.uid,
            replica_set_uid=self._replica_set_uid,
            revision=replica.revision,
            node=self.node,
            ip=replica.ip,
            created_at=replica.created_at,
            labels=self.labels,
            annotations=self.annotations,
            containers=tuple(self._status(replica, name, program) for name, program in self.programs.items()),
        )

    def _status(self, replica: Replica, name: str, program: Program) -> ContainerStatus:
        image = program.image or f"{self.namespace}/{self.name}:{replica.revision}"
        digest = "sha256:" + uuid.uuid5(uuid.NAMESPACE_URL, image).hex * 2
        container = replica.containers.get(name)
        if container is None:
            return ContainerStatus(name, image)
        return ContainerStatus(name, image, container.id, container.started_at, digest)
