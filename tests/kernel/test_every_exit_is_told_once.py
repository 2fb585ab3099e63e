"""What was executed ends: with which code or signal, and after how long; what was only forked says nothing."""

import json
import subprocess

import pytest
from harness.capture import Capture, Seen
from harness.containers import Container
from kernel.workload import BECOME, NOTHING, PYTHON, PYTHON_EXE, REPEAT, THREADS
from peerwatch.columns import EventKind

from agent.capture.sizes import SIZES

pytestmark = pytest.mark.kernel

DASH = "/usr/bin/dash"
NUMBER = 211


@pytest.mark.parametrize(
    ("script", "end"),
    [("exit 0", (0, 0)), ("exit 7", (7, 0)), ("exit 255", (255, 0)), ("kill -9 $$", (0, 9)), ("kill -SEGV $$", (0, 11))],
)
def test_code_and_signal(capture: Capture, containers: list[Container], script: str, end: tuple[int, int]) -> None:
    containers[0].exec(REPEAT, "13", "/bin/sh", "-c", script, check=False)

    seen = capture.until(lambda seen: len(seen.exits(DASH)) >= 13)

    assert seen.exits(DASH, containers[0].id) == [end] * 13
    assert seen.counts(EventKind.EXIT, exe=DASH) == [1, 12]


def test_the_first_is_told_at_once_and_the_rest_add_up(capture: Capture, containers: list[Container]) -> None:
    containers[0].exec(REPEAT, str(NUMBER), NOTHING)

    at_once = capture.until(lambda seen: bool(seen.exits(NOTHING)), ask=False)
    assert at_once.counts(EventKind.EXIT, exe=NOTHING) == [1]
    seen = capture.until(lambda seen: len(seen.exits(NOTHING)) >= NUMBER)

    assert seen.counts(EventKind.EXIT, exe=NOTHING, container=containers[0].id) == [1, NUMBER - 1]
    assert len(seen.exits(NOTHING)) == len(seen.execs(NOTHING)) == NUMBER


def test_in_full_every_exit_is_a_line(full_capture: Capture, containers: list[Container]) -> None:
    with subprocess.Popen(containers[0].exec_command(REPEAT, str(NUMBER), NOTHING)):
        seen = full_capture.until(lambda seen: len(seen.exits(NOTHING)) >= NUMBER)

    assert seen.counts(EventKind.EXIT, exe=NOTHING, container=containers[0].id) == [1] * NUMBER
    assert _identities(seen, EventKind.EXIT) == _identities(seen, EventKind.EXEC)


def test_different_ends_of_the_same_program_are_told_apart(capture: Capture, containers: list[Container]) -> None:
    # By their input: what was executed is the same each time.
    script = """
import subprocess
for code in [0] * 5 + [3] * 7 + [4] * 11: subprocess.run(['/bin/sh', '-s'], input=b'exit %d' % code)
"""
    containers[0].exec(PYTHON, "-c", script)

    seen = capture.until(lambda seen: len(seen.exits(DASH)) >= 23)

    assert sorted(seen.exits(DASH)) == [(0, 0)] * 5 + [(3, 0)] * 7 + [(4, 0)] * 11
    assert seen.counts(EventKind.EXEC, exe=DASH) == [1, 22]
    assert sorted(seen.counts(EventKind.EXIT, exe=DASH)) == [1, 1, 1, 4, 6, 10]


def test_lifetimes_are_those_of_the_processes_and_repeats_tell_their_mean(
    capture: Capture, containers: list[Container]
) -> None:
    # Its parent says when each was surely alive, and when it was surely not.
    script = """
import json, subprocess, time
lives = []
for pause in (0.3, 0.1, 0.2, 0.6):
    begin = time.monotonic_ns()
    with subprocess.Popen(['/bin/cat'], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as cat:
        cat.stdin.write(b'?\\n'); cat.stdin.flush(); cat.stdout.readline()
        time.sleep(pause)
    lives.append((int(pause * 1e9), time.monotonic_ns() - begin))
print(json.dumps(lives))
"""
    lives = json.loads(containers[0].exec(PYTHON, "-c", script).stdout)

    seen = capture.until(lambda seen: len(seen.exits("/usr/bin/cat")) >= len(lives))

    rows = seen.rows(EventKind.EXIT, exe="/usr/bin/cat")
    lifetimes, counts = seen.table.exits.lifetime[seen.table.places()[rows]], seen.table.counts()[rows]
    assert lives[0][0] <= lifetimes[0] <= lives[0][1]
    assert len(rows) < sum(counts) == len(lives)
    # A mean is cut to whole nanoseconds.
    assert sum(least for least, _ in lives) <= sum(lifetimes * counts) + len(lives)
    assert sum(lifetimes * counts) <= sum(most for _, most in lives)


def test_a_process_that_only_forked_has_no_exit(capture: Capture, containers: list[Container]) -> None:
    script = "import os\nfor code in range(17): os.fork() or os._exit(code); os.wait()\nos._exit(99)"
    containers[0].exec(PYTHON, "-c", script, check=False)

    seen = capture.until(lambda seen: bool(seen.exits(PYTHON_EXE)))

    assert seen.exits(PYTHON_EXE) == [(99, 0)]


@pytest.mark.parametrize(
    ("leader", "last", "code"),
    [("0", "0", 0), ("7", "0", 0), ("0", "7", 7), ("3", "group", 5)],
    ids=["both with 0", "not the first one's", "the last one's", "the group's"],
)
def test_a_process_ends_once_with_its_last_thread_and_the_code_that_its_parent_gets(
    capture: Capture, containers: list[Container], leader: str, last: str, code: int
) -> None:
    assert containers[0].exec(REPEAT, "3", THREADS, leader, last, check=False).returncode == code

    seen = capture.until(lambda seen: len(seen.exits(THREADS)) >= 3)

    assert seen.exits(THREADS, containers[0].id) == [(code, 0)] * 3
    assert (seen.table.exits.lifetime[seen.table.places()[seen.rows(EventKind.EXIT, exe=THREADS)]] > 200_000_000).all()


def test_a_process_ends_as_what_it_executed_last(capture: Capture, containers: list[Container]) -> None:
    containers[0].exec(REPEAT, "19", "/usr/bin/env", NOTHING)

    seen = capture.until(lambda seen: len(seen.exits(NOTHING)) >= 19)

    assert len(seen.execs("/usr/bin/env")) == len(seen.execs(NOTHING)) == 19
    assert len(seen.exits(NOTHING)) == 19
    assert seen.exits("/usr/bin/env") == []


def test_a_process_ends_as_what_it_executed_last_also_when_only_that_was_new(
    capture: Capture, containers: list[Container]
) -> None:
    # The shell is the same each time, what it turns into is not.
    script = """
import os, subprocess
for number in range(11):
    subprocess.run(['/bin/sh', '-c', 'exec /app/nothing $WORD'], env={'WORD': str(number)})
"""
    containers[0].exec(PYTHON, "-c", script)

    seen = capture.until(lambda seen: len(seen.exits(NOTHING)) + len(seen.exits(DASH)) >= 11)

    assert len(seen.exits(NOTHING)) == 11
    assert seen.exits(DASH) == []
    ends = [seen.args(int(seen.table.process[row])) for row in seen.rows(EventKind.EXIT, exe=NOTHING)]
    assert ends == [[NOTHING, str(number)] for number in range(11)]


def test_a_repeat_that_outlives_its_count_ends_with_name_and_container(capture: Capture, containers: list[Container]) -> None:
    script = """
import subprocess, sys
children = [subprocess.Popen(['/bin/cat'], stdin=subprocess.PIPE) for _ in range(3)]
sys.stdin.read()
for child in reversed(children): child.communicate()
"""
    with subprocess.Popen(containers[0].exec_command(PYTHON, "-c", script), stdin=subprocess.PIPE) as running:
        capture.until(lambda seen: len(seen.execs("/usr/bin/cat")) >= 3)
        capture.forget()  # as a minute without another exec of this kind would
        assert running.stdin is not None
        running.stdin.close()

        seen = capture.until(lambda seen: bool(seen.exits(PYTHON_EXE)))

    assert seen.exits("/usr/bin/cat", containers[0].id) == [(0, 0)] * 3


def test_a_process_that_outlives_what_is_kept_of_processes_has_an_exit(
    full_capture: Capture, containers: list[Container]
) -> None:
    with subprocess.Popen(containers[0].exec_command("/bin/cat"), stdin=subprocess.PIPE) as running:
        assert running.stdin is not None
        full_capture.until(lambda seen: bool(seen.execs("/usr/bin/cat")))
        with subprocess.Popen(containers[0].exec_command(BECOME, str(SIZES.images + 101), NOTHING)) as others:
            while others.poll() is None:
                full_capture.read()
        running.stdin.close()
        running.wait()

    seen = full_capture.until(lambda seen: len(seen.exits(NOTHING)) > SIZES.images and bool(seen.exits(BECOME)))

    (process,) = seen.execs("/usr/bin/cat")
    columns = seen.table.processes
    ended = seen.table.process[seen.rows(EventKind.EXIT, container=containers[0].id)]
    assert (columns.start_time[ended] == columns.start_time[process]).sum() == 1


def _identities(seen: Seen, kind: EventKind) -> list[tuple[int, int]]:
    """Return pid and start time of each process of the file."""
    processes = seen.table.process[seen.rows(kind, exe=NOTHING)]
    columns = seen.table.processes
    return sorted(zip(columns.pid[processes].tolist(), columns.start_time[processes].tolist(), strict=True))
