"""Whoever switches a check off says why, at the place."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SWITCHES = re.compile(
    r"""\#\ (?: noqa:\ [A-Z0-9]+(?:,\ ?[A-Z0-9]+)*
              | type:\ ignore\[[a-z, -]+\]
              | shellcheck\ disable=\S+
              | pragma:\ no\ cover
              | ruff:\ (?:noqa|disable).*
        )(?P<reason>.*)""",
    re.VERBOSE,
)
BARE = re.compile(r"# (?:noqa|type: ignore)(?![:\[])")


def _code() -> list[Path]:
    folders = [ROOT / name for name in ("agent", "bench", "collector", "daemonset", "proto", "requirements", "tests", ".ci")]
    found = [
        path for folder in folders for path in folder.rglob("*") if path.suffix in {".py", ".sh"} and "_pb2" not in path.name
    ]
    return sorted(path for path in found if path != Path(__file__))


def _gives_no_reason(line: str) -> bool:
    return bool(BARE.search(line)) or any(len(match["reason"].strip(" #—-:")) < 5 for match in SWITCHES.finditer(line))


def test_every_switched_off_check_has_a_reason() -> None:
    lines = [(path, number, line) for path in _code() for number, line in enumerate(path.read_text().splitlines(), 1)]
    without = [f"{path.relative_to(ROOT)}:{number}: {line.strip()}" for path, number, line in lines if _gives_no_reason(line)]
    assert without == []


def test_every_rule_that_is_off_in_pyproject_has_a_reason() -> None:
    lines = (ROOT / "pyproject.toml").read_text().splitlines()
    rules = [line.strip() for line in lines if re.match(r'    "(?:[A-Z]{1,4}[0-9]{0,4})"', line)]
    assert len(rules) > 10
    assert [line for line in rules if "#" not in line] == []
    overrides = [line for line in lines if line.startswith(("ignore_errors", "ignore_missing_imports"))]
    assert [line for line in overrides if "#" not in line] == []


def _scripts() -> list[Path]:
    return [
        ROOT / "setup.sh",
        ROOT / ".ci/run",
        *sorted((ROOT / "proto").glob("*.sh")),
        *sorted((ROOT / "daemonset").glob("*.sh")),
    ]


@pytest.mark.parametrize("script", _scripts(), ids=lambda script: script.name)
def test_scripts_are_executable_parse_and_stop_at_unset_names(script: Path) -> None:
    assert script.stat().st_mode & 0o111 == 0o111
    assert subprocess.run(["bash", "-n", script], check=False).returncode == 0
    assert re.search(r"^set -e?uo pipefail$", script.read_text(), re.MULTILINE)
