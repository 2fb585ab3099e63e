"""An agent of another version ran before: its records have other fields and sizes, and all that is in its rings arrives."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness.capture import Seen
from harness.containers import Container
from harness.loop import lost, read_until
from peerwatch.columns import EventKind

import agent
from agent.capture.probes import Mode, uninstall

pytestmark = pytest.mark.kernel

LONG = "x" * 440
"""With the rest of its description more than what a small record of this version holds, and less than what one of 504 does."""

# Does what it is told, line by line.
TALK = """
import socket, subprocess, sys
def connect(port):
    with socket.socket() as client: client.connect_ex(("127.0.0.1", port))
def run(*arguments):
    subprocess.run(["/usr/bin/tac", *arguments], stderr=subprocess.DEVNULL)
full = socket.create_server(("127.0.0.1", 7304), backlog=0)
waiting = [socket.socket() for _ in range(2)]
for line in sys.stdin:
    exec(line)
    print("done", flush=True)
"""


@pytest.fixture(scope="module")
def pins(_attached: None) -> Iterator[Path]:
    """Shared: whichever version comes next replaces the one before."""
    folder = Path(f"/sys/fs/bpf/peerwatch-upgrade-{os.getpid()}")
    yield folder
    uninstall(folder)


@pytest.fixture
def talk(containers: list[Container]) -> Iterator[Callable[[str], None]]:
    """Tell a process in a container what to do; it lives from before the upgrade until after it."""
    command = containers[0].exec_command("/usr/bin/python3", "-c", TALK)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def tell(line: str) -> None:
            process.stdin.write(line + "\n")
            assert process.stdout.readline() == "done\n"

        yield tell
        process.stdin.close()


def another_version(folder: Path, small_text: int) -> Path:
    """Make an agent whose records have that much text, a field and a counter that ours does not know, and lack a field."""
    shutil.copytree(Path(agent.__file__).parent, folder / "agent")
    changes = {
        "bpf/records.h": {
            r"SMALL_TEXT 480": f"SMALL_TEXT {small_text}",
            r"(    __u64 lifetime;.*\n)": r"\1    __u64 novelty;\n",
            r"COUNTER_MAX = 13,": "COUNTER_NOVELTY = 13,\n    COUNTER_MAX = 14,",
        },
        "records.py": {
            r"_SMALL_TEXT = 480": f"_SMALL_TEXT = {small_text}",
            r'(    \("lifetime", "<u8"\),\n)(    \("count")': r'\1    ("novelty", "<u8"),\n\2',
            r'"gid"': '"group"',
            r"(    ENDED = 12\n)": r"\1    NOVELTY = 13\n",
        },
    }
    for name, edits in changes.items():
        file = folder / "agent/capture" / name
        text = file.read_text()
        for pattern, replacement in edits.items():
            text, count = re.subn(pattern, replacement, text)
            assert count == 1, f"{name} has changed: {pattern} is there {count} times"
        file.write_text(text)
    return folder


def attach(version: Path, pins: Path) -> None:
    """Attach the probes of that version, which an agent then leaves behind."""
    source = "import sys, pathlib, agent.capture.probes as probes\nwith probes.Probes(pathlib.Path(sys.argv[1])): pass"
    environment = {**os.environ, "PYTHONPATH": str(version), "PEERWATCH_CACHE": str(version / "cache")}
    subprocess.run([sys.executable, "-P", "-c", source, str(pins)], env=environment, check=True, timeout=60)


def generations(pins: Path) -> list[str]:
    return [entry.name for entry in pins.iterdir() if re.fullmatch("[0-9a-f]{16}", entry.name)]


@pytest.mark.parametrize("small_text", [344, 504], ids=["shorter records", "longer records"])
def test_all_arrives_with_what_both_versions_know(
    containers: list[Container], pins: Path, tmp_path: Path, talk: Callable[[str], None], small_text: int
) -> None:
    container = containers[0].id
    attach(another_version(tmp_path, small_text), pins)
    talk("for _ in range(7): connect(7301)")
    talk("for _ in range(5): run('/dev/null')")
    talk(f"run({LONG!r})")
    talk("for each in waiting: each.setblocking(False); each.connect_ex(('127.0.0.1', 7304))")

    seen = read_until(lambda seen: len(seen.connects(7301, container)) >= 7, pins, Mode())
    talk("for _ in range(3): connect(7301)")
    after = read_until(lambda seen: len(seen.connects(7301, container)) >= 3, pins, Mode())

    assert seen.connects(7301, container) == [("TCP", "127.0.0.1", "REFUSED")] * 7
    assert sorted(seen.connects(7304, container)) == [("TCP", "127.0.0.1", "IN_PROGRESS"), ("TCP", "127.0.0.1", "OK")]
    executed = [seen.args(process) for process in seen.execs("/usr/bin/tac", container)]
    assert sorted(executed) == [["/usr/bin/tac", "/dev/null"]] * 5 + [["/usr/bin/tac", LONG]]
    assert sum(exits(seen, "/usr/bin/tac", container)) == 6
    assert lost(seen) == lost(after) == {}
    assert after.connects(7301, container) == [("TCP", "127.0.0.1", "REFUSED")] * 3
    assert identities(seen, container) == identities(after, container)
    assert len(identities(seen, container)) == 1
    assert len(generations(pins)) == 1, "those of the other version are gone"


def exits(seen: Seen, exe: str, container: str) -> list[int]:
    counts = seen.table.counts()
    return [int(counts[row]) for row in seen.rows(EventKind.EXIT, exe=exe, container=container)]


def identities(seen: Seen, container: str) -> set[tuple[int, int]]:
    """Return pid and start time of what connected."""
    processes = seen.table.processes
    return {
        (int(processes.pid[process]), int(processes.start_time[process]))
        for process in (seen.table.process[row] for row in seen.rows(EventKind.CONNECT, container=container))
    }
