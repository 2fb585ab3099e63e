"""What tests/conftest.py says of groups is what pytest-xdist does, checked with tests that say in which process they ran."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CONFTEST = ROOT / "tests/conftest.py"

THREE = """
import os, pathlib, pytest
@pytest.mark.parametrize("number", range(3))
def test_this(number):
    pathlib.Path(f"{pathlib.Path(__file__).stem}-{number}").write_text(str(os.getpid()))
"""

# The first of three takes its time: meanwhile, none of what is alone may begin.
MEANWHILE = """
import pathlib, pytest, time
def alone(): return sorted(pathlib.Path().glob("test_capture_survives_kills-*"))
@pytest.mark.parametrize("number", range(3))
def test_this(number):
    before, deadline = alone(), time.monotonic() + (0 if number else 2)
    while time.monotonic() < deadline:
        assert alone() == before
        time.sleep(0.01)
    pathlib.Path(f"meanwhile-{number}").touch()
"""

# Each says that it runs, and for how long it does; one that is alone must not meet another, and comes after its file's others.
MARKED = """
import os, pathlib, pytest, time
alone = False
def during(name):
    running = pathlib.Path(f"running-{os.getpid()}")
    running.touch()
    deadline = time.monotonic() + 0.5
    while time.monotonic() < deadline:
        if name == "alone" and alone:
            assert [*pathlib.Path().glob("running-*")] == [running]
        time.sleep(0.01)
    running.unlink()
    pathlib.Path(f"ran-{pathlib.Path(__file__).stem}-{name}").touch()
@pytest.mark.alone
def test_alone():
    during("alone")
    assert len([*pathlib.Path().glob(f"ran-{pathlib.Path(__file__).stem}-*")]) == 3
def test_first(): during("first")
def test_second(): during("second")
"""


def run(folder: Path, files: dict[str, str]) -> None:
    """Run such tests in two processes, under this checkout's conftest.py."""
    for name, text in (
        files | {"tests/conftest.py": CONFTEST.read_text(), "pytest.ini": "[pytest]\nmarkers = alone\n"}
    ).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    command = [sys.executable, "-m", "pytest", "-q", "-n", "2", "-p", "no:randomly", "--import-mode=importlib", "tests"]
    # Without what is said to the tests that run now.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(autouse=True)
def _possible() -> None:
    pytest.importorskip("xdist", reason="needs pytest-xdist: run `make setup`")


def test_what_belongs_together_runs_in_one_process_and_the_rest_beside_it(tmp_path: Path) -> None:
    names = ("tests/kernel/test_a.py", "tests/kernel/test_b.py", "tests/other/test_c.py", "tests/other/test_d.py")
    run(tmp_path, dict.fromkeys(names, THREE))
    processes = {path.name: path.read_text() for path in tmp_path.glob("test_*-*")}
    assert len(processes) == 12
    assert len({process for name, process in processes.items() if name.startswith(("test_a", "test_b"))}) == 1
    assert len(set(processes.values())) == 2


def test_what_is_alone_does_not_begin_while_another_runs(tmp_path: Path) -> None:
    names = ("tests/e2e/test_capture_survives_kills.py", "tests/other/test_quick.py")
    run(tmp_path, dict.fromkeys(names, THREE) | {"tests/kernel/test_meanwhile.py": MEANWHILE})
    assert len([*tmp_path.glob("*-?")]) == 9


def test_a_test_that_is_marked_alone_has_none_of_another_process_beside_it(tmp_path: Path) -> None:
    marked = MARKED.replace("alone = False", "alone = True")
    run(tmp_path, {"tests/kernel/test_marked.py": marked} | dict.fromkeys(("tests/a/test_a.py", "tests/a/test_b.py"), MARKED))
    assert len([*tmp_path.glob("ran-*")]) == 9


def test_the_tables_name_what_there_is(pytestconfig: pytest.Config) -> None:
    conftest = pytestconfig.pluginmanager.get_plugin(str(CONFTEST))
    assert [name for name in conftest.TOGETHER | conftest.ALONE if not (ROOT / name).exists()] == []
