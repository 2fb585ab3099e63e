"""What is held, what was told and what is due: the way of a new sighting from its first event to an incident."""

import dataclasses
import heapq

from peerwatch.columns import NANOSECONDS

from collector.analysis import judging, learning, spending
from collector.analysis.behaviours import Behaviour
from collector.analysis.chains import Chains, Step, Watched
from collector.analysis.deeds import deeds
from collector.analysis.errands import Errands
from collector.analysis.findings import Finding
from collector.analysis.groups import Groups
from collector.analysis.incidents import IncidentBook, OpenIncident
from collector.analysis.losses import LossLog, NodeName
from collector.analysis.persons import Persons
from collector.analysis.sightings import Group, Standing
from collector.analysis.volume import Deviation, VolumeWatch
from collector.detect import context, decision
from collector.records import BehaviourType, Evidence, Incident, Severity, WorkloadKey

__all__ = ["Verdicts"]

LOSS_BEFORE = 60 * NANOSECONDS
"""What was lost up to so long before an incident may hide how it began, and what its peers did."""

ENOUGH_STEPS = 2
"""One step is no chain: it was judged by itself."""

LOSS_LATE = 60 * NANOSECONDS
"""Incidents that began at most so long ago are told again when a loss in their time is told late: nodes say so in seconds."""


class Verdicts:
    """Judges sightings in event time and gathers the findings into incidents."""

    def __init__(self, groups: Groups) -> None:
        self.settings = groups.settings
        self._limits = self.settings.limits_in_budget()
        self.now = 0
        self.losses = LossLog()
        self.errands = Errands()
        self.persons = Persons()
        self._chains = Chains()
        self.alerts: dict[WorkloadKey, int] = {}
        """Alerts per workload, each incident once."""
        self._table = groups.table
        self._counters = groups.counters
        self._book = IncidentBook(self.settings.most_open_incidents)
        self._watched: dict[int, Watched] = {}
        self._due: list[tuple[int, int, OpenIncident | Watched]] = []
        self._sequence = 0
        self._out: list[Incident] = []

    def take_out(self) -> list[Incident]:
        """Return what was published since the last call."""
        out, self._out = self._out, []
        return out

    @property
    def next_due(self) -> int | None:
        """When something happens by itself, nanoseconds; None while nothing is waiting."""
        return self._due[0][0] if self._due else None

    def advance(self, now: int) -> None:
        """Let event time come to `now`: what is due until then happens."""
        while self._due and self._due[0][0] <= now:
            time, _, which = heapq.heappop(self._due)
            self.now = max(self.now, time)
            if isinstance(which, OpenIncident):
                which.scheduled = False
                if which.changed:
                    self._publish(which)
            else:
                self._wake(which)
        self.now = max(self.now, now)

    def finish(self) -> None:
        """Let time go on until nothing is waiting any more."""
        while self._due:
            self.advance(self._due[0][0])

    def hold(self, row: int, behaviour: Behaviour) -> None:
        """Take a new sighting: it is judged with its first event."""
        self._forget_removed()
        group = self._table.group[row]
        if group is not None:
            self.errands.meet(behaviour, group.workload)
            self.persons.meet(behaviour, group.replicas[int(self._table.replica[row])].uid)
        self._table.standing[row] = Standing.PENDING
        self._table.hot[row] = True
        self._watched[row] = Watched(row, behaviour)

    def evidence(self, row: int, evidence: Evidence, parent_pid: int) -> None:
        """Take one event of a watched sighting."""
        watched, group = self._watched.get(row), self._table.group[row]
        if watched is None or group is None:
            self._table.hot[row] = False
            return
        told = watched.finding
        if told is not None and evidence.time - told.time >= self._cool_down(watched):
            told = self._told_anew(group, row, watched, told)
            if told is None:
                self._table.hot[row] = False
                del self._watched[row]
                return
            watched.evidence, watched.incident = [], None
            watched.told += 1
        if not watched.evidence:
            watched.parent_pid = parent_pid
        watched.evidence.append(evidence)
        if len(watched.evidence) >= self.settings.evidence:
            self._table.hot[row] = False
        if self._table.standing.item(row) == Standing.PENDING:
            if len(watched.evidence) == 1 and not watched.holds:
                self._judge(group, row, watched, held=False)
        elif watched.incident is not None:
            watched.incident.add_evidence(group.replicas[int(self._table.replica[row])].uid, evidence, watched.behaviour.type)
            self._publish_later(watched.incident)
        elif told is not None:
            self._tell(watched, dataclasses.replace(told, time=evidence.time, first_event=evidence.time))
            self._later(self.now + self._cool_down(watched), watched)

    def _cool_down(self, watched: Watched) -> int:
        """Return how long something is not told again, nanoseconds: what goes on for ever is told ever less often."""
        return self._ns(self.settings.cool_down) << 2 * min(watched.told, 8)

    def _told_anew(self, group: Group, row: int, watched: Watched, told: Finding) -> Finding | None:
        """Return what is told of something that goes on after its cool-down, None when there is nothing to tell any more.

        What is less than CRITICAL is told once, save what persons do: they have no habits. What most of the peers do by now was
        told of each of them, and is no deviation any more.
        """
        person = watched.behaviour.injected
        if told.severity < (Severity.MEDIUM if person else Severity.CRITICAL):
            return None
        if person and self.errands.is_usual(watched.behaviour, told.context.level):
            return None
        question = judging.Question(group, row, watched.behaviour, self.now, True, self._ns(self.settings.startup))
        finding = judging.judge(question, self._table, self._limits).finding
        common = finding.sharing > decision.FOLLOWED * finding.compared
        if common and finding.context.level < context.Level.KNOWN_BAD:
            return None
        return dataclasses.replace(
            finding, severity=told.severity, score=told.score, kind=told.kind, followed=False, again=True
        )

    def end_window(self, volume: VolumeWatch, end: int) -> None:
        """Let event time come to the end of a window of counts, and take what was too much in it."""
        self.advance(end)
        for deviation in volume.close():
            self.deviates(deviation)

    def deviates(self, deviation: Deviation) -> None:
        """Take a finding about how often something is done."""
        finding = self._paid(deviation.finding, 0)
        incident = self._book.join(finding, 0)
        for evidence in deviation.evidence:
            incident.add_evidence(finding.replica.uid, evidence, finding.behaviour.type)
        self._publish_later(incident)

    def resume(self, row: int, behaviour: Behaviour, since: int) -> None:
        """Hold a saved sighting again that had not been decided when the collector stopped."""
        self._table.standing[row] = Standing.PENDING
        watched = self._watched[row] = Watched(row, behaviour)
        self._wait(watched, since)

    def lose(self, node: NodeName, time: int, begin: int, end: int, count: int) -> None:
        """Take a loss; what was told of its time is told again with it."""
        self.losses.add(node, time, begin, end, count)
        for incident in self._book.latest(time - LOSS_LATE):
            if incident.revision and self._lost_around(incident) > incident.lost:
                incident.changed = True
                self._publish_later(incident)

    def _lost_around(self, incident: OpenIncident) -> int:
        nodes = {(each.group.workload.cluster, each.replica.node) for each in incident.findings.values()}
        return self.losses.between(nodes, incident.first_event - LOSS_BEFORE, incident.last)

    def count_alert(self, incident: Incident) -> None:
        """Count an incident that is an alert."""
        self.alerts[incident.workload] = self.alerts.get(incident.workload, 0) + 1

    def _ns(self, seconds: float) -> int:
        return self.settings.nanoseconds(seconds)

    def _later(self, time: int, what: "OpenIncident | Watched") -> None:
        self._sequence += 1
        heapq.heappush(self._due, (time, self._sequence, what))

    def _forget_removed(self) -> None:
        for row in self._table.removed:
            self._watched.pop(row, None)
        self._table.removed.clear()

    def _wake(self, watched: Watched) -> None:
        """End a hold, or collect evidence again after a cool-down."""
        self._forget_removed()
        row = watched.row
        group = self._table.group[row]
        if group is None or self._watched.get(row) is not watched:
            return  # dropped meanwhile, and its row may be another's by now
        if self._table.standing.item(row) == Standing.PENDING:
            watched.holds += 1
            entry = group.entries[int(self._table.behaviour[row])]
            if not entry.accepted and learning.is_learned(entry, group, self.now):
                self._accept(row, Standing.ACCEPTED)  # meanwhile others settled it
            else:
                self._judge(group, row, watched, held=True)
        else:
            self._table.heat(row)

    def _judge(self, group: Group, row: int, watched: Watched, *, held: bool) -> None:
        if watched.behaviour.base and self._waits_for_its_program(group, row, watched):
            return
        replica = group.replicas[int(self._table.replica[row])]
        first = int(self._table.first[row])
        accomplice = self._book.accomplice(group, replica, first, watched.parent_pid, watched.behaviour)
        if accomplice is not None and accomplice.full:  # a scan of 65,535 ports is not judged port by port
            accomplice.leave_out(group, replica, first, deeds(watched.behaviour))
            self._publish_later(accomplice)
            self._accept(row, Standing.FLAGGED)
            return
        question = judging.Question(group, row, watched.behaviour, self.now, held, self._ns(self.settings.startup))
        if not held and accomplice is None and judging.must_wait(question, self._table):
            self._wait(watched, self.now)
            return
        judgement = judging.judge(question, self._table, self._limits)
        action, finding = self._in_context(watched, judgement, accomplice)
        if (
            action is decision.Action.ACCEPT
            and judgement.sign is not None
            and self._tell_chain(self._chains.extend(Step(watched, finding, judgement.sign)))
        ):
            return
        moving = judgement.moving and accomplice is None
        waits = moving or (judgement.early and action is not decision.Action.RAISE)
        holds = self.settings.odd_holds if judgement.undecided else self.settings.rollout_holds if waits else 0
        if action is decision.Action.HOLD or (moving and not held) or (held and watched.holds < holds):
            self._wait(watched, self.now)
        elif action is decision.Action.ACCEPT:
            if (told := self._book.mention(finding, watched.evidence)) is not None:
                self._publish_later(told)
            self._accept(row, Standing.ACCEPTED)
        elif action is decision.Action.NOTE:
            group.entries[int(self._table.behaviour[row])].accepted |= finding.followed
            self._tell(watched, finding)
            self._accept(row, Standing.ACCEPTED if finding.followed else Standing.PERSON)
        else:
            mild = finding.severity is Severity.LOW and judgement.action is decision.Action.RAISE
            self._stand(row, Standing.MILD if mild else Standing.FLAGGED)
            self._tell(watched, finding)
            if finding.severity >= Severity.HIGH:
                self._later(self.now + self._cool_down(watched), watched)

    def _wait(self, watched: Watched, since: int) -> None:
        """Hold a sighting from a time on."""
        own = watched.behaviour.type is BehaviourType.EXEC and not watched.behaviour.injected
        first = own and not watched.holds
        hold = min(self.settings.hold_own, self.settings.hold) if first else self.settings.hold
        self._later(since + self._ns(hold), watched)

    def _waits_for_its_program(self, group: Group, row: int, watched: Watched) -> bool:
        """Return whether arguments are not judged: while their program is in question, and when it was told."""
        replica, first, told_for = int(self._table.replica[row]), int(self._table.first[row]), self._ns(self.settings.cool_down)
        standing = learning.standing_of(group, replica, watched.behaviour.base, first, self._table, told_for=told_for)
        if standing is Standing.PENDING:
            self._wait(watched, self.now)
        elif standing is not Standing.ACCEPTED:
            self._accept(row, standing)
        return standing is not Standing.ACCEPTED

    def _in_context(
        self, watched: Watched, judgement: judging.Judgement, accomplice: OpenIncident | None
    ) -> tuple[decision.Action, Finding]:
        """Return what a judgement comes to with what is known of the whole cluster and of open alerts."""
        action, finding = judgement.action, judgement.finding
        if self.errands.is_usual(watched.behaviour, finding.context.level):
            action, finding = decision.Action.NOTE, dataclasses.replace(finding, severity=Severity.INFO)
        elif judgement.looked and self.persons.rarity(watched.behaviour, finding.replica.uid) <= self._limits.person:
            finding = dataclasses.replace(finding, severity=Severity.LOW)
        if finding.followed:
            if finding.severity is Severity.INFO and self._book.spreads(finding):
                return decision.Action.RAISE, dataclasses.replace(finding, severity=Severity.LOW, followed=False)
        elif accomplice is not None and action in (decision.Action.HOLD, decision.Action.ACCEPT):
            return decision.Action.RAISE, finding
        return action, finding

    def _stand(self, row: int, standing: Standing) -> None:
        """Settle a sighting, and with an exec that was told the arguments that waited for it; else these are judged next."""
        table, group = self._table, self._table.group[row]
        table.standing[row] = standing
        if group is None:
            return
        entry = group.entries[int(table.behaviour[row])]
        if entry.type is not BehaviourType.EXEC or entry.base:
            return
        replica, first = int(table.replica[row]), table.first.item(row)
        for told in group.arguments_of(entry.key):
            at = told.rows.get(replica)
            if (
                at is not None
                and table.standing.item(at) == Standing.PENDING
                and (standing is not Standing.ACCEPTED or at not in self._watched)
                and (standing is not Standing.PERSON or table.first.item(at) == first)
            ):
                self._watched.pop(at, None)
                table.standing[at], table.hot[at] = standing, False

    def _accept(self, row: int, standing: Standing) -> None:
        self._stand(row, standing)
        self._table.hot[row] = False
        self._watched.pop(row, None)

    def _paid(self, finding: Finding, parent_pid: int) -> Finding:
        """Return a finding as what it may be told: one that opens an alert has its price."""
        if finding.severity is Severity.INFO or self._book.find(finding, parent_pid) is not None:
            return finding
        if spending.pay(finding.group, finding.severity, self.now, budget=self.settings.budget):
            return finding
        self._counters.unpaid_alerts += 1
        return dataclasses.replace(finding, severity=Severity.INFO, unpaid=True)

    def _tell(self, watched: Watched, finding: Finding, cause: OpenIncident | None = None) -> OpenIncident:
        if cause is None:
            finding = self._paid(finding, watched.parent_pid)
        incident = self._book.join(finding, watched.parent_pid, cause)
        watched.finding, watched.incident = finding, incident
        for evidence in watched.evidence:
            incident.add_evidence(finding.replica.uid, evidence, finding.behaviour.type)
        self._publish_later(incident)
        return incident

    def _tell_chain(self, chain: list[Step]) -> bool:
        """Tell the steps of one cause if they are odd enough together, and return whether they are."""
        if len(chain) < ENOUGH_STEPS:
            return False
        probability = decision.joint([each.sign for each in chain])
        if probability > self._limits.after_hold:
            return False
        strongest = max(each.sign.level for each in chain)
        severity = Severity.MEDIUM if strongest >= context.Level.STRONG else Severity.LOW
        told: OpenIncident | None = None
        for step in chain:
            watched, row = step.watched, step.watched.row
            if not self._is_still(step):
                continue
            self._watched[row] = watched
            self._stand(row, Standing.FLAGGED)
            if len(watched.evidence) < self.settings.evidence:
                self._table.heat(row)
            finding = dataclasses.replace(step.finding, severity=severity, score=round(1 - probability, 4))
            told = self._tell(watched, finding, told)
        return True

    def _is_still(self, step: Step) -> bool:
        """Return whether a step's row is still its own: what was accepted may have been dropped or become another's."""
        finding, row = step.finding, step.watched.row
        group = self._table.group[row]
        if group is not finding.group or self._table.first[row] != finding.first_event:
            return False
        entry = group.entries[int(self._table.behaviour[row])]
        return entry.key == finding.behaviour.key and self._table.standing[row] in (Standing.ACCEPTED, Standing.PENDING)

    def _publish_later(self, incident: OpenIncident) -> None:
        """Say an incident soon; what goes on and on is said ever less often, after 1, 2, 4 … 64 s."""
        if not incident.scheduled:
            incident.scheduled = True
            wait = NANOSECONDS << min(incident.revision - 1, 6) if incident.revision else self._ns(self.settings.gather)
            self._later(self.now + wait, incident)

    def _publish(self, incident: OpenIncident) -> None:
        if not incident.revision:
            incident.time = self.now
        incident.lost = self._lost_around(incident)
        published = self._book.publish(incident, self._times_seen, incident.lost)
        if published.severity > Severity.INFO and not incident.counted:
            incident.counted = True
            self.count_alert(published)
        self._out.append(published)

    def _times_seen(self, finding: Finding) -> int:
        group, behaviour = finding.group, finding.behaviour
        entry, replica = group.find_behaviour(behaviour), group.by_uid.get(finding.replica.uid)
        row = None if entry is None or replica is None else entry.rows.get(replica)
        return 1 if row is None else max(1, int(self._table.count[row]))
