"""The kernels that are tried, and what of them is kept in `~/.cache/peerwatch-machines`: fetched once, some 100 MB each."""

import lzma
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from machines.debian import Release
from machines.machine import Kernel, MachineError

__all__ = ["KERNELS", "Source", "cache", "kernel_of"]


@dataclass(frozen=True, slots=True)
class Source:
    """Where a kernel comes from: a release of Debian, and the processor as Debian names it."""

    suite: str
    architecture: str = "amd64"


# Debian has none between 5.10 and 6.1.
KERNELS = {
    "5.10": Source("bullseye"),
    "6.1": Source("bookworm"),
    "6.12": Source("trixie"),
    "newest": Source("trixie-backports"),
    "6.1-arm64": Source("bookworm", "arm64"),
}

# Of 4,000 modules what a machine needs: file systems, networks, and how it reaches its root.
_KEPT = (
    "fs/",
    "net/",
    "lib/",
    "crypto/",
    "arch/",
    "drivers/virtio/",
    "drivers/net/veth",
    "drivers/net/dummy",
    "drivers/char/hw_random/",
)


def cache() -> Path:
    """Return the folder for all that is fetched."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "peerwatch-machines"


def kernel_of(name: str) -> Kernel:
    """Return a kernel, fetched if it is not there yet.

    Raises:
        MachineError: it cannot be had.
    """
    source = KERNELS[name]
    folder = cache() / name
    if not folder.exists():
        release = Release(source.suite, source.architecture, cache() / f"apt-{source.suite}-{source.architecture}")
        packages = release.kernel_packages(source.architecture)
        files = [each for each in release.download(packages) if any(each.name.startswith(f"{name}_") for name in packages)]
        made = folder.with_name(name + ".new")  # whole or not at all
        shutil.rmtree(made, ignore_errors=True)
        _unpack(files, made)
        made.rename(folder)
        for file in files:
            file.unlink()
    (modules,) = (folder / "modules").iterdir()
    return Kernel(source.architecture, folder / "vmlinuz", modules)


def _unpack(packages: list[Path], folder: Path) -> None:
    everything = folder / "packages"
    everything.mkdir(parents=True)
    for package in packages:
        subprocess.run(["dpkg-deb", "-x", package, everything], check=True)
    images, trees = sorted(everything.rglob("vmlinuz*")), sorted(everything.rglob("modules/*/kernel"))
    if not images or not trees:
        raise MachineError(f"{[each.name for each in packages]} bring no kernel with modules")
    shutil.copy(images[0], folder / "vmlinuz")
    release = trees[0].parent.name
    for file in trees[0].rglob("*.ko*"):
        name = file.relative_to(trees[0])
        if str(name).startswith(_KEPT):
            to = folder / "modules" / release / "kernel" / name
            to.parent.mkdir(parents=True, exist_ok=True)
            content = file.read_bytes()
            to.with_suffix("" if file.suffix == ".xz" else file.suffix).write_bytes(
                lzma.decompress(content) if file.suffix == ".xz" else content
            )
    shutil.rmtree(everything)
    (folder / "lib").mkdir()  # depmod looks there
    (folder / "lib/modules").symlink_to("../modules")
    subprocess.run(["busybox", "depmod", "-b", folder, release], check=True)
