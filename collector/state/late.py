"""What the state keeps of events whose names come late: those that wait to be judged, and the names that were found."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, delete, select, tuple_

from collector.state import tables

__all__ = ["Key", "LateName", "Waiting", "names_of", "rows_of_names", "trim_names"]

NAMES_MAX = 100_000
"""Late names kept, some 100 MB; those that were found first go first."""

KEYS_AT_ONCE = 500
"""Keys of one SELECT: SQLite takes 32,766 parameters."""

Key = tuple[str, str, str, str]
"""Cluster, node, uid of the pod, id of the container: what the kernel alone says of a container."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Events that wait; `events` is a serialized `peerwatch.v1.EventColumns`. Time is nanoseconds since 1970."""

    number: int
    until: int
    events: bytes


@dataclass(frozen=True, slots=True)
class LateName:
    """Whose a container is, as was found at `time`; `subject` is a serialized `peerwatch.v1.EventColumns` with it alone."""

    key: Key
    time: int
    subject: bytes


def names_of(connection: Connection, keys: Sequence[Key]) -> Iterator[tuple[Key, bytes]]:
    """Yield the names that came late of these containers."""
    own = tables.late_names.c
    key = (own.cluster, own.node, own.pod_uid, own.container_id)
    for begin in range(0, len(keys), KEYS_AT_ONCE):
        query = select(*key, own.subject).where(tuple_(*key).in_(keys[begin : begin + KEYS_AT_ONCE]))
        for row in connection.execute(query):
            yield (row[0], row[1], row[2], row[3]), row[4]


def trim_names(connection: Connection, most: int = NAMES_MAX) -> None:
    """Forget the oldest names beyond so many."""
    own = tables.late_names.c
    oldest = connection.scalar(select(own.time).order_by(own.time.desc()).offset(most).limit(1))
    if oldest is not None:
        connection.execute(delete(tables.late_names).where(own.time <= oldest))


def rows_of_names(names: Iterable[LateName]) -> list[dict[str, object]]:
    """Return the rows of the table."""
    columns = ("cluster", "node", "pod_uid", "container_id")
    return [{**dict(zip(columns, each.key, strict=True)), "time": each.time, "subject": each.subject} for each in names]
