"""The collector is away, or the disk takes nothing: what happens meanwhile comes later, in order, or is reported lost."""

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from collector_harness import eventually
from harness.agents import Site
from harness.containers import Container
from harness.ingest import Store, collector as pretended_collector, free_port, until
from harness.load import stampede
from harness.sabotage import FORGETFUL, IMPATIENT
from harness.session import run
from peerwatch.columns import EventColumns

pytestmark = pytest.mark.kernel

MANY = 50_021
"""Prime, as all numbers of events here. One of a stampede takes 57 bytes."""


def numbers(table: EventColumns) -> list[int]:
    """Return the addresses that a stampede connected to, as it counts them."""
    connects = table.connects
    own = connects.address[connects.port == 7005].astype(int)
    found: list[int] = (own[:, 13] * 65536 + own[:, 14] * 256 + own[:, 15]).tolist()
    return found


def test_fifty_thousand_events_come_once_and_in_order_after_an_outage(site: Site, container: Container) -> None:
    store, port = Store(), free_port()

    async def play() -> None:
        with site.agent("--collector", f"127.0.0.1:{port}", source=IMPATIENT) as agent:
            async with pretended_collector(store, port):
                await until(lambda: store.hellos)
            await asyncio.to_thread(stampede, container, MANY)
            async with pretended_collector(store, port):
                await until(lambda: sum(len(numbers(table)) for table in store.tables) >= MANY)
                await asyncio.to_thread(agent.stop)

    asyncio.run(play())

    assert len(store.sessions) == 1
    assert sorted(store.batches) == list(range(1, len(store.batches) + 1))
    assert [number for table in store.tables for number in numbers(table)] == list(range(MANY))
    assert store.lost == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=64k,mode=0700", "none", str(disk))
    yield disk
    run("umount", "-l", str(disk))


@pytest.mark.parametrize(
    ("number", "options", "fault", "reasons"),
    [
        (5_003, [], "", set()),
        (20_011, [], FORGETFUL, {"QUEUE_FULL"}),
        (20_011, ["--spool-size", "1"], "", {"SPOOL_FULL"}),
    ],
    ids=["the disk is full", "disk and memory are full", "the spool may not be larger"],
)
def test_what_finds_no_room_is_reported_lost_and_the_rest_comes(
    site: Site, container: Container, small_disk: Path, number: int, options: list[str], fault: str, reasons: set[str]
) -> None:
    port = free_port()
    spool = [] if options else ["--spool", str(small_disk)]
    site.collector.end(signal.SIGKILL)
    with site.agent(*options, *spool, "--metrics", f"127.0.0.1:{port}", source=IMPATIENT + fault) as agent:
        agent.until("capturing on node")
        stampede(container, number)
        eventually(lambda: agent.metrics(port)["events_total CONNECT"] >= number)
        site.collector.start()
        eventually(lambda: agent.metrics(port)["held_events collector"] == 0)
        agent.stop()
    delivered = site.delivered(container.id)

    assert set(delivered.lost) == reasons or (set(delivered.lost) > reasons and delivered.others)
    missing = 1 + 1 + number + 1 - delivered.total  # the container's own exec, and the program's exec and exit
    assert bool(reasons) == (missing > 0), delivered.kinds
    # On a shared machine, others' containers may have lost events, too.
    assert missing == delivered.lost.total() or (missing < delivered.lost.total() and delivered.others)
