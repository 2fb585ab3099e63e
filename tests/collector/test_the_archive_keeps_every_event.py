import ipaddress
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from collector_harness import Events
from hypothesis import given, settings, strategies as st
from peerwatch import jsonlines, wire
from peerwatch.columns import ColumnsBuilder, EventColumns, Peer
from peerwatch.subjects import Container, ContainerKind, Pod, Subject, Workload
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

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
texts = st.lists(text, max_size=4)
time = st.integers(1, 2**62)
number = st.integers(0, 2**32 - 1)
pairs = st.dictionaries(text, text, max_size=3).map(lambda each: tuple(sorted(each.items())))
workloads = st.builds(Workload, text, text)
subjects = st.builds(
    Subject,
    text,
    text,
    st.builds(Pod, text, text, text, text, workloads, text, st.just(0) | time, text, pairs, pairs),
    st.builds(Container, text, st.sampled_from(ContainerKind), text, text, text, st.just(0) | time),
)
addresses = st.ip_addresses().map(
    lambda each: each.packed if each.version == 6 else ipaddress.IPv6Address(f"::ffff:{each}").packed
)


@st.composite
def tables(draw: st.DrawFn) -> EventColumns:
    builder = ColumnsBuilder()
    whose = [builder.subject(each) for each in draw(st.lists(subjects, min_size=1, max_size=3))]
    for kind in draw(st.lists(st.sampled_from(["exec", "connect", "loss"]), max_size=8)):
        subject, moment = draw(st.sampled_from(whose)), draw(time)
        if kind == "loss":
            builder.loss(moment, subject, reason=draw(text), count=draw(number), begin=draw(time), end=draw(time))
            continue
        process = builder.process(
            pid=draw(number),
            start_time=draw(time),
            exe=draw(text),
            args=draw(texts),
            cwd=draw(text),
            uid=draw(number),
            parent_pid=draw(number),
            parent_start_time=draw(st.just(0) | time),
            parent_exe=draw(text),
            ancestors=draw(texts),
            flags=draw(st.integers(0, 63).map(lambda bits: bits << 1)) | draw(st.sampled_from([0, 1 << 31])),
        )
        if kind == "exec":
            builder.exec(moment, subject, process)
        else:
            builder.connect(
                moment,
                subject,
                process,
                protocol=draw(st.integers(0, 2)),
                address=draw(addresses),
                port=draw(st.integers(0, 65_535)),
                result=draw(st.integers(0, 6)),
                count=draw(st.integers(1, 2**32 - 1)),
                last_time=draw(time),
                peer=builder.peer(draw(st.none() | st.builds(Peer, text, workloads))),
            )
    return builder.build()


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
