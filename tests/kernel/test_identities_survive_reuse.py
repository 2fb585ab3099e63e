"""Pids and container ids are used again; what happened to the one is not told of the other."""

import subprocess
import uuid
from collections import Counter

import pytest
from harness.capture import Capture
from harness.containers import Container
from harness.rootfs import Program, compile_c
from harness.world import World
from kernel.workload import AGAIN, NOTHING, PYTHON, VISIT, files
from peerwatch.columns import EventKind

pytestmark = pytest.mark.kernel


def test_processes_with_the_same_pid_are_told_apart(capture: Capture, containers: list[Container]) -> None:
    """The third repeats the first, the fourth never executes anything, the fifth follows that one."""
    (containers[0].rootfs / "tmp/other").write_bytes(compile_c("int main(void) { return 7; }").read_bytes())
    (containers[0].rootfs / "tmp/other").chmod(0o755)
    command = containers[0].exec_command(AGAIN, VISIT, "/tmp/other", VISIT, "-", "/tmp/other")
    command.insert(command.index("exec") + 1, "--cap=CAP_SYS_ADMIN")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 3:
        pytest.skip("needs to choose pids: CAP_SYS_ADMIN in the host's pid namespace")
    pid = int(done.stdout)

    seen = capture.until(lambda seen: bool(seen.exits(AGAIN)))

    columns = seen.table.processes
    visits = {port: int(seen.table.process[seen.rows(EventKind.CONNECT, port=port)[0]]) for port in (7901, 7903, 7904)}
    assert {port: seen.exe(process) for port, process in visits.items()} == {7901: VISIT, 7903: VISIT, 7904: AGAIN}
    assert {port: seen.args(process)[1:] for port, process in visits.items()} == {
        7901: ["7901"],
        7903: ["7903"],
        7904: [VISIT, "/tmp/other", VISIT, "-", "/tmp/other"],
    }
    own = [process for process in set(seen.table.process.tolist()) if columns.pid[process] == pid]
    assert len({int(columns.start_time[process]) for process in own}) == 5
    assert Counter(seen.exe(process) for process in seen.execs()) == {AGAIN: 1, VISIT: 2, "/tmp/other": 2}
    assert seen.exits(VISIT) == [(0, 0)] * 2
    assert seen.exits("/tmp/other") == [(7, 0)] * 2


def test_repeats_with_the_same_pid_add_up(capture: Capture, containers: list[Container]) -> None:
    command = containers[0].exec_command(AGAIN, *["-", NOTHING] * 11)
    command.insert(command.index("exec") + 1, "--cap=CAP_SYS_ADMIN")
    if subprocess.run(command, capture_output=True, check=False).returncode == 3:
        pytest.skip("needs to choose pids: CAP_SYS_ADMIN in the host's pid namespace")

    seen = capture.until(lambda seen: bool(seen.exits(AGAIN)))

    assert len(seen.execs(NOTHING)) == 11
    assert seen.exits(NOTHING) == [(0, 0)] * 11
    assert len(seen.exits(AGAIN)) == 1
    connects = seen.rows(EventKind.CONNECT)
    assert [seen.exe(int(seen.table.process[row])) for row in connects] == [AGAIN] * 11


def test_a_container_with_the_id_of_one_that_was_removed(capture: Capture, world: World) -> None:
    network, _ = world.network.pod("reborn")
    program = Program(argv=("/usr/bin/sleep", "100000"), files=files())
    container = Container(world.session, world.layers, program, pod_uid=str(uuid.uuid4()), network=network)
    capture.others.add(container.id)
    firsts = []
    for number in (5, 7):
        with container:
            firsts.append(container.pid)
            container.exec(PYTHON, "-c", f"import subprocess\nfor _ in range({number}): subprocess.run(['{NOTHING}'])")
            container.exec(VISIT, "7911")
    world.network.release(network)

    seen = capture.until(lambda seen: len(seen.execs(NOTHING)) >= 12 and len(seen.connects(7911)) >= 2)

    assert len(seen.execs(NOTHING, container.id)) == 12
    assert len(seen.connects(7911, container.id)) == 2
    sleeps = seen.execs("/usr/bin/sleep", container.id)
    assert [int(seen.table.processes.pid[process]) for process in sleeps] == firsts
    assert all(seen.flags(process) == set() for process in sleeps)
    assert all("INJECTED" in seen.flags(process) for process in seen.execs(NOTHING))
