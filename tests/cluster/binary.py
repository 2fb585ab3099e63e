"""Kubernetes as one program, built once for each version from the Go module in `kube/` and kept in the user's cache."""

import os
import re
import shutil
import subprocess
from pathlib import Path

__all__ = ["BuildError", "build", "missing", "program", "version"]

MODULE = Path(__file__).parent / "kube"
GO = (1, 24)  # what the module's own go.mod asks for
TOOLS = {
    "conntrack": "conntrack", "containerd": "containerd", "etcd": "etcd-server", "gcc": "gcc libc6-dev", "ip": "iproute2",
    "iptables": "iptables", "nsenter": "util-linux", "openssl": "openssl", "runc": "runc",
}  # fmt: skip
FILES = {"/usr/lib/cni/bridge": "containernetworking-plugins", "/bin/busybox": "busybox-static"}
CAP_SYS_ADMIN = 21  # include/uapi/linux/capability.h


class BuildError(RuntimeError):
    """The program cannot be built. The text ends with the last line that the compiler wrote."""


def version() -> str:
    """Return the version of Kubernetes that the module names."""
    found = re.search(r"^\tk8s\.io/kubernetes (v\S+)$", (MODULE / "go.mod").read_text(), re.MULTILINE)
    assert found is not None
    return found[1]


def missing() -> str:
    """Return a sentence that says why no node can run here, or nothing if one can."""
    effective = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapEff"))
    if not int(effective.split()[1], 16) >> CAP_SYS_ADMIN & 1:  # a root without capabilities is none
        return "needs root to run a Kubernetes node"
    packages = [package for tool, package in TOOLS.items() if shutil.which(tool) is None]
    packages += [package for file, package in FILES.items() if not Path(file).exists()]
    if packages:
        return f"needs programs for a Kubernetes node; on Debian: apt-get install {' '.join(packages)}"
    if not program().exists() and _go_version() < GO:
        return f"needs Go {'.'.join(map(str, GO))} or later to build Kubernetes {version()}"
    return ""


def build() -> Path:
    """Return the program; the first time that takes several minutes.

    Raises:
        BuildError: the compiler refused, or could not get the module's dependencies.
    """
    built = program()
    if built.exists():
        return built
    built.parent.mkdir(parents=True, exist_ok=True)
    made = built.with_name(f"kube.{os.getpid()}")
    package = "k8s.io/component-base/version"
    major, minor, _ = version().removeprefix("v").split(".", 2)
    # The API server compares this version with what clients and feature gates ask for.
    stamps = {"gitVersion": version(), "gitMajor": major, "gitMinor": minor}
    flags = " ".join(["-s", "-w", *(f"-X {package}.{name}={value}" for name, value in stamps.items())])
    done = subprocess.run(
        ["go", "build", "-trimpath", "-ldflags", flags, "-o", str(made), "."],
        cwd=MODULE,
        env=os.environ | {"CGO_ENABLED": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        made.unlink(missing_ok=True)
        words = done.stderr.strip().splitlines() or ["go build said nothing"]
        raise BuildError(f"Kubernetes {version()} cannot be built: {words[-1]}")
    made.rename(built)
    return built


def program() -> Path:
    """Return where the program is, once it is built."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "peerwatch-kube" / version() / "kube"


def _go_version() -> tuple[int, ...]:
    if shutil.which("go") is None:
        return (0,)
    done = subprocess.run(["go", "env", "GOVERSION"], capture_output=True, text=True, check=False)
    found = re.match(r"go(\d+)\.(\d+)", done.stdout)
    return (int(found[1]), int(found[2])) if found else (0,)
