"""Groups and verdicts that follow what people decided: their word comes first, the numbers where they said nothing."""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass, field

from peerwatch.subjects import Subject
from typing_extensions import override

from collector.analysis import behaviour_keys, judging
from collector.analysis.behaviours import Behaviour, restored
from collector.analysis.curation import NEVER, SILENT, Decisions, Ruling, ended
from collector.analysis.findings import Finding
from collector.analysis.groups import Groups, Place
from collector.analysis.incidents import OpenIncident
from collector.analysis.settings import Settings
from collector.analysis.sightings import Entry, Group, SightingTable, Standing
from collector.analysis.verdicts import Verdicts
from collector.analysis.volume import Deviation
from collector.records import Action, BehaviourType, Evidence, Incident, IncidentKind

__all__ = ["RuledGroups", "RuledVerdicts"]

MOST_TOLD = 10_000
"""Behaviours of which it is known that they were told by decision, and when; beyond, the longest known may be told again."""


def _ruling(decisions: Decisions, table: SightingTable, group: Group, entry: Entry, now: int) -> Ruling | None:
    """Return what was decided about a behaviour of a group.

    Whoever approves a program has seen the arguments that it was given until then; of later ones they know nothing.
    """
    place = (group.workload, group.container)
    ruling = decisions.ruling(place, entry.type, entry.key, now)
    program = decisions.own(place, entry.type, entry.base) if ruling is None and entry.base else None
    if program is None or program.action is not Action.APPROVE or ended(program, now):
        return ruling
    firsts = entry.firsts(table) if entry.gone is None else [entry.gone.first, *entry.firsts(table)]
    return SILENT if min(firsts, default=NEVER) <= program.time else None


class RuledGroups(Groups):
    """Groups in which a decision says whether a new sighting is to be judged."""

    def __init__(self, settings: Settings, decisions: Decisions) -> None:
        super().__init__(settings)
        self._decisions = decisions

    @override
    def see(self, subject: Subject, behaviour: Behaviour, time: int) -> tuple[int, bool]:
        known = self.find(subject, behaviour) >= 0
        row, new = super().see(subject, behaviour, time)
        group = None if known else self.table.group[row]
        if group is None:
            return row, new
        entry = group.entries[int(self.table.behaviour[row])]
        ruling = _ruling(self._decisions, self.table, group, entry, time)
        if ruling is None:
            return row, new
        if not ruling.told:
            self.table.standing[row] = Standing.ACCEPTED
        return row, ruling.told


@dataclass(slots=True)
class _Told:
    """One behaviour that is told because somebody decided so: one incident for all replicas until its cool-down is over."""

    since: int
    incident: OpenIncident | None
    """None: it was told before a restart, and cannot grow any more."""
    events: dict[str, int] = field(default_factory=dict)
    """Pod → events kept of it."""


class RuledVerdicts(Verdicts):
    """Verdicts in which a decision comes before the numbers."""

    def __init__(self, groups: Groups, decisions: Decisions) -> None:
        super().__init__(groups)
        self._decisions = decisions
        self._told: dict[tuple[Place, BehaviourType, str], _Told] = {}

    @override
    def hold(self, row: int, behaviour: Behaviour) -> None:
        group = self._table.group[row]
        ruling = None if group is None else self._ruling(group, row)
        if ruling is None or not ruling.told:
            super().hold(row, behaviour)
        else:
            self._table.standing[row] = Standing.FLAGGED
            self._arm(row)

    @override
    def evidence(self, row: int, evidence: Evidence, parent_pid: int) -> None:
        group = self._table.group[row]
        ruling = None if group is None else self._ruling(group, row)
        if group is None or ruling is None or not ruling.told:
            super().evidence(row, evidence, parent_pid)
        else:
            self._tell_by_decision(group, row, ruling, evidence, parent_pid)

    @override
    def deviates(self, deviation: Deviation) -> None:
        finding = deviation.finding
        place = (finding.group.workload, finding.group.container)
        change = self._decisions.of(place, finding.behaviour.type, finding.behaviour.key)
        if change is None or change.action is not Action.APPROVE or ended(change, self.now):
            super().deviates(deviation)

    def settle(self, group: Group) -> None:
        """Let a group's sightings follow what is decided now."""
        for entry in group.entries.values():
            ruling = _ruling(self._decisions, self._table, group, entry, self.now)
            if ruling is None:
                continue
            for row in entry.rows.values():
                if ruling.told:
                    if self._table.standing[row] == Standing.PENDING:
                        self._table.standing[row] = Standing.FLAGGED
                    self._arm(row)
                else:
                    self._accept(row, Standing.ACCEPTED)

    def resume_told(self, incidents: Iterable[Incident]) -> None:
        """Remember of saved incidents what was told by decision: a restart does not end a cool-down."""
        told: dict[tuple[Place, BehaviourType, str], _Told] = {}
        for incident in incidents:
            for replica in incident.replicas:
                place = (incident.workload, replica.container)
                for each in incident.behaviours:
                    ruling = self._decisions.ruling(place, each.type, each.key, self.now)
                    if ruling is None or not ruling.told:
                        continue
                    known = told.setdefault((place, each.type, behaviour_keys.merged(each.key)), _Told(each.first_seen, None))
                    if each.first_seen > known.since:
                        known.since, known.events = each.first_seen, {}
                    if each.first_seen == known.since:
                        known.events[replica.uid] = self.settings.evidence
        latest = sorted(told.items(), key=lambda item: (item[1].since, item[0]))
        self._told = dict(latest[-MOST_TOLD:])

    def _arm(self, row: int) -> None:
        """Have the next event of a sighting told."""
        self._watched.pop(row, None)
        self._table.hot[row] = True

    def _ruling(self, group: Group, row: int) -> Ruling | None:
        entry = group.entries[int(self._table.behaviour[row])]
        return _ruling(self._decisions, self._table, group, entry, self.now)

    def _tell_by_decision(self, group: Group, row: int, ruling: Ruling, evidence: Evidence, parent_pid: int) -> None:
        entry, replica = group.entries[int(self._table.behaviour[row])], group.replicas[int(self._table.replica[row])]
        name = ((group.workload, group.container), entry.type, behaviour_keys.merged(entry.key))
        told = self._told.get(name)
        if told is None or evidence.time - told.since >= self._ns(self.settings.cool_down):
            accomplice = self._book.accomplice(group, replica, evidence.time, parent_pid)
            if accomplice is not None and accomplice.full:  # what a locked workload's intruder does is not judged deed by deed
                accomplice.leave_out(group, replica, evidence.time, ())
                self._publish_later(accomplice)
                self._table.hot[row] = False
                return
            finding = self._finding(group, row, ruling, evidence, again=told is not None)
            self._told.pop(name, None)
            told = self._told[name] = _Told(evidence.time, self._book.join(finding, parent_pid))
            if len(self._told) > MOST_TOLD:
                del self._told[next(iter(self._told))]
        elif replica.uid not in told.events:
            finding = self._finding(group, row, ruling, evidence, again=False)
            if told.incident is None:
                told.incident = self._book.join(finding, parent_pid)
            else:
                told.incident.add(finding)
        many = told.events[replica.uid] = told.events.get(replica.uid, 0) + 1
        if told.incident is not None and many <= self.settings.evidence:
            told.incident.add_evidence(replica.uid, evidence, group.entries[int(self._table.behaviour[row])].type)
            self._publish_later(told.incident)

    def _finding(self, group: Group, row: int, ruling: Ruling, evidence: Evidence, *, again: bool) -> Finding:
        entry = group.entries[int(self._table.behaviour[row])]
        behaviour = restored(entry.type, entry.key, entry.example, entry.parent)
        question = judging.Question(group, row, behaviour, self.now, True, self._ns(self.settings.startup))
        found = judging.judge(question, self._table, self._limits).finding
        why = f"{found.context.why}; {ruling.why}" if found.context.why else ruling.why
        return dataclasses.replace(
            found,
            first_event=evidence.time,
            severity=max(found.severity, ruling.least),
            score=1.0,  # it is no estimate
            kind=found.kind if found.kind is IncidentKind.KNOWN_BAD else IncidentKind.NEW_BEHAVIOUR,
            context=dataclasses.replace(found.context, why=behaviour_keys.printable(why)),
            followed=False,
            again=again,
        )
