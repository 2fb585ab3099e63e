"""From a Kubernetes Pod, as the API server's JSON, to small records of our own. Pure.

The raw object is used, not the client library's model: it is read once, a few fields are kept, and a file gives the same shape.
Nothing in it is trusted to have the right type or a sensible size.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from peerwatch.kubernetes.fields import MAX_VALUE, MalformedError, items_of, name_of, object_of, pairs_of, text_of, time_of
from peerwatch.kubernetes.workloads import OwnerRef, revision_of, workload_of
from peerwatch.subjects import Container, ContainerKind, Pod

__all__ = ["PodRecord", "controller_of", "parse_pod"]

MAX_LABELS = 64
"""Labels kept of a pod, the first by name: real pods have under 20, and each batch of events carries them."""

MAX_ANNOTATIONS = 16
"""Annotations kept, of those that begin with `peerwatch.dev/`."""

ANNOTATION_PREFIX = "peerwatch.dev/"

# The kubelet of a static pod knows it by the hash of its configuration and marks the mirror in the API server with it.
_MIRROR = "kubernetes.io/config.mirror"
_HASH = "kubernetes.io/config.hash"
_STATIC_UID = re.compile(r"[0-9a-f]{32}")

_DIGEST = re.compile(r"(?:.*@)?(sha256:[0-9a-f]{64})")
_BARE_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class PodRecord:
    """What is kept of one pod.

    `key` is the uid in the API server, by which updates and deletions arrive. `pod.uid` is the one that cgroups carry; the two
    differ for a static pod only, whose mirror gets a new `key` whenever it is made again while the pod itself lives on.
    `containers` holds every instance that the status names, the running ones and those before a restart; a container that
    never started has no id and is not in it.
    """

    key: str
    pod: Pod
    containers: tuple[Container, ...]


def parse_pod(raw: object) -> PodRecord:
    """Return the record of a Pod.

    Raises:
        MalformedError: it is no object, lacks a uid, or a field that is read has the wrong type.
    """
    if not isinstance(raw, Mapping):
        raise MalformedError("a pod must be an object")
    metadata, spec, status = (object_of(raw, name) for name in ("metadata", "spec", "status"))
    name, key = name_of(metadata, "name"), name_of(metadata, "uid")
    if not name or not key:
        raise MalformedError(f"metadata.{'uid' if name else 'name'} is missing")
    labels = pairs_of(metadata, "labels", "", MAX_LABELS)
    created_at = time_of(metadata, "creationTimestamp")
    owner = controller_of(metadata)
    pod = Pod(
        namespace=name_of(metadata, "namespace"),
        name=name,
        uid=_cgroup_uid(metadata, key, owner),
        ip=name_of(status, "podIP"),
        workload=workload_of(name, owner, dict(labels), created_at),
        revision=revision_of(dict(labels)),
        created_at=created_at,
        service_account=name_of(spec, "serviceAccountName"),
        labels=labels,
        annotations=pairs_of(metadata, "annotations", ANNOTATION_PREFIX, MAX_ANNOTATIONS),
    )
    return PodRecord(key, pod, tuple(_containers(spec, status)))


def _cgroup_uid(metadata: Mapping[str, object], key: str, owner: OwnerRef | None) -> str:
    # Only a node can own a mirror, and only 32 hexadecimal digits are believed: an annotation that names the uid of an ordinary
    # pod (it has dashes) can never claim that pod's containers.
    annotations = object_of(metadata, "annotations")
    static = annotations.get(_HASH)
    if owner is None or owner.kind != "Node" or _MIRROR not in annotations or not isinstance(static, str):
        return key
    return static if _STATIC_UID.fullmatch(static) else key


def controller_of(metadata: Mapping[str, object]) -> OwnerRef | None:
    """Return the controller; owners that do not control (for garbage collection only) say nothing about the workload."""
    for owner in items_of(metadata, "ownerReferences"):
        if owner.get("controller") is True:
            return OwnerRef(name_of(owner, "kind"), name_of(owner, "name"))
    return None


def _containers(spec: Mapping[str, object], status: Mapping[str, object]) -> Iterator[Container]:
    for kind, specs, statuses in (
        (ContainerKind.APP, "containers", "containerStatuses"),
        (ContainerKind.INIT, "initContainers", "initContainerStatuses"),
        (ContainerKind.EPHEMERAL, "ephemeralContainers", "ephemeralContainerStatuses"),
    ):
        wanted = {name_of(each, "name"): each for each in items_of(spec, specs)}
        for state in items_of(status, statuses):
            name = name_of(state, "name")
            template = wanted.get(name, {})
            sidecar = kind == ContainerKind.INIT and template.get("restartPolicy") == "Always"
            role = ContainerKind.SIDECAR if sidecar else kind
            # What a person wrote; the status has what the runtime made of it, at times only a digest.
            image = (text_of(template, "image") or text_of(state, "image"))[:MAX_VALUE]
            yield from _instances(name, role, image, state)


def _instances(name: str, kind: ContainerKind, image: str, status: Mapping[str, object]) -> Iterator[Container]:
    """Yield the instance before the last restart, then the current one."""
    current = _container_id(status)
    for source in ("lastState", "state"):
        state = object_of(status, source)
        ended = object_of(state, "terminated")
        container_id = _container_id(ended) if source == "lastState" else current
        if not container_id or (source == "lastState" and container_id == current):
            continue
        yield Container(
            name=name,
            kind=kind,
            id=container_id,
            image=image,
            # The status names the current instance's digest only; the one before may have run another build of the same tag.
            image_digest=_digest(text_of(status, "imageID")) if source == "state" else "",
            started_at=time_of(object_of(state, "running"), "startedAt") or time_of(ended, "startedAt"),
        )


def _container_id(holder: Mapping[str, object]) -> str:
    scheme, separator, container_id = name_of(holder, "containerID").partition("://")
    return container_id if separator else scheme


def _digest(image_id: str) -> str:
    """Return the digest in `name@sha256:…`, `docker-pullable://name@sha256:…`, `sha256:…` or CRI-O's bare digits."""
    if _BARE_DIGEST.fullmatch(image_id):
        return f"sha256:{image_id}"
    match = _DIGEST.fullmatch(image_id[:MAX_VALUE])
    return match[1] if match else ""
