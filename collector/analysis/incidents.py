"""Findings of one cause become one incident, which grows instead of being repeated.

One cause: the same workload and, within a short time, the same replica, the same process tree or the same behaviour. An
incident is published when it opens and again, with a higher revision, ever less often while it grows. Everything is
bounded and what did not fit is counted in the reason.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from collector.analysis.findings import Finding
from collector.analysis.judging import MOMENT
from collector.analysis.reasons import sentence
from collector.analysis.sightings import Group, Replica
from collector.records import BehaviourEvidence, Evidence, Incident, IncidentKind, ReplicaRef, Severity, WorkloadKey

__all__ = ["IncidentBook", "OpenIncident"]

SECOND = 1_000_000_000

QUIET = 60 * SECOND
"""A replica that gave no new reason for this long has another cause when it does so again."""

SPREAD = 10 * SECOND
"""The same odd thing on several replicas within this time has one cause: a load balancer spreads requests, a job's clock
strikes everywhere. Later it is told anew: somebody goes from replica to replica."""

LONGEST = 300 * SECOND
"""What is near in time only, and not in one process tree, is one cause for at most this long: else a busy workload's odd
things would chain into one incident that never ends."""

MOST_OPEN_PER_WORKLOAD = 64
"""Open incidents that a finding is compared with; older ones are closed."""

MOST_BEHAVIOURS = 32
MOST_EVIDENCE = 64
MOST_REPLICAS = 64
MOST_PIDS = 256
"""Per incident; more tells a person nothing new, and a port scan has 65,535."""

MANY = 3
"""Distinct odd behaviours of one cause that raise its severity by one."""


@dataclass(slots=True)
class OpenIncident:
    """An incident that may still grow."""

    id: str
    workload: WorkloadKey
    time: int
    first_event: int
    last: int
    alert: bool
    revision: int = 0
    findings: OrderedDict[tuple[str, str, int, str], Finding] = field(default_factory=OrderedDict)
    left_out: int = 0
    evidence: list[Evidence] = field(default_factory=list)
    pids: set[tuple[str, int]] = field(default_factory=set)
    replicas: OrderedDict[tuple[str, str], ReplicaRef] = field(default_factory=OrderedDict)
    latest: dict[tuple[str, str], int] = field(default_factory=dict)
    """(container, pod) → first event of its latest finding."""
    changed: bool = True
    counted: bool = False
    """It is among the counted alerts."""
    scheduled: bool = False
    """It will be published soon."""

    def add_evidence(self, uid: str, evidence: Evidence) -> None:
        """Add an event, while there is room."""
        self.last = max(self.last, evidence.time)
        if len(self.pids) < MOST_PIDS:
            self.pids.add((uid, evidence.pid))
        if len(self.evidence) < MOST_EVIDENCE and evidence not in self.evidence:
            self.evidence.append(evidence)
            self.changed = True

    @property
    def full(self) -> bool:
        """Whether more behaviours are only counted."""
        return len(self.findings) >= MOST_BEHAVIOURS

    def leave_out(self, place: tuple[str, str], time: int) -> None:
        """Count one more behaviour of a replica of a full incident."""
        self.left_out += 1
        self.latest[place] = max(time, self.latest.get(place, 0))
        self.changed = True

    def add(self, finding: Finding) -> None:
        """Add a finding."""
        replica, behaviour = finding.replica, finding.behaviour
        key = (finding.group.container, replica.uid, int(behaviour.type), behaviour.key)
        if key not in self.findings and self.full:
            self.left_out += 1
        else:
            self.findings[key] = finding
        if len(self.replicas) < MOST_REPLICAS:
            place = (finding.group.container, replica.uid)
            self.replicas[place] = ReplicaRef(replica.pod, replica.uid, finding.group.container)
            self.latest[place] = max(finding.first_event, self.latest.get(place, 0))
        self.first_event = min(self.first_event, finding.first_event)
        self.last = max(self.last, finding.time)
        self.changed = True


class IncidentBook:
    """The open incidents, by workload."""

    def __init__(self, most_open: int) -> None:
        self._most_open = most_open
        self._open: OrderedDict[str, OpenIncident] = OrderedDict()
        self._by_workload: dict[WorkloadKey, list[OpenIncident]] = {}

    def __len__(self) -> int:
        """Return how many are open."""
        return len(self._open)

    def join(self, finding: Finding, parent_pid: int) -> OpenIncident:
        """Add a finding to the incident of its cause, opening one where there is none."""
        incident = self._find(finding, parent_pid)
        if incident is None:
            incident = self._start(finding)
        incident.add(finding)
        return incident

    def accomplice(self, group: Group, replica: Replica, first_event: int, parent_pid: int) -> OpenIncident | None:
        """Return the open alert that has the same cause: the same process tree, or the same replica at the same moment."""
        place = (group.container, replica.uid)
        for incident in self._by_workload.get(group.workload, ()):
            tree = parent_pid > 0 and (replica.uid, parent_pid) in incident.pids
            if incident.alert and (tree or abs(first_event - incident.latest.get(place, -QUIET)) < MOMENT):
                return incident
        return None

    def _find(self, finding: Finding, parent_pid: int) -> OpenIncident | None:
        alert = finding.severity > Severity.INFO
        together = SPREAD if alert else LONGEST  # a rollout takes minutes to come to the last replica
        place = (finding.group.container, finding.replica.uid)
        for incident in reversed(self._by_workload.get(finding.group.workload, ())):
            if alert and not incident.alert:
                continue  # an alert is told as one, not hidden in what was a note
            if parent_pid > 0 and (finding.replica.uid, parent_pid) in incident.pids:
                return incident
            if finding.first_event - incident.first_event > LONGEST:
                continue
            if abs(finding.first_event - incident.latest.get(place, -QUIET)) < QUIET:
                return incident
            if alert == incident.alert and any(
                each.behaviour.key == finding.behaviour.key and finding.first_event - each.first_event < together
                for each in incident.findings.values()
            ):
                return incident
        return None

    def _start(self, finding: Finding) -> OpenIncident:
        workload = finding.group.workload
        parts = (
            *_words(workload),
            finding.group.container,
            finding.replica.uid,
            finding.behaviour.key,
            str(finding.first_event),
        )
        digest = hashlib.blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
        # The same behaviour told again after its cool-down has the same first event: the time of telling keeps ids apart.
        if digest in self._open:
            digest = hashlib.blake2b(f"{digest}{finding.time}".encode(), digest_size=8).hexdigest()
        alert = finding.severity > Severity.INFO
        incident = OpenIncident(digest, workload, finding.time, finding.first_event, finding.time, alert)
        self._open[digest] = incident
        mates = self._by_workload.setdefault(workload, [])
        mates.append(incident)
        if len(mates) > MOST_OPEN_PER_WORKLOAD:
            self.close(mates[0])
        while len(self._open) > self._most_open:
            self.close(next(iter(self._open.values())))
        return incident

    def close(self, incident: OpenIncident) -> None:
        """Let an incident be history."""
        if self._open.pop(incident.id, None) is None:
            return
        mates = self._by_workload[incident.workload]
        mates.remove(incident)
        if not mates:
            del self._by_workload[incident.workload]

    def publish(self, incident: OpenIncident, seen: Callable[[Finding], int], losses: int) -> Incident:
        """Return the incident as it stands, as its next revision.

        Args:
            incident: which.
            seen: how often a finding's behaviour was seen on its replica by now.
            losses: events of its nodes known to be lost in its time.
        """
        incident.revision += 1
        incident.changed = False
        findings = list(incident.findings.values())
        strongest = max(findings, key=lambda each: (each.severity, each.score, -each.first_event))
        severity = max(each.severity for each in findings)
        odd = {each.behaviour.key for each in findings if each.severity > Severity.INFO}
        if len(odd) >= MANY and Severity.INFO < severity < Severity.HIGH:
            severity = Severity(severity + 1)
        merged: dict[tuple[int, str], BehaviourEvidence] = {}
        for each in findings:
            key = (int(each.behaviour.type), each.behaviour.key)
            old = merged.get(key)
            seen_on, of = each.sharing + 1, each.compared + 1
            merged[key] = BehaviourEvidence(
                type=each.behaviour.type,
                key=each.behaviour.key,
                example=old.example if old else each.behaviour.example,
                seen_on=max(seen_on, old.seen_on if old else 0),
                of=max(of, old.of if old else 0),
                first_seen=min(each.first_event, old.first_seen) if old else each.first_event,
                count=seen(each) + (old.count if old else 0),
            )
        told = [each for each in findings if each.severity == strongest.severity]
        alike = {each.replica.uid for each in findings if each.behaviour.key == strongest.behaviour.key}
        return Incident(
            id=incident.id,
            revision=incident.revision,
            time=incident.time,
            first_event=incident.first_event,
            severity=severity,
            score=max(each.score for each in findings),
            kind=_strongest_kind(findings),
            workload=incident.workload,
            replicas=tuple(incident.replicas.values()),
            compared=strongest.compared,
            sharing=min(each.sharing for each in told),
            behaviours=tuple(merged.values()),
            evidence=tuple(sorted(incident.evidence, key=lambda each: each.time)),
            techniques=tuple(dict.fromkeys(technique for each in findings for technique in each.context.techniques)),
            reason=sentence(strongest, list(incident.replicas.values()), len(merged) + incident.left_out, len(alike) - 1),
            loss_in_window=losses,
        )


def _words(workload: WorkloadKey) -> tuple[str, str, str, str]:
    return workload.cluster, workload.namespace, workload.kind, workload.name


_RANK = (
    IncidentKind.ROLLOUT_CHANGE,
    IncidentKind.VOLUME_DEVIATION,
    IncidentKind.NEW_BEHAVIOUR,
    IncidentKind.PEER_DEVIATION,
    IncidentKind.KNOWN_BAD,
)


def _strongest_kind(findings: list[Finding]) -> IncidentKind:
    alerts = [each.kind for each in findings if each.severity > Severity.INFO]
    return max(alerts or [each.kind for each in findings], key=_RANK.index)
