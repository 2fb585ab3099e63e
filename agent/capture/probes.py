"""The attached probes: starts the loader when they are not there yet, opens what it pinned, reads rings and counters.

Probes belong to the machine, not to this process: they stay when it ends and are found again when it is back, with all that
came in between, as far as the rings hold it.
"""

import contextlib
import fcntl
import functools
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
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from agent.capture.pins import LINKS, MAPS, RING_PAGES, lookup, open_pin, store, unpin_all
from agent.capture.records import CGROUP, LONG_EVENT, OUTCOME, SMALL_EVENT, Counter
from agent.capture.ring import Ring
from agent.errors import ConfigError, UnsupportedError

__all__ = [
    "MOST_RECORDS",
    "PIN_FOLDER",
    "Probes",
    "Records",
    "boot_to_wall",
    "own_folder",
    "uninstall",
    "uninstall_abandoned",
]

PIN_FOLDER = Path("/sys/fs/bpf/peerwatch")

_VERSION = re.compile(r"[0-9a-f]{16}")
"""What is in a folder of ours: one folder per version of the probes, named by `_fingerprint`."""

_OWN = re.compile(rf"{PIN_FOLDER.name}-(?:record|check)-(?P<pid>[0-9]+)")

_PAGE = 4096
_RING_SIZES = {
    "small_events": RING_PAGES["SMALL_RING_PAGES"] * _PAGE,
    "long_events": RING_PAGES["LONG_RING_PAGES"] * _PAGE,
    "outcomes": RING_PAGES["OUTCOME_RING_PAGES"] * _PAGE,
}

# Places in the map `state` (bpf/scratch.h).
_BOOT_OFFSET, _REPORTED_LOSS = 0, 1

MOST_RECORDS = 8192
"""Records taken from a ring at once: 4 MiB of small ones, so that a full ring is worked off in pieces."""

LOADER_TIMEOUT_S = 60
"""Compiling takes under 2 s; a machine this busy should say so instead of hanging."""


@dataclass(frozen=True, slots=True)
class Records:
    """What was read at once: arrays of the types in `records.py`. Long events come after small ones, not by time."""

    small: npt.NDArray[Any]
    long: npt.NDArray[Any]
    outcomes: npt.NDArray[Any]

    def __len__(self) -> int:
        """Return how many records these are."""
        return len(self.small) + len(self.long) + len(self.outcomes)


class Probes:
    """The probes pinned in `folder`, attached by this call if they are not yet.

    Raises:
        UnsupportedError: they cannot be attached, or another agent reads them.
        ConfigError: the folder holds pins of others.
    """

    def __init__(self, folder: Path = PIN_FOLDER) -> None:
        self._lock = _lock(folder)
        try:
            pins = _attach(folder)
            self._rings = {
                name: Ring(open_pin(pins / name), size, record)
                for (name, size), record in zip(_RING_SIZES.items(), (SMALL_EVENT, LONG_EVENT, OUTCOME), strict=True)
            }
            self._counters = open_pin(pins / "counters")
            self._cgroups = open_pin(pins / "cgroups")
            self._state = open_pin(pins / "state")
            self.boot_offset = self._read_state(_BOOT_OFFSET)
            """Wall clock minus boot clock, ns, when the probes were attached: turns start times into stable identities."""
        except BaseException as error:
            os.close(self._lock)
            with contextlib.suppress(OSError):  # it holds the probes of a run before
                folder.rmdir()
            if isinstance(error, OSError):
                raise UnsupportedError(f"{error.strerror}; `peerwatch-agent uninstall` removes what is pinned there") from None
            raise

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close, and leave the probes running."""
        for ring in self._rings.values():
            ring.close()
        for descriptor in (self._counters, self._cgroups, self._state, self._lock):
            os.close(descriptor)

    @property
    def descriptors(self) -> list[int]:
        """File descriptors that become readable when there is something to read."""
        return [ring.descriptor for ring in self._rings.values()]

    @property
    def torn(self) -> int:
        """Records that no probe of ours can have written."""
        return sum(ring.torn for ring in self._rings.values())

    def read(self) -> Records:
        """Take what the rings hold, up to `MOST_RECORDS` each."""
        return Records(*(ring.read(MOST_RECORDS) for ring in self._rings.values()))

    def counters(self) -> dict[Counter, int]:
        """Return what the kernel side counted since the probes were attached, over all CPUs."""
        return {counter: self._counter(counter) for counter in Counter}

    def _counter(self, counter: int) -> int:
        value = lookup(self._counters, struct.pack("<I", counter), 8 * _possible_cpus())
        return int(np.frombuffer(value or b"", np.uint64).sum())

    @property
    def reported_loss(self) -> int:
        """How many lost events were reported since the probes were attached, by this agent and those before it."""
        return self._read_state(_REPORTED_LOSS)

    @reported_loss.setter
    def reported_loss(self, count: int) -> None:
        store(self._state, struct.pack("<I", _REPORTED_LOSS), struct.pack("<Q", count))

    def _read_state(self, place: int) -> int:
        return int.from_bytes(lookup(self._state, struct.pack("<I", place), 8) or b"", "little")

    def cgroup_path(self, key: int) -> str:
        """Return a cgroup's path, empty if the probes no longer know it.

        It begins with `/` only if they followed it to the root: what is above is missing otherwise.
        """
        value = lookup(self._cgroups, struct.pack("<Q", key), CGROUP.itemsize)
        if value is None:
            return ""
        entry = np.frombuffer(value, CGROUP)[0]
        names = bytes(entry["path"])[: int(entry["length"])].decode("utf-8", "backslashreplace").rstrip("/").split("/")
        return ("/" if entry["is_complete"] else "") + "/".join(reversed(names))


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
    strangers = sorted(entry.name for entry in folder.iterdir() if not _VERSION.fullmatch(entry.name))
    if strangers:
        os.close(descriptor)
        raise ConfigError(f"{folder} holds {strangers[0]!r}, which is not peerwatch's: give a folder of its own with --pin-dir")
    return descriptor


def _attach(folder: Path) -> Path:
    """Return the folder with this version's pins; what other versions left is removed once ours run."""
    pins = folder / _fingerprint()
    if not all((pins / name).exists() for name in (*MAPS, *LINKS)):
        unpin_all(pins)  # what a loader left that died on the way
        command = [sys.executable, "-P", "-m", "agent.capture.loader", str(pins)]
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
    for other in folder.iterdir():
        if other != pins:
            unpin_all(other)
    return pins


def _fingerprint() -> str:
    """Name what is pinned by what it was made from: other sources or sizes are other probes."""
    digest = hashlib.sha256(repr(sorted(RING_PAGES.items())).encode())
    folder = resources.files("agent.capture") / "bpf"
    for source in sorted(folder.iterdir(), key=lambda each: each.name):
        if source.is_file():
            digest.update(source.name.encode() + b"\0" + source.read_bytes())
    return digest.hexdigest()[:16]


@functools.cache
def _possible_cpus() -> int:
    """Return how many values a per-CPU map holds for one key: `0-3` means four."""
    ranges = Path("/sys/devices/system/cpu/possible").read_text().strip()
    return int(ranges.rpartition(",")[2].rpartition("-")[2]) + 1


def boot_to_wall() -> int:
    """Return wall clock minus boot clock, ns, now: events happened by the wall clock of their time."""
    return time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)
