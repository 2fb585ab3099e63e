"""From a real container's exec to the finding: kernel, agent, gRPC, collector, alert. What `make demo` shows, checked.

And what it shows from a recording, where nobody may do such things.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import pytest
from harness.session import missing

TESTS = Path(__file__).resolve().parent.parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(TESTS)}
NO_PROBES = missing() or ("" if Path("/sys/kernel/btf/vmlinux").exists() else "needs a kernel with BTF")

LONGEST_S = 240
"""A demo that hangs ends with what it said, before pytest ends the test without. It takes 45 s on an idle host; on one that
starts a Kubernetes node at the same time it took 130 s, so how long it takes is told and not judged.
"""

DROP = ("setpriv", "--bounding-set", "-all", "--inh-caps", "-all") if os.geteuid() == 0 else ()
"""What runs a program with no capabilities: as anybody else than root, nothing is to be dropped."""

NO_DROP = (
    "needs setpriv to give up capabilities; on Debian: apt-get install util-linux" if DROP and not shutil.which(DROP[0]) else ""
)

needs_probes = pytest.mark.skipif(bool(NO_PROBES), reason=NO_PROBES)
needs_setpriv = pytest.mark.skipif(bool(NO_DROP), reason=NO_DROP)


class Ended(NamedTuple):
    code: int
    output: str
    errors: str
    took_s: float


class Demo:
    """One run of it, from its first moment. `before` is put before the command."""

    def __init__(self, *arguments: str, before: tuple[str, ...] = ()) -> None:
        command = [*before, sys.executable, "-m", "demo", *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
        self._begin = time.monotonic()

    @cached_property
    def ended(self) -> Ended:
        """Wait for its end."""
        try:
            output, errors = self.process.communicate(timeout=LONGEST_S)
        except subprocess.TimeoutExpired:
            self.process.terminate()
            pytest.fail("it hangs:\n" + "\n".join(self.process.communicate()))
        return Ended(self.process.returncode, output, errors, time.monotonic() - self._begin)


def traces(pid: int) -> list[str]:
    """Whatever a demo names after itself and could leave behind."""
    name = f"pw-{pid}-"
    folders = ("/run", "/run/netns", "/sys/fs/bpf", "/sys/fs/cgroup")
    found = [str(path) for folder in folders if Path(folder).is_dir() for path in Path(folder).glob(f"{name}*")]
    return found + [line for line in Path("/proc/mounts").read_text().splitlines() if name in line]


@pytest.fixture(scope="module")
def demos() -> Iterator[list[Demo]]:
    """All that were begun here."""
    demos: list[Demo] = []
    yield demos
    for demo in demos:
        demo.process.terminate()
        demo.process.communicate()


@pytest.fixture(scope="module")
def live(demos: list[Demo]) -> Demo:
    demos.append(Demo())
    return demos[-1]


@pytest.fixture(scope="module")
def recorded(demos: list[Demo]) -> Demo:
    demos.append(Demo("--recorded", before=DROP))
    return demos[-1]


@pytest.fixture(scope="module", autouse=True)
def _at_once(request: pytest.FixtureRequest) -> None:
    """Begin what the chosen tests look at: either takes three quarters of a minute, and mostly waits."""
    chosen = [item for item in request.session.items if item.path == request.path and isinstance(item, pytest.Function)]
    for name, reason in (("recorded", NO_DROP), ("live", NO_PROBES)):
        if not reason and any(name in item.fixturenames for item in chosen):
            request.getfixturevalue(name)


@needs_probes
@pytest.mark.kernel
def test_exactly_the_attacked_replica_is_found_within_a_second(
    live: Demo, record_property: Callable[[str, object], None]
) -> None:
    code, output, errors, took_s = live.ended
    record_property("demo_s", round(took_s))

    assert code == 0, output[-3000:] + errors[-2000:]
    assert "\x1b" not in output
    attacked = re.search(r"a shell of (cart-\S+)", output)
    assert attacked is not None
    assert f"Exactly the attacked replica was flagged: {attacked[1]}" in output
    median = re.search(r"median (\d+) ms", output)
    assert median is not None
    assert int(median[1]) < 1000
    assert "none of the 4 did this" in output
    assert traces(live.process.pid) == []


@needs_probes
@pytest.mark.kernel
def test_an_interrupted_demo_leaves_nothing(demos: list[Demo]) -> None:
    assert all(demo.ended for demo in demos)  # a host has room for one that is live
    demos.append(demo := Demo())
    assert demo.process.stdout is not None
    while "Normal life" not in (line := demo.process.stdout.readline()):
        assert line, demo.process.communicate()[1]
    assert traces(demo.process.pid)
    demo.process.send_signal(signal.SIGINT)

    assert demo.ended.code == 130
    assert traces(demo.process.pid) == []


@needs_setpriv
def test_without_rights_the_story_is_told_from_a_recording(recorded: Demo) -> None:
    code, output, errors, _ = recorded.ended

    assert code == 0, output[-3000:] + errors[-2000:]
    assert "Exactly the attacked replica was flagged" in output


@needs_setpriv
def test_without_rights_the_live_demo_says_so_and_offers_the_recording() -> None:
    code, _, errors, _ = Demo(before=DROP).ended

    assert code == 3
    assert len(errors.splitlines()) == 1
    assert "make demo ARGS=--recorded" in errors
