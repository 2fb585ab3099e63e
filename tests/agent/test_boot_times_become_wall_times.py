"""Events are timed by the boot clock and told by the wall clock: what one is held against the other for is exact."""

import time
from collections.abc import Iterator

import pytest

from agent.capture import probes

WALL, BOOT = 1_700_000_000_000_000_000, 40_000_000_000
PREEMPTED_NS = 12_000_000


def _clocks(monkeypatch: pytest.MonkeyPatch, pauses: Iterator[int]) -> None:
    """Have both clocks go by 50 ns with each look at one of them, and by one of `pauses` more."""
    passed = [0]

    def look(begin: int) -> int:
        passed[0] += 50 + next(pauses)
        return begin + passed[0]

    monkeypatch.setattr(time, "time_ns", lambda: look(WALL))
    monkeypatch.setattr(time, "clock_gettime_ns", lambda _clock: look(BOOT))


@pytest.mark.parametrize("first", range(8))
def test_who_is_preempted_between_both_clocks_is_not_off_by_that(monkeypatch: pytest.MonkeyPatch, first: int) -> None:
    pauses = iter([*[0] * first, *[PREEMPTED_NS] * 5, *[0] * 100])
    with monkeypatch.context() as patched:
        _clocks(patched, pauses)
        offset = probes.boot_to_wall()

    assert abs(offset - (WALL - BOOT)) <= 50


def test_this_machine_s_clocks_are_held_against_each_other() -> None:
    assert abs(time.clock_gettime_ns(time.CLOCK_BOOTTIME) + probes.boot_to_wall() - time.time_ns()) < 1_000_000_000
