"""A cgroup that no probe has met yet is worked out before anything is said of it, however short it lives."""

import os
import secrets
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.capture import Capture
from harness.rootfs import compile_c
from peerwatch.columns import EventKind

pytestmark = pytest.mark.kernel

CGROUPS = 3001
KINDS = ("EXEC", "CONNECT", "SEND", "LISTEN")

NOTHING = "int main(void) { return 0; }"

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

# For each line, a kind and a path: the same, with one event of that kind, all on one processor.
EACH_KIND = """
import os, socket, sys
os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
for line in sys.stdin:
    kind, path = line.split()
    os.mkdir(path)
    if os.fork() == 0:
        with open(path + '/cgroup.procs', 'w') as procs: procs.write('0')
        if kind == 'EXEC': os.fork() or os.execv(sys.argv[1], sys.argv[1:2]); os.wait()
        if kind == 'CONNECT': socket.socket().connect_ex(('127.0.0.1', 7921))
        if kind == 'SEND': socket.socket(type=socket.SOCK_DGRAM).sendto(b'', ('127.0.0.1', 7921))
        if kind == 'LISTEN': socket.create_server(('127.0.0.1', 0))
        os._exit(0)
    os.wait()
    os.rmdir(path)
"""


@pytest.fixture
def parent() -> Iterator[Path]:
    """A cgroup for pods of this test."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    unified = next((line.split()[4] for line in lines if " - cgroup2 " in line), "")
    if not unified:
        pytest.skip("needs the unified cgroup hierarchy")
    folder = Path(unified) / f"pwtest-{os.getpid()}"
    (folder / "kubepods").mkdir(parents=True)
    yield folder / "kubepods"
    for each in sorted((each for each in folder.rglob("*") if each.is_dir()), key=lambda each: -len(each.parts)):
        each.rmdir()
    folder.rmdir()


@pytest.fixture
def paths(parent: Path, capture: Capture) -> list[Path]:
    """Cgroups of containers, which are not there yet, of a few pods."""
    pods = [parent / f"pod{uuid.uuid4()}" for _ in range(11)]
    for pod in pods:
        pod.mkdir()
    paths = [pods[number % len(pods)] / secrets.token_hex(32) for number in range(CGROUPS)]
    capture.others |= {path.name for path in paths}
    return paths


def test_more_short_lived_ones_than_are_kept_have_their_names(capture: Capture, paths: list[Path], tmp_path: Path) -> None:
    (tmp_path / "paths").write_text("".join(f"{path}\n" for path in paths))
    with (
        (tmp_path / "paths").open() as lines,
        subprocess.Popen([compile_c(CHURN), compile_c(NOTHING)], stdin=lines) as churn,
    ):
        while churn.poll() is None:
            capture.read()
    assert churn.returncode == 0

    seen = capture.until(lambda seen: len(seen.rows(EventKind.EXIT)) >= len(paths), timeout=5)

    subjects = [seen.table.subjects[seen.table.subject[row]] for row in seen.rows(EventKind.EXEC)]
    assert [(f"pod{subject.pod.uid}", subject.container.id) for subject in subjects] == [
        (path.parent.name, path.name) for path in paths
    ]


def test_the_first_event_of_a_container_may_be_of_any_kind(capture: Capture, paths: list[Path]) -> None:
    events = [(KINDS[number % 7 % len(KINDS)], path) for number, path in enumerate(paths[:97])]
    subprocess.run(
        [sys.executable, "-c", EACH_KIND, compile_c(NOTHING)],
        input="".join(f"{kind} {path}\n" for kind, path in events),
        text=True,
        check=True,
    )

    rows = (EventKind.EXEC, EventKind.CONNECT, EventKind.LISTEN)
    seen = capture.until(lambda seen: sum(len(seen.rows(kind)) for kind in rows) >= len(events), timeout=5)

    told = {kind: {seen.container(row) for row in seen.rows(kind)} for kind in rows}
    kinds = {"EXEC": EventKind.EXEC, "CONNECT": EventKind.CONNECT, "SEND": EventKind.CONNECT, "LISTEN": EventKind.LISTEN}
    assert told == {row: {path.name for kind, path in events if kinds[kind] is row} for row in rows}
