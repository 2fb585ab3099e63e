"""The probes load with the rights that the chart gives, in namespaces of their own, and not with one less."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TRACEFS = Path("/sys/kernel/tracing")
BPFFS = Path("/sys/fs/bpf")


def _why_not() -> str:
    if os.geteuid() != 0:
        return "needs root"
    if not Path("/sys/kernel/btf/vmlinux").exists():
        return "needs a kernel with BTF"
    if not os.path.ismount(BPFFS) or not os.path.ismount(TRACEFS):
        return f"needs {BPFFS} and {TRACEFS} to be mounted"
    absent = [tool for tool in ("unshare", "setpriv") if shutil.which(tool) is None]
    return f"needs {', '.join(absent)}" if absent else ""


pytestmark = [pytest.mark.kernel, pytest.mark.skipif(_why_not() != "", reason=_why_not() or "it runs")]


@pytest.fixture
def pins() -> Iterator[Path]:
    folder = BPFFS / f"peerwatch-rights-{os.getpid()}"
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


ATTACH = """
import sys
from pathlib import Path
from agent.capture.probes import Probes
from agent.errors import AgentError
try:
    with Probes(Path(sys.argv[1])) as probes:
        print(len(probes.current.counters()))
except AgentError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
"""


def _attach(pins: Path, *, capabilities: str = "+bpf,+perfmon", before: str = "true") -> subprocess.CompletedProcess[str]:
    """Load and attach the probes, and read what they counted, with these rights and no others."""
    rights = f"setpriv --bounding-set=-all,{capabilities} --inh-caps=-all --no-new-privs"
    agent = f'exec {rights} {sys.executable} -c "$0" {pins}'
    command = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "sh", "-c", f"{before} && {agent}", ATTACH]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_two_capabilities_and_no_process_namespace_of_the_node_are_enough(pins: Path) -> None:
    result = _attach(pins)
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) > 0


@pytest.mark.parametrize("capability", ["bpf", "perfmon"])
def test_one_capability_is_not_enough(pins: Path, capability: str) -> None:
    result = _attach(pins, capabilities=f"+{capability}")
    assert result.returncode == 3
    assert not pins.exists()


def test_the_tracing_folder_is_needed_and_without_it_nothing_stays_attached(pins: Path) -> None:
    result = _attach(pins, before=f"umount --lazy {TRACEFS}")
    assert result.returncode == 3
    assert "tracefs" in result.stderr
    assert list(pins.glob("anchors-*")) == []  # what is loaded waits for the next try


def test_btf_is_needed_and_is_in_the_sys_of_every_container(pins: Path) -> None:
    result = _attach(pins, before="mount -t tmpfs none /sys/kernel/btf")
    assert result.returncode == 3
    assert "BTF" in result.stderr
    assert not pins.exists()
