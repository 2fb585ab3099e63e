"""Whose events they are: workload, pod and container as immutable values.

Times are nanoseconds since 1970, 0 where unknown; strings are empty where unknown. Equal subjects compare and hash equal, so
a batch holds each once.
"""

import enum
from dataclasses import dataclass

__all__ = ["NOBODY", "NO_WORKLOAD", "Container", "ContainerKind", "Pod", "Subject", "Workload"]


class ContainerKind(enum.IntEnum):
    """What a container is for; the numbers are `peerwatch.v1.Container.Kind`'s."""

    UNSPECIFIED = 0
    APP = 1
    INIT = 2
    SIDECAR = 3
    EPHEMERAL = 4


@dataclass(frozen=True, slots=True, order=True)
class Workload:
    """The controller that a person would name: Deployment (not its ReplicaSet), CronJob (not its Job), … or `Pod`."""

    kind: str = ""
    name: str = ""


NO_WORKLOAD = Workload()


@dataclass(frozen=True, slots=True)
class Pod:
    """One replica of a workload. Labels and annotations are pairs sorted by key."""

    namespace: str = ""
    name: str = ""
    uid: str = ""
    ip: str = ""
    workload: Workload = NO_WORKLOAD
    revision: str = ""
    created_at: int = 0
    service_account: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    annotations: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Container:
    """One container of a pod; `id` is the runtime's, without its scheme."""

    name: str = ""
    kind: ContainerKind = ContainerKind.UNSPECIFIED
    id: str = ""
    image: str = ""
    image_digest: str = ""
    started_at: int = 0


@dataclass(frozen=True, slots=True)
class Subject:
    """One container on one node."""

    cluster: str = ""
    node: str = ""
    pod: Pod = Pod()
    container: Container = Container()


NOBODY = Subject()
