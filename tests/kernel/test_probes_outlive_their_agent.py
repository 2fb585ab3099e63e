import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from harness.agents import AGENT, Agent
from harness.capture import Capture, Seen
from harness.containers import Container
from harness.loop import lost, read, read_until
from harness.session import run
from harness.world import World
from peerwatch.columns import EventKind

from agent.capture.pins import GENERATION
from agent.capture.probes import Mode, Probes, uninstall
from agent.errors import ConfigError, UnsupportedError

pytestmark = pytest.mark.kernel

# As many connects as wanted, quickly.
LOAD = """
import socket, sys
for _ in range(int(sys.argv[2])):
    with socket.socket() as client: client.connect_ex(("127.0.0.1", int(sys.argv[1])))
"""


@pytest.fixture(scope="module")
def pins(_attached: None) -> Iterator[Path]:
    """Probes of this module: loaded by whichever test comes first, and after one that has removed them."""
    folder = Path(f"/sys/fs/bpf/peerwatch-outlive-{os.getpid()}")
    yield folder
    uninstall(folder)


def test_what_happens_while_no_agent_runs_arrives_once(containers: list[Container], pins: Path) -> None:
    own = containers[0].id
    read(pins, Mode())  # whatever the tests before have left in these probes' rings
    for _ in range(5):
        containers[0].exec("/usr/bin/tac", "/dev/null")
    containers[0].exec("/usr/bin/python3", "-c", LOAD, "7101", "997")

    seen = read_until(lambda seen: len(seen.connects(7101, own)) >= 997, pins, Mode())
    again = read(pins, Mode())

    assert len(seen.execs("/usr/bin/tac", own)) == 5
    assert seen.connects(7101, own) == [("TCP", "127.0.0.1", "REFUSED")] * 997
    assert again.execs("", own) == again.connects(7101) == []
    assert lost(seen) == lost(again) == {}


def test_what_was_read_and_not_given_back_is_there_for_the_next_agent(
    world: World, containers: list[Container], pins: Path
) -> None:
    with Probes(pins) as probes:
        Capture(probes, world).forget()
        containers[0].exec("/usr/bin/tac", "/dev/null")
        probes.current.folds.report()
        assert len(probes.current.read()) > 0
    with Probes(pins) as probes:
        seen = Capture(probes, world).until(lambda seen: bool(seen.execs("/usr/bin/tac")))

    assert len(seen.execs("/usr/bin/tac")) == 1


def test_what_was_safe_when_the_agent_was_killed_is_not_read_again(
    world: World, containers: list[Container], pins: Path
) -> None:
    with Probes(pins) as probes:
        Capture(probes, world).forget()
        containers[0].exec("/usr/bin/tac", "/dev/null")
        safe = probes.current.read().cursor
    containers[0].exec("/usr/bin/tac", "--version")
    with Probes(pins) as probes:
        probes.current.release(safe)
        seen = Capture(probes, world).until(lambda seen: bool(seen.execs("/usr/bin/tac")))

    assert [seen.args(process) for process in seen.execs("/usr/bin/tac")] == [["/usr/bin/tac", "--version"]]


def test_a_process_keeps_its_identity_across_agents(containers: list[Container], pins: Path) -> None:
    own = containers[0].id
    connect = "import socket; socket.socket().connect_ex(('127.0.0.1', {port}))\n"
    command = containers[0].exec_command("/usr/bin/python3", "-c", "import sys\nfor line in sys.stdin: exec(line)")
    with Probes(pins):
        pass
    found = []
    with subprocess.Popen(command, stdin=subprocess.PIPE, text=True, bufsize=1) as process:
        assert process.stdin is not None
        for port in (7102, 7103):
            process.stdin.write(connect.format(port=port))
            seen = read_until(lambda seen, port=port: bool(seen.connects(port, own)), pins, Mode())
            found += [identity(seen, row) for row in seen.rows(EventKind.CONNECT, port=port, container=own)]
        process.stdin.close()

    assert len(found) == 2
    assert found[0] == found[1]


def identity(seen: Seen, row: int) -> tuple[int, int]:
    process = seen.table.process[row]
    return int(seen.table.processes.pid[process]), int(seen.table.processes.start_time[process])


def test_pins_of_a_loader_that_died_on_the_way_are_replaced(pins: Path) -> None:
    with Probes(pins):
        (generation,) = [entry for entry in pins.iterdir() if GENERATION.fullmatch(entry.name)]
    (generation / "process_exit").unlink()
    unfinished = pins / f"{generation.name}-new"
    unfinished.mkdir()

    with Probes(pins):
        assert (generation / "process_exit").exists()
    assert not unfinished.exists()


def test_a_second_agent_is_refused(pins: Path) -> None:
    with Probes(pins), pytest.raises(UnsupportedError, match="another peerwatch-agent uses"):
        Probes(pins)


@pytest.mark.parametrize("command", [["run", "--collector", "127.0.0.1:1"], ["uninstall"]], ids=["run", "uninstall"])
def test_while_an_agent_runs_another_command_says_so_in_one_line(pins: Path, tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "spool").mkdir()
    with Probes(pins):
        done = call(*command, "--pin-dir", str(pins), "--spool", str(tmp_path / "spool"))
        assert pins.is_dir()

    assert done.returncode == 3
    assert said(done) == [
        f"peerwatch-agent: another peerwatch-agent uses {pins}: stop it, or take another folder with --pin-dir"
    ]
    assert (tmp_path / "spool").is_dir()


def test_the_spool_of_an_agent_that_runs_is_refused_in_one_line(pins: Path, tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    with running(pins, spool):
        done = call("run", "--collector", "127.0.0.1:1", "--pin-dir", f"{pins}-none", "--spool", str(spool))

    assert done.returncode == 2
    assert said(done) == [
        f"peerwatch-agent: another agent uses the spool folder {spool}; stop it, or give this one another --spool"
    ]


def test_the_spool_of_another_node_is_refused_in_one_line_and_kept(
    containers: list[Container], pins: Path, tmp_path: Path
) -> None:
    spool = tmp_path / "spool"
    with running(pins, spool):
        containers[0].exec("/usr/bin/tac", "/dev/null")
        while not any(b"/usr/bin/tac" in file.read_bytes() for file in spool.iterdir()):
            time.sleep(0.01)
    files = {file.name: file.read_bytes() for file in spool.iterdir()}

    done = call("run", "--collector", "127.0.0.1:1", "--node", "another", "--pin-dir", str(pins), "--spool", str(spool))

    assert done.returncode == 2
    (line,) = said(done)
    assert f"the spool folder {spool} holds" in line
    assert "of node" in line
    assert "--spool" in line
    assert {file.name: file.read_bytes() for file in spool.iterdir()} == files


def test_uninstall_removes_pins_and_spool(containers: list[Container], pins: Path, tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    with running(pins, spool):
        containers[0].exec("/usr/bin/tac", "/dev/null")
        while not any(spool.iterdir()):
            time.sleep(0.01)
    folders = ["--pin-dir", str(pins), "--spool", str(spool)]

    first, second = call("uninstall", *folders), call("uninstall", *folders)

    assert (first.returncode, first.stdout) == (0, f"removed {pins} and {spool}\n")
    assert (second.returncode, second.stdout) == (0, f"nothing to remove: there is no {pins} and no {spool}\n")
    assert not pins.exists()
    assert not spool.exists()


def call(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([AGENT, *options], capture_output=True, text=True, check=False, timeout=30)


def said(done: subprocess.CompletedProcess[str]) -> list[str]:
    """Return what a command said, but for what it says of its options."""
    assert done.stdout == ""
    return [line for line in done.stderr.splitlines() if "no source of pods" not in line]


@contextlib.contextmanager
def running(pins: Path, spool: Path) -> Iterator[Agent]:
    """Run an agent whose collector is away, and kill it."""
    options = ["--collector", "127.0.0.1:1", "--pin-dir", str(pins), "--spool", str(spool), "--canary", "0"]
    with Agent(options) as agent:
        agent.until("capturing on node")
        yield agent


@contextlib.contextmanager
def recording(output: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    command = [AGENT, "record", "--output", str(output), *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as agent:
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
def test_record_writes_what_it_saw_and_says_how_much(containers: list[Container], tmp_path: Path) -> None:
    output = tmp_path / "events.jsonl"
    with recording(output) as agent:
        assert agent.stderr is not None
        for _ in range(7):
            containers[0].exec("/usr/bin/tac", "/dev/null")
        while output.read_text().count('"exe":"/usr/bin/tac"') < 7:
            time.sleep(0.01)
        agent.send_signal(signal.SIGINT)
        summary = agent.stderr.read()
        assert agent.wait(10) == 0

    lines = output.read_bytes().splitlines()
    events = [event for event in map(orjson.loads, lines) if event["container"]["id"] == containers[0].id]
    executed = [
        event["exec"].get("count", 1) for event in events if "exec" in event and event["process"]["exe"] == "/usr/bin/tac"
    ]
    assert sum(executed) == 7
    said = re.fullmatch(r"peerwatch-agent: (\d+) events \(.+\) in (\d+) lines, lost: none(, left out: .+)?\n", summary)
    assert said, summary
    assert int(said[1]) >= int(said[2]) == len(lines)
    assert not list(Path("/sys/fs/bpf").glob(f"peerwatch-record-{agent.pid}"))


@pytest.mark.usefixtures("_attached")
def test_record_ends_under_load_and_accounts_for_it(containers: list[Container], tmp_path: Path) -> None:
    output = tmp_path / "events.jsonl"
    with recording(output, "--full") as agent, load(containers[0]):
        assert agent.stderr is not None
        while output.stat().st_size < 1 << 20:
            time.sleep(0.01)
        agent.terminate()
        summary = agent.stderr.read()
        assert agent.wait(15) == 0

    events = [orjson.loads(line) for line in output.read_bytes().splitlines()]
    lost = sum(event["loss"]["count"] for event in events if "loss" in event)
    said = re.search(r"(\d+) events .+ lost: (none|(\d+) RING_FULL)", summary)
    assert said, summary
    assert int(said[1]) == sum("loss" not in event for event in events)
    assert int(said[3] or 0) == lost


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
        with recording(disk / "events.jsonl", "--full") as agent, load(containers[0]):
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
        done = call(*options, "--pin-dir", str(own_pins))
        assert others.is_dir()
        with pytest.raises(ConfigError, match="holds 'cilium', which is not peerwatch's"):
            uninstall(own_pins)
    finally:
        with contextlib.suppress(FileNotFoundError):
            others.rmdir()

    assert done.returncode == 2
    assert "holds 'cilium'" in done.stderr
