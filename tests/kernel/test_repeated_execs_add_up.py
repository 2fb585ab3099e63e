"""The first exec of its kind goes out at once, repeats are counted, and nothing that differs is counted together."""

import subprocess

import pytest
from harness.capture import Capture, Seen
from harness.containers import Container
from kernel.workload import NOTHING, PYTHON, REPEAT
from peerwatch.columns import EventKind, Processes, columns_of

pytestmark = pytest.mark.kernel

NUMBER = 997

# A process that executes a file of its own, three times with the same words, and then in a way that differs in one thing.
PARENT = """
import os, shutil, socket, subprocess
def run(argv=('/tmp/nothing',), path='/tmp/nothing', **options):
    for _ in range(3): subprocess.run(argv, executable=path, **options)
shutil.rmtree('/tmp/kinds', True)
os.mkdir('/tmp/kinds')
shutil.copy('/app/nothing', '/tmp/nothing')
"""


def test_the_first_is_told_at_once_and_the_rest_add_up(capture: Capture, containers: list[Container]) -> None:
    containers[0].exec(REPEAT, str(NUMBER), NOTHING, "a", "b")

    at_once = capture.until(lambda seen: bool(seen.execs(NOTHING)), ask=False)
    assert at_once.counts(EventKind.EXEC, exe=NOTHING) == [1]
    seen = capture.until(lambda seen: len(seen.execs(NOTHING)) >= NUMBER)

    assert seen.counts(EventKind.EXEC, exe=NOTHING, container=containers[0].id) == [1, NUMBER - 1]
    assert len(seen.execs(NOTHING)) == NUMBER
    assert all(seen.args(process) == [NOTHING, "a", "b"] for process in seen.execs(NOTHING))


def test_counts_that_are_asked_for_again_and_again_add_up(capture: Capture, containers: list[Container]) -> None:
    for number in (23, 29, 31):
        containers[0].exec(PYTHON, "-c", f"import subprocess\nfor _ in range({number}): subprocess.run(['{NOTHING}', 'again'])")
        containers[0].exec(REPEAT, str(number), NOTHING, "again")
        capture.read()

    seen = capture.until(lambda seen: len(seen.execs(NOTHING)) >= 2 * (23 + 29 + 31))

    assert len(seen.execs(NOTHING, containers[0].id)) == 2 * (23 + 29 + 31)
    assert len(seen.execs(NOTHING)) == 2 * (23 + 29 + 31)


def test_a_repeat_says_when_the_last_of_them_was(capture: Capture, containers: list[Container]) -> None:
    containers[0].exec(PYTHON, "-c", PARENT + "run()\nimport time\ntime.sleep(0.3)\nrun()")

    seen = capture.until(lambda seen: len(seen.execs("/tmp/nothing")) >= 6)

    first, repeats = seen.rows(EventKind.EXEC, exe="/tmp/nothing")
    places = seen.table.places()
    last_time = seen.table.execs.last_time
    assert int(last_time[places[first]]) == int(seen.table.time[first]) < int(seen.table.time[repeats])
    assert 200_000_000 < int(last_time[places[repeats]]) - int(seen.table.time[first]) < 5_000_000_000


@pytest.mark.parametrize(
    "differently",
    [
        "run(); run(('other',))",
        "run(); run(('/tmp/nothing', ''))",
        "run(); run(('/tmp/nothing ',))",
        "run(); run(user=1000)",
        "run(); run(group=1000)",
        "run(); run(cwd='/tmp/kinds')",
        "run(); a, b = socket.socketpair(); run(stdin=a)",
        "run(); shutil.copy('/app/nothing', '/tmp/new'); os.rename('/tmp/new', '/tmp/nothing'); run()",
        "run(); os.link('/tmp/nothing', '/tmp/kinds/nothing'); run(path='/tmp/kinds/nothing')",
        "run(); os.rename('/tmp/nothing', '/tmp/kinds/nothing'); run(path='/tmp/kinds/nothing')",
        "run(); os.rename('/tmp/nothing', '/tmp/kinds/other'); run(path='/tmp/kinds/other')",
        "run(); run(path='/app/nothing')",
        "run(); os.fork() or (run(), os._exit(0)); os.wait()",
        "run(); os.execv('/app/repeat', ['repeat', '3', '/tmp/nothing'])",
    ],
    ids=[
        "arguments",
        "an empty argument more",
        "a space more",
        "user",
        "group",
        "folder",
        "a socket as input",
        "replaced under its name",
        "hard link",
        "moved",
        "renamed",
        "a copy",
        "parent",
        "parent's image",
    ],
)
def test_what_differs_is_another_kind(capture: Capture, containers: list[Container], differently: str) -> None:
    containers[0].exec(PYTHON, "-c", PARENT + differently)

    seen = capture.until(lambda seen: len(_files(seen)) >= 6)

    counts = [count for exe in set(_files(seen)) for count in seen.counts(EventKind.EXEC, exe=exe)]
    assert sorted(counts) == [1, 1, 2, 2]


@pytest.mark.parametrize("folder", ["bin", "lib/x86_64/bin"])
def test_a_file_whose_folders_are_renamed_is_another(capture: Capture, containers: list[Container], folder: str) -> None:
    script = f"""
os.makedirs('/tmp/kinds/first/{folder}')
shutil.copy('/app/nothing', '/tmp/kinds/first/{folder}/nothing')
run(path='/tmp/kinds/first/{folder}/nothing')
os.rename('/tmp/kinds/first', '/tmp/kinds/second')
run(path='/tmp/kinds/second/{folder}/nothing')
"""
    containers[0].exec(PYTHON, "-c", PARENT + script)

    seen = capture.until(lambda seen: len(_files(seen)) >= 6)

    assert _files(seen) == [f"/tmp/kinds/{each}/{folder}/nothing" for each in ["first"] * 3 + ["second"] * 3]


def test_in_full_every_exec_is_a_line(full_capture: Capture, containers: list[Container]) -> None:
    # Read while it runs: without folds a busy host fills the ring.
    with subprocess.Popen(containers[0].exec_command(REPEAT, str(NUMBER), NOTHING, "full")):
        seen = full_capture.until(lambda seen: len(seen.execs(NOTHING)) >= NUMBER)

    assert seen.counts(EventKind.EXEC, exe=NOTHING, container=containers[0].id) == [1] * NUMBER
    assert len(set(seen.execs(NOTHING))) == NUMBER
    pids = seen.table.processes.pid[seen.execs(NOTHING)]
    assert len(set(pids.tolist())) == NUMBER


def test_in_full_repeats_are_described_as_the_first_is(full_capture: Capture, containers: list[Container]) -> None:
    script = (
        "import subprocess\nfor _ in range(23): subprocess.run(['/app/nothing', 'same'], cwd='/tmp', user=1000, group=1001)"
    )
    with subprocess.Popen(containers[0].exec_command(PYTHON, "-c", script)):
        seen = full_capture.until(lambda seen: len(seen.exits(NOTHING)) >= 23)

    execs, processes = seen.execs(NOTHING), seen.table.processes
    texts = {"args": seen.table.string_list, "ancestors": seen.table.string_list, "ancestor_ids": seen.table.ancestor_id_list}
    for column in columns_of(Processes):
        values = getattr(processes, column.name)[execs].tolist()
        told = {str(texts.get(column.name, int)(value)) for value in values}
        assert len(told) == (23 if column.name in {"pid", "start_time"} else 1), column.name
    assert seen.args(execs[22]) == [NOTHING, "same"]
    assert (seen.table.strings[processes.cwd[execs[22]]], processes.uid[execs[22]]) == ("/tmp", 1000)
    assert seen.exe(execs[22]) == NOTHING
    ended = seen.table.process[seen.rows(EventKind.EXIT, exe=NOTHING)].tolist()
    assert sorted(processes.pid[ended].tolist()) == sorted(processes.pid[execs].tolist())
    assert all(seen.args(process) == [NOTHING, "same"] for process in ended)


def _files(seen: Seen) -> list[str]:
    """Return the file of each exec but those of tools."""
    return [exe for exe in map(seen.exe, seen.execs()) if exe == NOTHING or exe.startswith("/tmp/")]
