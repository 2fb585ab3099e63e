"""Outside of containers nothing is captured, unless a person asks for the host."""

import os
import secrets
import subprocess
from pathlib import Path

import pytest
from harness.capture import Capture, Seen
from harness.containers import Container
from kernel.workload import PYTHON_EXE
from peerwatch.columns import EventKind

pytestmark = pytest.mark.kernel

CONNECT = "import socket, sys; socket.socket().connect_ex(('127.0.0.1', 7801))"


def _child(script: str, *words: str) -> int:
    """Run a child of this test and return its pid."""
    with subprocess.Popen([PYTHON_EXE, "-c", script, *words]) as child:
        assert child.wait() == 0
    return child.pid


def _pids(seen: Seen, kind: EventKind) -> set[int]:
    rows = seen.rows(kind)
    return set(seen.table.processes.pid[seen.table.process[rows]].tolist())


def test_with_the_host_its_processes_are_told_with_a_flag(host_capture: Capture) -> None:
    word = secrets.token_hex(8)
    pid = _child(CONNECT, word)

    seen = host_capture.until(lambda seen: pid in _pids(seen, EventKind.EXIT))

    (process,) = (each for each in seen.execs(PYTHON_EXE) if seen.args(each)[-1] == word)
    assert int(seen.table.processes.pid[process]) == pid
    assert seen.flags(process) >= {"HOST_NAMESPACE"}
    assert pid in _pids(seen, EventKind.CONNECT)
    rows = [row for row in seen.rows(EventKind.EXEC) if int(seen.table.process[row]) == process]
    assert [seen.container(row) for row in rows] == [""]


def test_with_the_host_its_processes_have_a_lineage(host_capture: Capture) -> None:
    word = secrets.token_hex(8)
    pid = _child(f"import subprocess, sys; subprocess.run(['/bin/true', {word!r}], check=True)")

    seen = host_capture.until(lambda seen: bool(_with(seen, word)))

    (process,) = _with(seen, word)
    ids = seen.table.ancestor_id_list(int(seen.table.processes.ancestor_ids[process]))
    assert [pid for pid, _ in ids[:2]] == [pid, os.getpid()]
    assert seen.lineage(process)[:2] == [PYTHON_EXE, str(Path(f"/proc/{os.getpid()}/exe").resolve())]
    assert "INJECTED" not in seen.flags(process)


def test_with_the_host_containers_are_told_as_ever(host_capture: Capture, containers: list[Container]) -> None:
    word = secrets.token_hex(8)
    containers[0].exec("/bin/true", word)

    seen = host_capture.until(lambda seen: bool(_with(seen, word)))

    (process,) = _with(seen, word)
    assert seen.flags(process) == {"INJECTED"}
    rows = [row for row in seen.rows(EventKind.EXEC) if int(seen.table.process[row]) == process]
    assert [seen.container(row) for row in rows] == [containers[0].id]


def test_without_the_host_nothing_of_it_is_told(capture: Capture, containers: list[Container]) -> None:
    capture.others.add("")
    pid = _child(CONNECT)
    containers[0].exec(PYTHON_EXE, "-c", CONNECT)

    seen = capture.until(lambda seen: bool(seen.connects(7801)) and bool(seen.exits(PYTHON_EXE)))

    for kind in (EventKind.EXEC, EventKind.CONNECT, EventKind.EXIT):
        assert pid not in _pids(seen, kind)
    assert {seen.container(row) for row in range(len(seen.table))} == {containers[0].id}


def _with(seen: Seen, word: str) -> list[int]:
    return [process for process in seen.execs("/usr/bin/true") if seen.args(process)[-1:] == [word]]
