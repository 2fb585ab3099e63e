"""What repeats no more makes room for others: nothing is lost or counted twice when it does, or when there is no room."""

import subprocess
import time
from pathlib import Path

import pytest
from harness.capture import Capture
from harness.containers import Container
from harness.world import World
from kernel.workload import BECOME, NOTHING, PYTHON, REPEAT
from peerwatch.columns import EventKind

from agent.capture.folds import IDLE_S
from agent.capture.probes import Probes
from agent.capture.records import Counter
from agent.capture.sizes import SIZES

pytestmark = pytest.mark.kernel

NUMBER = 4999

# Connects twice to each of many destinations of its own loopback interface.
MANY = """
import socket, sys
for _ in range(2):
    for number in range(int(sys.argv[1])):
        with socket.socket() as client: client.connect_ex((f'127.1.{number >> 8}.{number & 255}', 8001))
"""


def test_after_a_pause_the_next_is_told_at_once_again(capture: Capture, containers: list[Container]) -> None:
    script = f"""
import subprocess, sys
while sys.stdin.read(1):
    for _ in range(5): subprocess.run(['{NOTHING}'])
    print('done', flush=True)
"""
    command = containers[0].exec_command(PYTHON, "-uc", script)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        for _ in range(2):
            running.stdin.write(b"x")
            assert running.stdout.readline() == b"done\n"
            capture.read()
            later = time.clock_gettime_ns(time.CLOCK_BOOTTIME) + (IDLE_S + 1) * 10**9
            for _ in range(2):  # taken out, then free
                capture.probes.current.folds.recycle(later)
        running.stdin.close()

    seen = capture.until(lambda seen: len(seen.execs(NOTHING)) >= 10)

    assert seen.counts(EventKind.EXEC, exe=NOTHING) == [1, 4, 1, 4]
    assert seen.counts(EventKind.EXIT, exe=NOTHING) == [1, 4, 1, 4]


def test_counts_add_up_while_folds_are_taken_out_all_the_time(capture: Capture, containers: list[Container]) -> None:
    folds = capture.probes.current.folds
    with subprocess.Popen(containers[0].exec_command(REPEAT, str(NUMBER), NOTHING)) as running:
        while running.poll() is None:
            capture.read()
            folds.recycle(time.clock_gettime_ns(time.CLOCK_BOOTTIME) + 3600 * 10**9)

    seen = capture.until(lambda seen: len(seen.execs(NOTHING)) >= NUMBER and len(seen.exits(NOTHING)) >= NUMBER)

    assert len(seen.execs(NOTHING, containers[0].id)) == len(seen.exits(NOTHING, containers[0].id)) == NUMBER
    assert len(seen.counts(EventKind.EXEC, exe=NOTHING)) > 4  # it did happen


def test_more_kinds_than_there_are_places_are_all_told(capture: Capture, containers: list[Container]) -> None:
    number = SIZES.folds + 101
    before = capture.probes.current.counters()[Counter.FOLD_TABLE_FULL]
    with subprocess.Popen(containers[0].exec_command(PYTHON, "-c", MANY, str(number))):
        seen = capture.until(lambda seen: len(seen.connects(8001)) >= 2 * number, timeout=60)

    assert len(seen.connects(8001, containers[0].id)) == 2 * number
    assert len(set(seen.connects(8001))) == number
    assert capture.probes.current.counters()[Counter.FOLD_TABLE_FULL] - before >= 101


def test_a_place_that_was_full_is_there_again(capture: Capture, containers: list[Container]) -> None:
    containers[0].exec(PYTHON, "-c", MANY, str(SIZES.folds + 101))
    folds = capture.probes.current.folds
    assert folds.used > 0.9 * folds.size

    capture.forget()

    assert folds.used < 0.1 * folds.size  # by others on this host
    containers[0].exec(REPEAT, "23", NOTHING)
    seen = capture.until(lambda seen: len(seen.execs(NOTHING)) >= 23)
    assert seen.counts(EventKind.EXEC, exe=NOTHING) == [1, 22]


def test_repeats_that_become_something_else_leave_nothing_behind(
    world: World, containers: list[Container], own_pins: Path
) -> None:
    """More of them than there are places for living processes that are repeats."""
    command = containers[0].exec_command(BECOME, str(SIZES.repeats // 2 + 101), NOTHING)
    with Probes(own_pins) as probes:
        capture = Capture(probes, world)
        with subprocess.Popen(command) as one, subprocess.Popen(command) as other:
            while one.poll() is None or other.poll() is None:
                capture.discard()
        assert one.returncode == other.returncode == 0
        capture.forget()

        containers[0].exec(REPEAT, "23", NOTHING)
        seen = capture.until(lambda seen: len(seen.execs(NOTHING)) >= 23)

    assert seen.counts(EventKind.EXEC, exe=NOTHING) == [1, 22]
