"""Real probes on real containers. Where root, eBPF or runc are missing, these tests skip and say why."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.capture import Capture
from harness.containers import Container
from harness.rootfs import Program
from harness.session import missing
from harness.world import World

from agent.capture.probes import Probes, uninstall
from agent.errors import UnsupportedError

PIN_FOLDER = Path(f"/sys/fs/bpf/peerwatch-test-{os.getpid()}")


@pytest.fixture(scope="session")
def world() -> Iterator[World]:
    reason = missing()
    if reason:
        pytest.skip(reason)
    with World() as world:
        yield world


@pytest.fixture(scope="session")
def containers(world: World) -> list[Container]:
    """Two containers that sleep: what is executed in them, a test did."""
    deployment = world.deploy("still", program=Program(argv=("/usr/bin/sleep", "100000")), replicas=2)
    return [replica.container for replica in deployment.replicas]


@pytest.fixture(scope="session")
def _attached() -> Iterator[None]:
    """Load once: the probes stay when a test closes them."""
    if os.geteuid() != 0:
        pytest.skip("needs root to load eBPF programs")
    try:
        with Probes(PIN_FOLDER):
            pass
    except UnsupportedError as error:
        pytest.skip(str(error))
    yield
    uninstall(PIN_FOLDER)


@pytest.fixture
def capture(_attached: None, world: World) -> Iterator[Capture]:
    with Probes(PIN_FOLDER) as probes:
        while len(probes.read()):
            pass  # of earlier tests
        yield Capture(probes, world)


@pytest.fixture
def own_pins(_attached: None) -> Iterator[Path]:
    """A folder for probes of this test alone; that others load here was seen."""
    folder = PIN_FOLDER.with_name(PIN_FOLDER.name + "-own")
    yield folder
    uninstall(folder)
