"""Starting again from what was saved: replicas, sightings, and the incidents that say which sightings are suspected."""

from collections.abc import Iterable

import numpy as np
from peerwatch.subjects import ContainerKind

from collector.analysis.behaviours import restored
from collector.analysis.groups import Groups
from collector.analysis.learning import standing_of
from collector.analysis.sightings import Gone, Group, Replica, Standing
from collector.analysis.spending import pay
from collector.analysis.verdicts import Verdicts
from collector.records import ExpiredRecord, Incident, ReplicaRecord, Severity, SightingRecord, WorkloadKey

__all__ = ["restore"]

_STANDING = {Severity.INFO: Standing.PERSON, Severity.LOW: Standing.MILD}

_Told = tuple[WorkloadKey, str, str, str]
"""Workload, container, pod and key of what an incident holds against a replica."""


def restore(
    groups: Groups,
    verdicts: Verdicts,
    replicas: Iterable[ReplicaRecord],
    sightings: Iterable[SightingRecord],
    incidents: Iterable[Incident],
    *,
    expired: Iterable[ExpiredRecord] = (),
) -> None:
    """Fill empty groups and verdicts."""
    for each in sorted(replicas, key=lambda each: (each.first_seen, each.pod_uid)):
        group = groups.group((each.workload, each.container), ContainerKind.APP, each.first_seen)
        group.replica(Replica(each.pod_uid, each.pod, each.node, each.revision, each.created_at, each.first_seen))
        verdicts.now = max(verdicts.now, each.last_seen)
    told: dict[_Told, Severity] = {}
    alerts: dict[str, Incident] = {}
    for incident in incidents:
        if incident.severity > Severity.INFO:
            alerts[incident.id] = incident
        for replica in incident.replicas:
            for shown in incident.behaviours:
                place = (incident.workload, replica.container, replica.uid, shown.key)
                told[place] = max(incident.severity, told.get(place, Severity.INFO))
    for incident in alerts.values():
        verdicts.count_alert(incident)
    for gone in sorted(expired, key=lambda each: (each.first_seen, each.type, each.key)):
        _restore_gone(groups, gone)
    for saved in sorted(sightings, key=lambda each: (each.first_seen, each.pod_uid, each.type, each.key)):
        known = groups.by_place.get((saved.workload, saved.container))
        if known is not None and saved.pod_uid in known.by_uid:
            _restore_one(groups, verdicts, known, saved, told)
    _restore_spending(groups, alerts.values())
    groups.table.dirty[:] = False


def _restore_spending(groups: Groups, alerts: Iterable[Incident]) -> None:
    for incident in sorted(alerts, key=lambda each: (each.time, each.id)):
        payer = groups.by_place.get((incident.workload, incident.replicas[0].container)) if incident.replicas else None
        if payer is not None:
            pay(payer, incident.severity, incident.time, budget=groups.settings.budget)


def _restore_gone(groups: Groups, saved: ExpiredRecord) -> None:
    known = groups.by_place.get((saved.workload, saved.container))
    if known is None or len(known.entries) >= groups.settings.most_behaviours:
        return
    entry = known.entries[known.entry(restored(saved.type, saved.key, saved.example, saved.parent))]
    entry.gone = Gone(saved.replicas, saved.count, saved.first_seen, saved.last_seen, saved.expired)
    if not entry.base:
        known.past_observations[saved.type] += saved.count


def _restore_one(groups: Groups, verdicts: Verdicts, group: Group, saved: SightingRecord, told: dict[_Told, Severity]) -> None:
    table, replica = groups.table, group.by_uid[saved.pod_uid]
    behaviour = restored(saved.type, saved.key, saved.example, saved.parent)
    entry = group.entry(behaviour)
    if replica in group.entries[entry].rows:
        return
    row = group.sight(replica, entry, saved.first_seen)
    verdicts.errands.meet(behaviour, group.workload)
    verdicts.persons.meet(behaviour, saved.pod_uid)
    table.apply(np.array([row]), np.array([saved.count]), np.array([saved.last_seen]))
    severity = told.get((group.workload, group.container, saved.pod_uid, saved.key))
    if severity is not None:
        table.standing[row] = _STANDING.get(severity, Standing.FLAGGED)
        return
    of_base, told_for = Standing.ACCEPTED, groups.settings.nanoseconds(groups.settings.cool_down)
    if behaviour.base:
        of_base = standing_of(group, replica, behaviour.base, saved.first_seen, table, told_for=told_for)
    if of_base not in (Standing.ACCEPTED, Standing.PENDING):
        table.standing[row] = of_base
    elif saved.first_seen > verdicts.now - verdicts.settings.nanoseconds(verdicts.settings.hold):
        verdicts.resume(row, behaviour, saved.first_seen)  # it may have been held when the collector stopped
