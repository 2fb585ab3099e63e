"""What a record says of its text is not believed where it makes no sense: the others beside it are told as they are."""

import asyncio
import struct
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
from peerwatch.columns import EventColumns
from peerwatch.subjects import Subject

from agent.assembly import assemble
from agent.capture.generation import Records
from agent.capture.records import LONG_EVENT, SMALL_EVENT, Counter, Kind
from agent.identity.resolver import Resolution
from agent.node import Node
from agent.step import Step

WALL = 1_790_000_000 * 10**9
PARENT = struct.pack("<IQ", 7, 10**9) + b"/sbin/init\0"


def _table(*lineages: bytes) -> EventColumns:
    """Return execs of processes 1, 2, … with these lineages."""
    records = np.zeros(len(lineages), SMALL_EVENT)
    for number, (record, lineage) in enumerate(zip(records, lineages, strict=True), start=1):
        text = b"/bin/true\0" + lineage
        record["kind"], record["count"], record["pid"], record["start"] = Kind.EXEC, 1, number, number
        record["exe_length"], record["ancestors_length"] = len(text) - len(lineage), len(lineage)
        record["text"][: len(text)] = np.frombuffer(text, np.uint8)
    return assemble([records], lambda _: Subject("default", "node-1"), wall=WALL, start_wall=WALL)


def _lineages(table: EventColumns) -> dict[int, list[str]]:
    processes = table.processes
    return {int(pid): table.string_list(int(names)) for pid, names in zip(processes.pid, processes.ancestors, strict=True)}


def test_an_ancestor_from_the_far_future_costs_a_lineage_only() -> None:
    damaged = PARENT + struct.pack("<IQ", 8, 2**64 - 1) + b"/bin/sh\0" + PARENT

    table = _table(PARENT, damaged)

    assert _lineages(table) == {1: ["/sbin/init"], 2: ["/sbin/init"]}


def test_an_ancestor_without_a_name_that_shifts_the_next_harms_nothing() -> None:
    nameless = struct.pack("<IQ", 0xFFFFFFFF, 2**63) + b"\xff" * 4

    assert _lineages(_table(nameless + PARENT, PARENT))[2] == ["/sbin/init"]


UNREADABLE = 13
"""A cgroup key of which the resolver below cannot make anything."""


class _Generation:
    """Probes that hold three records, one of which makes no sense."""

    def __init__(self) -> None:
        records = np.zeros(3, SMALL_EVENT)
        records["kind"], records["count"], records["cgroup"] = Kind.EXEC, [1, 5, 1], [1, UNREADABLE, 2]
        self._left = [records]
        self.boot_offset, self.torn, self.unread, self.released = WALL, 0, False, [dict[str, int]()]
        self.folds = SimpleNamespace(report=lambda: 0, recycle=lambda _: None)

    def read(self) -> Records:
        small = self._left.pop() if self._left else np.zeros(0, SMALL_EVENT)
        return Records(small, np.zeros(0, LONG_EVENT), {"ring": 3})

    def release(self, cursor: dict[str, int]) -> None:
        self.released.append(cursor)

    def losses(self, _: dict[str, int]) -> tuple[dict[Counter, int], dict[str, int]]:
        return {}, {}

    def note_reported(self, _: dict[str, int]) -> None: ...

    def counters(self) -> dict[Counter, int]:
        return dict.fromkeys(Counter, 0)

    def overdue(self, before: int) -> list[Any]:
        del before
        return []

    def tell(self, _: list[Any]) -> None: ...


class _Resolver:
    def __len__(self) -> int:
        return 0

    def subject_of(self, key: int) -> Subject:
        if key == UNREADABLE:
            raise ValueError("what is this")
        return Subject("default", "node-1")

    def resolve(self, table: EventColumns, _: int) -> Resolution:
        return Resolution(ready=[table])

    def overdue(self, _: int) -> Resolution:
        return Resolution()


def test_a_record_that_cannot_be_read_is_reported_lost_with_all_it_stands_for() -> None:
    steps: list[Step] = []

    async def put(step: Step) -> None:
        steps.append(step)

    async def run() -> Node:
        generation = _Generation()
        probes = SimpleNamespace(current=generation, replaced=[])
        node = Node(cast("Any", probes), cast("Any", _Resolver()), Subject("default", "node-1"), put)
        stop = asyncio.Event()
        stop.set()  # it takes what is there, and ends
        await node.run(stop)
        assert {"ring": 3} in generation.released
        return node

    node = asyncio.run(run())

    tables = [table for step in steps for table in step.ready]
    assert sum(len(table.execs) for table in tables) == 2
    assert node.lost == {"TORN_RECORD": 5}
    assert [int(count) for table in tables for count in table.losses.count] == [5]
