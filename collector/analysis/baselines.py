"""What people see of what was learned: baselines, summaries and the records that are saved."""

from collections.abc import Iterable, Sequence

import numpy as np

from collector.analysis.completeness import is_settled
from collector.analysis.learning import is_learned
from collector.analysis.sightings import Entry, Group, SightingTable
from collector.records import (
    BaselineEntry,
    BehaviourState,
    ReplicaRecord,
    SightingRecord,
    WorkloadKey,
    WorkloadSummary,
)

__all__ = ["baseline_of", "replica_records", "sighting_record", "summary"]


def baseline_of(group: Group, table: SightingTable, now: int) -> list[BaselineEntry]:
    """Return a group's behaviours with their evidence, sorted by type and key."""
    of = len(group.replicas) + group.past_replicas
    return sorted(
        (_entry(group, entry, table, now, of) for entry in group.entries.values()), key=lambda each: (each.type, each.key)
    )


def _entry(group: Group, entry: Entry, table: SightingTable, now: int, of: int) -> BaselineEntry:
    gone = entry.gone
    if gone is not None and not entry.rows:
        return BaselineEntry(
            workload=group.workload,
            container=group.container,
            type=entry.type,
            key=entry.key,
            state=BehaviourState.EXPIRED,
            count=gone.count,
            replicas=gone.replicas,
            of=of,
            nodes=0,
            revisions=(),
            first_seen=gone.first,
            last_seen=gone.last,
            example=entry.example,
            parent=entry.parent,
            gone=gone.last,
        )
    rows = np.fromiter(entry.rows.values(), np.int64, len(entry.rows))
    return BaselineEntry(
        workload=group.workload,
        container=group.container,
        type=entry.type,
        key=entry.key,
        state=BehaviourState.LEARNED if is_learned(entry, group, now) else BehaviourState.CANDIDATE,
        count=int(table.count[rows].sum()) + entry.past_count,
        replicas=len(rows) + entry.past_replicas,
        of=of,
        nodes=len(entry.nodes),
        revisions=tuple(entry.revisions),
        first_seen=min(entry.firsts(table), default=0),
        last_seen=max([*table.last[rows].tolist(), entry.past_last]),
        example=entry.example,
        parent=entry.parent,
        gone=0 if gone is None else gone.last,
    )


def summary(key: WorkloadKey, groups: Sequence[Group], table: SightingTable, now: int, alerts: int) -> WorkloadSummary:
    """Return one line about a workload, made of the groups of its containers."""
    uids: dict[str, None] = {}
    revisions: dict[str, None] = {}
    learned = total = last = 0
    for group in groups:
        uids |= dict.fromkeys(group.by_uid)
        revisions |= {each.revision: None for each in group.replicas.values() if each.revision}
        total += sum(each.gone is None or bool(each.rows) for each in group.entries.values())
        learned += sum(is_learned(entry, group, now) for entry in group.entries.values())
        rows = group.rows()
        last = max(last, int(table.last[rows].max(initial=0)))
    return WorkloadSummary(
        key=key,
        replicas=len(uids),
        containers=tuple(sorted(group.container for group in groups)),
        revisions=tuple(revisions),
        learned=learned,
        candidates=total - learned,
        alerts=alerts,
        last_seen=last,
        phase="settled" if all(is_settled(group, table, now) for group in groups) else "learning",
    )


def sighting_record(table: SightingTable, row: int) -> SightingRecord:
    """Return a sighting as it is saved."""
    group = table.group[row]
    if group is None:
        raise LookupError(f"sighting {row} was removed")
    entry = group.entries[int(table.behaviour[row])]
    return SightingRecord(
        workload=group.workload,
        container=group.container,
        pod_uid=group.replicas[int(table.replica[row])].uid,
        type=entry.type,
        key=entry.key,
        count=int(table.count[row]),
        first_seen=int(table.first[row]),
        last_seen=int(table.last[row]),
        example=entry.example,
        parent=entry.parent,
    )


def replica_records(table: SightingTable, rows: Iterable[int]) -> list[ReplicaRecord]:
    """Return the replicas of these sightings as they are saved."""
    records = []
    for row in rows:
        group = table.group[row]
        if group is None:
            continue
        replica = group.replicas[int(table.replica[row])]
        records.append(
            ReplicaRecord(
                workload=group.workload,
                container=group.container,
                pod_uid=replica.uid,
                pod=replica.pod,
                node=replica.node,
                revision=replica.revision,
                created_at=replica.created_at,
                first_seen=replica.first,
                last_seen=int(table.last[np.array(replica.rows, np.int64)].max()),
            )
        )
    return records
