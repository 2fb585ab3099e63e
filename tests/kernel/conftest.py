"""Real probes on real containers. Where root, eBPF or runc are missing, these tests skip and say why."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.capture import Capture
from harness.containers import Container
from harness.rootfs import Program
from harness.session import missing
from harness.world import World
from kernel.workload import files

from agent.capture.probes import Mode, Probes, uninstall
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
    deployment = world.deploy("still", program=Program(argv=("/usr/bin/sleep", "100000"), files=files()), replicas=2)
    return [replica.container for replica in deployment.replicas]


@pytest.fixture(scope="session")
def _attached() -> Iterator[None]:
    """Load once: the probes stay when a test closes them."""
    with _attach(PIN_FOLDER, Mode()):
        yield


@pytest.fixture(scope="session")
def _attached_in_full() -> Iterator[Path]:
    folder = PIN_FOLDER.with_name(PIN_FOLDER.name + "-full")
    with _attach(folder, Mode(full=True)):
        yield folder


@pytest.fixture(scope="session")
def _attached_to_the_host() -> Iterator[Path]:
    folder = PIN_FOLDER.with_name(PIN_FOLDER.name + "-host")
    with _attach(folder, Mode(host=True)):
        yield folder


@pytest.fixture
def capture(_attached: None, world: World) -> Iterator[Capture]:
    with _capture(PIN_FOLDER, Mode(), world) as capture:
        yield capture


@pytest.fixture
def full_capture(_attached_in_full: Path, world: World) -> Iterator[Capture]:
    """Without folds: every event by itself."""
    with _capture(_attached_in_full, Mode(full=True), world) as capture:
        yield capture


@pytest.fixture
def host_capture(_attached_to_the_host: Path, world: World) -> Iterator[Capture]:
    """With what happens outside of containers, which is nobody's: a test picks its own processes from it."""
    with _capture(_attached_to_the_host, Mode(host=True), world) as capture:
        capture.others.add("")
        yield capture


@pytest.fixture
def own_pins(_attached: None) -> Iterator[Path]:
    """A folder for probes of this test alone; that others load here was seen."""
    folder = PIN_FOLDER.with_name(PIN_FOLDER.name + "-own")
    yield folder
    uninstall(folder)


@contextlib.contextmanager
def _attach(folder: Path, mode: Mode) -> Iterator[None]:
    if os.geteuid() != 0:
        pytest.skip("needs root to load eBPF programs")
    try:
        with Probes(folder, mode):
            pass
    except UnsupportedError as error:
        pytest.skip(str(error))
    yield
    uninstall(folder)


@contextlib.contextmanager
def _capture(folder: Path, mode: Mode, world: World) -> Iterator[Capture]:
    with Probes(folder, mode) as probes:
        capture = Capture(probes, world)
        capture.forget()  # earlier tests
        yield capture
