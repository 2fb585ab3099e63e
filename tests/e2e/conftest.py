"""One node for tests of capture as a whole: real containers, a real collector, and probes that are loaded once a file."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.agents import Collector, Site
from harness.containers import Container
from harness.load import idle
from harness.session import missing
from harness.world import World

from agent.capture.probes import Probes, uninstall
from agent.errors import UnsupportedError

PINS = Path(f"/sys/fs/bpf/peerwatch-e2e-{os.getpid()}")


@pytest.fixture(scope="session")
def world() -> Iterator[World]:
    reason = missing()
    if reason:
        pytest.skip(reason)
    with World() as world:
        yield world


@pytest.fixture(scope="session")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    with Collector(tmp_path_factory.mktemp("collector") / "data").start() as collector:
        yield collector


@pytest.fixture(scope="module")
def pins(world: World) -> Iterator[Path]:  # noqa: ARG001 — says why there can be none
    """Probes that are attached: an agent that takes them over starts in half a second.

    Attached for longer, they would fill their rings with what other files' tests do, and have no room for the first of these.
    """
    try:
        with Probes(PINS):
            pass
    except UnsupportedError as error:
        pytest.skip(str(error))
    yield PINS
    uninstall(PINS)


@pytest.fixture
def site(collector: Collector, world: World, pins: Path, tmp_path: Path) -> Site:
    """This test's own spool and cluster."""
    return Site(collector, world, cluster=tmp_path.name, pins=pins, spool=tmp_path / "spool")


@pytest.fixture
def container(world: World) -> Iterator[Container]:
    """A container in which a `Load` can run, of this test alone: its events are the test's."""
    with world.deploy("busy", program=idle()) as deployment:
        yield deployment.replicas[0].container
    world.deployments.remove(deployment)
