"""The benchmark on count vectors: what it reads, and that it counts as it says."""

from pathlib import Path

import numpy as np
import pytest
import shil

SAMPLES, ATTACKED = 400, 300


@pytest.fixture
def attacks(tmp_path: Path) -> list[shil.Attack]:
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
    return shil.load(tmp_path / "counts.npz")


@pytest.mark.parametrize("name", ["never seen (allow list)", "surprise, largest, 0.1 s (in use)"])
def test_what_never_happened_is_found_at_once(attacks: list[shil.Attack], name: str) -> None:
    result = shil.samples(attacks, shil.FITS[name], 0.003, apart=True)

    assert result["detected"] == 1
    assert result["false_share"] < 0.02


def test_a_score_that_says_nothing_finds_nothing(attacks: list[shil.Attack]) -> None:
    result = shil.samples(attacks, lambda _: lambda counts: np.zeros(len(counts)), 0.003, apart=True)

    assert (result["detected"], result["false_share"], result["missed"]) == (0, 0, {"CVE-0000-0001": 4})


@pytest.mark.parametrize("name", sorted(shil.RULES))
def test_the_victim_among_four_is_named(attacks: list[shil.Attack], name: str) -> None:
    result = shil.peers(attacks, shil.RULES[name], 0.02)

    assert result["benign_windows"] == 3
    assert result["recall"] == 1
    assert result["right_replica"] == 1


def test_a_file_that_is_not_there_is_said_and_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["shil.py", str(tmp_path / "none.npz")])

    assert shil.main() == 0
    assert "is not there" in capsys.readouterr().err
