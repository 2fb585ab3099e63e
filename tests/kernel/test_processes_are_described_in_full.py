"""Who a process is and what it may do: user, group, effective ones, capabilities, script, and where it comes from."""

import subprocess
from pathlib import Path

import pytest
from harness.capture import Capture
from harness.containers import Container
from harness.rootfs import Program, compile_c
from harness.world import World
from kernel.workload import NOTHING, PYTHON
from peerwatch.columns import EventKind

pytestmark = pytest.mark.kernel

DASH = "/usr/bin/dash"
TICKS = 10_000_000
"""Nanoseconds in a clock tick of /proc (USER_HZ is 100 on every machine that peerwatch runs on)."""


@pytest.mark.parametrize(
    ("folder", "called", "script", "args"),
    [
        ("/", "/tmp/scripts/plain", "/tmp/scripts/plain", ["/bin/sh", "/tmp/scripts/plain", "x"]),
        ("/tmp/scripts", "./plain", "/tmp/scripts/plain", ["/bin/sh", "./plain", "x"]),
        ("/tmp/scripts", "plain", "/tmp/scripts/plain", ["/bin/sh", "plain", "x"]),
        ("/tmp", "scripts/../scripts/plain", "/tmp/scripts/plain", ["/bin/sh", "scripts/../scripts/plain", "x"]),
        (
            "/",
            "/tmp/scripts/nested",
            "/tmp/scripts/nested",
            ["/bin/sh", "/tmp/scripts/plain", "/tmp/scripts/nested", "x"],
        ),
        ("/", "/tmp/scripts/with-option", "/tmp/scripts/with-option", ["/bin/sh", "-e", "/tmp/scripts/with-option", "x"]),
    ],
    ids=["absolute", "with a dot", "relative", "there and back", "script of a script", "with an option"],
)
def test_a_script_is_named_in_full(
    capture: Capture,
    containers: list[Container],
    folder: str,
    called: str,
    script: str,
    args: list[str],
) -> None:
    code = f"""
import os, subprocess
os.makedirs('/tmp/scripts', exist_ok=True)
for name, line in ('plain', '/bin/sh'), ('nested', '/tmp/scripts/plain'), ('with-option', '/bin/sh -e'):
    open('/tmp/scripts/' + name, 'w').write('#!' + line + chr(10))
    os.chmod('/tmp/scripts/' + name, 0o755)
os.chdir({folder!r})
os.fork() or os.execv({called!r}, [{called!r}, 'x'])
os.wait()
"""
    containers[0].exec(PYTHON, "-c", code)

    seen = capture.until(lambda seen: bool(seen.execs(DASH)))

    (process,) = seen.execs(DASH)
    columns, strings = seen.table.processes, seen.table.strings
    assert strings[columns.script[process]] == script
    assert seen.args(process) == args


def test_a_script_s_long_name_is_cut(capture: Capture, containers: list[Container]) -> None:
    script = f"/tmp/{'a' * 200}/{'b' * 100}"
    code = f"""
import os, subprocess
os.makedirs(os.path.dirname({script!r}), exist_ok=True)
open({script!r}, 'w').write('#!/bin/sh' + chr(10))
os.chmod({script!r}, 0o755)
subprocess.run([{script!r}])
"""
    containers[0].exec(PYTHON, "-c", code)

    seen = capture.until(lambda seen: bool(seen.execs(DASH)))

    (process,) = seen.execs(DASH)
    assert seen.table.strings[seen.table.processes.script[process]] == script[:255]
    assert seen.args(process) == ["/bin/sh", script]


def test_what_is_no_script_has_none(capture: Capture, containers: list[Container]) -> None:
    containers[0].exec("/bin/sh", "-c", NOTHING)

    seen = capture.until(lambda seen: bool(seen.execs(NOTHING)))

    assert [seen.table.strings[seen.table.processes.script[process]] for process in seen.execs()] == ["", ""]


def test_users_and_groups_real_and_effective(capture: Capture, containers: list[Container]) -> None:
    script = f"import os\nos.setresgid(1001, 1002, 1003)\nos.setresuid(1004, 1005, 1006)\nos.execv({NOTHING!r}, ['nothing'])"
    containers[0].exec(PYTHON, "-c", script)

    seen = capture.until(lambda seen: bool(seen.execs(NOTHING)))

    (process,) = seen.execs(NOTHING)
    columns = seen.table.processes
    found = [getattr(columns, name)[process] for name in ("uid", "gid", "effective_uid", "effective_gid")]
    assert found == [1004, 1001, 1005, 1002]


@pytest.mark.parametrize("shell", ["/app/setuid; true", "exec /app/setuid"], ids=["child", "same process"])
def test_a_setuid_program_has_its_owner_s_rights_and_says_what_it_gained(capture: Capture, world: World, shell: str) -> None:
    program = Program(argv=("/usr/bin/sleep", "100000"), user=1000)
    with world.deploy("setuid", program=program) as deployment:
        container = deployment.replicas[0].container
        file = container.rootfs / "app/setuid"
        file.write_bytes(compile_c("int main(void) { return 0; }").read_bytes())
        file.chmod(0o4755)
        command = container.exec_command("/bin/sh", "-c", shell)
        command.insert(command.index("exec") + 1, "--no-new-privs=false")
        subprocess.run(command, check=True)

        seen = capture.until(lambda seen: bool(seen.execs("/app/setuid")))

        (process,) = seen.execs("/app/setuid")
        (before,) = seen.execs(DASH)
        columns = seen.table.processes
        assert [columns.uid[before], columns.effective_uid[before]] == [1000, 1000]
        assert [columns.uid[process], columns.effective_uid[process]] == [1000, 0]
        assert [columns.capabilities[before], columns.gained_capabilities[before]] == [0, 0]
        # What its container may have at most.
        assert int(columns.capabilities[process]) == int(_status(container.pid, "CapBnd"), 16) != 0
        assert columns.gained_capabilities[process] == columns.capabilities[process]


def test_capabilities_are_those_of_the_process(capture: Capture, containers: list[Container]) -> None:
    command = containers[0].exec_command("/bin/cat")
    command.insert(command.index("exec") + 1, "--cap=CAP_NET_RAW")
    with subprocess.Popen(command, stdin=subprocess.PIPE) as running:
        seen = capture.until(lambda seen: bool(seen.execs("/usr/bin/cat")))
        (process,) = seen.execs("/usr/bin/cat")
        columns = seen.table.processes
        effective = _status(int(columns.pid[process]), "CapEff")
        assert running.stdin is not None
        running.stdin.close()

    assert f"{int(columns.capabilities[process]):016x}" == effective
    assert int(columns.capabilities[process]) >> 13 & 1  # CAP_NET_RAW


def test_ancestors_are_told_by_pid_and_start_up_to_the_container_s_first_process(capture: Capture, world: World) -> None:
    script = "while ! [ -e /tmp/go ]; do sleep 0.05; done; sh -c 'sh -c \"cat /dev/zero; true\"; true'; true"
    with world.deploy("lineage", program=Program(argv=("/bin/sh", "-c", script))) as deployment:
        container = deployment.replicas[0].container
        (container.rootfs / "tmp/go").touch()

        seen = capture.until(lambda seen: bool(seen.execs("/usr/bin/cat")))

        (process,) = seen.execs("/usr/bin/cat")
        columns = seen.table.processes
        offset = capture.probes.boot_offset
        told = [
            (pid, (start - offset) // TICKS) for pid, start in seen.table.ancestor_id_list(int(columns.ancestor_ids[process]))
        ]
        pid = int(columns.pid[process])
        assert (int(columns.start_time[process]) - offset) // TICKS == _start(pid)
        assert int(columns.parent_pid[process]) == _parent(pid)
        assert seen.lineage(process) == [DASH] * 3
        assert [pid for pid, _ in told] == [_parent(pid), _parent(_parent(pid)), container.pid]
        assert [start for _, start in told] == [_start(pid) for pid, _ in told]


def test_ancestors_are_the_same_whoever_tells_of_them(capture: Capture, containers: list[Container]) -> None:
    # The inner shell and its program are repeats from the second time on; their connects and exits tell the same.
    connect = "import socket; socket.socket().connect_ex(('127.0.0.1', 7401))"
    script = f'for i in 1 2 3; do sh -c "{PYTHON} -c \\"{connect}\\"; true"; done; true'
    containers[0].exec("/bin/sh", "-c", script)

    seen = capture.until(lambda seen: len(seen.connects(7401)) >= 3)

    processes = [int(seen.table.process[row]) for row in seen.rows(EventKind.CONNECT, port=7401)]
    processes += seen.execs("/usr/bin/python3.11")
    assert {tuple(seen.lineage(process)) for process in processes} == {(DASH, DASH)}


def _status(pid: int, name: str) -> str:
    (line,) = (each for each in Path(f"/proc/{pid}/status").read_text().splitlines() if each.startswith(name + ":"))
    return line.split()[1]


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/<pid>/stat from the third on, the state."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _parent(pid: int) -> int:
    return int(_stat(pid)[1])


def _start(pid: int) -> int:
    return int(_stat(pid)[19])
