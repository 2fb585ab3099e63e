"""The wall clock jumps while an agent runs. It is this process' clock that is moved: the machine's is others', too."""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.capture import Seen
from harness.containers import Container
from harness.loop import lost, read_until
from peerwatch.columns import EventKind

from agent.capture.probes import Mode, uninstall

pytestmark = pytest.mark.kernel

HOUR = 3600 * 10**9
JUMPS = {7401: 0, 7402: 2 * HOUR, 7403: -5 * HOUR}
"""Port that is connected to → how wrong the clock is then."""

# Connects five times to each port that it is told.
CONNECT = """
import socket, sys
for line in sys.stdin:
    for _ in range(5): socket.socket().connect_ex(("127.0.0.1", int(line)))
"""


@pytest.fixture
def pins(_attached: None) -> Iterator[Path]:
    folder = Path(f"/sys/fs/bpf/peerwatch-clock-{os.getpid()}")
    yield folder
    uninstall(folder)


def test_each_event_arrives_once_at_the_time_of_its_clock_and_processes_stay_who_they_are(
    containers: list[Container], pins: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = containers[0].id
    true_time_ns = time.time_ns
    jumps = iter(JUMPS.items())
    port = 0

    def go_on(seen: Seen) -> bool:
        """When all connects to a port are there, set the clock and have the next one be connected to."""
        nonlocal port
        if port and len(seen.connects(port, own)) < 5:
            return False
        port, shift = next(jumps, (0, 0))
        monkeypatch.setattr(time, "time_ns", lambda: true_time_ns() + shift)
        if port:
            process.stdin.write(f"{port}\n")
        return not port

    command = containers[0].exec_command("/usr/bin/python3", "-c", CONNECT)
    begin = true_time_ns()
    with subprocess.Popen(command, stdin=subprocess.PIPE, text=True, bufsize=1) as process:
        seen = read_until(go_on, pins, Mode())
        process.communicate()
    end = true_time_ns()

    assert {each: len(seen.connects(each, own)) for each in JUMPS} == dict.fromkeys(JUMPS, 5)
    assert lost(seen) == {}
    for each, shift in JUMPS.items():
        for row in seen.rows(EventKind.CONNECT, port=each, container=own):
            assert begin < int(seen.table.time[row]) - shift < end
    assert len(identities(seen, own)) == 1


def identities(seen: Seen, container: str) -> set[tuple[int, int]]:
    """Return pid and start time of what connected."""
    processes = seen.table.processes
    return {
        (int(processes.pid[process]), int(processes.start_time[process]))
        for process in (seen.table.process[row] for row in seen.rows(EventKind.CONNECT, container=container))
    }
