"""The outbox with its spool: puts, crashes, outages, a full disk, in any order; each event arrives once or is reported lost.

A crash is a copy of the folder at that moment: a new agent finds what was written, and what was in memory is gone.
"""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from harness.spooled import REMEMBERED, Collector, after_a_crash, execs, full_disk, open_outbox, pids

from agent.outbox import Outbox
from agent.spool import Limits, Spool
from agent.step import Held, Step


class World:
    """Agents, one after the other, and their collector. Each exec that is put in has its own pid and stands for two events."""

    def __init__(self, folders: Path, seed: int, *, max_bytes: int, memory_bytes: int) -> None:
        self.folders = folders
        self.random = random.Random(seed)  # noqa: S311 — chance that can be repeated
        self.limits = {"max_bytes": max_bytes}
        self.memory_bytes = memory_bytes
        self.clock = 0.0
        self.lives = self.pids = self.steps = self.produced = self.ring_full = 0
        self.held: dict[int, list[int]] = {}
        self.collector = Collector()
        self.start()

    def start(self) -> None:
        self.lives += 1
        self.session, self.folder = f"session-{self.lives}", self.folders / str(self.lives)
        limits = Limits(folder=self.folder, **self.limits)
        spool = Spool(limits, cluster="c", node="n", session=self.session)
        self.recovered = spool.recovered
        self.outbox = Outbox("c", "n", self.memory_bytes, session=self.session, spool=spool, clock=lambda: self.clock)
        self.connected, self.written, self.produced_before = "", 0, self.produced

    def put(self) -> None:
        draw = self.random
        settled = [number for number in self.held if draw.random() < 0.5]
        new = [self.pids + index for index in range(draw.choice([0, 0, 1, 5, 12]))]
        self.pids += len(new)
        waiting = new[: draw.choice([0, 0, 0, 3])]
        ready = [*(pid for number in settled for pid in self.held.pop(number)), *new[len(waiting) :]]
        held = {}
        if waiting:
            number = max(self.held, default=0) + 1
            self.held[number] = waiting
            held[number] = Held(execs(waiting), 5)
        lost = draw.choice([0, 0, 0, 7])
        self.steps += 1
        tables = [execs(ready, size=draw.choice([0, 100, 900]), count=2, lost=lost)] if ready or lost else []
        self.outbox.put(Step(tables, held, settled, {"ring": self.steps}))
        self.produced += 2 * len(ready)
        self.ring_full += lost

    def put_into_a_full_disk(self) -> None:
        with full_disk():
            self.put()

    def send(self) -> None:
        for _ in range(self.random.choice([1, 5, 20])):
            while self.connected != self.outbox.session:
                self.connect()
            batch = self.outbox.next(self.written)
            if batch is None:
                return
            assert batch.sequence > self.written
            self.written = batch.sequence
            self.collector.take(self.connected, batch.request)

    def connect(self) -> None:
        self.connected, self.written = self.outbox.session, 0
        self.outbox.acknowledge(self.collector.last(self.connected))

    def acknowledge(self) -> None:
        if self.connected == self.outbox.session:
            self.outbox.acknowledge(int(self.random.choice([0.3, 0.8, 1]) * self.collector.last(self.connected)))

    def tick(self) -> None:
        self.clock += 100
        self.outbox.tick()

    def crash(self) -> None:
        if self.outbox.spool_status.state != "ok":  # else what is in memory dies with the agent
            return
        before, folder = self.outbox, self.folder
        shutil.copytree(folder, self.folders / str(self.lives + 1))
        self.start()
        before.close()
        found = {number: pids(held.table) for number, held in self.recovered.held.items()}
        assert sorted(found.values()) == sorted(self.held.values())
        self.held = found  # the numbers are the new agent's to use
        assert self.recovered.cursor == ({"ring": self.steps} if self.steps else {})

    def check(self) -> None:
        counters = self.outbox.counters
        assert counters.produced == self.produced - self.produced_before
        lost = sum(counters.lost.values())
        assert counters.produced + counters.recovered == counters.acknowledged + self.outbox.held_events + lost
        assert self.outbox.held_bytes <= self.memory_bytes + 20_000  # one step more than the bound
        # What is under way is not given up.
        on_disk = sum(path.stat().st_size for path in self.folder.iterdir())
        assert on_disk <= self.limits["max_bytes"] + self.memory_bytes // 2

    def run(self, *actions: Callable[[], None], steps: int) -> dict[str, int]:
        """Do these things at random, then deliver the rest; return what was reported lost."""
        for _ in range(steps):
            self.random.choice(actions)()
            self.check()
        self.clock += 100
        self.outbox.tick()
        delivered = self.collector.drain(self.outbox).pids
        self.check()
        assert self.outbox.held_events == 0
        assert len(delivered) == len(set(delivered))
        lost = self.collector.losses
        assert lost.pop("RING_FULL", 0) == self.ring_full
        assert self.produced == 2 * len(delivered) + sum(lost.values())
        return lost


@pytest.mark.parametrize("seed", range(23))
def test_with_room_for_all_of_it_nothing_is_lost(tmp_path: Path, seed: int) -> None:
    world = World(tmp_path, seed, max_bytes=4 << 20, memory_bytes=1 << 20)

    lost = world.run(world.put, world.put, world.send, world.connect, world.acknowledge, world.tick, world.crash, steps=199)

    assert lost == {}


@pytest.mark.parametrize("seed", range(23))
def test_with_too_little_room_what_is_missing_is_reported(tmp_path: Path, seed: int) -> None:
    world = World(tmp_path, seed, max_bytes=24_000, memory_bytes=8_000)

    lost = world.run(
        world.put, world.put, world.put_into_a_full_disk, world.send, world.connect, world.tick, world.crash, steps=199
    )

    assert set(lost) <= {"SPOOL_FULL", "QUEUE_FULL"}


def test_a_table_that_waits_does_not_bring_delivered_batches_back(tmp_path: Path) -> None:
    """Its segment stays, longer than a collector remembers the session, and than anything of the sessions after it does."""
    collector, folder = Collector(), tmp_path / "spool"
    for life in range(REMEMBERED + 3):
        outbox, spool = open_outbox(folder, f"session-{life}")
        if life <= REMEMBERED:
            outbox.put(Step([execs([life])], {} if life else {1: Held(execs([77]), 5)}))
            deliver(outbox, collector)
        folder = after_a_crash(folder)
        outbox.close()

    assert [pids(each.table) for each in spool.recovered.held.values()] == [[77]]
    assert spool.events == 0
    collector.drain(open_outbox(folder, "last")[0])
    assert collector.pids == [*range(REMEMBERED + 1)]


def deliver(outbox: Outbox, collector: Collector) -> None:
    """Have a collector take what there is in this session."""
    outbox.acknowledge(collector.last(outbox.session))
    while (batch := outbox.next(0)) is not None:
        collector.take(outbox.session, batch.request)
        outbox.acknowledge(batch.sequence)
    outbox.tick()
