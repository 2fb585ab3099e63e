"""The benchmark on count vectors: what it reads, that it counts as it says, and that limits know nothing of what they judge."""

from pathlib import Path

import numpy as np
import pytest
import run
import shil
import shil_scores
from shil_scores import F64, I64, Score

from collector.detect.volume import Habit

SAMPLES, ATTACKED = 400, 300


@pytest.fixture
def file(tmp_path: Path) -> Path:
    random = np.random.default_rng(1)
    index = np.zeros(4, [("cve", "U16"), ("container", "u1"), ("start", "<u4"), ("success", "<u4")])
    data = {}
    for container in range(1, 5):
        index[container - 1] = ("CVE-0000-0001", container, ATTACKED, ATTACKED + 50)
        data[f"CVE-0000-0001/{container}/train"] = random.poisson([20, 5, 0], (600, 3)).astype(np.uint32)
        test = random.poisson([20, 5, 0], (SAMPLES, 3)).astype(np.uint32)
        test[ATTACKED + 10 : ATTACKED + 20, 2] = 4
        data[f"CVE-0000-0001/{container}/test"] = test
    np.savez(tmp_path / "counts.npz", index=index, **data)
    return tmp_path / "counts.npz"


@pytest.fixture
def attacks(file: Path) -> list[shil.Attack]:
    return shil.load(file)


def saying(value: float) -> shil_scores.Fit:
    """Score every sample alike, but normal minutes that come in halves 0."""

    def fit(train: list[I64]) -> Score:
        whole = len(train[0]) == 600
        return lambda counts, _: np.full(len(counts), value if whole else 0.0)

    return fit


@pytest.mark.parametrize("name", ["never seen (allow list)", "surprise, largest, 0.1 s", shil_scores.CHOSEN])
def test_what_never_happened_is_found_at_once(attacks: list[shil.Attack], name: str) -> None:
    traces = shil.samples(attacks, shil_scores.FITS[name], shil.by_samples(0.003))

    assert [(each.found, each.found_by_end) for each in traces] == [(True, True)] * 4
    assert sum(each.false for each in traces) < 0.02 * 4 * ATTACKED


def test_a_score_that_says_nothing_finds_nothing(attacks: list[shil.Attack]) -> None:
    traces = shil.samples(attacks, saying(0.0), shil.by_samples(0.003))

    assert not any(each.found or each.false or each.by_chance for each in traces)


def test_a_score_that_always_cries_finds_all_by_chance(attacks: list[shil.Attack]) -> None:
    traces = shil.samples(attacks, saying(9.0), shil.by_samples(0.003))

    assert [(each.found, each.by_chance, each.false) for each in traces] == [(True, 1.0, ATTACKED)] * 4


def test_an_end_of_the_authors_counts_beside_that_of_the_file(attacks: list[shil.Attack]) -> None:
    attacks[0].end[:] = [ATTACKED + 5] * 4

    traces = shil.samples(attacks, shil_scores.FITS["never seen (allow list)"], shil.by_samples(0.003))

    assert [(each.found, each.found_by_end) for each in traces] == [(True, False)] * 4


def test_a_minute_is_scored_by_what_the_others_taught() -> None:
    train = [np.arange(1800).reshape(-1, 1), np.arange(1805).reshape(-1, 1)]

    parts = list(shil.held_out(train))

    assert [len(minute[0]) for _, minute in parts] == [600, 600, 600]
    for rest, minute in parts:
        for taught, judged, whole in zip(rest, minute, train, strict=True):
            assert not set(taught[:, 0]) & set(judged[:, 0])
            assert set(taught[:, 0]) | set(judged[:, 0]) == set(whole[:, 0])


def test_a_limit_by_minutes_lets_no_normal_minute_cry() -> None:
    scores: list[F64] = [np.array([0.0, 1.0]), np.array([3.0, 0.5])]

    assert shil.by_minutes(0.08)(scores) > 3.0
    assert shil.by_samples(0.25)(scores) == 1.0


def test_what_all_items_do_more_of_is_no_deviation_and_what_one_does_is() -> None:
    habit = Habit(np.log1p(np.array([20.0, 30.0, 40.0, 0.0])), np.full(4, 0.1))
    busy, odd, new = [41.0, 61, 81, 0], [20.0, 30, 81, 0], [20.0, 30, 40, 1]

    left = shil_scores.beyond_activity(habit, np.array([busy, odd, new]))

    assert left[0].max() < 0.3
    assert left[1].argmax() == 2
    assert left[1].max() > 6
    assert left[2].argmax() == 3
    assert left[2].max() > 6


@pytest.mark.parametrize("name", sorted(shil_scores.RULES))
def test_the_victim_among_four_is_named(attacks: list[shil.Attack], name: str) -> None:
    rule, level = shil_scores.RULES[name]

    compared = shil.peers(attacks, rule, 0.02, level)

    assert compared.benign == 3
    assert compared.found == [True] * 4
    assert compared.right == 4


def test_the_tables_say_goals_and_stand_in_a_file_with_a_date(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shil.main_with([str(file), "--results", str(tmp_path / "SHIL.md")]) == 0

    text = (tmp_path / "SHIL.md").read_text()
    assert capsys.readouterr().out == text + "\n"
    assert text.startswith("# Counts of system calls, 20")
    assert "| detected, file's ends      | >= 0.85  | 1.0000  | [1.000, 1.000] | yes |" in text


def test_the_chapter_stands_beside_the_scenarios(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main_with(["--size", "tiny", "--seeds", "3", "--detectors", "peerwatch", "--counts", str(file)]) == 0

    assert "## Count vectors of real attacks" in capsys.readouterr().out


def test_a_file_that_is_not_there_is_said_and_no_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert shil.main_with([str(tmp_path / "none.npz")]) == 0
    assert "is not there" in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        run.main_with(["--counts", str(tmp_path / "none.npz")])
    assert ended.value.code == 2
