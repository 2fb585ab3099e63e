"""Each thing that this machine may lack, taken away for real: in a mount namespace, or from the capabilities."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

AGENT = str(Path(sys.executable).with_name("peerwatch-agent"))
PINS = Path(f"/sys/fs/bpf/peerwatch-missing-{os.getpid()}")
SPOOL = Path(f"/tmp/peerwatch-missing-{os.getpid()}")
RUN = [AGENT, "run", "--collector", "127.0.0.1:1", "--pin-dir", str(PINS), "--spool", str(SPOOL)]


@pytest.fixture(autouse=True)
def _spool() -> Iterator[None]:
    """It is made first, so it is there although the rest is missing."""
    yield
    shutil.rmtree(SPOOL, ignore_errors=True)


def call(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env={**os.environ, **environment})


def without(mounts: str, *command: str) -> subprocess.CompletedProcess[str]:
    """Run with other mounts, made in a namespace of its own."""
    if os.geteuid() != 0:
        pytest.skip("needs root to make a mount namespace")
    return call("unshare", "--mount", "sh", "-c", f'set -e; {mounts}; exec "$@"', "sh", *command)


def refused(done: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    assert done.returncode == code
    lines = [line for line in done.stderr.splitlines() if "no source of pods" not in line]
    assert len(lines) == 1
    for word in words:
        assert word in lines[0]
    assert done.stdout == ""
    assert not PINS.exists()


def test_no_root() -> None:
    if os.geteuid() == 0 and not shutil.which("setpriv"):
        pytest.skip("needs setpriv to give up capabilities; on Debian: apt-get install util-linux")
    drop = ["setpriv", "--bounding-set", "-all", "--inh-caps", "-all"] if os.geteuid() == 0 else []

    refused(call(*drop, *RUN), 3, "CAP_BPF and CAP_PERFMON missing", "run as root")


def test_no_btf() -> None:
    refused(without("mount -t tmpfs none /sys/kernel/btf", *RUN), 3, "no readable BTF", "CONFIG_DEBUG_INFO_BTF=y")


def test_no_bpf_file_system() -> None:
    refused(without("umount -l /sys/fs/bpf", *RUN), 3, "/sys/fs/bpf", "mount -t bpf bpf /sys/fs/bpf")


def test_no_tracefs() -> None:
    mounts = "mount -t tmpfs none /sys/kernel/tracing; umount -l /sys/kernel/debug 2>/dev/null || true"
    refused(without(mounts, *RUN), 3, "mount -t tracefs tracefs /sys/kernel/tracing")


@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("raise ImportError('not installed')", ("bcc is missing", "python3-bpfcc")),
        ("BPF = object", ("not the BPF Compiler Collection", "python3-bpfcc")),
    ],
    ids=["none", "another project of that name"],
)
def test_no_bcc(tmp_path: Path, module: str, words: tuple[str, ...]) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root: without, that is what is told first")
    (tmp_path / "bcc.py").write_text(module)

    refused(call(*RUN, PYTHONPATH=str(tmp_path), PEERWATCH_CACHE=str(tmp_path)), 3, *words)


def test_check_says_what_is_missing_and_ends_with_3() -> None:
    done = without("mount -t tmpfs none /sys/kernel/btf", AGENT, "check")

    assert done.returncode == 3
    assert "missing  kernel types" in done.stdout
    assert len(done.stderr.splitlines()) == 1
    assert "\x1b" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "--bogus"], ("--bogus", "--help")),
        (["run"], ("--collector",)),
        (["run", "--collector", "nowhere"], ("HOST:PORT", "'nowhere'")),
        (["run", "--collector", "127.0.0.1:1", "--metrics", "nowhere"], ("--metrics", "HOST:PORT", "'nowhere'")),
        (["run", "--collector", "127.0.0.1:1", "--spool", "/proc/nothing/here"], ("/proc/nothing/here", "--spool")),
        (["sing"], ("sing", "--help")),
        (["record"], ("--output",)),
        (["record", "--output", "/proc/nothing/here"], ("/proc/nothing/here", "--output")),
        (["record", "--output", "-", "--pods", "/nothing/here"], ("/nothing/here",)),
    ],
    ids=" ".join,
)
def test_wrong_calls(arguments: list[str], words: tuple[str, ...]) -> None:
    if os.geteuid() != 0 and {"--output", "--spool"} & set(arguments):
        pytest.skip("needs root: without, that is what is told first")

    refused(call(AGENT, *arguments), 2, *words)


def test_a_malformed_pod_list_names_file_and_place(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root: without, that is what is told first")
    pods = tmp_path / "pods.json"
    pods.write_text('{"kind": "PodList", "items": [\n')

    refused(call(*RUN, "--pods", str(pods)), 2, str(pods))


def test_help_teaches() -> None:
    for command in ([], ["run"], ["record"], ["check"], ["uninstall"]):
        done = call(AGENT, *command, "--help")

        assert done.returncode == 0
        assert "Usage: peerwatch-agent" in done.stdout
        assert not done.stderr
