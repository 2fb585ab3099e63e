"""Where things are, and what nothing may be called."""

import subprocess
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = {".ci", "agent", "bench", "collector", "daemonset", "docs", "proto", "requirements", "tests"}


@pytest.fixture(scope="module")
def files() -> list[PurePosixPath]:
    command = ["git", "-c", f"safe.directory={ROOT}", "ls-files", "--cached", "--others", "--exclude-standard"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        pytest.skip(f"no git checkout here: {result.stderr.strip()}")
    return [PurePosixPath(line) for line in result.stdout.splitlines() if (ROOT / line).exists()]


def test_there_are_no_top_level_folders_but_the_known_ones(files: list[PurePosixPath]) -> None:
    assert {file.parts[0] for file in files if len(file.parts) > 1} - FOLDERS == set()


def test_no_package_is_called_proto(files: list[PurePosixPath]) -> None:
    # It would take the place of proto-plus' module of that name, and every Google Cloud client would fail.
    assert [file for file in files if file.name == "__init__.py" and file.parent.name == "proto"] == []


def test_only_code_is_importable_from_the_repository_root(files: list[PurePosixPath]) -> None:
    # The editable install puts the root on the path.
    packages = {file.parts[0] for file in files if len(file.parts) == 2 and file.name == "__init__.py"}
    assert packages == {"agent", "collector"}


def test_no_module_has_a_name_that_says_nothing(files: list[PurePosixPath]) -> None:
    empty_names = {"utils", "util", "common", "helpers", "misc", "manager", "core"}
    assert [file for file in files if file.suffix == ".py" and file.stem in empty_names] == []


def test_no_module_is_too_long_to_be_one_thing(files: list[PurePosixPath]) -> None:
    code = [file for file in files if file.suffix == ".py" and "_pb2" not in file.name]
    lengths = {str(file): len((ROOT / file).read_text().splitlines()) for file in code}
    assert {file: length for file, length in lengths.items() if length > 600} == {}
