"""Who descends from a container's first process: the container is the border, not the namespaces that it may share or make."""

import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.capture import Capture, Seen
from harness.containers import Container
from harness.rootfs import Program
from harness.session import run
from harness.world import World
from peerwatch.columns import EventKind

pytestmark = pytest.mark.kernel

PYTHON = "/usr/bin/python3"
PYTHON_EXE = "/usr/bin/python3.11"

# Waits for a sign from outside, then does what it is for.
WAITING = "import os, socket, subprocess, sys, time\nwhile not os.path.exists('/tmp/go'): time.sleep(0.02)\n"
SLEEP = "\ntime.sleep(1000)"

# Forks as often as its argument says, and executes at the end.
DEEP = """
for _ in range({depth}):
    if os.fork():
        time.sleep(1000)
subprocess.run(['/usr/bin/tac', '/dev/null'])
"""

# Its parent ends first: whoever is there for orphans becomes its parent.
ORPHAN = """
if os.fork() == 0:
    parent = os.getpid()
    if os.fork() == 0:
        while os.getppid() == parent: time.sleep(0.02)
        subprocess.run(['/usr/bin/tac', '/dev/null'])
    os._exit(0)
"""


@pytest.fixture
def start(world: World) -> Iterator["Start"]:
    starter = Start(world)
    yield starter
    for container in starter.containers:
        container.delete()


class Start:
    """Starts containers that are no deployment's, with a pid namespace of choice."""

    def __init__(self, world: World) -> None:
        self.containers: list[Container] = []
        self._world = world

    def __call__(self, script: str, pids: Path | None) -> Container:
        container = Container(
            self._world.session,
            self._world.layers,
            Program(argv=(PYTHON, "-c", WAITING + script + SLEEP)),
            pod_uid=str(uuid.uuid4()),
            network=Path("/proc/self/ns/net"),
            pids=pids,
        )
        self.containers.append(container)
        return container.start()


def lineage(seen: Seen, process: int) -> list[str]:
    return seen.table.string_list(int(seen.table.processes.ancestors[process]))


def pids(whose: str, other: Container) -> Path:
    return Path("/proc/self/ns/pid") if whose == "the host's" else Path(f"/proc/{other.pid}/ns/pid")


def go(container: Container) -> None:
    (container.rootfs / "tmp/go").touch()


@pytest.mark.parametrize("depth", [3, 7, 30])
def test_a_deep_tree_below_the_first_process_is_not_injected(capture: Capture, start: Start, depth: int) -> None:
    container = start(DEEP.format(depth=depth), None)
    capture.others.add(container.id)
    go(container)

    seen = capture.until(lambda seen: bool(seen.execs("/usr/bin/tac")))

    (process,) = seen.execs("/usr/bin/tac")
    assert seen.flags(process) == set()
    assert lineage(seen, process) == [PYTHON_EXE] * min(depth + 1, 8)


@pytest.mark.parametrize("script", ["subprocess.run(['/usr/bin/tac', '/dev/null'])", ORPHAN], ids=["child", "orphan"])
@pytest.mark.parametrize("whose", ["the pod's", "the host's"])
def test_in_a_shared_pid_namespace_what_the_first_process_starts_is_not_injected(
    capture: Capture, start: Start, containers: list[Container], script: str, whose: str
) -> None:
    container = start(script, pids(whose, containers[0]))
    capture.others.add(container.id)
    go(container)

    seen = capture.until(lambda seen: bool(seen.execs("/usr/bin/tac")))

    injected = [seen.flags(process) & {"INJECTED"} for process in seen.execs()]
    assert injected == [set()] * len(injected)


@pytest.mark.parametrize("whose", ["the pod's", "the host's"])
def test_in_a_shared_pid_namespace_what_comes_from_outside_is_injected(
    capture: Capture, start: Start, containers: list[Container], whose: str
) -> None:
    container = start("", pids(whose, containers[0]))
    capture.others.add(container.id)
    container.exec("/usr/bin/tac", "/dev/null")

    seen = capture.until(lambda seen: bool(seen.execs("/usr/bin/tac")))

    (process,) = seen.execs("/usr/bin/tac")
    assert seen.flags(process) & {"INJECTED"} == {"INJECTED"}


def test_a_new_pid_namespace_hides_neither_lineage_nor_where_a_process_came_from(
    capture: Capture, containers: list[Container]
) -> None:
    # Its parent waits: an orphan would be the first process's child before it executes anything.
    script = "import ctypes, os; ctypes.CDLL(None).unshare(0x20000000)\n"
    script += "os.fork() or os.execv('/usr/bin/tac', ['tac', '/dev/null']); os.wait()"
    command = containers[0].exec_command(PYTHON, "-c", script)
    # A capability that a container's own processes lack here, as `kubectl debug --profile=sysadmin` gives it.
    command.insert(command.index("exec") + 1, "--cap=CAP_SYS_ADMIN")
    subprocess.run(command, check=True, capture_output=True)

    seen = capture.until(lambda seen: bool(seen.execs("/usr/bin/tac")))

    (process,) = seen.execs("/usr/bin/tac")
    assert seen.flags(process) == {"INJECTED"}
    assert lineage(seen, process) == [PYTHON_EXE]


@pytest.mark.parametrize("name", ["own", "f" * 64], ids=["any name", "a container's name"])
def test_a_cgroup_of_its_own_hides_nothing_that_a_container_executes(capture: Capture, start: Start, name: str) -> None:
    """Engines and init systems in containers make cgroups; who may do that must not get out of sight."""
    fork = "child = os.fork()\nif child == 0:\n    while not os.path.exists('/tmp/moved'): time.sleep(0.02)\n"
    container = start(fork + "    os.execv('/usr/bin/tac', ['tac', '/dev/null'])", None)
    capture.others.add(container.id)
    go(container)
    child = _child(container.pid)
    below = [root / name for root in _cgroups(container.pid)]
    for folder in below:
        folder.mkdir()
        (folder / "cgroup.procs").write_text(str(child))
    (container.rootfs / "tmp/moved").touch()

    try:
        seen = capture.until(lambda seen: bool(seen.execs("/usr/bin/tac")))
    finally:
        run("kill", "-9", str(child), str(container.pid))
        container.delete()

    (process,) = seen.execs("/usr/bin/tac")
    assert seen.flags(process) == set()
    assert lineage(seen, process) == [PYTHON_EXE]


def test_a_long_folder_is_taken_for_nothing_else_when_a_process_connects(capture: Capture, start: Start) -> None:
    """What is kept of a process for its connects is cut; no part of it may slip into the place of another."""
    script = """
folder = '/tmp/' + '/'.join(['nginx' * 20] * 5)
os.makedirs(folder)
os.chdir(folder)
subprocess.run([sys.executable, '-c', "import socket; socket.socket().connect_ex(('127.0.0.1', 7201))"])
"""
    container = start(script, None)
    capture.others.add(container.id)
    go(container)

    seen = capture.until(lambda seen: bool(seen.connects(7201)))

    process = int(seen.table.process[seen.table.rows_of(EventKind.CONNECT)[0]])
    processes, strings = seen.table.processes, seen.table.strings
    assert seen.exe(process) == PYTHON_EXE
    assert strings[processes.cwd[process]] == ""
    assert lineage(seen, process) == [PYTHON_EXE]
    assert seen.args(process)[:2] == [PYTHON, "-c"]


def test_a_path_that_is_cut_does_not_look_whole(capture: Capture, start: Start) -> None:
    script = """
import shutil
folder = '/tmp/' + 'd/' * 60 + 'usr/bin'
os.makedirs(folder)
shutil.copy('/usr/bin/tac', folder + '/nginx')
subprocess.run([folder + '/nginx', '/dev/null'])
"""
    container = start(script, None)
    capture.others.add(container.id)
    go(container)

    seen = capture.until(lambda seen: any("nginx" in seen.exe(process) for process in seen.execs()))

    (exe,) = [seen.exe(process) for process in seen.execs() if "nginx" in seen.exe(process)]
    assert exe.startswith("d/d/")
    assert exe.endswith("/d/usr/bin/nginx")


def _child(pid: int) -> int:
    children = Path(f"/proc/{pid}/task/{pid}/children")
    while not (found := children.read_text().split()):
        pass
    return int(found[0])


def _cgroups(pid: int) -> list[Path]:
    """Return a process's cgroups in all hierarchies in which it is in a container's."""
    mounts = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        if right.startswith("cgroup"):
            options = right.split()[-1].split(",")
            mounts.update({name: left.split()[4] for name in ([""] if right.startswith("cgroup2") else options)})
    found = []
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        mount = mounts.get(names.split(",")[0])
        if mount and "/pod" in path and names in ("", "memory", "pids"):
            found.append(Path(mount + path))
    return found
