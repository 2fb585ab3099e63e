"""What a container finds as its files: a base, and a program on top of it as an image's last layer.

Two bases, both without a download. `Base.HOST` is a small tree with the host's `/usr` bind-mounted read-only, so that
python3 and every tool exist at once. `Base.BUSYBOX` is a static busybox and links for its applets. Base and program are
the lower layers of an overlay: what a container writes lands in its upper layer, as on a real node.
"""

import contextlib
import enum
import hashlib
import os
import shutil
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from harness.session import run

__all__ = ["Base", "Layers", "Program", "compile_c"]

PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
"""Without /usr/local: what a developer installed there is not what a test means."""

USERS = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:app:/app:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"
GROUPS = "root:x:0:\napp:x:1000:\nnogroup:x:65534:\n"
BUSYBOX = ("/bin/busybox", "/usr/bin/busybox")


class Base(enum.Enum):
    """The lowest layer of a container."""

    HOST = "host"
    BUSYBOX = "busybox"


@dataclass(frozen=True)
class Program:
    """What a container runs, and the files that its image adds to the base.

    A file is text or bytes, or a path on the host whose content is copied; it is executable when it is a program (a path
    with that permission, or a text that starts with `#!`).
    """

    argv: tuple[str, ...]
    files: Mapping[str, str | bytes | Path] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    base: Base = Base.HOST
    user: int = 0
    cwd: str = "/"
    image: str = ""


class Layers:
    """Builds lower layers in a session's directory, each once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()  # replicas start at the same time
        self._bases: dict[Base, Path] = {}
        self._programs: dict[int, tuple[Program, Path]] = {}
        path.mkdir(parents=True, exist_ok=True)

    def of(self, program: Program) -> list[Path]:
        """Return the lower layers of a program, uppermost first."""
        with self._lock:
            if program.base not in self._bases:
                self._bases[program.base] = self._base(program.base)
            if id(program) not in self._programs:
                # Kept beside its path: an id is unique only while its object lives.
                self._programs[id(program)] = program, self._program(program)
            return [self._programs[id(program)][1], self._bases[program.base]]

    def _base(self, base: Base) -> Path:
        root = self._path / base.value
        for name in ("etc", "proc", "sys", "dev", "tmp", "run", "var/tmp", "var/run", "root", "home", "app"):
            (root / name).mkdir(parents=True)
        for name in ("tmp", "var/tmp"):
            (root / name).chmod(0o1777)
        (root / "etc/passwd").write_text(USERS)
        (root / "etc/group").write_text(GROUPS)
        (root / "etc/resolv.conf").write_text("")
        (root / "etc/hosts").write_text("127.0.0.1 localhost\n")
        (root / "etc/hostname").write_text("")
        (root / "etc/nsswitch.conf").write_text("passwd: files\ngroup: files\nhosts: files\n")
        if base is Base.HOST:
            (root / "usr").mkdir()
            for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
                if (Path("/usr") / name).is_dir():
                    (root / name).symlink_to(f"usr/{name}")
            if Path("/etc/alternatives").is_dir():  # awk, nc, … are links to links
                shutil.copytree("/etc/alternatives", root / "etc/alternatives", symlinks=True)
        else:
            _busybox(root)
        return root

    def _program(self, program: Program) -> Path:
        root = self._path / f"program-{len(self._programs)}"
        root.mkdir()
        for name, content in program.files.items():
            path = root / name.lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, Path):
                shutil.copy(content, path)
            elif isinstance(content, str):
                path.write_text(content)
                path.chmod(0o755 if content.startswith("#!") else 0o644)
            else:
                path.write_bytes(content)
                path.chmod(0o755 if content.startswith(b"\x7fELF") else 0o644)
        return root


def _busybox(root: Path) -> None:
    binary = next((path for path in BUSYBOX if Path(path).is_file()), "")
    if not binary:
        raise RuntimeError("no busybox on this host; on Debian: apt-get install busybox-static")
    for name in ("bin", "sbin", "usr/bin", "usr/sbin"):
        (root / name).mkdir(parents=True)
    shutil.copy(binary, root / "bin/busybox")
    for applet in run(binary, "--list-full").split():
        link = root / applet
        if link.parent.is_dir() and not link.exists():
            link.symlink_to("/bin/busybox")


def compile_c(source: str, *flags: str) -> Path:
    """Compile a C program, static so that it runs on every base, and return its file; compiled once per source and flags."""
    directory = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "peerwatch/harness"
    binary = directory / hashlib.sha256("\0".join((source, *flags)).encode()).hexdigest()[:24]
    if not binary.exists():
        directory.mkdir(parents=True, exist_ok=True)
        handle, made = tempfile.mkstemp(dir=directory)
        os.close(handle)
        try:
            run("gcc", "-O2", "-static", *flags, "-x", "c", "-o", made, "-", text=source)
            Path(made).chmod(0o755)
            Path(made).rename(binary)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                Path(made).unlink()
            raise
    return binary
