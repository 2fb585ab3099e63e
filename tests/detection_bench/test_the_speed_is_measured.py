"""How fast recordings are read and judged is measured with one command, which writes all of its tables."""

from functools import lru_cache
from pathlib import Path

import pytest
import speed


def test_all_parts_of_a_scenario_are_told_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = tmp_path / "SPEED.md"
    results.write_text("what was measured before")

    assert speed.main_with(["--size", "tiny", "--seed", "3", "--rows", "997", "--rounds", "1", "--results", str(results)]) == 0

    text = results.read_text()
    assert text == capsys.readouterr().out.removesuffix("\n")
    assert "measured before" not in text
    assert "997 rows" in text
    parts = ["reading lines", "reading the archive", "analysis, all known", "backtest of lines", "backtest of the archive"]
    assert all(f"| {part} " in text for part in parts)


def test_no_round_profits_from_what_the_one_before_worked_out() -> None:
    worked_out: list[int] = []

    @lru_cache
    def slow(number: int) -> int:
        worked_out.append(number)
        return number

    speed.fastest(lambda: [slow(997), slow(997)], 3)

    assert worked_out == [997, 997, 997]
