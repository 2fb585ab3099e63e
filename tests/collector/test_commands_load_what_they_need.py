"""A person waits for what a command loads before it asks anything; what only one of them needs, the others do not load."""

import subprocess
import sys

import pytest

PROGRAM = """
import atexit, sys
from collector.cli import main
atexit.register(lambda: print("loaded:", *sys.modules))
main()
"""


def _loaded(*arguments: str) -> set[str]:
    done = subprocess.run([sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, check=True)
    return set(done.stdout.rpartition("loaded:")[2].split())


@pytest.mark.parametrize("command", ["status", "workloads", "alerts", "baseline show", "baseline approve"])
def test_who_asks_a_collector_loads_nothing_that_calculates_or_stores(command: str) -> None:
    loaded = _loaded(*command.split(), "--help")
    assert "grpc" in loaded
    assert loaded & {"alembic", "collector.analysis", "numpy", "pyarrow", "sqlalchemy", "yaml"} == set()


def test_what_a_command_needs_beyond_that_it_loads_itself() -> None:
    """A name that does not exist any more would make the test above check nothing."""
    assert _loaded("backtest", "--help") >= {"collector.analysis", "numpy"}
    assert _loaded("--help") >= {f"collector.commands.{name}" for name in ("alerts", "backtest", "collector", "replay")}
