"""From a cgroup's path to the container it stands for. Pure: no file is read.

Container runtimes and the kubelet write the identity of a container into the names of its cgroups, in a few forms:

    /kubepods/burstable/pod<uid>/<id>                                              kubelet with the cgroupfs driver
    /kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<uid>.slice/
        cri-containerd-<id>.scope | crio-<id>.scope | docker-<id>.scope            kubelet with the systemd driver
    /kubepods-burstable-pod<uid>.slice:cri-containerd:<id>                         systemd names under a cgroupfs runtime
    /docker/<id>, /system.slice/docker-<id>.scope, /machine.slice/libpod-<id>.scope   no Kubernetes

in front of which may stand any `--cgroup-root` (kind: `/docker/<node>/kubelet/…`), and behind which whatever the container made
itself. That is why order decides: a container can create and name cgroups only *below* its own. The first pod in the path and
the cgroup directly below it are the kubelet's and the runtime's word, all that follows may be the container's. One thing a path
cannot tell: a container outside of any pod that lays out pods below itself looks like a node of kind, and is taken for one.
"""

import re
from dataclasses import dataclass, field

__all__ = ["ContainerRef", "container_of"]


@dataclass(frozen=True, slots=True)
class ContainerRef:
    """A container as its cgroup names it.

    `id` is the runtime's, 64 hexadecimal digits. `pod_uid` is empty for containers outside of pods; for static pods it is the
    hash of their configuration, not the uid of their mirror in the API server.
    """

    id: str
    pod_uid: str = ""
    certain: bool = field(default=True, compare=False)
    """False when a container could have chosen this name: the path lacks its front, or another container's cgroup is above."""


_UID = r"(?P<uid>[0-9a-f]{8}(?P<sep>[-_])[0-9a-f]{4}(?P=sep)[0-9a-f]{4}(?P=sep)[0-9a-f]{4}(?P=sep)[0-9a-f]{12}|[0-9a-f]{32})"
_ID = r"(?P<id>[0-9a-f]{64})"
_RUNTIME = r"(?:cri-containerd|containerd|crio|docker|libpod|nerdctl)"

# systemd writes the whole way into the name of a slice: a --cgroup-root `kubelet` makes it kubelet-kubepods-….slice.
_POD_SLICE = r"(?:[^/:]+-)?kubepods(?:-burstable|-besteffort)?-pod" + _UID + r"\.slice"

_POD = re.compile(rf"pod{_UID}")
_SLICE = re.compile(_POD_SLICE)
# `crio-conmon-<id>.scope` and `libpod-conmon-<id>.scope` hold the container's monitor: no runtime is called `crio-conmon`.
_CONTAINER = re.compile(rf"(?:{_RUNTIME}-)?{_ID}(?:\.scope)?")
_COLONS = re.compile(rf"[^/:]*:{_RUNTIME}:{_ID}")
_COLONS_IN_POD = re.compile(rf"{_POD_SLICE}:{_RUNTIME}:{_ID}")


def container_of(path: str) -> ContainerRef | None:
    """Return the container that a cgroup path belongs to, None if it belongs to none.

    `path` goes from the root to the leaf. One that does not begin with `/` has lost its front (the kernel side hands over a
    limited number of levels); what is found in it is marked as not `certain`, because a container that nests its own cgroups
    deep enough can push its real name out of it.

    In a pod, the cgroup directly below the pod's decides: a container engine inside the pod does not hide the pod, and names
    made up inside it mean nothing. Outside of pods the innermost container counts.
    """
    whole = path.startswith("/")
    # A reader in another cgroup namespace sees `/../..` in front.
    names = [name for name in path.split("/") if name not in ("", ".", "..")]
    for place, name in enumerate(names):
        if (both := _COLONS_IN_POD.fullmatch(name)) is not None:
            return ContainerRef(both["id"], _uid(both), certain=whole)
        if (pod := _POD.fullmatch(name) or _SLICE.fullmatch(name)) is not None:
            below = _container(names[place + 1]) if place + 1 < len(names) else None
            # The pod's own cgroup or a monitor's: the node's processes, no container.
            return None if below is None else ContainerRef(below, _uid(pod), certain=whole)
    ids = [found for name in names if (found := _container(name)) is not None]
    return ContainerRef(ids[-1], certain=whole and len(ids) == 1) if ids else None


def _container(name: str) -> str | None:
    match = _CONTAINER.fullmatch(name) or _COLONS.fullmatch(name)
    return None if match is None else match["id"]


def _uid(match: re.Match[str]) -> str:
    return match["uid"].replace("_", "-")
