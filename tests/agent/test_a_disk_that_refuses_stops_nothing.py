"""A full or read-only disk: events go on in memory, the log has a line for each change, and the disk gets them later."""

import logging
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.spooled import Collector, after_a_crash, execs, full_disk, open_outbox, pids

from agent.outbox import Outbox
from agent.spool import Limits, Spool
from agent.step import Held, Step


class Clock:
    """What the pauses between tries are measured with."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def opened(folder: Path, clock: Clock, *, memory_bytes: int = 1 << 20) -> Outbox:
    spool = Spool(Limits(folder=folder), cluster="c", node="n", session="first")
    return Outbox("c", "n", memory_bytes, session="first", spool=spool, clock=clock)


def put(outbox: Outbox, first: int, last: int) -> None:
    """Put one step of some 5 KB for every ten of these numbers."""
    for begin in range(first, last, 10):
        outbox.put(Step([execs(range(begin, begin + 10), size=500)], cursor={"ring": begin + 10}))


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, with 512 KiB."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", folder], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("only root can mount a small file system")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_full_disk_loses_nothing_and_has_it_all_when_there_is_room_again(
    tiny: Path, tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "agent.spool")
    ballast = tiny / "ballast"
    ballast.write_bytes(bytes(400_000))
    outbox = opened(tiny / "spool", clock)
    put(outbox, 0, 400)
    assert outbox.spool_status.state == "refused"
    assert 100_000 < outbox.spool_status.bytes < 125_000  # what had room

    ballast.unlink()
    clock.now += 100
    outbox.tick()

    assert outbox.spool_status.state == "ok"
    after_a_crash(tiny / "spool").rename(copy := tiny / "copy")
    _, spool = open_outbox(copy, "second")
    assert spool.events == 400
    assert spool.recovered.cursor == {"ring": 400}
    spool.close()
    collector = Collector().drain(outbox)
    assert collector.pids == list(range(400))
    assert collector.losses == outbox.counters.lost == {}
    refused, back = (record.getMessage() for record in caplog.records)
    assert refused == (
        f"cannot write the spool in {tiny}/spool (No space left on device); events are kept in memory (up to 1 MiB), and would"
        " not survive the agent"
    )
    assert back == f"the spool in {tiny}/spool can be written again after 100 s"
    assert tmp_path


def test_a_read_only_file_system_gives_what_it_has_and_takes_nothing(tiny: Path, clock: Clock) -> None:
    outbox = opened(tiny / "spool", clock)
    put(outbox, 0, 100)
    outbox.close()
    subprocess.run(["mount", "-o", "remount,ro", tiny], check=True)
    outbox, _ = open_outbox(tiny / "spool", "second")
    put(outbox, 100, 200)
    outbox.tick()

    assert outbox.spool_status.state == "refused"
    collector = Collector().drain(outbox)
    assert collector.pids == list(range(200))

    # The next agent finds again what could not be removed; the collector says that it has it.
    subprocess.run(["mount", "-o", "remount,rw", tiny], check=True)
    assert collector.drain(open_outbox(tiny / "spool", "third")[0]).pids == list(range(200))


def test_beyond_memory_the_oldest_that_is_only_there_is_given_up_and_told_at_its_place(tmp_path: Path, clock: Clock) -> None:
    outbox = opened(tmp_path, clock, memory_bytes=64_000)
    put(outbox, 0, 100)
    with full_disk():
        put(outbox, 100, 500)
    assert outbox.held_bytes <= 64_000
    clock.now += 100
    put(outbox, 500, 600)

    collector = Collector().drain(outbox)

    lost = collector.losses["QUEUE_FULL"]
    assert outbox.counters.lost == {"QUEUE_FULL": lost}
    assert collector.pids == [*range(100), *range(100 + lost, 600)]
    gap = collector.tables[10]
    assert (gap.losses.begin.tolist(), gap.losses.end.tolist()) == ([101], [100 + lost])


def test_it_is_tried_again_less_and_less_often(tmp_path: Path, clock: Clock) -> None:
    outbox = opened(tmp_path, clock)
    errors = []
    with full_disk():
        for _ in range(600):
            outbox.put(Step([execs([1])]))
            outbox.tick()
            clock.now += 1
            errors.append(outbox.spool_status.errors)
        outbox.close()

    assert errors[0] == 1
    assert errors[60] >= 5
    assert 15 <= errors[-1] <= 40  # the pauses grow to 30 to 60 seconds


def test_an_agent_that_ends_tries_a_last_time(tmp_path: Path, clock: Clock) -> None:
    outbox = opened(tmp_path, clock)
    with full_disk():
        put(outbox, 0, 30)
    outbox.close()

    assert Collector().drain(open_outbox(tmp_path, "second")[0]).pids == list(range(30))


def test_an_agent_starts_on_a_full_disk_and_knows_what_is_there(tmp_path: Path) -> None:
    outbox, _ = open_outbox(tmp_path, "first")
    outbox.put(Step([execs(range(10))], {1: Held(execs([77]), 5)}, cursor={"ring": 3}))
    outbox.close()

    with full_disk():
        outbox, spool = open_outbox(tmp_path, "second")
        outbox.put(Step([execs(range(10, 20))]))
        assert spool.recovered.cursor == {"ring": 3}
        assert [pids(held.table) for held in spool.recovered.held.values()] == [[77]]
        assert Collector().drain(outbox).pids == list(range(20))


def test_what_waits_while_the_disk_refuses_is_there_when_it_does_not(tmp_path: Path, clock: Clock) -> None:
    outbox = opened(tmp_path / "spool", clock)
    outbox.put(Step(held={1: Held(execs([71]), 5)}))
    with full_disk():
        outbox.put(Step(held={2: Held(execs([72]), 5), 3: Held(execs([73]), 5)}, cursor={"ring": 1}))
        outbox.put(Step([execs([71, 72])], settled=[1, 2], cursor={"ring": 2}))
    clock.now += 100
    outbox.tick()
    copy = after_a_crash(tmp_path / "spool")
    outbox.close()

    outbox, spool = open_outbox(copy, "second")

    assert [pids(held.table) for held in spool.recovered.held.values()] == [[73]]
    assert spool.recovered.cursor == {"ring": 2}
    assert Collector().drain(outbox).pids == [71, 72]


def test_what_was_sent_while_the_disk_refused_is_sent_under_the_same_number_by_the_next_agent(
    tmp_path: Path, clock: Clock
) -> None:
    outbox = opened(tmp_path / "spool", clock)
    collector = Collector()
    with full_disk():
        put(outbox, 0, 30)
        for _ in range(2):
            batch = outbox.next(collector.last("first"))
            assert batch is not None
            collector.take("first", batch.request)
    clock.now += 100
    outbox.tick()
    copy = after_a_crash(tmp_path / "spool")
    outbox.close()

    assert collector.drain(open_outbox(copy, "second")[0]).pids == list(range(30))
