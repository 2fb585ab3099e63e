"""The reader of a ring buffer, on a plain file that the kernel's side is played on: probes that write, are slow, or go wrong.

A real ring's pages cannot be written from user space, so what must never happen cannot be made to happen there.
"""

import asyncio
import itertools
import mmap
import os
import time
from collections.abc import Iterator
from types import SimpleNamespace
from unittest.mock import create_autospec

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from peerwatch.subjects import Subject

from agent.capture.folds import Folds
from agent.capture.generation import Generation, Records
from agent.capture.records import LONG_EVENT, SMALL_EVENT, Counter
from agent.capture.ring import Ring
from agent.identity.resolver import Resolver
from agent.node import Node
from agent.step import Step

RECORD = np.dtype([("number", "<u8"), ("text", "u1", (24,))])
SLOT = 8 + RECORD.itemsize
SIZE = mmap.PAGESIZE
"""Not a multiple of the slot: records lie across the end."""
BUSY, DISCARD = 1 << 31, 1 << 30


class Probes:
    """What the kernel does with a ring: reserve in order, fill in any order, and let be discarded."""

    def __init__(self) -> None:
        self.file = os.memfd_create("ring")
        os.ftruncate(self.file, 2 * mmap.PAGESIZE + 2 * SIZE)
        self.pages = mmap.mmap(self.file, 0)
        self.end = 0

    @property
    def released(self) -> int:
        return int.from_bytes(self.pages[:8], "little")

    def reserve(self) -> int | None:
        """Return where a record goes, None if there is no room."""
        place = self.end
        if place + SLOT - self.released > SIZE:
            return None
        self._write(place, (BUSY | RECORD.itemsize).to_bytes(8, "little"))
        self.end += SLOT
        self.pages[mmap.PAGESIZE : mmap.PAGESIZE + 8] = self.end.to_bytes(8, "little")
        return place

    def submit(self, place: int, number: int, length: int = RECORD.itemsize) -> None:
        self._write(place + 8, np.array((number, np.arange(24) + number % 200), RECORD).tobytes())
        self._write(place, length.to_bytes(8, "little"))

    def discard(self, place: int) -> None:
        self._write(place, (DISCARD | RECORD.itemsize).to_bytes(8, "little"))

    def tell(self, number: int, length: int = RECORD.itemsize) -> None:
        place = self.reserve()
        assert place is not None
        self.submit(place, number, length)

    def _write(self, place: int, data: bytes) -> None:
        """The data lies in memory twice, one after the other; the kernel maps the same pages, a file must be written."""
        for each in range(len(data)):
            at = 2 * mmap.PAGESIZE + (place + each) % SIZE
            self.pages[at] = self.pages[at + SIZE] = data[each]


@pytest.fixture
def probes() -> Probes:
    return Probes()


def ring_of(probes: Probes) -> Ring:
    return Ring(os.dup(probes.file), SIZE, RECORD)


@pytest.fixture
def ring(probes: Probes) -> Iterator[Ring]:
    ring = ring_of(probes)
    yield ring
    ring.close()


def numbers(ring: Ring, most: int = 1000) -> list[int]:
    found = ring.read(most)
    assert (found["text"] == np.arange(24) + found["number"][:, None] % 200).all()
    result: list[int] = found["number"].tolist()
    return result


def test_records_come_in_order_and_not_again(probes: Probes, ring: Ring) -> None:
    for number in range(7):
        probes.tell(number)

    assert numbers(ring, 3) == [0, 1, 2]
    assert numbers(ring) == [3, 4, 5, 6]
    assert numbers(ring) == []


def test_what_was_not_released_is_there_for_the_next_reader(probes: Probes, ring: Ring) -> None:
    for number in range(7):
        probes.tell(number)
    ring.read(2)
    released = ring.position
    ring.read(3)
    ring.release(released)

    again = ring_of(probes)
    assert numbers(again) == [2, 3, 4, 5, 6]
    again.close()


def test_a_reader_skips_what_the_one_before_knew_to_be_safe(probes: Probes, ring: Ring) -> None:
    for number in range(7):
        probes.tell(number)
    ring.read(5)

    again = ring_of(probes)
    again.release(ring.position)
    assert numbers(again) == [5, 6]
    assert again.held == 2 * SLOT
    again.close()


@pytest.mark.parametrize("position", [0, -SLOT, 8 * SLOT, 2**63], ids=["beginning", "negative", "future", "absurd"])
def test_a_position_that_the_ring_cannot_have_releases_nothing(probes: Probes, ring: Ring, position: int) -> None:
    for number in range(7):
        probes.tell(number)
    ring.read(2)
    ring.release(ring.position)

    ring.release(position)

    assert probes.released == 2 * SLOT
    assert numbers(ring) == [2, 3, 4, 5, 6]


def test_a_record_that_is_being_written_waits_with_all_behind_it(probes: Probes, ring: Ring) -> None:
    probes.tell(0)
    slow = probes.reserve()
    assert slow is not None
    probes.tell(2)

    assert numbers(ring) == [0]
    assert numbers(ring) == []
    probes.submit(slow, 1)
    assert numbers(ring) == [1, 2]
    assert ring.torn == 0


def test_what_a_probe_discarded_is_nothing(probes: Probes, ring: Ring) -> None:
    probes.tell(0)
    discarded = probes.reserve()
    assert discarded is not None
    probes.discard(discarded)
    probes.tell(2)

    assert numbers(ring) == [0, 2]
    assert ring.torn == 0


@pytest.mark.parametrize("length", [0, 1, RECORD.itemsize + 8, 0x3FFFFFFF], ids=["none", "short", "long", "absurd"])
def test_a_record_with_a_wrong_length_is_counted_and_costs_itself(probes: Probes, ring: Ring, length: int) -> None:
    for number in range(13):
        probes.tell(number, length if number in {3, 7} else RECORD.itemsize)

    assert numbers(ring) == [0, 1, 2, 4, 5, 6, 8, 9, 10, 11, 12]
    assert ring.torn == 2
    ring.release(ring.position)
    assert probes.released == probes.end


def test_a_full_ring_takes_more_once_it_is_released(probes: Probes, ring: Ring) -> None:
    capacity = SIZE // SLOT
    for number in range(capacity):
        probes.tell(number)
    assert probes.reserve() is None
    assert len(numbers(ring)) == capacity
    assert probes.reserve() is None

    ring.release(ring.position)

    probes.tell(capacity)
    assert numbers(ring) == [capacity]


STEPS = ["tell", "tell", "reserve", "finish", "discard", "tear", "read", "release", "crash"]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(STEPS), min_size=40, max_size=400))
def test_in_any_order_of_things_each_record_comes_once(steps: list[str]) -> None:
    probes = Probes()
    ring, safe = ring_of(probes), 0  # a reader that is killed knows up to where its records are safe
    expected: dict[int, int] = {}  # by place, in order; what is missing here is being written, or is nothing
    unfinished: list[int] = []
    unsafe: list[int] = []
    got: list[int] = []
    torn = 0
    for number, step in enumerate([*steps, *["finish"] * len(steps), *["read", "release"] * 20]):
        if step in {"tell", "reserve", "tear"} and (place := probes.reserve()) is not None:
            if step == "reserve":
                unfinished.append(place)
            else:
                probes.submit(place, number, RECORD.itemsize if step == "tell" else 5)
                expected.update({place: number} if step == "tell" else {})
                torn += step == "tear"
        elif step in {"finish", "discard"} and unfinished:
            place = unfinished.pop(number % len(unfinished))
            if step == "finish":
                probes.submit(place, number)
                expected[place] = number
            else:
                probes.discard(place)
        elif step == "read":
            unsafe += numbers(ring, 5)
        elif step == "release":  # what was read is safe at the moment at which this is decided
            got, unsafe, safe = got + unsafe, [], ring.position
            if number % 3:
                ring.release(safe)
        elif step == "crash":
            torn_before = ring.torn
            ring.close()
            ring, unsafe = ring_of(probes), []
            ring.release(safe)
            ring.torn = torn_before
    assert got == [expected[place] for place in sorted(expected)]
    assert ring.torn >= torn
    ring.close()


def losses_of(torn: int, lost: dict[Counter, int]) -> list[tuple[str, int, int, int]]:
    """Run an agent's loop on probes that have nothing to read and these losses; return reason, count, begin and end of each."""
    probes = create_autospec(Generation, instance=True)
    probes.folds = create_autospec(Folds, instance=True)
    probes.folds.report.return_value = 0
    probes.counters.return_value = dict.fromkeys(Counter, 0)
    probes.losses.return_value = (lost, {"lost": 1})
    probes.read.return_value = Records(np.empty(0, SMALL_EVENT), np.empty(0, LONG_EVENT), {})
    probes.descriptors, probes.overdue.return_value, probes.torn = [], [], torn
    attached = SimpleNamespace(replaced=[], current=probes, cgroup_path=lambda _: "")
    steps: list[Step] = []

    async def run() -> None:
        stop = asyncio.Event()

        async def put(step: Step) -> None:
            steps.append(step)
            probes.losses.return_value = ({}, {})
            stop.set()

        resolver = Resolver("c", "n", None, attached.cgroup_path)
        await Node(attached, resolver, Subject("c", "n"), put).run(stop)  # type: ignore[arg-type]  # enough of Probes

    asyncio.run(run())
    return [
        (table.strings[reason], count, begin, end)
        for step in steps
        for table in step.ready
        for reason, count, begin, end in zip(
            table.losses.reason.tolist(),
            table.losses.count.tolist(),
            table.losses.begin.tolist(),
            table.losses.end.tolist(),
            strict=True,
        )
    ]


def test_torn_records_are_reported_as_lost_once() -> None:
    assert [loss[:2] for loss in losses_of(torn=3, lost={})] == [("TORN_RECORD", 3)]


def test_losses_begin_before_they_end_whatever_the_clock_does(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count(10**18, -(10**12))
    monkeypatch.setattr(time, "time_ns", lambda: next(clock))

    ((reason, count, begin, end),) = losses_of(torn=0, lost={Counter.RING_FULL: 17})

    assert (reason, count) == ("RING_FULL", 17)
    assert begin <= end
