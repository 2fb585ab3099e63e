"""The statistic of volume: habits on logarithms, what peers leave, limits from normal time."""

import math

import numpy as np
import pytest
from hypothesis import given, strategies

from collector.detect.volume import Gaps, Habit, beyond_peers, lift, limit, poisson_tail, trailing


def test_what_is_usual_surprises_nobody() -> None:
    counts = np.random.default_rng(1).poisson(50, (500, 3))

    surprise = Habit.of(counts).surprise(counts)

    assert abs(surprise.mean()) < 0.01
    assert surprise.max() < 6


def test_one_occurrence_of_what_never_happened_is_worth_seven_spreads() -> None:
    habit = Habit.of(np.zeros((100, 1), np.int64))

    assert habit.surprise(np.array([1]))[0] == pytest.approx(math.log(2) / 0.1)


def test_sums_give_the_same_habit_as_the_windows_they_were_made_of() -> None:
    counts = np.random.default_rng(2).poisson(5, (300, 4))
    logs = np.log1p(counts)

    kept = Habit.of_sums(np.full(4, 300), logs.sum(axis=0), (logs**2).sum(axis=0))

    assert np.allclose(kept.mean, Habit.of(counts).mean)
    assert np.allclose(kept.spread, Habit.of(counts).spread)


def test_what_all_replicas_show_is_taken_off() -> None:
    surprise = np.array([[9.0, 0.0], [9.0, 0.0], [9.0, 8.0], [9.0, -3.0]])

    assert beyond_peers(surprise).tolist() == [[0.0, 0.0], [0.0, 0.0], [0.0, 8.0], [0.0, -3.0]]


def test_what_peers_do_less_explains_nothing() -> None:
    assert beyond_peers(np.array([[2.0], [-5.0], [-5.0]]))[0, 0] == 2.0


def test_who_has_no_peers_keeps_its_surprise() -> None:
    assert beyond_peers(np.array([[4.0]])).tolist() == [[4.0]]


@given(strategies.floats(0.5, 50), strategies.integers(3, 8))
def test_a_load_that_rises_everywhere_leaves_nothing(load: float, replicas: int) -> None:
    habit = Habit.of(np.random.default_rng(3).poisson(20, (200, 2)))
    counts = np.tile(np.array([20.0, 20.0]) * load, (replicas, 1))

    assert np.all(beyond_peers(habit.surprise(counts)) <= 1e-9 + np.maximum(-habit.surprise(counts), 0))


def test_activity_as_a_whole_is_the_median_of_what_rose() -> None:
    assert lift(np.array([1.0, 2.0, 9.0])) == 2.0
    assert lift(np.array([-1.0, -2.0])) == 0.0
    assert lift(np.zeros(0)) == 0.0
    assert lift(np.array([[1.0, 2.0, 9.0], [-1.0, -2.0, -3.0]])).tolist() == [2.0, 0.0]
    assert lift(np.zeros((2, 0))).tolist() == [0.0, 0.0]


def test_a_limit_is_exceeded_by_the_share_that_was_asked_for() -> None:
    scores = np.random.default_rng(4).normal(size=10_000)

    assert np.mean(scores > limit(scores, 0.01)) == pytest.approx(0.01)


def test_a_limit_beyond_what_was_observed_lies_above_it_and_rises() -> None:
    scores = np.random.default_rng(5).exponential(size=1_000)

    rarer = [limit(scores, share) for share in (1e-3, 1e-4, 1e-5)]

    assert scores.max() < rarer[1] < rarer[2]
    assert rarer[2] - rarer[1] == pytest.approx(math.log(10), rel=0.5)  # the tail of an exponential


def test_trailing_windows_hold_what_came_before() -> None:
    assert trailing(np.array([[1], [2], [3], [4]]), 2).ravel().tolist() == [1, 3, 5, 7]


@pytest.mark.parametrize(("count", "expected", "chance"), [(0, 3.0, 1.0), (1, 0.1, 0.09516258), (5, 0.5, 1.7212e-4)])
def test_the_tail_of_rare_arrivals(count: int, expected: float, chance: float) -> None:
    assert poisson_tail(count, expected) == pytest.approx(chance, rel=1e-4)


def test_the_tail_of_very_many_is_neither_negative_nor_an_error() -> None:
    assert 0 <= poisson_tail(100_000, 0.01) < 1e-300


def test_a_clock_has_no_jitter_and_chance_has_as_much_as_its_mean() -> None:
    random = np.random.default_rng(6).exponential(60, 5_000)

    assert Gaps(10, 600.0, 10 * 60.0**2).jitter == 0
    assert Gaps(len(random), float(random.sum()), float((random**2).sum())).jitter == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("replicas", [2, 3, 4, 7, 8])
def test_each_replica_is_compared_with_the_median_of_the_others(replicas: int) -> None:
    surprise = np.random.default_rng(replicas).integers(-3, 4, (replicas, 23)).astype(float)  # with ties

    beyond = beyond_peers(surprise)

    for each in range(replicas):
        others = np.median(np.delete(surprise, each, axis=0), axis=0)
        assert np.array_equal(beyond[each], surprise[each] - np.maximum(others, 0))
