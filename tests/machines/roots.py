"""What a machine has as its root: this host's own, or for another processor one of Debian's packages and PyPI's wheels."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

from machines.debian import Release
from machines.kernels import cache
from machines.machine import HOST, MachineError

__all__ = ["PACKAGES", "root_for"]

PACKAGES = "/opt/python"
"""Where a root that was made here has its Python packages."""

_SUITE = "bookworm"

# What tests run, and of what Debian takes for granted what they use.
_DEBIAN = (
    "python3", "python3-bpfcc", "libbpf1", "runc", "busybox-static", "iproute2", "gcc", "libc6-dev", "bash", "coreutils",
    "dash", "debianutils", "findutils", "grep", "gzip", "hostname", "libc-bin", "mount", "procps", "sed", "tar",
    "util-linux",
)  # fmt: skip

# Of requirements/dev.lock what the agent and its tests import.
_PYTHON = (
    "annotated-doc", "annotated-types", "attrs", "click", "grpcio", "hypothesis", "iniconfig", "markdown-it-py", "mdurl",
    "numpy", "orjson", "packaging", "pluggy", "protobuf", "pydantic", "pydantic-core", "pygments", "pytest",
    "pytest-randomly", "pytest-timeout", "pyyaml", "rich", "shellingham", "sortedcontainers", "typer", "typing-extensions",
    "typing-inspection", "urllib3",
)  # fmt: skip
_PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64")


def root_for(architecture: str, project: Path) -> Path:
    """Return the folder for a machine's root, made if it is not there yet.

    Raises:
        MachineError: what it is made of cannot be had.
    """
    if architecture == HOST:
        return Path("/")
    if architecture != "arm64":
        raise MachineError(f"from this host no root for {architecture} can be made")
    root = cache() / f"root-{architecture}"
    if not root.exists():
        made = root.with_suffix(".new")
        shutil.rmtree(made, ignore_errors=True)
        release = Release(_SUITE, architecture, cache() / f"apt-{_SUITE}-{architecture}")
        for package in release.download_with_needs(_DEBIAN):
            if not package.name.startswith("linux-"):
                subprocess.run(["dpkg-deb", "-x", package, made], check=True)
        _merge(made)
        _install(made, project)
        made.rename(root)
    return root


def _merge(root: Path) -> None:
    """Make of the folders that Debian merged with those in /usr what its installer makes of them."""
    for name in ("bin", "sbin", "lib"):
        if not (root / name).is_symlink():
            shutil.copytree(root / name, root / "usr" / name, symlinks=True, dirs_exist_ok=True)
            shutil.rmtree(root / name)
            (root / name).symlink_to(f"usr/{name}")


def _install(root: Path, project: Path) -> None:
    lock = (project / "requirements/dev.lock").read_text()
    locked = dict(re.findall(r"^([a-z0-9-]+)==([^ ;]+) (?:\\|; python_full_version < '3\.12')", lock, re.MULTILINE))
    wanted = [f"{name}=={locked[name]}" for name in _PYTHON]
    options = [option for platform in _PLATFORMS for option in ("--platform", platform)]
    target = ["--target", str(root / PACKAGES.lstrip("/")), "--python-version", "3.11", "--only-binary=:all:", "--no-deps"]
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", *options, *target, *wanted], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise MachineError(f"pip: {done.stderr.strip()[-500:]}")
    (root / PACKAGES.lstrip("/") / "bcc").symlink_to("/usr/lib/python3/dist-packages/bcc")
