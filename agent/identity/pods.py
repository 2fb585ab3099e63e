"""From a Kubernetes Pod, as the API server's JSON, to small records of our own. Pure.

The raw object is used, not the client library's model: it is read once, a few fields are kept, and a file gives the same shape.
Nothing in it is trusted to have the right type or a sensible size.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from peerwatch.jsonlines import parse_time
from peerwatch.subjects import Container, ContainerKind, Pod

from agent.identity.workloads import OwnerRef, revision_of, workload_of

__all__ = ["MalformedPodError", "PodRecord", "parse_pod"]

MAX_LABELS = 64
"""Labels kept of a pod, the first by name: real pods have under 20, and each batch of events carries them."""

MAX_ANNOTATIONS = 16
"""Annotations kept, of those that begin with `peerwatch.dev/`."""

MAX_KEY = 317
"""Longest label or annotation name that Kubernetes allows (253 + `/` + 63); a longer one is left out."""

MAX_VALUE = 1024
"""Characters kept of a label's or annotation's value. A label's may have 63; annotations may have 256 KiB."""

MAX_NAME = 253
"""Longest name, namespace, uid or kind: a DNS subdomain. A longer one makes the pod malformed, since it is an identity."""

MAX_CONTAINERS = 256
"""Container states looked at in each list of a pod's status. The kubelet's limits are far below."""

ANNOTATION_PREFIX = "peerwatch.dev/"

# The kubelet of a static pod knows it by the hash of its configuration and marks the mirror in the API server with it.
_MIRROR = "kubernetes.io/config.mirror"
_HASH = "kubernetes.io/config.hash"
_STATIC_UID = re.compile(r"[0-9a-f]{32}")

_DIGEST = re.compile(r"(?:.*@)?(sha256:[0-9a-f]{64})")
_BARE_DIGEST = re.compile(r"[0-9a-f]{64}")


class MalformedPodError(ValueError):
    """An object is no usable Pod. The text names the field and what is wrong with it."""


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
        MalformedPodError: it is no object, lacks a uid, or a field that is read has the wrong type.
    """
    if not isinstance(raw, Mapping):
        raise MalformedPodError("a pod must be an object")
    metadata, spec, status = (_object(raw, name) for name in ("metadata", "spec", "status"))
    name, key = _name(metadata, "name"), _name(metadata, "uid")
    if not name or not key:
        raise MalformedPodError(f"metadata.{'uid' if name else 'name'} is missing")
    labels = _pairs(metadata, "labels", "", MAX_LABELS)
    created_at = _time(metadata, "creationTimestamp")
    owner = _owner(metadata)
    pod = Pod(
        namespace=_name(metadata, "namespace"),
        name=name,
        uid=_cgroup_uid(metadata, key, owner),
        ip=_name(status, "podIP"),
        workload=workload_of(name, owner, dict(labels), created_at),
        revision=revision_of(dict(labels)),
        created_at=created_at,
        service_account=_name(spec, "serviceAccountName"),
        labels=labels,
        annotations=_pairs(metadata, "annotations", ANNOTATION_PREFIX, MAX_ANNOTATIONS),
    )
    return PodRecord(key, pod, tuple(_containers(spec, status)))


def _cgroup_uid(metadata: Mapping[str, object], key: str, owner: OwnerRef | None) -> str:
    # Only a node can own a mirror, and only 32 hexadecimal digits are believed: an annotation that names the uid of an ordinary
    # pod (it has dashes) can never claim that pod's containers.
    annotations = _object(metadata, "annotations")
    static = annotations.get(_HASH)
    if owner is None or owner.kind != "Node" or _MIRROR not in annotations or not isinstance(static, str):
        return key
    return static if _STATIC_UID.fullmatch(static) else key


def _owner(metadata: Mapping[str, object]) -> OwnerRef | None:
    """Return the controller; owners that do not control (for garbage collection only) say nothing about the workload."""
    for owner in _list(metadata, "ownerReferences"):
        if owner.get("controller") is True:
            return OwnerRef(_name(owner, "kind"), _name(owner, "name"))
    return None


def _containers(spec: Mapping[str, object], status: Mapping[str, object]) -> Iterator[Container]:
    for kind, specs, statuses in (
        (ContainerKind.APP, "containers", "containerStatuses"),
        (ContainerKind.INIT, "initContainers", "initContainerStatuses"),
        (ContainerKind.EPHEMERAL, "ephemeralContainers", "ephemeralContainerStatuses"),
    ):
        wanted = {_name(each, "name"): each for each in _list(spec, specs)}
        for state in _list(status, statuses):
            name = _name(state, "name")
            template = wanted.get(name, {})
            sidecar = kind == ContainerKind.INIT and template.get("restartPolicy") == "Always"
            role = ContainerKind.SIDECAR if sidecar else kind
            # What a person wrote; the status has what the runtime made of it, at times only a digest.
            image = (_text(template, "image") or _text(state, "image"))[:MAX_VALUE]
            yield from _instances(name, role, image, state)


def _instances(name: str, kind: ContainerKind, image: str, status: Mapping[str, object]) -> Iterator[Container]:
    """Yield the instance before the last restart, then the current one."""
    current = _container_id(status)
    for source in ("lastState", "state"):
        state = _object(status, source)
        ended = _object(state, "terminated")
        container_id = _container_id(ended) if source == "lastState" else current
        if not container_id or (source == "lastState" and container_id == current):
            continue
        yield Container(
            name=name,
            kind=kind,
            id=container_id,
            image=image,
            # The status names the current instance's digest only; the one before may have run another build of the same tag.
            image_digest=_digest(_text(status, "imageID")) if source == "state" else "",
            started_at=_time(_object(state, "running"), "startedAt") or _time(ended, "startedAt"),
        )


def _container_id(holder: Mapping[str, object]) -> str:
    scheme, separator, container_id = _name(holder, "containerID").partition("://")
    return container_id if separator else scheme


def _digest(image_id: str) -> str:
    """Return the digest in `name@sha256:…`, `docker-pullable://name@sha256:…`, `sha256:…` or CRI-O's bare digits."""
    if _BARE_DIGEST.fullmatch(image_id):
        return f"sha256:{image_id}"
    match = _DIGEST.fullmatch(image_id[:MAX_VALUE])
    return match[1] if match else ""


def _object(holder: Mapping[str, object], name: str) -> Mapping[str, object]:
    value = holder.get(name)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise MalformedPodError(f"{name} must be an object")
    return value


def _list(holder: Mapping[str, object], name: str) -> list[Mapping[str, object]]:
    value = holder.get(name)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(each, Mapping) for each in value[:MAX_CONTAINERS]):
        raise MalformedPodError(f"{name} must be a list of objects")
    return value[:MAX_CONTAINERS]


def _text(holder: Mapping[str, object], name: str) -> str:
    value = holder.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise MalformedPodError(f"{name} must be a string")
    return _clean(value)


def _name(holder: Mapping[str, object], name: str) -> str:
    value = _text(holder, name)
    if len(value) > MAX_NAME:
        raise MalformedPodError(f"{name} is longer than {MAX_NAME} characters")
    return value


def _pairs(holder: Mapping[str, object], name: str, prefix: str, most: int) -> tuple[tuple[str, str], ...]:
    value = _object(holder, name)
    names: list[object] = list(value)  # YAML allows keys that are no strings
    keys = sorted(key for key in names if isinstance(key, str) and key.startswith(prefix) and len(key) <= MAX_KEY)
    # Cleaned twice, since what becomes of broken characters may be one name.
    return tuple(sorted({_clean(key): _text(value, key)[:MAX_VALUE] for key in keys[:most]}.items()))


def _time(holder: Mapping[str, object], name: str) -> int:
    value = _text(holder, name)
    if not value:
        return 0
    try:
        time = parse_time(value)
    except ValueError as error:
        raise MalformedPodError(f"{name}: {error}") from None
    if not 0 <= time < 1 << 63:
        raise MalformedPodError(f"{name} is out of range: {value[:64]}")
    return time


def _clean(text: str) -> str:
    """Replace halves of surrogate pairs: JSON and YAML can write them, UTF-8 and so protobuf cannot."""
    return text if text.isascii() else text.encode(errors="replace").decode()
