"""`peerwatch-agent check`: what this node can and cannot capture, found out by trying, not by version."""

import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from agent import privileges
from agent.canary import connect_nowhere
from agent.capture.btf import VMLINUX, Btf, BtfError
from agent.capture.generation import Generation
from agent.capture.offsets import offset_macros
from agent.capture.pins import PIN_FOLDER, SYSCALLS
from agent.capture.probes import Probes, own_folder, uninstall, uninstall_abandoned
from agent.capture.records import Kind
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
        findings += _probes()
        findings += _known_gaps()
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
        macros = offset_macros(Btf(), platform.machine())
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
        yield Finding("limited", "overlayfs", "in no BTF of this kernel or a loaded module: UPPER_LAYER is told for tmpfs only")


def _file_systems() -> Iterator[Finding]:
    if os.path.ismount(PIN_FOLDER.parent):
        yield Finding("ok", "BPF file system", str(PIN_FOLDER.parent))
    else:
        yield Finding("missing", "BPF file system", f"mount -t bpf bpf {PIN_FOLDER.parent}")
    for folder in TRACEFS:
        if all(_readable(folder / f"events/syscalls/sys_exit_{syscall}/id") for syscall in SYSCALLS):
            yield Finding("ok", "tracepoints", f"{folder}, of {', '.join(SYSCALLS)}")
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


def _probes() -> Iterator[Finding]:
    uninstall_abandoned()
    folder = own_folder("check")
    try:
        try:
            with Probes(folder) as probes:
                yield Finding("ok", "probes", "compiled, loaded, attached, and removed again")
                yield _canary(probes.current)
        finally:
            uninstall(folder)
    except AgentError as error:
        yield Finding("missing", "probes", str(error))


CANARY_S = 5.0
"""How long the test events may take, seconds: they take a few milliseconds, and a busy machine is no reason to be told off."""


def _canary(generation: Generation) -> Finding:
    """Execute and connect something, and look whether it comes back."""
    generation.declare_agent()
    begin = time.monotonic()
    subprocess.run([sys.executable, "-S", "-V"], capture_output=True, check=False)
    connect_nowhere()
    awaited = {Kind.EXEC: "exec", Kind.EXIT: "exit", Kind.CONNECT: "connect"}
    while awaited and time.monotonic() < begin + CANARY_S:
        generation.tell(generation.overdue(before=time.clock_gettime_ns(time.CLOCK_BOOTTIME)))
        records = generation.read()
        for kind in np.unique(records.small["kind"]).tolist() + np.unique(records.long["kind"]).tolist():
            awaited.pop(Kind(kind), None)
        generation.release(records.cursor)
        time.sleep(0.001)  # the rings say when there is something; this is not worth a poll
    if awaited:
        return Finding("missing", "capture", f"{' and '.join(awaited.values())} of this process did not come back")
    return Finding("ok", "capture", f"exec, exit and connect of this process came back within {time.monotonic() - begin:.2f} s")


def _known_gaps() -> Iterator[Finding]:
    if Path("/proc/sys/kernel/io_uring_disabled").exists() and _io_uring_is_off():
        yield Finding("ok", "io_uring", "switched off on this node")
    elif "REQUEST_OPCODE" in offset_macros(Btf(), platform.machine()):
        yield Finding("ok", "io_uring", "sends, connects, accepts and listens are seen, UDP without its result")
    else:
        yield Finding(
            "limited",
            "io_uring",
            "TCP connects are seen; UDP, accepts and connects without a route are not: its tracepoints are missing or older",
        )
    # Both processors' tracepoints of single system calls leave them out (ARCH_TRACE_IGNORE_COMPAT_SYSCALLS).
    yield Finding("limited", "32-bit programs", "their execs and TCP connects are seen; UDP, listens and accepts are not")


def _io_uring_is_off() -> bool:
    # 2: for everybody, since 6.6 (76d3ccecfa18)
    return Path("/proc/sys/kernel/io_uring_disabled").read_text().strip() == "2"
