"""Processes choose their arguments, names and folders: whatever they choose is told as it is, cut and marked, or escaped."""

import json

import pytest
from harness.capture import Capture, Seen
from harness.containers import Container
from kernel.workload import NOTHING, PYTHON, PYTHON_EXE
from peerwatch.columns import ARGS_TRUNCATED, EventKind

from agent.capture.records import Counter

pytestmark = pytest.mark.kernel

DASH = "/usr/bin/dash"

# A process in an own folder, with copies of a program under names of choice; `deep` is entered step by step, as its name is too
# long for one call.
OWN = """
import ctypes, os, shutil, subprocess, sys
shutil.rmtree('/tmp/hostile', True)
os.mkdir('/tmp/hostile')
os.chdir('/tmp/hostile')
def deep(parts):
    for part in parts:
        os.mkdir(part)
        os.chdir(part)
def run(path, *args):
    child = os.fork()
    if child == 0:
        try: os.execv(path, list(args) or [path])
        finally: os._exit(127)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
def copy(name):
    with open('/app/nothing', 'rb') as source, open(name, 'wb') as target: target.write(source.read())
    os.chmod(name, 0o755)
    return name
"""


def last(seen: Seen, exe: str = "") -> int:
    """Return the process of the last exec but that of a shell or Python."""
    return [process for process in seen.execs(exe) if seen.exe(process) not in {DASH, PYTHON_EXE}][-1]


def own(seen: Seen) -> list[int]:
    """Return what was executed but shells and Python."""
    return [process for process in seen.execs() if seen.exe(process) not in {DASH, PYTHON_EXE}]


def assert_lines(seen: Seen) -> None:
    """What goes out is JSON, a line each."""
    for line in seen.lines():
        assert "\n" not in line.rstrip("\n")
        json.loads(line)


def test_arguments_of_a_megabyte_are_cut_and_marked(capture: Capture, containers: list[Container]) -> None:
    before = capture.probes.current.counters()[Counter.ARGS_TRUNCATED]
    containers[0].exec(PYTHON, "-c", OWN + f"assert run({NOTHING!r}, 'nothing', *['x' * 100_000] * 11) == 0")

    seen = capture.until(lambda seen: bool(seen.exits(NOTHING)))

    (process,) = seen.execs(NOTHING)
    name, long = seen.args(process)
    assert (name, set(long)) == ("nothing", {"x"})
    assert 3900 < len(long) < 4096
    assert seen.table.processes.flags[process] & ARGS_TRUNCATED
    assert seen.lineage(process) == [PYTHON_EXE]
    assert capture.probes.current.counters()[Counter.ARGS_TRUNCATED] > before
    assert_lines(seen)


def test_a_hundred_thousand_empty_arguments_are_cut_and_marked(capture: Capture, containers: list[Container]) -> None:
    containers[0].exec(PYTHON, "-c", OWN + f"assert run({NOTHING!r}, 'nothing', *[''] * 100_000) == 0")

    seen = capture.until(lambda seen: bool(seen.exits(NOTHING)))

    (process,) = seen.execs(NOTHING)
    assert seen.args(process)[0] == "nothing"
    assert set(seen.args(process)[1:]) == {""}
    assert 3900 < len(seen.args(process)) < 4096
    assert seen.table.processes.flags[process] & ARGS_TRUNCATED


@pytest.mark.parametrize("size", [136, 137, 479, 480, 481, 4094, 4095, 4096])
def test_arguments_are_whole_up_to_the_limit(capture: Capture, containers: list[Container], size: int) -> None:
    """`size` bytes with the one at the end: around the sizes of keys, small records and what is kept at all."""
    script = f"for _ in range(3): assert run({NOTHING!r}, 'n', 'y' * {size - 3}) == 0"
    containers[0].exec(PYTHON, "-c", OWN + script)

    seen = capture.until(lambda seen: len(seen.exits(NOTHING)) >= 3)

    assert len(seen.execs(NOTHING)) == 3
    for process in seen.execs(NOTHING):
        cut = bool(seen.table.processes.flags[process] & ARGS_TRUNCATED)
        assert cut == (size > 4095)
        assert seen.args(process) == ["n", "y" * (size - 3 if not cut else 4095 - 2)]


@pytest.mark.parametrize("arguments", ["None", "(ctypes.c_char_p * 1)()"], ids=["no list", "an empty list"])
def test_without_arguments_there_is_an_empty_one(capture: Capture, containers: list[Container], arguments: str) -> None:
    # Since 5.18 (dcd46d897adb) the kernel puts it there.
    containers[0].exec(
        PYTHON, "-c", OWN + f"os.fork() or ctypes.CDLL(None).execve({NOTHING.encode()!r}, {arguments}, None)\nos.wait()"
    )

    seen = capture.until(lambda seen: bool(seen.exits(NOTHING)))

    assert [seen.args(process) for process in seen.execs(NOTHING)] in ([[""]], [[]])


@pytest.mark.parametrize(
    ("name", "told"),
    [
        (b"a\nb", "a\nb"),
        (b"\x1b[2J\x1b]0;title\x07", "\x1b[2J\x1b]0;title\x07"),
        (b"\xff\xfe\x80", r"\xff\xfe\x80"),
        (b"\xc3\x28", r"\xc3("),
        ("\u202egnp.exe".encode(), "\u202egnp.exe"),
        (b'"},{"', '"},{"'),
        (b"x" * 255, "x" * 255),
        (b"\xf0\x9f\x90\x9a" * 63, "\U0001f41a" * 63),
        (b" ", " "),
        (b"...", "..."),
    ],
    ids=["new line", "escapes", "no UTF-8", "broken UTF-8", "right to left", "JSON", "255 bytes", "emoji", "space", "dots"],
)
def test_a_file_s_name_is_told_as_it_is_or_escaped(
    capture: Capture, containers: list[Container], name: bytes, told: str
) -> None:
    script = f"for _ in range(3): assert run(copy({name!r}) if not os.path.exists({name!r}) else {name!r}, {name!r}) == 0"
    containers[0].exec(PYTHON, "-c", OWN + script)

    seen = capture.until(lambda seen: len(seen.exits(f"/tmp/hostile/{told}")) >= 3)

    processes = seen.execs(f"/tmp/hostile/{told}")
    assert len(processes) == 3
    assert all(seen.args(process) == [told] for process in processes)
    assert all(seen.table.strings[seen.table.processes.cwd[process]] == "/tmp/hostile" for process in processes)
    assert_lines(seen)


def test_a_path_of_four_thousand_bytes_is_whole(capture: Capture, containers: list[Container]) -> None:
    folder = "/tmp/hostile/" + "/".join(["f" * 255] * 15)
    containers[0].exec(PYTHON, "-c", OWN + "deep(['f' * 255] * 15)\nfor _ in range(3): run(copy('program'))")

    seen = capture.until(lambda seen: len(own(seen)) >= 3)

    for process in own(seen):
        assert seen.exe(process) == f"{folder}/program"
        assert seen.table.strings[seen.table.processes.cwd[process]] == folder
        assert seen.args(process) == ["program"]
        assert seen.lineage(process) == [PYTHON_EXE]
    assert len(own(seen)) == 3


def test_a_path_longer_than_the_kernel_s_own_limit_is_cut_at_its_front(capture: Capture, containers: list[Container]) -> None:
    before = capture.probes.current.counters()[Counter.PATH_TRUNCATED]
    containers[0].exec(PYTHON, "-c", OWN + "deep(['f' * 255] * 23)\nassert run(copy('program')) == 0")

    seen = capture.until(lambda seen: bool(own(seen)))

    (process,) = own(seen)
    assert seen.exe(process).endswith("/" + "f" * 255 + "/program")
    assert not seen.exe(process).startswith("/")
    assert len(seen.exe(process)) > 3500
    assert seen.lineage(process) == [PYTHON_EXE]
    assert capture.probes.current.counters()[Counter.PATH_TRUNCATED] > before


@pytest.mark.parametrize("left", [0, 12, 13, 225, 226, 257, 258, 259, 300])
def test_long_names_leave_no_room_for_an_invented_lineage(capture: Capture, containers: list[Container], left: int) -> None:
    """A program and its folder take nearly all that a record holds: 8032 bytes but `left`, where the lineage takes 258."""
    script = f"""
shutil.copy({PYTHON_EXE!r}, 'p' * 200)
inner = '''
import os
def deep(length):
    while length:
        part = min(length - 1, 200)
        if length - 1 - part == 1: part -= 1
        os.mkdir('d' * part)
        os.chdir('d' * part)
        length -= part + 1
os.mkdir('program'); os.chdir('program')
deep(4000 - len('/tmp/hostile/program/p') - 1)
with open('/app/nothing', 'rb') as source, open('p', 'wb') as target: target.write(source.read())
os.chmod('p', 0o755)
file = os.open('p', os.O_RDONLY)
os.chdir('/tmp/hostile'); os.mkdir('folder'); os.chdir('folder')
deep(8032 - {left} - 4000 - len('/tmp/hostile/folder') - 1)
if os.fork() == 0: os.execve(file, ['p'], {{}})
os.wait()
'''
subprocess.run(['python', '-c', inner], executable='/tmp/hostile/' + 'p' * 200, check=True)
"""
    containers[0].exec(PYTHON, "-c", OWN + script)

    seen = capture.until(lambda seen: any("/program/" in seen.exe(process) for process in seen.execs()))

    (process,) = (process for process in seen.execs() if "/program/" in seen.exe(process))
    assert len(seen.exe(process)) == 3999
    assert _true_lineage(seen, process)
    assert len(seen.table.strings[seen.table.processes.cwd[process]]) in {0, 8032 - 4000 - left - 1}


def test_long_ancestors_leave_no_room_for_an_invented_one(capture: Capture, containers: list[Container]) -> None:
    """Shells with a name of 3,900 bytes inside each other: two of them fill a record, the third has a place or has none."""
    script = f"""
name = '/tmp/hostile/' + '/'.join(['f' * 240] * 16) + '/sh'
os.makedirs(os.path.dirname(name))
shutil.copy({DASH!r}, name)
last = '/app/nothing last; true'
for _ in range(4): last = f'"$NAME" -c {{__import__("shlex").quote(last)}}; true'
subprocess.run(['/bin/sh', '-c', last], env={{'NAME': name}}, check=True)
"""
    containers[0].exec(PYTHON, "-c", OWN + script)

    seen = capture.until(lambda seen: bool(seen.execs(NOTHING)))

    (process,) = seen.execs(NOTHING)
    assert _true_lineage(seen, process)
    assert len(seen.lineage(process)) >= 1


def test_three_hundred_shells_inside_each_other_are_all_told(capture: Capture, containers: list[Container]) -> None:
    script = '#!/bin/sh\nif [ "$1" -gt 1 ]; then "$0" $(($1 - 1)); else /app/nothing deep; fi\ntrue\n'
    containers[0].exec(
        PYTHON, "-c", OWN + f"open('nest', 'w').write({script!r}); os.chmod('nest', 0o755); run('./nest', 'nest', '300')"
    )

    seen = capture.until(lambda seen: len(seen.exits(DASH)) >= 300, timeout=30)

    assert len(seen.execs(DASH)) == 300
    (deepest,) = seen.execs(NOTHING)
    assert all(_true_lineage(seen, process) for process in [*seen.execs(DASH), deepest])
    assert len(seen.lineage(deepest)) >= 8
    assert all("INJECTED" in seen.flags(process) for process in seen.execs())


def test_a_folder_that_is_gone_and_a_file_that_is_gone(capture: Capture, containers: list[Container]) -> None:
    script = """
os.mkdir('gone'); os.chdir('gone'); os.rmdir('/tmp/hostile/gone')
run('/app/nothing', 'nothing', 'folder')
file = os.open(copy('/tmp/hostile/file'), os.O_RDONLY)
os.unlink('/tmp/hostile/file')
if os.fork() == 0: os.execve(file, ['nothing', 'file'], {})
os.wait()
"""
    containers[0].exec(PYTHON, "-c", OWN + script)

    seen = capture.until(lambda seen: len(own(seen)) >= 2)

    first, second = own(seen)
    assert [seen.args(first)[-1], seen.args(second)[-1]] == ["folder", "file"]
    assert seen.exe(second) == "/tmp/hostile/file"
    assert "MEMFD" in seen.flags(second)
    assert len(seen.rows(EventKind.EXEC)) == 3


def _true_lineage(seen: Seen, process: int) -> bool:
    """Return whether each of a process's ancestors is the parent of the one before, as its own exec has said."""
    columns = seen.table.processes
    told = {
        (int(columns.pid[each]), int(columns.start_time[each])): (
            seen.exe(each),
            (int(columns.parent_pid[each]), int(columns.parent_start_time[each])),
        )
        for each in seen.execs()
    }
    names, ids = seen.lineage(process), seen.table.ancestor_id_list(int(columns.ancestor_ids[process]))
    expected = (int(columns.parent_pid[process]), int(columns.parent_start_time[process]))
    for name, each in zip(names, ids, strict=True):
        if each != expected:
            return False
        if each in told:
            exe, expected = told[each]
            if name != exe:
                return False
        else:  # it forked and executed nothing: its image is that of its parent, the next in the list
            expected = ids[ids.index(each) + 1] if each != ids[-1] else each
    return True
