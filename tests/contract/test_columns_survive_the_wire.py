from collections.abc import Callable
from random import Random

import numpy as np
import pytest
from harness.tables import tables
from hypothesis import given, strategies as st
from peerwatch import jsonlines, wire
from peerwatch.columns import EventColumns
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
        (lambda m: setattr(m, "rows", 4), "kind"),
        (lambda m: setattr(m, "rows", 2**32 - 1), "kind"),
        (lambda m: setattr(m, "time", m.time[:-1]), "time"),
        (lambda m: setattr(m, "kind", b"\x01\x02\x09"), "kind"),
        (lambda m: setattr(m, "kind", b"\x01\x01\x03"), "connects"),
        (lambda m: setattr(m, "subject", U32([0, 0, 1]).tobytes()), "subject"),
        (lambda m: setattr(m, "process", U32([0, 7, 0]).tobytes()), "process"),
        (lambda m: m.strings.__setitem__(0, "x"), "strings"),
        (lambda m: setattr(m, "list_offsets", U32([0, 0, 9, 3]).tobytes()), "list_offsets"),
        (lambda m: setattr(m, "list_values", U32([99, 1, 1]).tobytes()), "list_values"),
        (lambda m: setattr(m.processes, "exe", U32([99]).tobytes()), "exe"),
        (lambda m: setattr(m.processes, "args", U32([99]).tobytes()), "args"),
        (lambda m: setattr(m.processes, "pid", b""), "processes"),
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
