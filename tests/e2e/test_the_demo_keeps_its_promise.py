"""From a real container's exec to the finding: kernel, agent, gRPC, collector, alert. What `make demo` shows, checked."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from harness.session import missing

TESTS = Path(__file__).resolve().parent.parent
DEMO = [sys.executable, "-m", "demo"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(TESTS)}


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen([*DEMO, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)


def traces(pid: int) -> list[str]:
    """Whatever a demo names after itself and could leave behind."""
    name = f"pw-{pid}-"
    folders = ("/run", "/run/netns", "/sys/fs/bpf", "/sys/fs/cgroup")
    found = [str(path) for folder in folders if Path(folder).is_dir() for path in Path(folder).glob(f"{name}*")]
    return found + [line for line in Path("/proc/mounts").read_text().splitlines() if name in line]


@pytest.fixture(autouse=True)
def _possible() -> None:
    reason = missing() or ("" if Path("/sys/kernel/btf/vmlinux").exists() else "needs a kernel with BTF")
    if reason:
        pytest.skip(reason)


@pytest.mark.kernel
@pytest.mark.timeout(150)
def test_exactly_the_attacked_replica_is_found_within_a_second() -> None:
    begin = time.monotonic()
    with start() as demo:
        output, errors = demo.communicate(timeout=140)

    assert demo.returncode == 0, output[-3000:] + errors[-2000:]
    assert time.monotonic() - begin < 90
    assert "\x1b" not in output
    attacked = re.search(r"a shell of (cart-\S+)", output)
    assert attacked is not None
    assert f"Exactly the attacked replica was flagged: {attacked[1]}" in output
    median = re.search(r"median (\d+) ms", output)
    assert median is not None
    assert int(median[1]) < 1000
    assert "none of the 4 did this" in output
    assert traces(demo.pid) == []


@pytest.mark.kernel
def test_an_interrupted_demo_leaves_nothing() -> None:
    with start() as demo:
        assert demo.stdout is not None
        while "Normal life" not in (line := demo.stdout.readline()):
            assert line, demo.communicate()[1]
        assert traces(demo.pid)
        demo.send_signal(signal.SIGINT)
        demo.communicate(timeout=30)

    assert demo.returncode == 130
    assert traces(demo.pid) == []
