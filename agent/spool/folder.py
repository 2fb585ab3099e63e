"""The spool's folder and the files in it: held by one agent at a time, never through a link, and no other user's.

What is in the folder and is not called like a segment is left alone. What fails here raises OSError; whether that matters is
for those who call.
"""

import contextlib
import fcntl
import os
import secrets
import stat
from pathlib import Path

from agent.errors import ConfigError, UnsupportedError

__all__ = ["Folder", "remove", "write"]

_WRITE = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a pipe of that name must not make us wait

SUFFIX = ".spool"
"""What the names of all our files end with, once they are whole."""

_UNFINISHED = f"{SUFFIX}.new"


class Folder:
    """Files by name. Keeps one of them open for reading, the one that was read last."""

    def __init__(self, path: Path) -> None:
        """Make the folder if it is missing, and take it.

        Raises:
            ConfigError: it cannot be made, is not a folder of ours, or another agent has it.
        """
        self.path = path
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            what = "it is a link or a file" if path.is_symlink() or path.is_file() else error.strerror
            raise ConfigError(
                f"cannot use the spool folder {path}: {what}; make it a folder that can be written, or give another --spool"
            ) from None
        try:
            self._take()
        except BaseException:
            os.close(self._handle)
            raise
        self._read_name = ""
        self._read_handle = -1

    def _take(self) -> None:
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"another agent uses the spool folder {self.path}; stop it, or give this one another --spool"
            ) from None
        except OSError as error:
            raise ConfigError(
                f"cannot lock the spool folder {self.path}: {error.strerror}; give another --spool, on a local disk"
            ) from None
        found = os.fstat(self._handle)
        if found.st_uid != os.geteuid():
            raise ConfigError(
                f"the spool folder {self.path} belongs to user {found.st_uid}, who could change it; give another --spool"
            )
        if stat.S_IMODE(found.st_mode) & 0o077:
            # What containers executed is nobody else's business. A volume that Kubernetes made is open to all.
            with contextlib.suppress(OSError):
                os.fchmod(self._handle, 0o700)
        for name in self.names():
            if name.endswith(_UNFINISHED):
                with contextlib.suppress(OSError):  # not ours, if it is no file
                    self.remove(name)

    def close(self) -> None:
        """Let go of the folder."""
        self._forget()
        os.close(self._handle)

    def names(self) -> list[str]:
        """Return the names of all files in order."""
        return sorted(os.listdir(self._handle))  # noqa: PTH208 — pathlib cannot list what a descriptor stands for

    def size(self, name: str) -> int | None:
        """Return the length of a regular file, None for anything else."""
        found = os.stat(name, dir_fd=self._handle, follow_symlinks=False)
        return found.st_size if stat.S_ISREG(found.st_mode) else None

    def read(self, name: str, offset: int, length: int) -> bytes:
        """Return a part of a file, shorter where the file ends, empty if it cannot be read."""
        try:
            if name != self._read_name:
                self._forget()
                self._read_handle = os.open(name, _READ, dir_fd=self._handle)
                self._read_name = name
            return os.pread(self._read_handle, length, offset)
        except OSError:
            return b""

    def create(self, name: str) -> int:
        """Return a descriptor to append to a new file."""
        return os.open(name, _WRITE | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=self._handle)

    def cut(self, name: str, size: int) -> None:
        """Shorten a file."""
        handle = os.open(name, _WRITE, dir_fd=self._handle)
        try:
            os.ftruncate(handle, size)
        finally:
            os.close(handle)

    def put(self, name: str, data: bytes) -> None:
        """Make a file with this content, at once or not at all."""
        unfinished = f"{secrets.token_hex(8)}{_UNFINISHED}"
        handle = self.create(unfinished)
        try:
            write(handle, data)
            os.rename(unfinished, name, src_dir_fd=self._handle, dst_dir_fd=self._handle)
        except OSError:
            with contextlib.suppress(OSError):
                self.remove(unfinished)
            raise
        finally:
            os.close(handle)

    def remove(self, name: str) -> None:
        """Remove a file; one that is gone is removed."""
        if name == self._read_name:
            self._forget()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._handle)

    def _forget(self) -> None:
        if self._read_name:
            os.close(self._read_handle)
            self._read_name = ""


def write(handle: int, data: bytes) -> None:
    """Write all of it; a disk that fills up takes a part without an error."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(handle, rest) :]


def remove(path: Path) -> bool:
    """Remove our files, and the folder if nothing else is in it; return whether there was anything of ours.

    Raises:
        ConfigError: an agent uses it, or it is not ours.
        UnsupportedError: the file system does not allow it.
    """
    if not path.exists():
        return False
    folder = Folder(path)
    try:
        names = [name for name in folder.names() if name.endswith(SUFFIX)]
        for name in names:
            folder.remove(name)
        with contextlib.suppress(OSError):  # others' files are in it, or it is mounted there
            path.rmdir()
    except OSError as error:
        raise UnsupportedError(f"cannot remove {path}: {error.strerror}; remove it by hand") from None
    finally:
        folder.close()
    return bool(names) or not path.exists()
