"""`peerwatch-agent check`: what this node can and cannot capture, found out by trying, not by version."""

import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from agent import privileges
from agent.capture.btf import VMLINUX, Btf, BtfError
from agent.capture.offsets import offset_macros
from agent.capture.probes import PIN_FOLDER, Probes, own_folder, uninstall, uninstall_abandoned
from agent.capture.tracepoints import TRACEFS
from agent.errors import AgentError

__all__ = ["Finding", "examine"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: `limited` costs a feature, `missing` makes capture impossible."""

    state: Literal["ok", "limited", "missing"]
    subject: str
    text: str


def examine() -> list[Finding]:
    """Look at everything the probes need; at the end load them for real, and remove them again."""
    findings = [*_privileges(), *_kernel(), *_file_systems(), *_cgroups()]
    if all(finding.state != "missing" for finding in findings):
        findings.append(_probes())
    return findings


def _privileges() -> Iterator[Finding]:
    missing = sorted(privileges.NEEDED.keys() - privileges.effective())
    if missing:
        yield Finding("missing", "privileges", f"CAP_{' and CAP_'.join(missing)} missing: run as root, or grant them")
    else:
        yield Finding("ok", "privileges", "CAP_BPF and CAP_PERFMON")


def _kernel() -> Iterator[Finding]:
    release = f"Linux {platform.release()} on {platform.machine()}"
    try:
        macros = offset_macros(Btf())
    except OSError as error:
        yield Finding("missing", "kernel types", f"{release}: {VMLINUX}: {error.strerror}; CONFIG_DEBUG_INFO_BTF=y is needed")
        return
    except BtfError as error:
        yield Finding("missing", "kernel types", f"{release}: {error}")
        return
    yield Finding("ok", "kernel types", f"{release}, BTF with {len(macros)} members that probes read")
    if "OVL_INODE_UPPERDENTRY" in macros:
        yield Finding("ok", "overlayfs", "files written after a container's start are told (UPPER_LAYER)")
    else:
        yield Finding("limited", "overlayfs", "not part of this kernel's BTF: UPPER_LAYER is told for tmpfs only")


def _file_systems() -> Iterator[Finding]:
    if os.path.ismount(PIN_FOLDER.parent):
        yield Finding("ok", "BPF file system", str(PIN_FOLDER.parent))
    else:
        yield Finding("missing", "BPF file system", f"mount -t bpf bpf {PIN_FOLDER.parent}")
    for folder in TRACEFS:
        if _readable(folder / "events/syscalls/sys_enter_connect/id"):
            yield Finding("ok", "tracepoints", str(folder))
            return
    yield Finding(
        "missing",
        "tracepoints",
        f"no readable syscall tracepoints: mount -t tracefs tracefs {TRACEFS[0]}, CONFIG_FTRACE_SYSCALLS=y",
    )


def _readable(path: Path) -> bool:
    try:
        return bool(path.read_bytes())
    except OSError:
        return False


def _cgroups() -> Iterator[Finding]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    kinds = {line.partition(" - ")[2].split()[0] for line in lines}
    layout = {(True, False): "v2", (False, True): "v1", (True, True): "hybrid"}.get(("cgroup2" in kinds, "cgroup" in kinds))
    if layout:
        yield Finding("ok", "cgroups", f"{layout}: containers are known by their cgroup's name")
    else:
        yield Finding(
            "limited", "cgroups", "no cgroup file system is mounted here; the probes read cgroups from the kernel itself"
        )


def _probes() -> Finding:
    uninstall_abandoned()
    folder = own_folder("check")
    try:
        try:
            with Probes(folder):
                return Finding("ok", "probes", "exec, TCP and UDP connect: compiled, loaded, attached, and removed again")
        finally:
            uninstall(folder)
    except AgentError as error:
        return Finding("missing", "probes", str(error))
