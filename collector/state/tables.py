"""The tables of the state. A change here needs a migration in `migrations/versions`; a test compares the two."""

from sqlalchemy import BigInteger, Column, Float, Index, Integer, LargeBinary, MetaData, Table, Text

__all__ = [
    "METADATA",
    "archive_files",
    "changes",
    "expired",
    "incidents",
    "late_names",
    "losses",
    "nodes",
    "replicas",
    "segments",
    "sessions",
    "sightings",
    "waiting",
]

METADATA = MetaData()


def _key(name: str) -> Column[str]:
    return Column(name, Text, primary_key=True)


def _text(name: str) -> Column[str]:
    return Column(name, Text, nullable=False)


def _number(name: str) -> Column[int]:
    """Times are nanoseconds since 1970."""
    return Column(name, BigInteger, nullable=False)


replicas = Table(
    "replicas",
    METADATA,
    *map(_key, ("cluster", "namespace", "kind", "name", "container", "pod_uid")),
    *map(_text, ("pod", "node", "revision")),
    *map(_number, ("created_at", "first_seen", "last_seen")),
)

sightings = Table(
    "sightings",
    METADATA,
    *map(_key, ("cluster", "namespace", "kind", "name", "container", "pod_uid")),
    Column("type", Integer, primary_key=True),
    _key("key"),
    *map(_number, ("count", "first_seen", "last_seen")),
    *map(_text, ("example", "parent")),
)

expired = Table(
    "expired",
    METADATA,
    *map(_key, ("cluster", "namespace", "kind", "name", "container")),
    Column("type", Integer, primary_key=True),
    _key("key"),
    *map(_number, ("replicas", "count", "first_seen", "last_seen", "expired")),
    *map(_text, ("example", "parent")),
)

incidents = Table(
    "incidents",
    METADATA,
    _key("id"),
    _number("revision"),
    _number("time"),
    Column("severity", Integer, nullable=False),
    Column("score", Float, nullable=False),
    Column("risk", Integer, nullable=False),
    *map(_text, ("cluster", "namespace", "kind", "name")),
    # The whole incident as its JSON line; what stands beside it is for finding it.
    _text("json"),
    Index("incidents_by_time", "time"),
    Index("incidents_by_workload", "namespace", "name", "time"),
)

nodes = Table(
    "nodes",
    METADATA,
    *map(_key, ("cluster", "node")),
    _text("version"),
    *map(_number, ("last_batch", "events")),
)

losses = Table("losses", METADATA, *map(_key, ("cluster", "node", "reason")), _number("count"))

sessions = Table(
    "sessions",
    METADATA,
    *map(_key, ("cluster", "node", "session")),
    # Everything up to this sequence number is in the journal or the archive, and in replicas and sightings.
    *map(_number, ("last_sequence", "last_batch")),
)

segments = Table("segments", METADATA, Column("number", BigInteger, primary_key=True), _number("sealed_at"))

archive_files = Table(
    "archive_files",
    METADATA,
    _key("path"),
    *map(_number, ("segment", "rows", "bytes", "min_time", "max_time")),
    Index("archive_files_by_time", "min_time", "max_time"),
)

# What people did to baselines, in order, never changed: the audit trail, and what holds is read from it.
changes = Table(
    "changes",
    METADATA,
    Column("number", Integer, primary_key=True),
    _number("time"),
    *map(_text, ("cluster", "namespace", "kind", "name")),
    Column("action", Integer, nullable=False),
    _text("container"),
    Column("type", Integer, nullable=False),  # 0: of the workload as a whole
    *map(_text, ("key", "author", "why")),
    _number("until"),
    _text("via"),
    Index("changes_by_workload", "cluster", "namespace", "kind", "name", "number"),
)

# Events that wait for a name, until it is known and they are judged under it.
waiting = Table(
    "waiting",
    METADATA,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    _number("until"),
    Column("events", LargeBinary, nullable=False),
)

# Whose a container is of which the archive holds events without a name.
late_names = Table(
    "late_names",
    METADATA,
    *map(_key, ("cluster", "node", "pod_uid", "container_id")),
    _number("time"),
    Column("subject", LargeBinary, nullable=False),
    Index("late_names_by_time", "time"),
)
