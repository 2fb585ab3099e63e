import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from collector_harness import Command, Daemon, Events


@pytest.fixture
def events() -> Events:
    return Events()


@pytest.fixture
def daemons(tmp_path: Path) -> Iterator[Callable[[], Daemon]]:
    """Starts collectors on one data directory; ends those that the test left."""
    started: list[Daemon] = []

    def start() -> Daemon:
        started.append(Daemon(tmp_path / "data").start())
        return started[-1]

    yield start
    for daemon in started:
        if daemon.process.poll() is None:
            daemon.end(signal.SIGKILL)


@pytest.fixture
def daemon(daemons: Callable[[], Daemon]) -> Daemon:
    return daemons()


@pytest.fixture
def peerwatch() -> Command:
    return Command()
