"""Pods as the API server describes them, in the file that stands for it (`--pods FILE`).

Only JSON comes out of here: who asks gets the objects of `GET /api/v1/pods`, with the fields that observers use.
"""

import datetime
import json
import os
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["ALPHABET", "ContainerStatus", "PodSpec", "pod", "pod_list", "random_name", "write"]

ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
"""Kubernetes' alphabet for generated names: no vowels, so no words; nothing that reads as something else."""


def random_name(length: int) -> str:
    """Return what Kubernetes would append to a generated name."""
    return "".join(secrets.choice(ALPHABET) for _ in range(length))


@dataclass(frozen=True)
class ContainerStatus:
    """One container of a pod; without an id it is waiting, with an id and a start it runs."""

    name: str
    image: str
    id: str = ""
    started_at: float = 0.0
    digest: str = ""
    init: bool = False


@dataclass(frozen=True)
class PodSpec:
    """What is told about one pod of a Deployment."""

    deployment: str
    namespace: str
    name: str
    uid: str
    replica_set_uid: str
    revision: str
    node: str
    ip: str
    created_at: float
    containers: tuple[ContainerStatus, ...]
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)


def _time(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _status(container: ContainerStatus) -> dict[str, Any]:
    running = bool(container.id)
    return {
        "name": container.name,
        "image": container.image,
        "imageID": f"{container.image.rpartition(':')[0]}@{container.digest}" if running and container.digest else "",
        "ready": running,
        "started": running,
        "restartCount": 0,
        "state": {"running": {"startedAt": _time(container.started_at)}}
        if running
        else {"waiting": {"reason": "ContainerCreating"}},
        "lastState": {},
        **({"containerID": f"containerd://{container.id}"} if running else {}),
    }


def pod(spec: PodSpec, version: int = 1) -> dict[str, Any]:
    """Return the Pod object."""
    running = all(container.id for container in spec.containers)
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": spec.name,
            "generateName": f"{spec.deployment}-{spec.revision}-",
            "namespace": spec.namespace,
            "uid": spec.uid,
            "resourceVersion": str(version),
            "creationTimestamp": _time(spec.created_at),
            "labels": {"app": spec.deployment, "pod-template-hash": spec.revision, **spec.labels},
            "annotations": dict(spec.annotations),
            "ownerReferences": [
                {
                    "apiVersion": "apps/v1",
                    "kind": "ReplicaSet",
                    "name": f"{spec.deployment}-{spec.revision}",
                    "uid": spec.replica_set_uid,
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "spec": {
            "nodeName": spec.node,
            "serviceAccountName": spec.deployment,
            "restartPolicy": "Always",
            "hostNetwork": False,
            "containers": [{"name": each.name, "image": each.image} for each in spec.containers if not each.init],
            **(
                {"initContainers": [{"name": each.name, "image": each.image} for each in spec.containers if each.init]}
                if any(each.init for each in spec.containers)
                else {}
            ),
        },
        "status": {
            "phase": "Running" if running else "Pending",
            "hostIP": "10.213.255.1",
            "podIP": spec.ip,
            "podIPs": [{"ip": spec.ip}],
            "qosClass": "Burstable",
            "startTime": _time(spec.created_at),
            "conditions": [{"type": "Ready", "status": "True" if running else "False"}],
            "containerStatuses": [_status(each) for each in spec.containers if not each.init],
            **(
                {"initContainerStatuses": [_status(each) for each in spec.containers if each.init]}
                if any(each.init for each in spec.containers)
                else {}
            ),
        },
    }


def pod_list(specs: Iterable[PodSpec], version: int = 1) -> dict[str, Any]:
    """Return the PodList object."""
    return {
        "apiVersion": "v1",
        "kind": "PodList",
        "metadata": {"resourceVersion": str(version)},
        "items": [pod(spec, version) for spec in specs],
    }


def write(path: Path, specs: Iterable[PodSpec], version: int = 1) -> None:
    """Write the PodList in one step: a reader sees the old file or the new one."""
    made = path.with_name(f".{path.name}.{os.getpid()}")
    made.write_text(json.dumps(pod_list(specs, version), indent=1))
    made.replace(path)
