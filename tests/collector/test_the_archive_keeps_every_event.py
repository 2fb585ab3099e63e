from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from collector_harness import Events
from harness.tables import tables
from hypothesis import given, settings
from peerwatch import jsonlines, wire
from peerwatch.columns import ColumnsBuilder, EventColumns
from peerwatch.subjects import Subject
from peerwatch.v1 import ingest_pb2

from collector.archive.decode import from_arrow
from collector.archive.encode import to_arrow
from collector.archive.journal import Journal, JournalRecord, ReadReport
from collector.archive.selection import Selection
from collector.archive.store import Archive, Snapshot
from collector.daemon.event_messages import events_from_proto, events_to_proto
from collector.state import State

HOUR = 3600 * 10**9
BASE = 472_222 * HOUR


def lines(table: EventColumns) -> list[bytes]:
    return list(jsonlines.write(table))


@settings(deadline=None, max_examples=150)
@given(tables())
def test_every_event_survives_the_arrow_table(table: EventColumns) -> None:
    assert lines(from_arrow(to_arrow(table))) == lines(table)


@settings(deadline=None, max_examples=100)
@given(tables())
def test_every_event_survives_the_messages_of_a_replay(table: EventColumns) -> None:
    assert lines(events_from_proto(events_to_proto(table))) == lines(table)


LATER = (
    "gid",
    "effective_uid",
    "effective_gid",
    "capabilities",
    "gained_capabilities",
    "script",
    "ancestor_pids",
    "ancestor_start_times",
    "exit_code",
    "exit_signal",
    "lifetime_ns",
)
"""Columns that the first version did not write."""


class Store:
    """Journal, archive and state of one directory, without a server."""

    def __init__(self, path: Path) -> None:
        self.journal = Journal(path / "journal")
        self.files = path / "archive"
        self.archive = Archive(self.files)
        self.state = State.for_file(path / "state.db")
        self.sequence = 0

    def append(self, table: EventColumns) -> None:
        self.sequence += 1
        batch = ingest_pb2.EventBatch(sequence=self.sequence, columns=wire.encode(table))
        self.journal.append([JournalRecord(1, ingest_pb2.Hello(cluster="test", node="node-1", session="s"), batch)])

    def seal(self, *, remove: bool = True) -> None:
        self.journal.rotate(0, force=True)
        for segment in self.journal.closed:
            self.state.seal(segment.number, self.archive.write(segment, ReadReport()), 1)
            if remove:
                self.journal.remove(segment)

    def scan(self, **selection: Any) -> list[EventColumns]:  # noqa: ANN401 — the fields of a Selection
        chosen = Selection(**selection)
        snapshot = Snapshot(self.state.files(chosen.since, chosen.until), self.journal.open_all())
        return list(self.archive.scan(snapshot, chosen))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path)
    yield store
    store.journal.close()
    store.state.close()


def merged(found: list[EventColumns]) -> list[bytes]:
    return [line for table in found for line in lines(table)]


def test_sealed_files_and_the_journal_are_read_as_one_in_time_order(store: Store, events: Events) -> None:
    parts = [events.table(begin=BASE + offset, exe=f"/bin/{offset}") for offset in (2 * HOUR, 0, 3 * HOUR, 500, HOUR - 2)]
    for part in parts[:2]:
        store.append(part)
    store.seal()
    for part in parts[2:4]:
        store.append(part)
    store.seal()
    store.append(parts[4])

    found = store.scan()
    times = np.concatenate([table.time for table in found])
    assert bool(np.all(times[1:] >= times[:-1]))
    assert sorted(merged(found)) == sorted(line for part in parts for line in lines(part))
    hours = {str(path.parent.relative_to(store.files)) for path in store.files.rglob("*.parquet")}
    assert len(hours) == 3


@pytest.mark.parametrize(
    ("selection", "wanted"),
    [
        ({"pod": "cart-3"}, lambda subject, _: subject.pod.name == "cart-3"),
        ({"namespace": "bank"}, lambda subject, _: subject.pod.namespace == "bank"),
        ({"workload": "deployment/cart"}, lambda subject, _: subject.pod.workload.name == "cart"),
        ({"workload": "Job/cart"}, lambda *_: False),
        ({"cluster": "test", "container": "app"}, lambda subject, _: subject.container.name == "app"),
        ({"since": BASE + 3, "until": BASE + HOUR + 2}, lambda _, moment: BASE + 3 <= moment < BASE + HOUR + 2),
    ],
)
def test_a_scan_selects_alike_in_files_and_journal(
    store: Store, events: Events, selection: dict[str, Any], wanted: Callable[[Subject, int], bool]
) -> None:
    parts = [events.table(begin=BASE), events.table(begin=BASE + HOUR, namespace="bank", name="api")]
    for part in parts:
        store.append(part)
    store.seal()
    for part in parts:
        store.append(part)

    expected = [
        line
        for part in parts
        for subject, moment, line in zip(part.subject, part.time, lines(part), strict=True)
        if wanted(part.subjects[subject], moment)
    ]
    assert sorted(merged(store.scan(**selection))) == sorted(expected * 2)


def test_a_crash_between_writing_and_noting_a_file_duplicates_nothing(store: Store, events: Events) -> None:
    store.append(events.table(begin=BASE))
    store.journal.rotate(0, force=True)
    store.archive.write(store.journal.closed[0], ReadReport())  # the crash is here: the state does not know
    assert len(merged(store.scan())) == 11

    store.seal()
    assert len(merged(store.scan())) == 11
    assert len(list(store.files.rglob("*.parquet"))) == 1


def test_a_clock_that_runs_wild_makes_a_bounded_number_of_files(store: Store, events: Events) -> None:
    for hour in range(100):
        store.append(events.table(begin=BASE + hour * HOUR, pods=1))
    store.seal()
    assert len(list(store.files.rglob("*.parquet"))) == 49
    assert len(merged(store.scan())) == 300


def test_an_empty_archive_has_no_events(store: Store) -> None:
    assert store.scan() == []
    assert len(EventColumns.concatenate([])) == 0


def rewrite(path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    pq.write_table(change(pq.ParquetFile(path).read()), path)


def test_files_of_the_first_version_are_read_with_the_defaults_of_the_contract(store: Store, events: Events) -> None:
    table = events.table(begin=BASE)
    store.append(table)
    store.seal()
    (path,) = store.files.rglob("*.parquet")

    def older(stored: pa.Table) -> pa.Table:
        execs = pc.equal(stored.column("kind"), "EXEC")
        for name in ("count", "last_time"):  # an exec had none
            column = stored.column(name)
            stored = stored.set_column(stored.schema.get_field_index(name), name, pc.if_else(execs, None, column))
        return stored.drop_columns(LATER)

    rewrite(path, older)

    assert merged(store.scan()) == lines(table)


def test_kinds_of_a_newer_version_are_left_out(store: Store, events: Events) -> None:
    table = events.table(begin=BASE)
    store.append(table)
    store.seal()
    (path,) = store.files.rglob("*.parquet")

    def newer(stored: pa.Table) -> pa.Table:
        names = ["SPAWN" if kind == "CONNECT" else kind for kind in stored.column("kind").to_pylist()]
        place = stored.schema.get_field_index("kind")
        return stored.set_column(place, stored.schema.field("kind"), pa.array(names).dictionary_encode())

    rewrite(path, newer)

    assert merged(store.scan()) == [line for line in lines(table) if b'"connect"' not in line]


def test_any_tool_can_ask_the_files_what_happened(store: Store, events: Events) -> None:
    builder = ColumnsBuilder()
    subject = builder.subject(events.subject())
    process = builder.process(
        pid=7,
        exe="/bin/dash",
        script="/app/x.sh",
        ancestors=["/sbin/tini"],
        ancestor_ids=[(1, BASE)],
        gained_capabilities=1 << 13,
    )
    address = bytes(10) + b"\xff\xff\x0a\x00\x00\x09"
    builder.exec(BASE + 1, subject, process, count=17)
    builder.listen(BASE + 2, subject, process, protocol=1, address=bytes(16), port=80)
    builder.accept(BASE + 3, subject, process, protocol=1, address=address, port=80, count=3)
    builder.exit(BASE + 4, subject, process, code=0, signal=9, lifetime=5, count=2)
    store.append(builder.build())
    store.seal()
    (path,) = store.files.rglob("*.parquet")

    stored = pq.ParquetFile(path).read()
    rows = stored.drop_columns([field.name for field in stored.schema if "timestamp" in str(field.type)]).to_pylist()

    assert [(row["kind"], row["count"], row["address"], row["port"]) for row in rows] == [
        ("EXEC", 17, None, None),
        ("LISTEN", None, "::", 80),
        ("ACCEPT", 3, "10.0.0.9", 80),
        ("EXIT", 2, None, None),
    ]
    assert (rows[3]["exit_code"], rows[3]["exit_signal"], rows[3]["lifetime_ns"]) == (0, 9, 5)
    assert {(row["script"], tuple(row["ancestor_pids"]), row["capabilities"], row["gained_capabilities"]) for row in rows} == {
        ("/app/x.sh", (1,), None, 1 << 13)
    }
