import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.capture import Capture
from harness.containers import Container
from harness.session import run
from harness.world import World

from agent.capture.probes import Probes, uninstall
from agent.capture.records import Counter
from agent.errors import ConfigError, UnsupportedError

pytestmark = pytest.mark.kernel

AGENT = str(Path(sys.executable).with_name("peerwatch-agent"))

# As many connects as wanted, quickly.
LOAD = """
import socket, sys
for _ in range(int(sys.argv[2])):
    with socket.socket() as client: client.connect_ex(("127.0.0.1", int(sys.argv[1])))
"""


def test_what_happens_while_no_agent_runs_arrives_once(world: World, containers: list[Container], own_pins: Path) -> None:
    with Probes(own_pins) as probes:
        containers[0].exec("/usr/bin/tac", "/dev/null")
        before = Capture(probes, world).until(lambda seen: bool(seen.execs("/usr/bin/tac")))
    for _ in range(5):
        containers[0].exec("/usr/bin/tac", "/dev/null")
    with Probes(own_pins) as probes:
        after = Capture(probes, world).until(lambda seen: len(seen.execs("/usr/bin/tac")) >= 5)

    assert len(before.execs("/usr/bin/tac")) == 1
    assert len(after.execs("/usr/bin/tac")) == 5


def test_a_process_keeps_its_start_time_across_agents(world: World, containers: list[Container], own_pins: Path) -> None:
    found = []
    for port in (7101, 7102):
        with Probes(own_pins) as probes:
            containers[0].exec("/usr/bin/python3", "-c", LOAD, str(port), "1")
            seen = Capture(probes, world).until(lambda seen, port=port: bool(seen.connects(port)))
            found.append(probes.boot_offset)
            assert len(seen.connects(port)) == 1

    assert found[0] == found[1] != 0


def test_produced_is_delivered_plus_lost_when_a_ring_overflows(
    world: World, containers: list[Container], own_pins: Path
) -> None:
    number = 20_011  # prime, and more than the 16,384 records that the ring holds
    with Probes(own_pins) as probes:
        containers[0].exec("/usr/bin/python3", "-c", LOAD, "7103", str(number))
        seen = Capture(probes, world).until(lambda seen: len(seen.connects(7103)) > 0)
        counters = probes.counters()

    assert counters[Counter.RING_FULL] > 0
    # Beside the connects there were execs of python and, on a shared host, of others; lost ones may be of either.
    assert len(seen.connects(7103)) + counters[Counter.RING_FULL] >= number
    assert len(seen.connects(7103)) <= number


def test_a_second_agent_is_refused(own_pins: Path) -> None:
    with Probes(own_pins), pytest.raises(UnsupportedError, match="another peerwatch-agent uses"):
        Probes(own_pins)


def test_uninstall_leaves_nothing(own_pins: Path) -> None:
    with Probes(own_pins):
        pass

    assert uninstall(own_pins)
    assert not own_pins.exists()
    assert not uninstall(own_pins)


def test_pins_of_a_loader_that_died_on_the_way_are_replaced(own_pins: Path) -> None:
    with Probes(own_pins):
        pass
    (pins,) = own_pins.iterdir()
    (pins / "exit_connect").unlink()

    with Probes(own_pins):
        assert (pins / "exit_connect").exists()


@contextlib.contextmanager
def recording(output: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen([AGENT, "record", "--output", str(output)], stderr=subprocess.PIPE, text=True) as agent:
        assert agent.stderr is not None
        while "capturing on node" not in (line := agent.stderr.readline()):
            assert line, "the agent ended before it captured"
        try:
            yield agent
        finally:
            agent.kill()


@contextlib.contextmanager
def load(container: Container) -> Iterator[None]:
    """Connect as fast as it can."""
    with subprocess.Popen(container.exec_command("/usr/bin/python3", "-c", LOAD, "7104", "1000000000")) as busy:
        try:
            yield
        finally:
            busy.terminate()  # runc hands it on
            busy.wait(10)


@pytest.mark.usefixtures("_attached")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_record_writes_what_it_saw_and_says_how_much(
    containers: list[Container], tmp_path: Path, number: signal.Signals
) -> None:
    output = tmp_path / "events.jsonl"
    with recording(output) as agent:
        assert agent.stderr is not None
        for _ in range(7):
            containers[0].exec("/usr/bin/tac", "/dev/null")
        deadline = time.monotonic() + 10
        while output.read_text().count('"exe":"/usr/bin/tac"') < 7 and time.monotonic() < deadline:
            time.sleep(0.05)
        agent.send_signal(number)
        summary = agent.stderr.read()
        assert agent.wait(10) == 0

    lines = output.read_text().splitlines()
    assert sum('"exe":"/usr/bin/tac"' in line and containers[0].id in line for line in lines) == 7
    assert f"{len(lines)} events, lost: none" in summary
    assert not list(Path("/sys/fs/bpf").glob(f"peerwatch-record-{agent.pid}"))


@pytest.mark.usefixtures("_attached")
def test_record_ends_under_load(containers: list[Container], tmp_path: Path) -> None:
    output = tmp_path / "events.jsonl"
    with recording(output) as agent, load(containers[0]):
        while output.stat().st_size < 1 << 20:
            time.sleep(0.01)
        agent.terminate()
        assert agent.wait(15) == 0


@pytest.mark.usefixtures("_attached")
def test_what_a_killed_recording_left_in_the_kernel_is_removed_by_the_next_command(tmp_path: Path) -> None:
    with recording(tmp_path / "first.jsonl") as killed, recording(tmp_path / "second.jsonl") as living:
        pins = [Path(f"/sys/fs/bpf/peerwatch-record-{agent.pid}") for agent in (killed, living)]
        killed.kill()
        killed.wait()
        assert [folder.exists() for folder in pins] == [True, True]

        run(AGENT, "uninstall", "--pin-dir", "/sys/fs/bpf/peerwatch-none")

        assert [folder.exists() for folder in pins] == [False, True]
        living.terminate()
        assert living.wait(15) == 0


@pytest.mark.usefixtures("_attached")
def test_a_full_disk_ends_a_recording_with_one_line(containers: list[Container], tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=64k", "none", str(disk))
    try:
        with recording(disk / "events.jsonl") as agent, load(containers[0]):
            assert agent.stderr is not None
            said = agent.stderr.read()
            assert agent.wait(15) == 3
    finally:
        run("umount", "-l", str(disk))

    assert said.count("\n") == 1
    assert f"cannot write {disk}/events.jsonl: No space left on device" in said
    assert not Path(f"/sys/fs/bpf/peerwatch-record-{agent.pid}").exists()


@pytest.mark.usefixtures("_attached")
@pytest.mark.parametrize("options", [["uninstall"], ["run", "--collector", "127.0.0.1:1"]], ids=["uninstall", "run"])
def test_a_folder_with_pins_of_others_is_refused_and_left_alone(own_pins: Path, options: list[str]) -> None:
    """As /sys/fs/bpf itself would be, where the network's pins live."""
    others = own_pins / "cilium"
    others.mkdir(parents=True)
    try:
        done = subprocess.run(
            [AGENT, *options, "--pin-dir", str(own_pins)], capture_output=True, text=True, check=False, timeout=20
        )
        assert others.is_dir()
        with pytest.raises(ConfigError, match="holds 'cilium', which is not peerwatch's"):
            uninstall(own_pins)
    finally:
        with contextlib.suppress(FileNotFoundError):
            others.rmdir()

    assert done.returncode == 2
    assert "holds 'cilium'" in done.stderr
