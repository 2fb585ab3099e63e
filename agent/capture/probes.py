"""The attached probes: starts the loader when they are not there yet, and finds what it pinned.

Probes belong to the machine, not to this process: they stay when it ends and are found again when it is back, with all that
came in between, as far as the rings hold it. Those of another version are replaced, and what they still hold is read.
"""

import contextlib
import fcntl
import hashlib
import os
import re
import struct
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Literal, Self

from agent.capture.folds import await_grace_period
from agent.capture.generation import Generation, describe
from agent.capture.libbpf import opened, store
from agent.capture.pins import ANCHORS, GENERATION, PIN_FOLDER, activate, anchor, is_complete, unpin_all
from agent.capture.records import State
from agent.capture.sizes import SIZES
from agent.errors import ConfigError, UnsupportedError

__all__ = [
    "Mode",
    "Probes",
    "boot_to_wall",
    "own_folder",
    "uninstall",
    "uninstall_abandoned",
]

_OWN = re.compile(rf"{PIN_FOLDER.name}-(?:record|check)-(?P<pid>[0-9]+)")

LOADER_TIMEOUT_S = 60
"""Compiling takes under 3 s; a machine this busy should say so instead of hanging."""


READINGS = 5
"""Of both clocks, each time the one is held against the other, a microsecond in all: nobody is preempted that often."""


@dataclass(frozen=True, slots=True)
class Mode:
    """What is captured."""

    full: bool = False
    """Every event by itself: repeats are not counted in the kernel."""

    host: bool = False
    """The host's own processes, too, not only those in containers."""

    def macros(self) -> list[str]:
        """Return what the probes are built with."""
        return [*([] if self.full else ["FOLDING"]), *(["CAPTURE_HOST"] if self.host else [])]


class Probes:
    """The probes pinned in `folder`, attached by this call if they are not yet.

    Raises:
        UnsupportedError: they cannot be attached, or another agent reads them.
        ConfigError: the folder holds pins of others.
    """

    def __init__(self, folder: Path = PIN_FOLDER, mode: Mode = Mode()) -> None:
        self._lock = _lock(folder)
        self.replaced: list[Generation] = []
        """Probes of before that are not called any more and may still hold events: read them, then `remove` them."""
        try:
            pins = _load(folder, mode)
            anchor(folder, pins)
            others = [each for each in folder.iterdir() if GENERATION.fullmatch(each.name) and each != pins]
            if others:
                _inherit_boot_offset(others[0], pins)
            activate(folder, pins)
            self.current = Generation(pins)
            if others:
                await_grace_period()
            for other in others:
                self._open_replaced(other)
        except BaseException as error:
            if not (folder / ANCHORS).exists():  # what was loaded has never been called
                with contextlib.suppress(OSError):
                    unpin_all(folder)
            os.close(self._lock)
            if isinstance(error, OSError):
                raise UnsupportedError(f"{error.strerror}; `peerwatch-agent uninstall` removes what is pinned there") from None
            raise

    def _open_replaced(self, pins: Path) -> None:
        try:
            generation = Generation(pins)
        except (OSError, ValueError, KeyError):  # pinned in part, or of a version that did not describe itself
            unpin_all(pins)
            return
        # Everything that these probes know is in their rings after this: nobody calls them any more.
        generation.folds.report()
        generation.tell(generation.overdue(before=2**63))
        self.replaced.append(generation)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close, and leave the probes running."""
        for generation in (self.current, *self.replaced):
            generation.close()
        os.close(self._lock)

    @property
    def boot_offset(self) -> int:
        """Wall clock minus boot clock, ns, when the first probes were attached."""
        return self.current.boot_offset

    def cgroup_path(self, key: int) -> str:
        """Return a cgroup's path, empty if no probes know it any more."""
        for generation in (self.current, *self.replaced):
            path = generation.cgroup_path(key)
            if path:
                return path
        return ""

    def remove(self, generation: Generation) -> None:
        """Free what replaced probes hold, once all of it was read."""
        self.replaced.remove(generation)
        generation.close()
        unpin_all(generation.pins)


def uninstall(folder: Path = PIN_FOLDER) -> bool:
    """Detach the probes and free all they hold; return whether there were any.

    Raises:
        UnsupportedError: an agent still uses them, or it is not allowed.
        ConfigError: the folder holds what is not ours; nothing was removed.
    """
    if not folder.exists():
        return False
    lock = _lock(folder)
    try:
        unpin_all(folder)
    except OSError as error:
        raise UnsupportedError(f"cannot remove {error.filename}: {error.strerror}; run it as root") from None
    finally:
        os.close(lock)
    return True


def own_folder(purpose: Literal["record", "check"]) -> Path:
    """Return a folder for probes of this process alone."""
    return PIN_FOLDER.with_name(f"{PIN_FOLDER.name}-{purpose}-{os.getpid()}")


def uninstall_abandoned() -> None:
    """Remove what was in an `own_folder` whose process was killed: nobody would ever read or detach those probes."""
    for folder in PIN_FOLDER.parent.glob(f"{PIN_FOLDER.name}-*"):
        match = _OWN.fullmatch(folder.name)
        if match is None or Path("/proc", match["pid"]).exists():
            continue
        # A process that is not visible from here may live: then it holds the lock.
        with contextlib.suppress(UnsupportedError, ConfigError, OSError):
            uninstall(folder)


def _lock(folder: Path) -> int:
    """Make sure that one agent reads: two would take records from each other."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except PermissionError:
        raise UnsupportedError(f"no permission for {folder}: run as root, or with CAP_BPF and CAP_PERFMON in a pod") from None
    except OSError as error:
        raise UnsupportedError(f"cannot use {folder}: {error.strerror}; mount it: mount -t bpf bpf /sys/fs/bpf") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise UnsupportedError(
            f"another peerwatch-agent uses {folder}: stop it, or take another folder with --pin-dir"
        ) from None
    strangers = sorted(entry.name for entry in folder.iterdir() if not _is_ours(entry.name))
    if strangers:
        os.close(descriptor)
        raise ConfigError(f"{folder} holds {strangers[0]!r}, which is not peerwatch's: give a folder of its own with --pin-dir")
    return descriptor


def _is_ours(name: str) -> bool:
    return name == ANCHORS or GENERATION.fullmatch(name.removesuffix("-new")) is not None


def _load(folder: Path, mode: Mode) -> Path:
    """Return the folder with the pins of this version and mode, loaded if they are not there."""
    pins = folder / _fingerprint(mode)
    for loading in folder.glob("*-new"):  # of a loader that died on the way
        unpin_all(loading)
    if is_complete(pins):
        return pins
    unpin_all(pins)
    new = pins.with_name(pins.name + "-new")
    command = [sys.executable, "-P", "-m", "agent.capture.loader", str(new), *mode.macros()]
    try:
        # In a process group of its own: Ctrl-C is for the agent, which ends in order once the probes are there.
        loader = subprocess.run(  # noqa: S603 — our own module
            command, capture_output=True, text=True, timeout=LOADER_TIMEOUT_S, check=False, process_group=0
        )
    except subprocess.TimeoutExpired:
        raise UnsupportedError(f"the probes were not loaded within {LOADER_TIMEOUT_S} s: the machine is too busy") from None
    if loader.returncode:
        reason = loader.stderr.strip().splitlines()[-1:] or [f"the loader ended with {loader.returncode}"]
        raise UnsupportedError(reason[0])
    describe(new)
    new.rename(pins)
    return pins


def _inherit_boot_offset(old: Path, new: Path) -> None:
    """Let processes keep the start times, and with them the identities, that they had under the probes of before."""
    with contextlib.suppress(OSError, ValueError, KeyError):  # pinned in part, or of a version that did not describe itself
        offset = Generation(old)
        with opened(new / "state") as state:
            store(state, struct.pack("<I", State.BOOT_OFFSET), struct.pack("<Q", offset.boot_offset))
        offset.close()


def _fingerprint(mode: Mode) -> str:
    """Name what is pinned by what it was made from: other sources, sizes or modes are other probes."""
    digest = hashlib.sha256(repr((SIZES, mode)).encode())
    folder = resources.files("agent.capture") / "bpf"
    for source in sorted(folder.iterdir(), key=lambda each: each.name):
        if source.is_file():
            digest.update(source.name.encode() + b"\0" + source.read_bytes())
    return digest.hexdigest()[:16]


def boot_to_wall() -> int:
    """Return wall clock minus boot clock, ns, now: events happened by the wall clock of their time.

    Who is preempted between the two clocks is off by that long, and events of one batch would seem to precede those of another:
    the quickest of some readings counts.
    """
    readings = []
    for _ in range(READINGS):
        before = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        wall = time.time_ns()
        took = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - before
        readings.append((took, wall - before - took // 2))
    return min(readings)[1]
