import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from collector_harness import Command, Daemon, Events


@pytest.fixture
def events() -> Events:
    return Events()


@pytest.fixture
def daemons(tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    """Starts collectors on one data directory; ends those that the test left."""
    started: list[Daemon] = []

    def start(*options: str) -> Daemon:
        started.append(Daemon(tmp_path / "data", options).start())
        return started[-1]

    yield start
    for daemon in started:
        if daemon.process.poll() is None:
            daemon.end(signal.SIGKILL)


@pytest.fixture
def impatient(tmp_path: Path) -> tuple[str, str]:
    """Options with which a collector waits for peers that may follow for a short time only."""
    settings = tmp_path / "impatient.toml"
    settings.write_text("hold = 4\n")
    return "--config", str(settings)


@pytest.fixture
def daemon(daemons: Callable[..., Daemon]) -> Daemon:
    return daemons()


@pytest.fixture
def peerwatch() -> Command:
    return Command()
