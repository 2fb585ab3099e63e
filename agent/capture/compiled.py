"""Compiled probes as plain data, and where they are kept: a start that finds them needs no compiler.

A file is named by a key over all that it was made from, so one that is found fits. Whoever can write here decides what the
agent loads into the kernel. That is no new power: the folder is made for its owner alone, files and folder count only if they
are this user's and nobody else can write to them, and whoever is this user may load programs without us. Nothing depends on
what is kept: what is missing, damaged or not to be trusted is compiled again, and a disk that takes nothing costs only that.
"""

import base64
import contextlib
import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from agent.capture.libbpf import Map

__all__ = ["Compiled", "Program", "Reference", "forget", "keep", "kept"]

_DEFAULT = "/var/cache/peerwatch-agent"

_FILE = re.compile(r"probes-[0-9a-f]{64}(\.new-[0-9]+)?")

_MOST_FILES = 8
"""Two versions of all four modes: an upgrade, and the way back."""

_MOST_BYTES = 4 << 20
"""Forty times what the probes are; more is not read."""


class Reference(NamedTuple):
    """A place in a program where a map's descriptor belongs."""

    at: int
    """Byte offset."""

    map: int
    """Index in `Compiled.maps`."""


@dataclass(frozen=True, slots=True)
class Program:
    """A program to load, as one of the types that it is loaded as."""

    name: str
    kind: int
    """An enum bpf_prog_type."""

    code: bytes
    references: tuple[Reference, ...]


@dataclass(frozen=True, slots=True)
class Compiled:
    """All that is loaded of one generation of probes."""

    maps: tuple[Map, ...]
    programs: tuple[Program, ...]


def kept(key: str) -> Compiled | None:
    """Return what was kept under a key, 64 hexadecimal digits; None if it is not there or may not be trusted."""
    with contextlib.suppress(OSError, ValueError), _folder() as folder:
        descriptor = os.open(_name(key), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        with os.fdopen(descriptor, "rb") as file:
            if stat.S_ISREG(_owned(descriptor).st_mode):
                return _decode(key, file.read(_MOST_BYTES))
    return None


def keep(key: str, compiled: Compiled) -> None:
    """Keep what was compiled, if that is possible, and remove the oldest of others."""
    new = f"{_name(key)}.new-{os.getpid()}"
    with contextlib.suppress(OSError, ValueError):
        Path(_path()).mkdir(mode=0o700, parents=True, exist_ok=True)
        with _folder() as folder:
            try:
                descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=folder)
                with os.fdopen(descriptor, "wb") as file:
                    file.write(_encode(key, compiled))
                os.replace(new, _name(key), src_dir_fd=folder, dst_dir_fd=folder)
            finally:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(new, dir_fd=folder)
            _remove_oldest(folder)


def forget() -> None:
    """Remove all that was kept."""
    with contextlib.suppress(OSError), _folder() as folder:
        _remove_oldest(folder, keep=0)
        Path(_path()).rmdir()


def _path() -> str:
    return os.environ.get("PEERWATCH_CACHE") or _DEFAULT


def _name(key: str) -> str:
    return f"probes-{key}"


@contextlib.contextmanager
def _folder() -> Iterator[int]:
    descriptor = os.open(_path(), os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        _owned(descriptor)
        yield descriptor
    finally:
        os.close(descriptor)


def _owned(descriptor: int) -> os.stat_result:
    """Return the status of what only this user can have written."""
    status = os.fstat(descriptor)
    if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PermissionError("others can write to it")
    return status


def _remove_oldest(folder: int, keep: int = _MOST_FILES) -> None:
    ages = {
        name: os.stat(name, dir_fd=folder, follow_symlinks=False).st_mtime_ns
        for name in os.listdir(folder)
        if _FILE.fullmatch(name)
    }
    for name in sorted(ages, key=ages.__getitem__, reverse=True)[keep:]:
        os.unlink(name, dir_fd=folder)


def _encode(key: str, compiled: Compiled) -> bytes:
    programs = [asdict(program) | {"code": base64.b64encode(program.code).decode()} for program in compiled.programs]
    content = json.dumps({"maps": compiled.maps, "programs": programs}).encode()
    return _digest(key, content) + content


def _decode(key: str, data: bytes) -> Compiled:
    """Return what is in a file.

    Raises:
        ValueError: it is damaged, or another's.
    """
    length = hashlib.sha256().digest_size
    content = data[length:]
    if data[:length] != _digest(key, content):
        raise ValueError("not what was written")
    found = json.loads(content)
    return Compiled(
        tuple(Map(*each) for each in found["maps"]),
        tuple(
            Program(
                each["name"],
                each["kind"],
                base64.b64decode(each["code"]),
                tuple(Reference(*reference) for reference in each["references"]),
            )
            for each in found["programs"]
        ),
    )


def _digest(key: str, content: bytes) -> bytes:
    return hashlib.sha256(key.encode() + content).digest()
