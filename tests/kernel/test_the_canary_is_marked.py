"""What the agent does to prove that it sees is marked, told one by one, and nobody else's."""

import os
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator

import pytest
from harness.capture import Capture, Seen
from harness.containers import Container
from kernel.workload import NOTHING, PYTHON
from peerwatch.columns import EventKind

from agent.capture.libbpf import opened, store
from agent.capture.records import State

pytestmark = pytest.mark.kernel

NAME = "peerwatch-canary"


@pytest.fixture
def own(capture: Capture) -> Iterator[Capture]:
    """With this process as the agent, which is in no container."""
    capture.probes.current.declare_agent()
    capture.others.add("")
    yield capture
    with opened(capture.probes.current.pins / "state") as state:
        store(state, struct.pack("<I", State.CANARY), bytes(8))


def test_each_exec_of_the_agent_s_children_is_told_with_its_mark(own: Capture) -> None:
    for _ in range(5):
        subprocess.run([NAME, "word"], executable="/bin/true", check=True)

    seen = own.until(lambda seen: len(_canaries(seen, EventKind.EXEC)) >= 5, ask=False)

    processes = seen.table.process[_canaries(seen, EventKind.EXEC)].tolist()
    assert [seen.args(process) for process in processes] == [[NAME, "word"]] * 5
    assert seen.table.counts()[_canaries(seen, EventKind.EXEC)].tolist() == [1] * 5
    assert {int(seen.table.processes.parent_pid[process]) for process in processes} == {os.getpid()}


def test_each_connect_of_the_agent_to_its_own_host_is_told_with_its_mark(own: Capture) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        for _ in range(5):
            with socket.socket() as client:
                assert client.connect_ex(("127.0.0.1", port)) != 0

    seen = own.until(lambda seen: len(seen.connects(port)) >= 5, ask=False)

    assert seen.counts(EventKind.CONNECT, port=port) == [1] * 5
    assert seen.connects(port) == [("TCP", "127.0.0.1", "REFUSED")] * 5
    assert _canaries(seen, EventKind.CONNECT) == seen.rows(EventKind.CONNECT, port=port)


def test_a_thread_of_the_agent_is_the_agent(own: Capture) -> None:
    run = threading.Thread(target=subprocess.run, args=([NAME, "thread"],), kwargs={"executable": "/bin/true"})
    run.start()
    run.join()

    seen = own.until(lambda seen: bool(_canaries(seen, EventKind.EXEC)), ask=False)

    (row,) = _canaries(seen, EventKind.EXEC)
    assert seen.args(int(seen.table.process[row])) == [NAME, "thread"]


def test_the_children_of_its_children_are_not_the_agent_s(own: Capture, containers: list[Container]) -> None:
    subprocess.run(["/bin/sh", "-c", f"/bin/true {NAME}; true"], check=True)
    containers[0].exec("/bin/true", "last")

    seen = own.until(lambda seen: bool(seen.execs("/usr/bin/true")))

    assert [seen.args(process)[-1] for process in seen.execs("/usr/bin/true")] == ["last"]


def test_nobody_is_a_canary_by_name(own: Capture, containers: list[Container]) -> None:
    script = f"""
import os, socket, subprocess
for _ in range(5): subprocess.run([{NAME!r}], executable={NOTHING!r})
for _ in range(5): socket.socket().connect_ex(('127.0.0.1', 7802))
"""
    containers[0].exec(PYTHON, "-c", script)

    seen = own.until(lambda seen: len(seen.connects(7802)) >= 5 and len(seen.execs(NOTHING)) >= 5)

    assert seen.counts(EventKind.EXEC, exe=NOTHING) == seen.counts(EventKind.CONNECT, port=7802) == [1, 4]
    assert not _canaries(seen, EventKind.CONNECT)
    assert not [row for row in _canaries(seen, EventKind.EXEC) if seen.container(row)]


def _canaries(seen: Seen, kind: EventKind) -> list[int]:
    """Return the rows of a kind that carry the mark."""
    return [row for row in seen.rows(kind) if "CANARY" in seen.flags(int(seen.table.process[row]))]
