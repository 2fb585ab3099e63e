"""Findings of one cause become one incident, which grows instead of being repeated.

One cause: the same workload and, within a short time, the same replica, the same process tree or the same behaviour. An
incident is published when it opens and again, with a higher revision, ever less often while it grows. Everything is
bounded and what did not fit is counted in the reason.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from peerwatch.columns import NANOSECONDS

from collector.analysis.behaviours import Behaviour
from collector.analysis.deeds import Deed, deeds
from collector.analysis.errands import errand, only_looks
from collector.analysis.findings import Finding
from collector.analysis.novelty import MOMENT
from collector.analysis.reasons import peers_of, sentence
from collector.analysis.sightings import Group, Replica
from collector.detect.decision import FOLLOWED
from collector.detect.tools import SHELLS, Level, base_name
from collector.records import (
    BehaviourEvidence,
    BehaviourType,
    Evidence,
    Incident,
    IncidentKind,
    ReplicaRef,
    Severity,
    WorkloadKey,
)

__all__ = ["IncidentBook", "OpenIncident"]

QUIET = 60 * NANOSECONDS
"""A replica that gave no new reason for this long has another cause when it does so again."""

SPREAD = 20 * NANOSECONDS
"""The same odd thing on several replicas within this time has one cause: a load balancer spreads requests, a job's clock
strikes everywhere. Later it is told anew: somebody goes from replica to replica."""

CAMPAIGN = 60 * NANOSECONDS
"""The same deed, odd anywhere, on several replicas within this time has one cause: somebody goes from replica to replica, or
the requests that carry it are spread over all. Longer, and two intruders are taken for one, unless they say the same."""

ERRAND = 900 * NANOSECONDS
"""What comes from outside in the same words is one errand through all replicas, and what one process starts one tree, with
pauses of up to a cool-down."""

LONGEST = 300 * NANOSECONDS
"""What is near in time only, or said in the same words, and not in one process tree, is one cause for at most this long: else a
busy workload's odd things would chain into one incident that never ends."""

MOST_OPEN_PER_WORKLOAD = 64
"""Open incidents that a finding is compared with; older ones are closed."""

MOST_BEHAVIOURS = 32
MOST_DEEDS = 2 * MOST_BEHAVIOURS
MOST_NOTED = 8
"""Behaviours of a note that an alert takes in: who looks at much first must not fill what comes after."""
MOST_EVIDENCE = 64
MOST_REPLICAS = 64
MOST_PIDS = 256
"""Per incident; more tells a person nothing new, and a port scan has 65,535."""

MANY = 3
"""Techniques of one cause, or programs hardly ever normal, that raise its severity by one: a build does many new things of one
kind, an intruder of several."""


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
    deeds: dict[tuple[str, Deed], int] = field(default_factory=dict)
    """(container, what was done) → when it was begun last."""
    changed: bool = True
    counted: bool = False
    """It is among the counted alerts."""
    scheduled: bool = False
    """It will be published soon."""
    lost: int = 0
    """Events that are known to be lost in its time, as it was told last."""

    def add_evidence(self, uid: str, evidence: Evidence, kind: BehaviourType) -> None:
        """Add an event, while there is room.

        What connects may be the service itself, whose children are all that happens: only what was executed roots a tree. Of an
        incident of several replicas it does so for a while only: what all do again later is how they work by then, and what one
        of them does under it is its own.
        """
        self.last = max(self.last, evidence.time)
        if kind is BehaviourType.EXEC and len(self.pids) < MOST_PIDS and self._is_root(uid, evidence.time):
            self.pids.add((uid, evidence.pid))
        self._keep(evidence)

    def _keep(self, evidence: Evidence) -> None:
        if len(self.evidence) < MOST_EVIDENCE and evidence not in self.evidence:
            self.evidence.append(evidence)
            self.changed = True

    def _is_root(self, uid: str, time: int) -> bool:
        if len(self.replicas) == 1:
            return True
        return time - max((latest for (_, each), latest in self.latest.items() if each == uid), default=0) < SPREAD

    def grows(self, uid: str, parent_pid: int, time: int) -> bool:
        """Return whether a child of this process belongs to the incident's process tree."""
        return parent_pid > 0 and time - self.last <= ERRAND and (uid, parent_pid) in self.pids

    def has_cause(self, place: tuple[str, str], parent_pid: int, time: int) -> bool:
        """Return whether what begins at a (container, pod) is of the same process tree, or the same moment there."""
        return self.grows(place[1], parent_pid, time) or abs(time - self.latest.get(place, -QUIET)) < MOMENT

    @property
    def full(self) -> bool:
        """Whether more behaviours are only counted."""
        return len(self.findings) >= MOST_BEHAVIOURS

    def take_in(self, note: "OpenIncident") -> None:
        """Add what was only a note before it turned out what it belongs to; most of the room stays for what is worse."""
        for finding in islice(note.findings.values(), MOST_NOTED):
            self.add(finding)
        self.pids.update(sorted(note.pids)[: MOST_PIDS - len(self.pids)])
        for evidence in note.evidence:
            self._keep(evidence)

    def mention(self, finding: Finding, done: tuple[Deed, ...], evidence: list[Evidence]) -> None:
        """Name a replica that did the very same and is no deviation by itself: what else it does has another cause."""
        self._say(finding)
        self._name(finding.group, finding.replica)
        self._begin(finding.group, done, finding.first_event)
        for each in evidence:
            self._keep(each)
        self.changed = True

    def leave_out(self, group: Group, replica: Replica, time: int, done: tuple[Deed, ...]) -> None:
        """Count one more behaviour of a replica for a full incident."""
        self.left_out += 1
        self._meet(group, replica, time, done)
        self.changed = True

    def _meet(self, group: Group, replica: Replica, time: int, done: tuple[Deed, ...]) -> None:
        """Note who does something, what, and when it was begun."""
        place = (group.container, replica.uid)
        if self._name(group, replica):
            self.latest[place] = max(time, self.latest.get(place, 0))
        self._begin(group, done, time)

    def _name(self, group: Group, replica: Replica) -> bool:
        """Name a replica, and return whether there was room for it."""
        place = (group.container, replica.uid)
        room = place in self.replicas or len(self.replicas) < MOST_REPLICAS
        if room:
            self.replicas[place] = ReplicaRef(replica.pod, replica.uid, group.container)
        return room

    def _begin(self, group: Group, done: tuple[Deed, ...], time: int) -> None:
        """Note when deeds were begun."""
        for each in done:
            if (group.container, each) in self.deeds or len(self.deeds) < MOST_DEEDS:
                self.deeds[group.container, each] = max(time, self.deeds.get((group.container, each), 0))

    def _say(self, finding: Finding) -> None:
        """Take a finding among those that are told, or count it where there is no room."""
        key = _key(finding)
        told = self.findings.get(key)
        if told is None and self.full:
            self.left_out += 1
        elif told is None or (told.severity, bool(told.deed)) <= (finding.severity, bool(finding.deed)):
            self.findings[key] = finding  # else what was told already says more

    def tells_of(self, group: Group, done: tuple[Deed, ...], time: int, within: int = CAMPAIGN) -> bool:
        """Return whether it is an alert about one of these deeds, done on some replica shortly before."""
        return self.alert and any(abs(time - self.deeds.get((group.container, each), -within)) < within for each in done)

    def add(self, finding: Finding) -> None:
        """Add a finding."""
        self._say(finding)
        self._meet(finding.group, finding.replica, finding.first_event, deeds(finding.behaviour))
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

    def latest(self, since: int) -> Iterator[OpenIncident]:
        """Yield the open incidents that were opened since, the latest first."""
        for incident in reversed(self._open.values()):
            if incident.time < since:
                return
            yield incident

    def join(self, finding: Finding, parent_pid: int, cause: OpenIncident | None = None) -> OpenIncident:
        """Add a finding to the incident of its cause, if that is not known already, opening one where there is none."""
        incident = self.find(finding, parent_pid) if cause is None else cause
        new = incident is None
        if incident is None:
            incident = self._start(finding)
        incident.add(finding)
        for note in self._notes_of(finding, parent_pid) if new and incident.alert else ():
            incident.take_in(note)
        return incident

    def _notes_of(self, finding: Finding, parent_pid: int) -> list[OpenIncident]:
        """Return the open notes that tell of the same cause on this replica and of no other."""
        place = finding.group.container, finding.replica.uid
        return [
            note
            for note in self._by_workload.get(finding.group.workload, ())
            if not note.alert and note.replicas.keys() == {place} and note.has_cause(place, parent_pid, finding.first_event)
        ]

    def accomplice(
        self, group: Group, replica: Replica, first_event: int, parent_pid: int, behaviour: Behaviour | None = None
    ) -> OpenIncident | None:
        """Return the open alert that has the same cause.

        That is the same process tree, the same replica at the same moment, or the same deed on another replica shortly before.
        """
        place, mates = (group.container, replica.uid), self._by_workload.get(group.workload, ())
        done = deeds(behaviour) if mates and behaviour is not None else ()
        for incident in mates:
            if incident.alert and incident.has_cause(place, parent_pid, first_event):
                return incident
            if first_event - incident.first_event <= LONGEST and incident.tells_of(group, done, first_event):
                return incident
        return None

    def spreads(self, finding: Finding) -> bool:
        """Return whether an open alert tells of the same deed, hardly ever normal, on another replica seconds before.

        A load balancer brings it to all replicas: that most of them show it by now makes it no habit.
        """
        if finding.context.level < Level.STRONG:
            return False
        done, mates = deeds(finding.behaviour), self._by_workload.get(finding.group.workload, ())
        return any(incident.tells_of(finding.group, done, finding.first_event) for incident in mates)

    def mention(self, finding: Finding, evidence: list[Evidence]) -> OpenIncident | None:
        """Have the open alert that tells of the very same words name one more replica, and return it, if there is one.

        What is a habit by now is told of nobody; who reads of the first replicas has to know which ones it came to.
        """
        mates = self._by_workload.get(finding.group.workload, ())
        done = _literal(deeds(finding.behaviour)) if mates else ()
        for incident in mates:
            if incident.tells_of(finding.group, done, finding.first_event, LONGEST):
                incident.mention(finding, done, evidence)
                return incident
        return None

    def find(self, finding: Finding, parent_pid: int) -> OpenIncident | None:
        """Return the open incident of a finding's cause."""
        alert = finding.severity > Severity.INFO
        together = SPREAD if alert else LONGEST  # a rollout takes minutes to come to the last replica
        place = (finding.group.container, finding.replica.uid)
        done = deeds(finding.behaviour) if alert else ()
        words = _literal(done)
        for incident in reversed(self._by_workload.get(finding.group.workload, ())):
            if alert and not incident.alert:
                continue  # an alert is told as one, not hidden in what was a note
            if incident.grows(finding.replica.uid, parent_pid, finding.first_event):
                return incident
            if alert and (_same_errand(finding, incident) or _goes_on(finding, incident) or _is_more(finding, incident)):
                return incident
            if finding.first_event - incident.first_event > LONGEST:
                continue
            same_kind = incident.tells_of(finding.group, done, finding.first_event)
            if same_kind or incident.tells_of(finding.group, words, finding.first_event, LONGEST):
                return incident
            near = QUIET if len(incident.replicas) == 1 else SPREAD  # of many, each does other things, too
            if abs(finding.first_event - incident.latest.get(place, -near)) < near:
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
            *workload,
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
        strongest = max(findings, key=_tells)
        severity = _raised(findings)
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
        alike = len({each.replica.uid for each in findings if each.behaviour.key == strongest.behaviour.key}) - 1
        compared, sharing = peers_of(strongest, alike)
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
            compared=compared,
            sharing=sharing,
            behaviours=tuple(merged.values()),
            evidence=tuple(sorted(incident.evidence, key=lambda each: each.time)),
            techniques=tuple(dict.fromkeys(technique for each in findings for technique in each.context.techniques)),
            reason=sentence(strongest, list(incident.replicas.values()), len(merged) + incident.left_out, alike),
            loss_in_window=losses,
        )


def _tells(finding: Finding) -> tuple[object, ...]:
    """Return how well a finding tells what happened, to be compared: how bad, how odd, whether it is its own, how early.

    A deed in words sums up what single behaviours only are parts of. The first step is what the others follow from. Who looks
    around, or a name up, does so for something that tells more.
    """
    among = finding.said or finding
    alone = among.sharing <= FOLLOWED * among.compared
    looks = finding.context.inspection or finding.behaviour.target.startswith("dns:")
    odd = bool(finding.deed), finding.context.level
    return finding.severity, odd, alone, not looks, -finding.first_event, finding.score


def _raised(findings: list[Finding]) -> Severity:
    """Return the severity of an incident: the worst of its findings, or one more where many together speak for an intruder.

    That is many techniques, or many programs that are hardly ever normal. What is not sure is told louder, but wakes nobody,
    nor does somebody who looks at many things from outside.
    """
    stock = {each.behaviour.key for each in findings if each.errand}  # the first replicas were judged before it was known
    rest = [each for each in findings if each.behaviour.key not in stock]
    severity = max([each.severity for each in rest] + [min(each.severity, Severity.LOW) for each in findings])
    sure = [each for each in rest if each.severity > Severity.INFO and not (each.unsure and severity >= Severity.MEDIUM)]
    telling = [each for each in sure if not only_looks(each.behaviour)]
    techniques = {each for finding in telling for each in finding.context.techniques}
    strong = {each.behaviour.exe for each in telling if each.context.level >= Level.STRONG}
    many = len(techniques) >= MANY or len(strong) >= MANY
    return Severity(severity + 1) if many and Severity.INFO < severity < Severity.HIGH else severity


def _same_errand(finding: Finding, incident: OpenIncident) -> bool:
    """Return whether somebody from outside goes from replica to replica and says the same, and nothing telling, to each."""
    words = errand(finding.behaviour)
    if words is None or finding.context.level >= Level.STRONG or finding.first_event - incident.last > ERRAND:
        return False
    return any(
        errand(each.behaviour) == words and each.group.container == finding.group.container
        for each in incident.findings.values()
    )


def _goes_on(finding: Finding, incident: OpenIncident) -> bool:
    """Return whether an alert about one replica says of it what is odd about this: files and hosts have new names, no more."""
    place = (finding.group.container, finding.replica.uid)
    entered = base_name(finding.behaviour.exe) in SHELLS  # by the same way as before, to do something else
    if entered or finding.again or not finding.context.why or incident.replicas.keys() != {place}:
        return False
    if finding.first_event - incident.first_event > ERRAND:
        return False
    return any(finding.context.why == each.context.why for each in incident.findings.values())


def _is_more(finding: Finding, incident: OpenIncident) -> bool:
    """Return whether an alert told of a replica that it does this at all, and now it is told how often."""
    return bool(finding.deed) and finding.first_event - incident.last <= ERRAND and _key(finding) in incident.findings


def _literal(done: tuple[Deed, ...]) -> tuple[Deed, ...]:
    """Return the deeds that were done in these very words."""
    return tuple(each for each in done if each.literal)


def _key(finding: Finding) -> tuple[str, str, int, str]:
    """Return what tells the findings of an incident apart: on which replica, and what it does."""
    behaviour = finding.behaviour
    return finding.group.container, finding.replica.uid, int(behaviour.type), behaviour.key


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
