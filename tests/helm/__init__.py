"""Helm, built once from its pinned source, for what renders, checks and installs the chart.

`go.mod` and `go.sum` beside this file say which version, with the checksums of everything in it; nothing is downloaded that
they do not name. The program is kept in a cache folder. Where it cannot be built, `Missing` says why in a sentence.
"""

import fcntl
import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

__all__ = ["CHART", "Missing", "call", "program"]

HERE = Path(__file__).parent
CHART = HERE.parents[1] / "daemonset/chart"

BUILD_LIMIT_S = 1200
"""Longest build, seconds; it took 190 on two busy cores."""

CALL_LIMIT_S = 180
"""Longest call, seconds: an installation that waits for its pods."""

KUBERNETES = ("1", "33")
"""What Helm takes a cluster for that it cannot ask: the version of its client library, as in Helm's own releases."""


class Missing(RuntimeError):  # noqa: N818 — a fact about this machine, not a mistake
    """Helm is not here and cannot be built; the text says why."""


@cache
def program() -> Path:
    """Return the path of helm, built if it has to be.

    Raises:
        Missing: it cannot be built.
    """
    found = re.search(r"^\s*helm\.sh/helm/v3 (v\S+)", (HERE / "go.mod").read_text(), re.MULTILINE)
    if found is None:
        raise Missing(f"{HERE / 'go.mod'} names no version of Helm")
    version = found[1]
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    path = home / "peerwatch-tools" / f"helm-{version}" / "helm"
    if path.exists():
        return path
    go = shutil.which("go")
    if go is None:
        raise Missing("needs Helm, which Go 1.24 or later would build: there is no `go` here")
    path.parent.mkdir(parents=True, exist_ok=True)
    with (path.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two that want it at the same time build it once
        if not path.exists():
            _build(go, version, path)
    return path


def _build(go: str, version: str, path: Path) -> None:
    values = {
        "internal/version.version": version,
        **{
            f"pkg/{package}.k8sVersion{part}": KUBERNETES[part == "Minor"]
            for package in ("chartutil", "lint/rules")
            for part in ("Major", "Minor")
        },
    }
    flags = " ".join(["-s", "-w", *(f"-X helm.sh/helm/v3/{name}={value}" for name, value in values.items())])
    made = path.with_suffix(".new")
    command = [go, "build", "-trimpath", "-mod=readonly", "-ldflags", flags, "-o", made, "helm.sh/helm/v3/cmd/helm"]
    environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "", "GOWORK": "off"}
    try:
        result = subprocess.run(
            command, cwd=HERE, env=environment, capture_output=True, text=True, check=False, timeout=BUILD_LIMIT_S
        )
    except subprocess.TimeoutExpired:
        raise Missing(f"needs Helm, whose build took longer than {BUILD_LIMIT_S} s") from None
    if result.returncode != 0:
        last = (result.stderr.strip().splitlines() or ["no word"])[-1]
        raise Missing(f"needs Helm, which could not be built: {last}")
    made.rename(path)


def call(
    *arguments: str | Path, kubeconfig: Path | None = None, inside: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """Run helm and return how it ended; `inside` is put before it, such as what enters a network namespace.

    Raises:
        Missing: there is no helm.
    """
    # Of the caller's settings none: plug-ins, repositories and contexts of a person's own have no say here.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HELM_", "KUBE"))}
    if kubeconfig is not None:
        environment["KUBECONFIG"] = str(kubeconfig)
    return subprocess.run(
        [*inside, program(), *arguments], env=environment, capture_output=True, text=True, check=False, timeout=CALL_LIMIT_S
    )
