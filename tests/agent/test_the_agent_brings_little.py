"""What a process that runs for months has in memory is decided by what it imports: here is what it must not."""

import subprocess
import sys

import pytest

LONG_LIVED = "agent.canary, agent.node, agent.readings, agent.stream, agent.identity.kubernetes, agent.identity.podfile"

HEAVY = {
    "bcc": "130 MB: the loader's",
    "kubernetes": "17 MB: for a kubeconfig only",
    "numpy.f2py": "numpy's tools",
    "numpy.testing": "numpy's tools",
    "prometheus_client": "3 MB: for --metrics only",
    "pydantic": "8 MB: typer's",
    "rich": "for people",
    "typer": "2 MB: the command line's",
    "urllib3": "4 MB: for the API server only",
    "yaml": "3 MB: for a file in YAML only",
}

METRICS_HEAVY = {"aiohttp", "django", "twisted", "kubernetes", "typer", "pydantic", "grpc"}


def _imported(modules: str) -> set[str]:
    program = f"import sys, {modules}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_long_lived_parts_import_none_of_the_heavy_ones() -> None:
    assert _imported(LONG_LIVED) & HEAVY.keys() == set()


def test_metrics_bring_their_library_and_nothing_more() -> None:
    loaded = _imported("agent.metrics")
    assert "prometheus_client" in loaded
    assert loaded & METRICS_HEAVY == set()


def test_numpy_starts_no_threads_for_matrices_that_nobody_multiplies() -> None:
    program = "import agent.canary, os; print(len(os.listdir('/proc/self/task')))"
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"


@pytest.mark.parametrize("module", ["kubernetes", "pydantic", "prometheus_client", "typer", "urllib3", "yaml"])
def test_what_is_called_heavy_here_can_be_imported_at_all(module: str) -> None:
    """A name that does not exist any more would make the tests above check nothing."""
    assert module in _imported(module)
