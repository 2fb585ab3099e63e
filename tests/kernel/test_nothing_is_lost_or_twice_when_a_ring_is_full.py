"""Nobody reads, and more happens than the ring holds: what does not fit is counted, what repeats loses nothing."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.capture import Capture, Seen
from harness.containers import Container
from harness.loop import lost, read, read_until
from harness.world import World
from kernel.workload import NOTHING, REPEAT
from peerwatch.columns import EventKind

from agent.capture.probes import Mode, Probes, uninstall
from agent.capture.records import SMALL_EVENT
from agent.capture.sizes import SIZES

pytestmark = pytest.mark.kernel

MORE_THAN_FITS = 20_011
"""Prime, and more than the ring's records."""

# One process, so that it is one image: it connects somewhere, then to as many places as wanted, then again to the first.
LOAD = """
import socket, sys
def connect(address, port):
    with socket.socket() as client: client.connect_ex((address, port))
connect("127.0.0.1", 7101)
for number in range(int(sys.argv[1])): connect(f"127.1.{number >> 8}.{number & 255}", 7102)
for _ in range(997): connect("127.0.0.1", 7101)
"""


@pytest.fixture(scope="module")
def pins(_attached: None) -> Iterator[Path]:
    """Rings of this module's own: they are filled up."""
    folder = Path(f"/sys/fs/bpf/peerwatch-full-ring-{os.getpid()}")
    yield folder
    uninstall(folder)


def arrived(seen: Seen, container: Container) -> int:
    """Return how many events of a container came."""
    counts = seen.table.counts().tolist()
    return sum(count for row, count in enumerate(counts) if count and seen.container(row) == container.id)


def check(missing: int, reported: int, world: World) -> None:
    """What did not arrive was reported lost. On a shared machine, others' containers may have lost events, too."""
    if world.strangers():
        assert 0 < missing <= reported
    else:
        assert 0 < missing == reported


def begin(world: World, pins: Path, mode: Mode) -> None:
    """Empty rings and folds, and have what was lost before be reported."""
    with Probes(pins, mode) as probes:
        Capture(probes, world).forget()
    read(pins, mode)


def overflow(container: Container) -> int:
    """Make more events than the ring holds; return how many, the exec and the exit of the program among them."""
    assert SIZES.small_ring // (8 + SMALL_EVENT.itemsize) < MORE_THAN_FITS
    container.exec("/usr/bin/python3", "-c", LOAD, str(MORE_THAN_FITS))
    return 1 + 1 + MORE_THAN_FITS + 997 + 1


@pytest.mark.parametrize("mode", [Mode(), Mode(full=True)], ids=["folded", "full"])
def test_produced_is_delivered_plus_reported_lost(world: World, containers: list[Container], pins: Path, mode: Mode) -> None:
    begin(world, pins, mode)
    produced = overflow(containers[0])

    seen = read_until(lambda seen: lost(seen)["RING_FULL"] > 0, pins, mode)
    again = read(pins, mode)

    missing = produced - arrived(seen, containers[0])
    assert lost(again) == {}
    check(missing, lost(seen)["RING_FULL"], world)
    first = seen.connects(7101, containers[0].id)
    assert len(first) == 998 if mode == Mode() else len(first) < 998


def test_in_full_execs_that_find_no_room_are_counted_and_not_lost(
    world: World, containers: list[Container], pins: Path
) -> None:
    mode = Mode(full=True)
    begin(world, pins, mode)
    container = containers[0]
    container.exec(REPEAT, "23", NOTHING, "again")
    overflow(container)
    container.exec(REPEAT, "211", NOTHING, "again")

    def ended(seen: Seen) -> bool:
        return len(seen.exits(NOTHING, container.id)) >= 23 + 211

    seen = read_until(ended, pins, mode)

    for kind in (EventKind.EXEC, EventKind.EXIT):
        counts = seen.counts(kind, exe=NOTHING, container=container.id)
        assert sum(counts) == 23 + 211
        assert counts.count(1) >= 23
        assert max(counts) >= 209
    assert len(seen.exits(REPEAT, container.id)) == 2


def test_an_upgrade_reads_a_full_ring_and_what_was_counted_when_it_was_full(
    world: World, containers: list[Container], pins: Path
) -> None:
    begin(world, pins, Mode())
    produced = overflow(containers[0])

    seen = read_until(lambda seen: lost(seen)["RING_FULL"] > 0, pins, Mode(full=True))

    missing = produced - arrived(seen, containers[0])
    assert len(seen.connects(7101, containers[0].id)) == 998
    check(missing, lost(seen)["RING_FULL"], world)
