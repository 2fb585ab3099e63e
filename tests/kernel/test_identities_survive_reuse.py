"""Pids, container ids and cgroups are used again; what happened to the one is not told of the other."""

import os
import secrets
import subprocess
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.capture import Capture
from harness.containers import Container
from harness.rootfs import Program, compile_c
from harness.world import World
from kernel.workload import AGAIN, NOTHING, PYTHON, VISIT, files
from peerwatch.columns import EventKind

pytestmark = pytest.mark.kernel

CGROUPS = 3001


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


@pytest.fixture
def parent() -> Iterator[Path]:
    """A cgroup for pods of this test."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    unified = next((line.split()[4] for line in lines if " - cgroup2 " in line), "")
    if not unified:
        pytest.skip("needs the unified cgroup hierarchy")
    folder = Path(unified) / f"pwtest-{os.getpid()}"
    folder.mkdir()
    yield folder
    for each in sorted((each for each in folder.rglob("*") if each.is_dir()), key=lambda each: -len(each.parts)):
        each.rmdir()
    folder.rmdir()


# For each line, a path: a cgroup that lives as long as one process in it, which executes a program.
CHURN = r"""
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int count, char **args) {
    char path[512], procs[600];
    while (fgets(path, sizeof path, stdin)) {
        path[strcspn(path, "\n")] = 0;
        if (mkdir(path, 0755)) return 1;
        snprintf(procs, sizeof procs, "%s/cgroup.procs", path);
        if (fork() == 0) {
            int file = open(procs, O_WRONLY);
            if (write(file, "0", 1) != 1) _exit(2);
            /* Whoever comes from outside is the runtime: only its child is the container's. */
            if (fork() == 0) execl(args[1], args[1], (char *)0);
            wait(0);
            _exit(0);
        }
        int status = 0;
        wait(&status);
        if (status || rmdir(path)) return 3;
    }
    return 0;
}
"""


def test_short_lived_cgroups_keep_their_names(capture: Capture, parent: Path, tmp_path: Path) -> None:
    """More of them than are kept: what is read in time has the right one."""
    ids = [secrets.token_hex(32) for _ in range(CGROUPS)]
    capture.others |= set(ids)
    pods = [parent / "kubepods/burstable" / f"pod{uuid.uuid4()}" for _ in range(11)]
    for pod in pods:
        pod.mkdir(parents=True)
    lines = "".join(f"{pods[number % len(pods)]}/{id_}\n" for number, id_ in enumerate(ids))
    (tmp_path / "paths").write_text(lines)
    with (
        (tmp_path / "paths").open() as paths,
        subprocess.Popen([compile_c(CHURN), compile_c("int main(void) { return 0; }")], stdin=paths) as churn,
    ):
        seen = capture.until(lambda seen: len(seen.rows(EventKind.EXEC)) >= CGROUPS, timeout=60)
        assert churn.wait(30) == 0

    found = [(seen.container(row), seen.table.subjects[seen.table.subject[row]].pod.uid) for row in seen.rows(EventKind.EXEC)]
    assert found == [(id_, pods[number % len(pods)].name.removeprefix("pod")) for number, id_ in enumerate(ids)]
