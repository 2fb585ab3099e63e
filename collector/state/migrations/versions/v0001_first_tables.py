"""Make the first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def _keys(*names: str) -> "list[sa.Column[str]]":
    return [sa.Column(name, sa.Text, primary_key=True) for name in names]


def _texts(*names: str) -> "list[sa.Column[str]]":
    return [sa.Column(name, sa.Text, nullable=False) for name in names]


def _numbers(*names: str) -> "list[sa.Column[int]]":
    return [sa.Column(name, sa.BigInteger, nullable=False) for name in names]


def upgrade() -> None:
    """Make them."""
    op.create_table(
        "replicas",
        *_keys("cluster", "namespace", "kind", "name", "container", "pod_uid"),
        *_texts("pod", "node", "revision"),
        *_numbers("created_at", "first_seen", "last_seen"),
    )
    op.create_table(
        "sightings",
        *_keys("cluster", "namespace", "kind", "name", "container", "pod_uid"),
        sa.Column("type", sa.Integer, primary_key=True),
        *_keys("key"),
        *_numbers("count", "first_seen", "last_seen"),
        *_texts("example", "parent"),
    )
    op.create_table(
        "incidents",
        *_keys("id"),
        *_numbers("revision", "time"),
        sa.Column("severity", sa.Integer, nullable=False),
        sa.Column("score", sa.Float, nullable=False),
        *_texts("cluster", "namespace", "kind", "name", "json"),
    )
    op.create_index("incidents_by_time", "incidents", ["time"])
    op.create_index("incidents_by_workload", "incidents", ["namespace", "name", "time"])
    op.create_table("nodes", *_keys("cluster", "node"), *_texts("version"), *_numbers("last_batch", "events"))
    op.create_table("losses", *_keys("cluster", "node", "reason"), *_numbers("count"))
    op.create_table("sessions", *_keys("cluster", "node", "session"), *_numbers("last_sequence", "last_batch"))
    op.create_table("segments", sa.Column("number", sa.BigInteger, primary_key=True), *_numbers("sealed_at"))
    op.create_table("archive_files", *_keys("path"), *_numbers("segment", "rows", "bytes", "min_time", "max_time"))
    op.create_index("archive_files_by_time", "archive_files", ["min_time", "max_time"])
