"""Tables of events as batches: cut to what a message may hold, and put into messages without being taken apart again."""

from collections.abc import Iterator

import numpy as np
from peerwatch.columns import EventColumns
from peerwatch.v1 import ingest_pb2
from peerwatch.wire import encode

from agent.spool import Item

__all__ = ["MAX_BATCH", "UNSENDABLE", "batches", "request"]

MAX_BATCH = 3 << 20
"""Larger tables are cut in two, bytes: gRPC servers refuse messages over 4 MiB by default. A full step of 8192 events fits."""

UNSENDABLE = "UNSENDABLE"
"""Reason of a loss: an event has no wire form, or one larger than a batch may be."""


def batches(table: EventColumns, session: str, most: int = MAX_BATCH) -> Iterator[Item]:
    """Yield the table as batches without numbers; one that no batch can hold, a single event, has no bytes."""
    if not len(table):
        return
    try:
        columns = encode(table).SerializeToString()
    except ValueError:  # a string that is not UTF-8
        columns = None
    if columns is not None and len(columns) <= most:
        yield _item(table, session, columns)
    elif len(table) == 1:
        yield _item(table, session, None)
    else:
        for rows in np.array_split(np.arange(len(table)), 2):
            yield from batches(table.take(rows).compact(), session, most)


def _item(table: EventColumns, session: str, columns: bytes | None) -> Item:
    losses = table.losses
    return Item(
        session,
        number=0,
        events=int(table.counts().sum()),
        # A clock that is not set is no reason to refuse an event; what it says is used for losses only.
        begin=max(0, int(table.time.min())),
        end=max(0, int(table.time.max())),
        losses=tuple(
            zip(
                (table.strings[reason] for reason in losses.reason.tolist()),
                losses.count.tolist(),
                np.maximum(losses.begin, 0).tolist(),
                np.maximum(losses.end, 0).tolist(),
                strict=True,
            )
        ),
        size=len(columns or b""),
        data=columns,
    )


def request(number: int, columns: bytes) -> bytes:
    """Return the serialised `StreamRequest` of a batch, around columns as they are."""
    sequence = ingest_pb2.EventBatch(sequence=number).SerializeToString()
    prefix = _COLUMNS + _varint(len(columns))
    return b"".join((_BATCH, _varint(len(sequence) + len(prefix) + len(columns)), sequence, prefix, columns))


def _tag(number: int) -> bytes:
    return bytes([number << 3 | 2])  # wire type 2: a length and as many bytes


_BATCH = _tag(ingest_pb2.StreamRequest.BATCH_FIELD_NUMBER)
_COLUMNS = _tag(ingest_pb2.EventBatch.COLUMNS_FIELD_NUMBER)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
