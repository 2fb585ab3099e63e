"""What a record says of its text is not believed where it makes no sense: the others beside it are told as they are."""

import struct

import numpy as np
from peerwatch.columns import EventColumns
from peerwatch.subjects import Subject

from agent.assembly import assemble
from agent.capture.records import SMALL_EVENT, Kind

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
