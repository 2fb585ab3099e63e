"""Records to and from the messages of `peerwatch.v1`, and the JSON line of an incident."""

from google.protobuf import json_format
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from peerwatch.times import NANOSECONDS
from peerwatch.v1 import event_pb2, incident_pb2, query_pb2

from collector.approvals import approval
from collector.records import (
    Action,
    BaselineEntry,
    BehaviourEvidence,
    BehaviourState,
    BehaviourType,
    Change,
    Completeness,
    Evidence,
    Incident,
    IncidentKind,
    Lock,
    Phase,
    ReplicaRef,
    Risk,
    Severity,
    WorkloadKey,
    WorkloadSummary,
)

__all__ = [
    "baseline_from_proto",
    "baseline_to_proto",
    "change_from_proto",
    "change_to_proto",
    "completeness_from_proto",
    "completeness_to_proto",
    "incident_from_json",
    "incident_from_proto",
    "incident_to_json",
    "incident_to_proto",
    "lock_from_proto",
    "lock_to_proto",
    "nanoseconds",
    "ref_from_proto",
    "ref_to_proto",
    "summary_from_proto",
    "summary_to_proto",
    "timestamp",
]

_PHASES: frozenset[int] = frozenset(Phase)
"""What this command knows: a newer collector may say more."""

COUNT_MAX = 2**32 - 1
"""What a uint32 of the contract holds; more stands at this."""


def timestamp(time: int) -> Timestamp | None:
    """Return nanoseconds since 1970 as a message; 0 is none."""
    return Timestamp(seconds=time // NANOSECONDS, nanos=time % NANOSECONDS) if time else None


def nanoseconds(message: Timestamp) -> int:
    """Return a time message as nanoseconds since 1970; none is 0."""
    return message.seconds * NANOSECONDS + message.nanos


def incident_to_json(incident: Incident) -> str:
    """Return the incident as one line of JSON, without its end: zeros and empty lists are written, as the contract says."""
    return json_format.MessageToJson(
        incident_to_proto(incident), always_print_fields_with_no_presence=True, indent=None, ensure_ascii=False
    )


def incident_from_json(text: str) -> Incident:
    """Return the incident of a line that `incident_to_json` wrote."""
    return incident_from_proto(json_format.Parse(text, incident_pb2.Incident(), ignore_unknown_fields=True))


def incident_to_proto(incident: Incident) -> incident_pb2.Incident:
    """Return the message of an incident."""
    return incident_pb2.Incident(
        id=incident.id,
        revision=incident.revision,
        time=timestamp(incident.time),
        first_event=timestamp(incident.first_event),
        severity=incident_pb2.Incident.Severity.ValueType(incident.severity),
        score=incident.score,
        kind=incident_pb2.Incident.Kind.ValueType(incident.kind),
        cluster=incident.workload.cluster,
        namespace=incident.workload.namespace,
        workload=event_pb2.Workload(kind=incident.workload.kind, name=incident.workload.name),
        replicas=[
            incident_pb2.Incident.Replica(pod=each.pod, uid=each.uid, container=each.container) for each in incident.replicas
        ],
        peers=incident_pb2.Incident.Peers(compared=incident.compared, sharing=incident.sharing),
        behaviours=[
            incident_pb2.Incident.Behaviour(
                type=incident_pb2.BehaviourType.ValueType(each.type),
                key=each.key,
                example=each.example,
                seen_on=each.seen_on,
                of=each.of,
                first_seen=timestamp(each.first_seen),
                count=min(each.count, COUNT_MAX),
            )
            for each in incident.behaviours
        ],
        evidence=[
            incident_pb2.Incident.Evidence(time=timestamp(each.time), pod=each.pod, pid=each.pid, exe=each.exe)
            for each in incident.evidence
        ],
        techniques=incident.techniques,
        reason=incident.reason,
        loss_in_window=min(incident.loss_in_window, COUNT_MAX),
        approval=approval(incident),
        risk=_risk_to_proto(incident.risk),
    )


def incident_from_proto(message: incident_pb2.Incident) -> Incident:
    """Return the incident of a message from this collector or an older one."""
    return Incident(
        id=message.id,
        revision=message.revision,
        time=nanoseconds(message.time),
        first_event=nanoseconds(message.first_event),
        severity=Severity(message.severity or Severity.INFO),
        score=message.score,
        kind=IncidentKind(message.kind or IncidentKind.NEW_BEHAVIOUR),
        workload=WorkloadKey(message.cluster, message.namespace, message.workload.kind, message.workload.name),
        replicas=tuple(ReplicaRef(each.pod, each.uid, each.container) for each in message.replicas),
        compared=message.peers.compared,
        sharing=message.peers.sharing,
        behaviours=tuple(
            BehaviourEvidence(
                BehaviourType(each.type or BehaviourType.EXEC),
                each.key,
                tuple(each.example),
                each.seen_on,
                each.of,
                nanoseconds(each.first_seen),
                each.count,
            )
            for each in message.behaviours
        ),
        evidence=tuple(Evidence(nanoseconds(each.time), each.pod, each.pid, each.exe) for each in message.evidence),
        techniques=tuple(message.techniques),
        reason=message.reason,
        loss_in_window=message.loss_in_window,
        risk=Risk(message.risk.rank, tuple(message.risk.reasons)) if message.HasField("risk") else None,
    )


def _risk_to_proto(risk: Risk | None) -> incident_pb2.Incident.Risk | None:
    return None if risk is None else incident_pb2.Incident.Risk(rank=risk.rank, reasons=risk.reasons)


def ref_to_proto(key: WorkloadKey) -> query_pb2.WorkloadRef:
    """Return the message of a workload's key."""
    return query_pb2.WorkloadRef(
        cluster=key.cluster, namespace=key.namespace, workload=event_pb2.Workload(kind=key.kind, name=key.name)
    )


def ref_from_proto(message: query_pb2.WorkloadRef) -> WorkloadKey:
    """Return the workload's key of a message."""
    return WorkloadKey(message.cluster, message.namespace, message.workload.kind, message.workload.name)


def summary_to_proto(summary: WorkloadSummary) -> query_pb2.ListWorkloadsResponse.Summary:
    """Return the message of one line of the list of workloads."""
    return query_pb2.ListWorkloadsResponse.Summary(
        ref=ref_to_proto(summary.key),
        replicas=summary.replicas,
        containers=summary.containers,
        revisions=summary.revisions,
        learned=summary.learned,
        candidates=summary.candidates,
        alerts=summary.alerts,
        last_seen=timestamp(summary.last_seen),
        phase=summary.phase,
    )


def summary_from_proto(message: query_pb2.ListWorkloadsResponse.Summary) -> WorkloadSummary:
    """Return one line of the list of workloads."""
    return WorkloadSummary(
        key=ref_from_proto(message.ref),
        replicas=message.replicas,
        containers=tuple(message.containers),
        revisions=tuple(message.revisions),
        learned=message.learned,
        candidates=message.candidates,
        alerts=message.alerts,
        last_seen=nanoseconds(message.last_seen),
        phase=message.phase,
    )


def baseline_to_proto(entry: BaselineEntry) -> query_pb2.GetBaselineResponse.Entry:
    """Return the message of one behaviour of a baseline."""
    return query_pb2.GetBaselineResponse.Entry(
        container=entry.container,
        type=incident_pb2.BehaviourType.ValueType(entry.type),
        key=entry.key,
        state=query_pb2.GetBaselineResponse.Entry.State.ValueType(entry.state),
        count=entry.count,
        replicas=entry.replicas,
        of=entry.of,
        nodes=entry.nodes,
        revisions=entry.revisions,
        first_seen=timestamp(entry.first_seen),
        last_seen=timestamp(entry.last_seen),
        example=entry.example,
        parent=entry.parent,
        phases=[query_pb2.GetBaselineResponse.Entry.Phase.ValueType(each) for each in entry.phases],
        by=entry.by,
        why=entry.why,
        decided=timestamp(entry.decided),
        until=timestamp(entry.until),
        gone=timestamp(entry.gone),
    )


def baseline_from_proto(workload: WorkloadKey, message: query_pb2.GetBaselineResponse.Entry) -> BaselineEntry:
    """Return one behaviour of a workload's baseline."""
    return BaselineEntry(
        workload=workload,
        container=message.container,
        type=BehaviourType(message.type or BehaviourType.EXEC),
        key=message.key,
        state=BehaviourState(message.state or BehaviourState.CANDIDATE),
        count=message.count,
        replicas=message.replicas,
        of=message.of,
        nodes=message.nodes,
        revisions=tuple(message.revisions),
        first_seen=nanoseconds(message.first_seen),
        last_seen=nanoseconds(message.last_seen),
        example=tuple(message.example),
        parent=message.parent,
        phases=tuple(Phase(each) for each in message.phases if each in _PHASES),
        by=message.by,
        why=message.why,
        decided=nanoseconds(message.decided),
        until=nanoseconds(message.until),
        gone=nanoseconds(message.gone),
    )


def completeness_to_proto(value: Completeness) -> query_pb2.GetBaselineResponse.Completeness:
    """Return the message of how much of a container is known."""
    return query_pb2.GetBaselineResponse.Completeness(
        container=value.container,
        unseen=value.unseen,
        observations=value.observations,
        observed=_duration(value.observed),
        new_every=_duration(value.new_every) if value.new_every else None,
        settled=value.settled,
    )


def completeness_from_proto(message: query_pb2.GetBaselineResponse.Completeness) -> Completeness:
    """Return how much of a container is known."""
    return Completeness(
        container=message.container,
        unseen=message.unseen,
        observations=message.observations,
        observed=message.observed.ToNanoseconds(),
        new_every=message.new_every.ToNanoseconds(),
        settled=message.settled,
    )


def lock_to_proto(lock: Lock | None) -> query_pb2.GetBaselineResponse.Lock | None:
    """Return the message of a lock."""
    return None if lock is None else query_pb2.GetBaselineResponse.Lock(by=lock.by, why=lock.why, since=timestamp(lock.since))


def lock_from_proto(message: query_pb2.GetBaselineResponse) -> Lock | None:
    """Return the lock of an answer, None when it has none."""
    lock = message.lock
    return Lock(lock.by, lock.why, nanoseconds(lock.since)) if message.HasField("lock") else None


def change_to_proto(change: Change) -> query_pb2.BaselineChange:
    """Return the message of what is or was done to a baseline; who did it, and when, stands beside it."""
    return query_pb2.BaselineChange(
        action=query_pb2.BaselineAction.ValueType(change.action),
        container=change.container,
        type=incident_pb2.BehaviourType.ValueType(change.type or 0),
        key=change.key,
        why=change.why,
        until=timestamp(change.until),
    )


def change_from_proto(message: query_pb2.BaselineChange, workload: WorkloadKey, *, time: int, by: str, via: str) -> Change:
    """Return what is or was done to a baseline.

    Raises:
        ValueError: it is none, or of a newer version.
    """
    return Change(
        time=time,
        workload=workload,
        action=Action(message.action),
        by=by,
        why=message.why,
        container=message.container,
        type=BehaviourType(message.type) if message.type else None,
        key=message.key,
        until=nanoseconds(message.until),
        via=via,
    )


def _duration(time: int) -> Duration:
    return Duration(seconds=time // NANOSECONDS, nanos=time % NANOSECONDS)
