"""How long the agent gathers after each read: short while events come alone, longer in a flood, never until a ring is full."""

import pytest

from agent.capture.records import SMALL_EVENT
from agent.capture.sizes import SIZES
from agent.node import GATHER_S, MOST_GATHER_S, pause_after


@pytest.mark.parametrize("per_s", [1, 50, 1000, 3999])
def test_what_comes_at_a_usual_rate_waits_no_longer(per_s: int) -> None:
    assert pause_after(per_s // 20, 0.05) == GATHER_S


@pytest.mark.parametrize("per_s", [4001, 20_000])
def test_in_a_flood_a_turn_brings_more(per_s: int) -> None:
    assert GATHER_S < pause_after(per_s, 1.0) <= MOST_GATHER_S


@pytest.mark.parametrize("per_s", [20_000, 100_000, 250_000, 10_000_000])
def test_the_faster_it_comes_the_sooner_it_is_read(per_s: int) -> None:
    room = SIZES.small_ring // (8 + SMALL_EVENT.itemsize)
    pause = pause_after(per_s, 1.0)
    assert pause == GATHER_S or pause * per_s < room / 4


@pytest.mark.parametrize("seconds", [0.0, -1.0])
def test_a_clock_that_stood_still_is_no_error(seconds: float) -> None:
    assert GATHER_S <= pause_after(1, seconds) <= MOST_GATHER_S
