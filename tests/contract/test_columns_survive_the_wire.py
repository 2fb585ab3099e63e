from collections.abc import Callable
from random import Random

import numpy as np
import pytest
from harness.tables import tables
from hypothesis import given, strategies as st
from peerwatch import jsonlines, wire
from peerwatch.columns import NOT_RECORDED, ColumnsBuilder, EventColumns, EventKind
from peerwatch.subjects import NOBODY
from peerwatch.v1 import ingest_pb2


def lines(table: EventColumns) -> list[bytes]:
    return list(jsonlines.write(table))


@given(tables())
def test_decoding_what_was_encoded_gives_the_same_events(table: EventColumns) -> None:
    message = ingest_pb2.EventColumns.FromString(wire.encode(table).SerializeToString())

    assert lines(wire.decode(message)) == lines(table)


@given(st.lists(tables(), min_size=1, max_size=3))
def test_joining_tables_keeps_events_and_their_order(parts: list[EventColumns]) -> None:
    joined = EventColumns.concatenate(parts)

    assert lines(joined) == [line for part in parts for line in lines(part)]


@given(st.lists(tables(), max_size=3))
def test_a_builder_takes_whole_tables_between_its_own_events(parts: list[EventColumns]) -> None:
    builder = ColumnsBuilder()
    subject, process = builder.subject(NOBODY), builder.process(pid=7, exe="/own", args=["own"], ancestor_ids=[(1, 2)])
    for part in parts:
        builder.exec(1, subject, process)
        builder.extend(part)
    builder.exec(1, subject, process)

    own = b'{"time":"1970-01-01T00:00:00.000000001Z","process":{"pid":7,"exe":"/own","args":["own"],'
    own += b'"ancestorIds":[{"pid":1,"startTime":"1970-01-01T00:00:00.000000002Z"}]},"exec":{}}\n'
    assert len(builder) == sum(map(len, parts)) + len(parts) + 1
    assert lines(builder.build()) == [own, *(line for part in parts for line in [*lines(part), own])]


@given(tables())
def test_a_compact_table_holds_what_its_events_use_and_nothing_else(table: EventColumns) -> None:
    compact = table.take(np.arange(len(table))[:1]).compact()

    assert lines(compact) == lines(table)[:1]
    assert len(compact.processes) == len(compact.subjects) - np.count_nonzero(compact.kind == EventKind.LOSS)
    assert len(compact.subjects) == len(compact)
    assert len(compact.lists) <= 3
    assert len(compact.ancestor_ids) <= 2
    assert set(compact.strings) == {"", *used_strings(compact)}


def used_strings(table: EventColumns) -> set[str]:
    columns = table.processes
    index = np.concatenate(
        [columns.exe, columns.cwd, columns.parent_exe, columns.script, table.lists.values, table.losses.reason]
    )
    return {table.strings[each] for each in index}


def test_rows_say_how_many_events_they_stand_for(example: EventColumns) -> None:
    names = [EventKind(kind).name for kind in example.kind]

    assert dict(zip(names, example.counts().tolist(), strict=True)) == {
        "EXEC": 17,
        "CONNECT": 1,
        "LOSS": 0,
        "EXIT": 5,
        "LISTEN": 1,
        "ACCEPT": 3,
    }


def test_a_row_that_says_it_is_none_is_one() -> None:
    builder = ColumnsBuilder()
    builder.exec(1, builder.subject(NOBODY), builder.process(pid=1), count=0)

    assert builder.build().counts().tolist() == [1]


def test_what_an_older_agent_does_not_send_has_its_default() -> None:
    builder = ColumnsBuilder()
    process = builder.process(pid=7, uid=1000, gid=50, effective_uid=0, capabilities=1, script="/x", ancestor_ids=[(1, 2)])
    builder.exec(41, builder.subject(NOBODY), process, count=3, last_time=43)
    builder.loss(42, 0, reason="RING_FULL", count=5, begin=1, end=2)
    message = wire.encode(builder.build())
    for name in ("execs", "exits", "listens", "accepts", "ancestor_ids"):
        message.ClearField(name)
    for name in ("gid", "effective_uid", "effective_gid", "capabilities", "gained_capabilities", "script", "ancestor_ids"):
        message.processes.ClearField(name)

    table = wire.decode(message)

    processes = table.processes
    assert (processes.gid.tolist(), processes.effective_uid.tolist(), processes.effective_gid.tolist()) == ([0], [1000], [0])
    assert processes.capabilities.tolist() == [NOT_RECORDED]
    assert table.counts().tolist() == [3 - 2, 0]
    assert table.execs.last_time.tolist() == [41]
    assert lines(table)[0] == (b'{"time":"1970-01-01T00:00:00.000000041Z","process":{"pid":7,"uid":1000},"exec":{}}\n')


@given(tables(), st.randoms(use_true_random=False))
def test_taking_rows_takes_what_belongs_to_them(table: EventColumns, chance: Random) -> None:
    rows = [row for row in range(len(table)) if chance.random() < 0.5]
    chance.shuffle(rows)

    assert lines(table.take(np.array(rows, np.intp))) == [lines(table)[row] for row in rows]


@given(tables())
def test_sorting_by_time_is_stable(table: EventColumns) -> None:
    expected = [line for _, line in sorted(zip(table.time.tolist(), lines(table), strict=True), key=lambda pair: pair[0])]

    assert lines(table.sorted_by_time()) == expected


def test_an_empty_message_is_an_empty_table() -> None:
    assert len(wire.decode(ingest_pb2.EventColumns())) == 0


U32 = np.uint32


@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        (lambda m: setattr(m, "rows", 7), "kind"),
        (lambda m: setattr(m, "rows", 2**32 - 1), "kind"),
        (lambda m: setattr(m, "time", m.time[:-1]), "time"),
        (lambda m: setattr(m, "kind", b"\x01\x02\x03\x04\x05\x09"), "kind"),
        (lambda m: setattr(m, "kind", b"\x00\x02\x03\x04\x05\x06"), "kind"),
        (lambda m: setattr(m, "kind", b"\x02\x02\x03\x04\x05\x06"), "execs"),
        (lambda m: setattr(m, "kind", b"\x01\x03\x03\x04\x05\x06"), "connects"),
        (lambda m: setattr(m, "subject", U32([0, 0, 1, 0, 0, 0]).tobytes()), "subject"),
        (lambda m: setattr(m, "process", U32([0, 7, 0, 0, 0, 0]).tobytes()), "process"),
        (lambda m: setattr(m, "process", U32([0, 0, 0, 0, 0, 7]).tobytes()), "process"),
        (lambda m: m.strings.__setitem__(0, "x"), "strings"),
        (lambda m: setattr(m, "list_offsets", U32([0, 0, 9, 3]).tobytes()), "list_offsets"),
        (lambda m: setattr(m, "list_values", U32([99, 1, 1, 1, 1]).tobytes()), "list_values"),
        (lambda m: setattr(m.processes, "exe", U32([99]).tobytes()), "exe"),
        (lambda m: setattr(m.processes, "args", U32([99]).tobytes()), "args"),
        (lambda m: setattr(m.processes, "pid", b""), "processes"),
        (lambda m: setattr(m.processes, "gid", m.processes.gid * 2), "processes.gid"),
        (lambda m: setattr(m.processes, "capabilities", b"\0" * 4), "processes.capabilities"),
        (lambda m: setattr(m.processes, "script", U32([99]).tobytes()), "script"),
        (lambda m: setattr(m.processes, "ancestor_ids", U32([2]).tobytes()), "ancestor_ids"),
        (lambda m: setattr(m.ancestor_ids, "offsets", U32([0, 0, 2]).tobytes()), "ancestor_ids.offsets"),
        (lambda m: setattr(m.ancestor_ids, "offsets", U32([1, 1]).tobytes()), "ancestor_ids.offsets"),
        (lambda m: setattr(m.ancestor_ids, "offsets", b""), "ancestor_ids.offsets"),
        (lambda m: setattr(m.ancestor_ids, "start_time", b""), "ancestor_ids.start_time"),
        (lambda m: setattr(m.execs, "count", b"\0" * 8), "execs.count"),
        (lambda m: setattr(m.execs, "last_time", b"\0" * 7), "execs.last_time"),
        (lambda m: setattr(m.exits, "code", b""), "exits.code"),
        (lambda m: setattr(m.exits, "lifetime", b"\0" * 4), "exits.lifetime"),
        (lambda m: m.ClearField("exits"), "exits"),
        (lambda m: setattr(m.listens, "protocol", b"\x03"), "listens.protocol"),
        (lambda m: setattr(m.listens, "port", b"\0" * 4), "listens.port"),
        (lambda m: setattr(m.accepts, "address", b"\0" * 17), "accepts.address"),
        (lambda m: setattr(m.accepts, "peer", U32([2]).tobytes()), "accepts.peer"),
        (lambda m: m.connects.ClearField("peers"), "peer"),
        (lambda m: setattr(m.connects, "address", b"\0" * 15), "address"),
        (lambda m: setattr(m.connects, "peer", U32([2]).tobytes()), "peer"),
        (lambda m: setattr(m.connects, "result", b"\xff"), "result"),
        (lambda m: setattr(m.losses, "reason", U32([99]).tobytes()), "reason"),
        (lambda m: setattr(m.losses, "count", b""), "losses"),
    ],
)
def test_what_contradicts_itself_is_refused_by_name(
    example: EventColumns, spoil: Callable[[ingest_pb2.EventColumns], None], word: str
) -> None:
    message = wire.encode(example)
    spoil(message)

    with pytest.raises(wire.InvalidColumnsError, match=word):
        wire.decode(message)


@given(tables(), st.data())
def test_no_message_does_more_than_be_refused(table: EventColumns, data: st.DataObject) -> None:
    raw = bytearray(wire.encode(table).SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        if raw:
            raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        message = ingest_pb2.EventColumns.FromString(bytes(raw))
    except Exception:  # noqa: BLE001 — protobuf refuses it: nothing of ours was asked
        return
    try:
        decoded = wire.decode(message)
    except wire.InvalidColumnsError:
        return
    lines(decoded)
