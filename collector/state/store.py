"""Reads and writes the state. Writes come from one thread, reads from any."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, Table, create_engine, delete, event, func, insert, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError

from collector.errors import StorageError
from collector.messages import incident_from_json, incident_to_json
from collector.records import (
    Action,
    BehaviourType,
    Change,
    ExpiredRecord,
    Incident,
    ReplicaRecord,
    Severity,
    SightingRecord,
    WorkloadKey,
)
from collector.risk import rank_of
from collector.state import tables
from collector.state.late import Key, LateName, Waiting, names_of, rows_of_names, trim_names
from collector.state.sessions import NodeRecord, SessionRecord

__all__ = ["ArchiveFile", "Flush", "State"]

ROWS_AT_ONCE = 500
"""Rows of one INSERT: SQLite takes 32,766 parameters."""


@dataclass(frozen=True, slots=True)
class ArchiveFile:
    """One sealed Parquet file; `path` is relative to the archive. Times are nanoseconds since 1970."""

    path: str
    segment: int
    rows: int
    bytes: int
    min_time: int
    max_time: int


@dataclass(frozen=True, slots=True)
class Flush:
    """What one transaction writes: absolute values, so that writing twice is the same as once."""

    replicas: Sequence[ReplicaRecord] = ()
    sightings: Sequence[SightingRecord] = ()
    incidents: Sequence[Incident] = ()
    nodes: Sequence[NodeRecord] = field(default=())
    waiting: Sequence[Waiting] = ()
    waited: Sequence[int] = ()
    """Numbers of what waits no longer."""
    names: Sequence[LateName] = ()
    expired: Sequence[ExpiredRecord] = ()
    """Instead of the sightings of these that are there already; those above came later."""


class State:
    """The state database of one collector.

    Args:
        url: a SQLAlchemy URL; `for_file` gives that of a SQLite file. Missing tables are made and old ones migrated.

    Raises:
        StorageError: the database cannot be opened or migrated.
    """

    def __init__(self, url: str) -> None:
        self._engine = _engine(url)
        with self._storing("open"):
            _migrate(self._engine)

    @staticmethod
    def for_file(path: Path) -> "State":
        """Open the SQLite database of this file."""
        return State(f"sqlite:///{path}")

    def close(self) -> None:
        """Give the connections back; the write-ahead log is merged into the file."""
        self._engine.dispose()

    @contextmanager
    def _storing(self, doing: str) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, OSError) as error:
            why = str(getattr(error, "orig", None) or error).splitlines()[0]
            raise StorageError(
                f"cannot {doing} the state database {self._engine.url.database}: {why}; check free space and permissions"
            ) from error

    def write(self, flush: Flush) -> None:
        """Write in one transaction, on disk when it returns.

        Raises:
            StorageError: nothing was written.
        """
        with self._storing("write"), self._engine.begin() as connection:
            _upsert(connection, tables.replicas, [_replica_row(each) for each in flush.replicas])
            for each in flush.expired:
                _forget_sightings(connection, each)
            _upsert(connection, tables.expired, [_expired_row(each) for each in flush.expired])
            _upsert(connection, tables.sightings, [_sighting_row(each) for each in flush.sightings])
            _upsert(connection, tables.incidents, [_incident_row(each) for each in flush.incidents])
            for node in flush.nodes:
                _write_node(connection, node)
            _upsert(
                connection, tables.waiting, [{"number": e.number, "until": e.until, "events": e.events} for e in flush.waiting]
            )
            for begin in range(0, len(flush.waited), ROWS_AT_ONCE):
                some = flush.waited[begin : begin + ROWS_AT_ONCE]
                connection.execute(delete(tables.waiting).where(tables.waiting.c.number.in_(some)))
            if flush.names:
                _upsert(connection, tables.late_names, rows_of_names(flush.names))
                trim_names(connection)

    def waiting(self) -> Iterator[Waiting]:
        """Yield the events that wait for a name, oldest first."""
        query = select(tables.waiting).order_by(tables.waiting.c.number)
        with self._storing("read"), self._engine.connect() as connection:
            for row in connection.execute(query).mappings():
                yield Waiting(**row)

    def late_names(self, keys: Sequence[Key]) -> dict[Key, bytes]:
        """Return the names that came late of these containers, as far as there are any."""
        with self._storing("read"), self._engine.connect() as connection:
            return dict(names_of(connection, keys))

    def seal(self, segment: int, files: Sequence[ArchiveFile], now: int) -> None:
        """Note that the archive holds a segment of the journal, in these files.

        Raises:
            StorageError: nothing was written.
        """
        with self._storing("write"), self._engine.begin() as connection:
            _upsert(connection, tables.segments, [{"number": segment, "sealed_at": now}])
            _upsert(connection, tables.archive_files, [_file_row(each) for each in files])

    def sealed(self) -> set[int]:
        """Return the numbers of the segments that the archive holds."""
        with self._storing("read"), self._engine.connect() as connection:
            return set(connection.scalars(select(tables.segments.c.number)))

    def files(self, since: int = 0, until: int = 0) -> list[ArchiveFile]:
        """Return the archive files with events from `since` to before `until` (0: no bound), oldest first."""
        columns = tables.archive_files.c
        query = select(tables.archive_files).where(columns.max_time >= since).order_by(columns.min_time, columns.path)
        if until:
            query = query.where(columns.min_time < until)
        with self._storing("read"), self._engine.connect() as connection:
            return [ArchiveFile(**row) for row in connection.execute(query).mappings()]

    def archived_bytes(self) -> int:
        """Return the size of the archive, bytes."""
        with self._storing("read"), self._engine.connect() as connection:
            return int(connection.scalar(select(func.coalesce(func.sum(tables.archive_files.c.bytes), 0))) or 0)

    def replicas(self) -> list[ReplicaRecord]:
        """Return all replicas."""
        with self._storing("read"), self._engine.connect() as connection:
            return [ReplicaRecord(**_with_workload(row)) for row in connection.execute(select(tables.replicas)).mappings()]

    def sightings(self) -> Iterator[SightingRecord]:
        """Yield all sightings."""
        with self._storing("read"), self._engine.connect() as connection:
            rows = connection.execution_options(yield_per=10_000).execute(select(tables.sightings)).mappings()
            for row in rows:
                yield SightingRecord(**_with_behaviour(row))

    def expired(self) -> list[ExpiredRecord]:
        """Return what was learned and is not done any more."""
        with self._storing("read"), self._engine.connect() as connection:
            return [ExpiredRecord(**_with_behaviour(row)) for row in connection.execute(select(tables.expired)).mappings()]

    def incidents(
        self,
        *,
        namespace: str = "",
        workload: str = "",
        at_least: Severity = Severity.INFO,
        limit: int = 0,
        by_risk: bool = False,
    ) -> list[Incident]:
        """Return incidents, newest first, or before that of the highest risk; empty values do not filter, `limit` 0 is all."""
        columns = tables.incidents.c
        order = [columns.risk.desc()] if by_risk else []
        query = select(columns.json).where(columns.severity >= int(at_least)).order_by(*order, columns.time.desc(), columns.id)
        if namespace:
            query = query.where(columns.namespace == namespace)
        if workload:
            query = query.where(columns.name == workload)
        if limit:
            query = query.limit(limit)
        with self._storing("read"), self._engine.connect() as connection:
            return [incident_from_json(text) for text in connection.scalars(query)]

    def alerts(self) -> int:
        """Return how many incidents are alerts."""
        query = select(func.count()).where(tables.incidents.c.severity >= int(Severity.LOW))
        with self._storing("read"), self._engine.connect() as connection:
            return int(connection.scalar(query) or 0)

    def add_changes(self, changes: Sequence[Change]) -> None:
        """Add to what people did to baselines: all of it, on disk when it returns.

        Raises:
            StorageError: nothing was written.
        """
        rows = [_change_row(each) for each in changes]
        with self._storing("write"), self._engine.begin() as connection:
            for begin in range(0, len(rows), ROWS_AT_ONCE):
                connection.execute(insert(tables.changes), rows[begin : begin + ROWS_AT_ONCE])

    def changes(self) -> Iterator[Change]:
        """Yield what people did to baselines, oldest first."""
        query = select(tables.changes).order_by(tables.changes.c.number)
        with self._storing("read"), self._engine.connect() as connection:
            for row in connection.execution_options(yield_per=10_000).execute(query).mappings():
                yield _change(row)

    def changes_of(self, workload: WorkloadKey, *, limit: int = 0) -> list[Change]:
        """Return what people did to one baseline, newest first, without what a lock noted; `limit` 0 is all."""
        columns = tables.changes.c
        query = select(tables.changes).where(columns.action != int(Action.LIST)).order_by(columns.number.desc())
        for name, value in _workload_row(workload).items():
            query = query.where(columns[name] == value)
        if limit:
            query = query.limit(limit)
        with self._storing("read"), self._engine.connect() as connection:
            return [_change(row) for row in connection.execute(query).mappings()]

    def nodes(self) -> list[NodeRecord]:
        """Return all nodes with their sessions and losses."""
        with self._storing("read"), self._engine.connect() as connection:
            nodes = {
                (row["cluster"], row["node"]): NodeRecord(**row) for row in connection.execute(select(tables.nodes)).mappings()
            }
            for row in connection.execute(select(tables.losses)).mappings():
                nodes[row["cluster"], row["node"]].lost[row["reason"]] = row["count"]
            for row in connection.execute(select(tables.sessions)).mappings():
                nodes[row["cluster"], row["node"]].sessions[row["session"]] = SessionRecord(
                    row["session"], row["last_sequence"], row["last_batch"]
                )
        return list(nodes.values())


def _engine(url: str) -> Engine:
    engine = create_engine(url)
    if engine.dialect.name == "sqlite":

        @event.listens_for(engine, "connect")
        def _configure(connection: Any, _record: object) -> None:  # noqa: ANN401 — the driver's own type
            cursor = connection.cursor()
            cursor.execute("PRAGMA journal_mode=WAL")  # readers do not wait for the writer
            cursor.execute("PRAGMA synchronous=FULL")  # a journal segment is removed once the state is written
            cursor.execute("PRAGMA busy_timeout=5000")  # milliseconds; a reader's checkpoint may take a moment
            cursor.close()

    return engine


def _migrate(engine: Engine) -> None:
    config = Config()
    config.set_main_option("script_location", "collector.state:migrations")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _upsert(connection: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    """Insert rows, or overwrite those with the same key."""
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    for begin in range(0, len(rows), ROWS_AT_ONCE):
        statement = insert(table).values(list(rows[begin : begin + ROWS_AT_ONCE]))
        values = {column.name: statement.excluded[column.name] for column in table.c if not column.primary_key}
        connection.execute(statement.on_conflict_do_update(index_elements=list(table.primary_key), set_=values))


def _write_node(connection: Connection, node: NodeRecord) -> None:
    key = {"cluster": node.cluster, "node": node.node}
    _upsert(connection, tables.nodes, [{**key, "version": node.version, "last_batch": node.last_batch, "events": node.events}])
    _upsert(connection, tables.losses, [{**key, "reason": reason, "count": count} for reason, count in node.lost.items()])
    own = tables.sessions.c
    connection.execute(
        delete(tables.sessions).where(
            own.cluster == node.cluster, own.node == node.node, own.session.not_in(list(node.sessions))
        )
    )
    _upsert(
        connection,
        tables.sessions,
        [
            {**key, "session": each.session, "last_sequence": each.last_sequence, "last_batch": each.last_batch}
            for each in node.sessions.values()
        ],
    )


def _workload_row(key: WorkloadKey) -> dict[str, Any]:
    return {"cluster": key.cluster, "namespace": key.namespace, "kind": key.kind, "name": key.name}


def _with_workload(row: Any) -> dict[str, Any]:  # noqa: ANN401 — a row of any table
    values = dict(row)
    values["workload"] = WorkloadKey(*(values.pop(name) for name in ("cluster", "namespace", "kind", "name")))
    return values


def _with_behaviour(row: Any) -> dict[str, Any]:  # noqa: ANN401 — a row of sightings or of what expired
    values = _with_workload(row)
    values["type"] = BehaviourType(values["type"])
    values["example"] = tuple(json.loads(values["example"]))
    return values


def _replica_row(replica: ReplicaRecord) -> dict[str, Any]:
    return _workload_row(replica.workload) | {
        name: getattr(replica, name)
        for name in ("container", "pod_uid", "pod", "node", "revision", "created_at", "first_seen", "last_seen")
    }


def _behaviour_key(seen: SightingRecord | ExpiredRecord) -> dict[str, Any]:
    return _workload_row(seen.workload) | {"container": seen.container, "type": int(seen.type), "key": seen.key}


def _behaviour_row(seen: SightingRecord | ExpiredRecord) -> dict[str, Any]:
    return _behaviour_key(seen) | {
        "count": seen.count,
        "first_seen": seen.first_seen,
        "last_seen": seen.last_seen,
        "example": json.dumps(seen.example),
        "parent": seen.parent,
    }


def _sighting_row(sighting: SightingRecord) -> dict[str, Any]:
    return _behaviour_row(sighting) | {"pod_uid": sighting.pod_uid}


def _expired_row(expired: ExpiredRecord) -> dict[str, Any]:
    return _behaviour_row(expired) | {"replicas": expired.replicas, "expired": expired.expired}


def _forget_sightings(connection: Connection, expired: ExpiredRecord) -> None:
    columns = tables.sightings.c
    key = _behaviour_key(expired)
    connection.execute(delete(tables.sightings).where(*(columns[name] == value for name, value in key.items())))


def _incident_row(incident: Incident) -> dict[str, Any]:
    return _workload_row(incident.workload) | {
        "id": incident.id,
        "revision": incident.revision,
        "time": incident.time,
        "severity": int(incident.severity),
        "score": incident.score,
        "risk": rank_of(incident.severity) if incident.risk is None else incident.risk.rank,
        "json": incident_to_json(incident),
    }


def _change_row(change: Change) -> dict[str, Any]:
    return _workload_row(change.workload) | {
        "time": change.time,
        "action": int(change.action),
        "container": change.container,
        "type": int(change.type or 0),
        "key": change.key,
        "author": change.by,
        "why": change.why,
        "until": change.until,
        "via": change.via,
    }


def _change(row: Any) -> Change:  # noqa: ANN401 — a row of the table
    values = _with_workload(row)
    del values["number"]
    values["by"] = values.pop("author")
    values["action"] = Action(values["action"])
    values["type"] = BehaviourType(values["type"]) if values["type"] else None
    return Change(**values)


def _file_row(file: ArchiveFile) -> dict[str, Any]:
    return {name: getattr(file, name) for name in ("path", "segment", "rows", "bytes", "min_time", "max_time")}
