"""One boot of a kernel: a root over 9p that nothing is written to, a command in it, and what that said.

The root is a folder of this host, `/` itself where the processor is of the same kind: what runs here runs there, from the same
place, with the same Python. Whatever is written lands in the machine's memory. The kernel's first file system is made here, of
a static busybox and the modules without which that folder cannot be reached.

All is emulated, which works anywhere, and the machine's clock counts instructions (`-icount`): to itself it is a machine of a
usual speed, whatever this host has to do beside, so that tests may expect of it what they expect elsewhere.
"""

import gzip
import platform
import re
import shlex
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["HOST", "Kernel", "Machine", "MachineError", "missing"]

HOST = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), "")
"""This host's processor, as Debian names it."""


@dataclass(frozen=True, slots=True)
class _Board:
    """What QEMU shows a kernel."""

    qemu: str
    package: str
    console: str
    options: tuple[str, ...]
    processor: str


_BOARDS = {
    "amd64": _Board("qemu-system-x86_64", "qemu-system-x86", "ttyS0", ("-machine", "q35"), "max"),
    # A processor without pointer authentication: emulating that takes most of the time.
    "arm64": _Board("qemu-system-aarch64", "qemu-system-arm", "ttyAMA0", ("-machine", "virt"), "cortex-a72"),
}

_MODULES = ("virtio_pci", "9pnet_virtio", "9p", "overlay")
"""What the root is reached by. A kernel that has one of them built in has no file of it."""

_ENDED = re.compile(r"^machine: ended with ([0-9]+)$", re.MULTILINE)

_INIT = """#!/bin/sh
fail() { echo "machine: $1"; poweroff -f; }
mount -t devtmpfs devtmpfs /dev && mount -t proc proc /proc && mount -t sysfs sysfs /sys || fail "no /dev, /proc or /sys"
for module in $(cat /modules); do modprobe $module || fail "no $module"; done
share=trans=virtio,version=9p2000.L,msize=512000,cache=loose,ro
mount -t 9p -o $share root /lower && mount -t tmpfs -o size=80% tmpfs /upper && mkdir /upper/changes /upper/work &&
    mount -t overlay -o lowerdir=/lower,upperdir=/upper/changes,workdir=/upper/work overlay /machine || fail "no root"
while read -r tag place; do
    mkdir -p /machine$place && mount -t 9p -o $share $tag /machine$place || fail "no $place"
done </shares
mount -t tmpfs tmpfs /machine/run && cp /command /machine/run/command || fail "no command"
for place in dev proc sys; do mount --move /$place /machine/$place; done
exec switch_root /machine /bin/sh /run/command
"""

# What an operating system has set up by the time that an agent starts. `modprobe` is busybox's: not every root has its own.
_COMMAND = """
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
printf '#!/bin/sh\\nexec busybox modprobe "$@"\\n' >/run/modprobe && chmod 755 /run/modprobe
echo /run/modprobe >/proc/sys/kernel/modprobe
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t bpf bpf /sys/fs/bpf
mount -t tracefs tracefs /sys/kernel/tracing
ip link set lo up
mkdir -p /output && mount -t 9p -o trans=virtio,version=9p2000.L output /output 2>/dev/null
(cd {folder} && {command}) </dev/null 2>&1
echo "machine: ended with $?"
busybox poweroff -f
"""


class MachineError(Exception):
    """A machine did not start, or did not end by itself; the text is what it said last."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel to boot."""

    architecture: str
    image: Path
    modules: Path
    """The folder named as the release, with `modules.dep` and what that names."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What a kernel is booted with."""

    kernel: Kernel
    root: Path
    shares: Mapping[str, Path]
    """Place in the machine → folder of this host that is there."""

    log: Path
    """What the machine says goes here while it runs."""

    output: Path | None = None
    """A folder of this host that the machine writes to, at `/output`."""

    memory_mib: int = 3072

    def run(self, command: Sequence[str], *, folder: str, timeout: float) -> tuple[int, str]:
        """Boot, run a command in a folder, and return its exit code and what the machine said.

        Raises:
            MachineError: it did not start, or the command did not end in time (seconds).
        """
        board = _BOARDS[self.kernel.architecture]
        places = {"/lib/modules/" + self.kernel.modules.name: self.kernel.modules, **self.shares}
        tags = {f"share{number}": place for number, place in enumerate(places)}
        with tempfile.TemporaryDirectory(prefix="peerwatch-machine-") as made:
            first = Path(made, "initrd")
            script = _COMMAND.format(folder=shlex.quote(folder), command=shlex.join(command))
            first.write_bytes(gzip.compress(self._first_files(script, tags), 1))
            argv = [
                board.qemu, *board.options, "-m", str(self.memory_mib), "-no-reboot", "-display", "none",
                "-icount", "shift=0,sleep=on",
                "-nodefaults", "-serial", "stdio",
                "-accel", "tcg", "-cpu", board.processor,
                "-kernel", str(self.kernel.image), "-initrd", str(first),
                "-append", f"console={board.console} quiet loglevel=3 panic=-1 random.trust_cpu=on",
                "-object", "rng-random,id=random,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=random",
                *_shared("root", self.root),
                *(option for tag, place in tags.items() for option in _shared(tag, places[place])),
                *(_shared("output", self.output, writable=True) if self.output else ()),
            ]  # fmt: skip
            try:
                with self.log.open("wb") as log:
                    subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, timeout=timeout, check=False)
            except subprocess.TimeoutExpired:
                raise MachineError(f"it did not end within {timeout:g} s: {_last(self._said())}") from None
        said = self._said()
        ended = _ENDED.search(said)
        if ended is None:
            raise MachineError(f"it ended before its command did: {_last(said)}")
        return int(ended[1]), said[: ended.start()]

    def _said(self) -> str:
        return self.log.read_text(errors="replace").replace("\r", "")

    def _first_files(self, command: str, tags: Mapping[str, str]) -> bytes:
        """Return the kernel's first file system, as an archive."""
        needed = _needed(self.kernel.modules)
        busybox = self.root / "bin/busybox"
        files: dict[str, bytes] = {
            "init": _INIT.encode(),
            "command": command.encode(),
            "shares": "".join(f"{tag} {place}\n" for tag, place in tags.items()).encode(),
            "modules": " ".join(name for name in _MODULES if any(Path(each).stem == name for each in needed)).encode(),
            "bin/busybox": busybox.read_bytes(),
        }
        modules = f"lib/modules/{self.kernel.modules.name}/"
        files |= {modules + name: (self.kernel.modules / name).read_bytes() for name in (*needed, "modules.dep")}
        links = dict.fromkeys(("sh", "mount", "mkdir", "cat", "cp", "modprobe", "poweroff", "switch_root"), "busybox")
        folders = ("dev", "proc", "sys", "lower", "upper", "machine")
        return _archive(folders, files, {f"bin/{name}": target for name, target in links.items()})


def missing(architecture: str) -> str:
    """Return a sentence that says why no such machine can be started here, or nothing if one can."""
    board = _BOARDS[architecture]
    absent = [tool for tool in (board.qemu, "busybox", "dpkg-deb", "apt-get") if shutil.which(tool) is None]
    if absent:
        return f"needs {', '.join(absent)}; on Debian: apt-get install {board.package} busybox-static"
    return ""


def _shared(tag: str, folder: Path, *, writable: bool = False) -> list[str]:
    options = f"id={tag},path={folder},security_model=none,multidevs=remap" + ("" if writable else ",readonly=on")
    return ["-fsdev", f"local,{options}", "-device", f"virtio-9p-pci,fsdev={tag},mount_tag={tag}"]


def _last(said: str) -> str:
    return " | ".join(said.strip().splitlines()[-5:])


def _needed(modules: Path) -> list[str]:
    """Return the files of the modules that the root needs, with those that they need."""
    depends = {}
    for line in (modules / "modules.dep").read_text().splitlines():
        name, _, others = line.partition(":")
        depends[name] = others.split()
    wanted = [name for name in depends if Path(name).stem in _MODULES]
    return sorted({each for name in wanted for each in (name, *depends[name])})


def _archive(folders: Sequence[str], files: Mapping[str, bytes], links: Mapping[str, str]) -> bytes:
    """Return a cpio archive in the format that a kernel reads (Documentation/driver-api/early-userspace/buffer-format.rst)."""
    parents = {str(parent) for name in (*files, *links) for parent in Path(name).parents if parent.name}
    entries = [(name, stat.S_IFDIR | 0o755, b"") for name in sorted({*folders, *parents})]
    entries += [(name, stat.S_IFREG | 0o755, content) for name, content in files.items()]
    entries += [(name, stat.S_IFLNK | 0o777, target.encode()) for name, target in links.items()]
    archive = bytearray()
    for number, (name, mode, content) in enumerate([*entries, ("TRAILER!!!", 0, b"")], start=1):
        path = name.encode() + b"\0"
        # inode, mode, user, group, links, time, size, device twice, length of the name, no checksum
        fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(path), 0)
        archive += b"070701" + b"".join(b"%08x" % field for field in fields) + path
        archive += bytes(-len(archive) % 4) + content
        archive += bytes(-len(archive) % 4)
    return bytes(archive)
