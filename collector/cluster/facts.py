"""What a pod may do to its node, as its specification says, in one small number. Pure.

Nothing that is read has to have the right type.
"""

from collections.abc import Iterator, Mapping
from itertools import chain

from peerwatch.kubernetes.fields import items_of, name_of, object_of, text_of

from collector.risk import Fact

__all__ = ["facts_of"]

CAPABILITIES = frozenset(
    {"ALL", "SYS_ADMIN", "SYS_PTRACE", "SYS_MODULE", "SYS_RAWIO", "SYS_BOOT", "DAC_READ_SEARCH", "BPF", "PERFMON"}
)
"""Those with which a program leaves its container, reads the node's memory or ends the node."""

SOCKETS = frozenset({"docker.sock", "containerd.sock", "crio.sock", "podman.sock"})
"""Who may connect to a container runtime may start a privileged container; a read-only mount does not hinder that."""

ABOVE = frozenset({"/", "/run", "/var", "/var/run"})
"""Folders of the node that hold such a socket."""


def facts_of(spec: Mapping[str, object]) -> Fact:
    """Return what a pod's specification says.

    Raises:
        MalformedError: a field that is read has the wrong type.
    """
    facts = Fact(0)
    for field, fact in (
        ("hostPID", Fact.HOST_PROCESSES),
        ("hostNetwork", Fact.HOST_NETWORK),
        ("hostIPC", Fact.HOST_IPC),
    ):
        if spec.get(field) is True:
            facts |= fact
    paths, projects = _volumes(spec)
    if projects:
        facts |= Fact.TOKEN
    for container in _lasting(spec):
        facts |= _of_container(container, paths)
    return facts


def _lasting(spec: Mapping[str, object]) -> Iterator[Mapping[str, object]]:
    """Yield the containers that run as long as the pod: an init container that was privileged has ended."""
    yield from chain(items_of(spec, "containers"), items_of(spec, "ephemeralContainers"))
    yield from (each for each in items_of(spec, "initContainers") if each.get("restartPolicy") == "Always")


def _volumes(spec: Mapping[str, object]) -> tuple[dict[str, str], bool]:
    """Return the node's paths by volume, and whether a token for the API server is among the volumes.

    The API server itself adds the token's volume to every pod that does not refuse it.
    """
    paths, projects = {}, False
    for volume in items_of(spec, "volumes"):
        path = text_of(object_of(volume, "hostPath"), "path")
        if path:
            paths[name_of(volume, "name")] = "/" + path.strip("/")
        for source in items_of(object_of(volume, "projected"), "sources"):
            token = source.get("serviceAccountToken")
            projects |= isinstance(token, Mapping) and not token.get("audience")
    return paths, projects


def _of_container(container: Mapping[str, object], paths: Mapping[str, str]) -> Fact:
    facts = Fact(0)
    security = object_of(container, "securityContext")
    if security.get("privileged") is True:
        facts |= Fact.PRIVILEGED
    added = object_of(security, "capabilities").get("add")
    if isinstance(added, list) and any(str(each).upper().removeprefix("CAP_") in CAPABILITIES for each in added):
        facts |= Fact.CAPABILITIES
    for mount in items_of(container, "volumeMounts"):
        path = paths.get(name_of(mount, "name"))
        if path is not None and (mount.get("readOnly") is not True or _holds_socket(path)):
            facts |= Fact.HOST_FILES
    if any(each.get("hostPort") for each in items_of(container, "ports")):
        facts |= Fact.HOST_PORT
    return facts


def _holds_socket(path: str) -> bool:
    return path in ABOVE or path.rpartition("/")[2] in SOCKETS
