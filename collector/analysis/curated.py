"""The analysis that follows what people decided: the same events, the same judgement, and their word where they gave it.

It adds to `Analysis` from outside: decisions never change what was counted, so a decision that is taken back leaves no trace
in what was learned.
"""

import dataclasses
import heapq
from collections.abc import Iterable, Iterator

from typing_extensions import override

from collector.analysis.analysis import Analysis
from collector.analysis.behaviours import context_of, restored
from collector.analysis.completeness import completeness_of
from collector.analysis.curation import Decisions, ended, program_of
from collector.analysis.groups import Place
from collector.analysis.phases import phases_of
from collector.analysis.questions import Replicas
from collector.analysis.rulings import RuledGroups, RuledVerdicts
from collector.analysis.settings import Settings
from collector.detect import context
from collector.records import (
    Action,
    BaselineEntry,
    BehaviourState,
    BehaviourType,
    Change,
    Completeness,
    ExpiredRecord,
    Incident,
    Lock,
    Phase,
    ReplicaRecord,
    SightingRecord,
    WorkloadKey,
    WorkloadSummary,
)

__all__ = ["CuratedAnalysis"]

EXPECTED = "expected"
"""The phase of a workload of which nothing was seen yet, and about which somebody decided."""


class CuratedAnalysis(Analysis):
    """Learning, detection and what people decided."""

    _groups: RuledGroups
    _verdicts: RuledVerdicts

    def __init__(self, settings: Settings | None = None) -> None:
        self.decisions = Decisions()  # first: the groups and verdicts that follow ask them
        self._ends: list[tuple[int, Place]] = []
        super().__init__(settings or Settings())

    @override
    def _make_groups(self) -> RuledGroups:
        return RuledGroups(self.settings, self.decisions)

    @override
    def _make_verdicts(self) -> RuledVerdicts:
        return RuledVerdicts(self._groups, self.decisions)

    def decide(self, changes: Iterable[Change]) -> None:
        """Let changes hold from now on."""
        workloads = set()
        for change in changes:
            self.decisions.apply(change)
            workloads.add(change.workload)
            if change.until:
                heapq.heappush(self._ends, (change.until, (change.workload, change.container)))
        self._settle(workloads)

    @override
    def restore(
        self,
        replicas: Iterable[ReplicaRecord],
        sightings: Iterable[SightingRecord],
        incidents: Iterable[Incident],
        expired: Iterable[ExpiredRecord] = (),
    ) -> None:
        known = list(incidents)
        super().restore(replicas, sightings, known, expired)
        self._verdicts.resume_told(known)
        self._settle(self.decisions.workloads())

    @override
    def advance(self, now: int) -> list[Incident]:
        incidents = super().advance(now)
        while self._ends and self._ends[0][0] <= now:
            group = self._groups.by_place.get(heapq.heappop(self._ends)[1])
            if group is not None:
                self._verdicts.settle(group)
        return incidents

    @override
    def workloads(self) -> list[WorkloadSummary]:
        decided = self.decisions.workloads()
        seen = [self._summary(each) if each.key in decided else each for each in super().workloads()]
        seen += self._expected(decided - {each.key for each in seen})
        return sorted(seen, key=lambda each: each.key)

    @override
    def baseline(self, workload: WorkloadKey, container: str = "") -> list[BaselineEntry]:
        seen = [self._decided(each) for each in super().baseline(workload, container)]
        now, groups = self._verdicts.now, self._groups
        replicas = {
            container: Replicas.of(groups.by_place[workload, container], now) for container in {each.container for each in seen}
        }
        found = [dataclasses.replace(each, phases=self._phases(each, replicas[each.container])) for each in seen]
        found += self._unseen(workload, container)
        return sorted(found, key=lambda each: (each.container, each.type, each.key))

    def lock(self, workload: WorkloadKey) -> Lock | None:
        """Return who locked a workload, None when nobody did."""
        return self.decisions.lock(workload)

    def completeness(self, workload: WorkloadKey, container: str = "") -> list[Completeness]:
        """Return how much is known of each container of a workload (or of the one that is named)."""
        return [
            completeness_of(group, self._groups.table, self._verdicts.now) for group in self._groups.of(workload, container)
        ]

    def is_known_bad(self, place: Place, kind: BehaviourType, key: str) -> bool:
        """Return whether a behaviour is never normal on any system, as far as its text and its example tell."""
        group = self._groups.by_place.get(place)
        entry = None if group is None else group.find(kind, key)
        example, parent = ((), key.partition(" <- ")[2]) if entry is None else (entry.example, entry.parent)
        return context_of(restored(kind, key, example, parent)).level >= context.Level.KNOWN_BAD

    def _settle(self, workloads: set[WorkloadKey]) -> None:
        if workloads:
            for (workload, _), group in self._groups.by_place.items():
                if workload in workloads:
                    self._verdicts.settle(group)

    def _summary(self, summary: WorkloadSummary) -> WorkloadSummary:
        states = [self._decided(each).state for each in super().baseline(summary.key)]
        learned = sum(each in {BehaviourState.LEARNED, BehaviourState.APPROVED} for each in states)
        phase = summary.phase if self.lock(summary.key) is None else "locked"
        return dataclasses.replace(summary, learned=learned, candidates=states.count(BehaviourState.CANDIDATE), phase=phase)

    def _expected(self, workloads: set[WorkloadKey]) -> Iterator[WorkloadSummary]:
        """Yield the lines of workloads about which people decided before they were seen, as an imported baseline does."""
        places: dict[WorkloadKey, list[Place]] = {key: [] for key in workloads}
        for place in self.decisions.places():
            if place[0] in places:
                places[place[0]].append(place)
        now = self._verdicts.now
        for key, known in places.items():
            decided = [each for place in known for each in self.decisions.at(place)]
            yield WorkloadSummary(
                key=key,
                replicas=0,
                containers=tuple(sorted(container for _, container in known)),
                revisions=(),
                learned=sum(each.action is Action.APPROVE and not ended(each, now) for each in decided),
                candidates=0,
                alerts=0,
                last_seen=0,
                phase=EXPECTED if self.lock(key) is None else "locked",
            )

    def _decided(self, entry: BaselineEntry) -> BaselineEntry:
        place = (entry.workload, entry.container)
        change = self.decisions.of(place, entry.type, entry.key)
        if change is not None:
            return _with_decision(entry, change, self._verdicts.now)
        lock = self.lock(entry.workload)
        if lock is None or program_of(entry.type, entry.key):
            return entry
        if not self.decisions.is_listed(place, entry.type, entry.key):
            return dataclasses.replace(entry, state=BehaviourState.CANDIDATE)
        return dataclasses.replace(entry, state=BehaviourState.LEARNED, by=lock.by, why=lock.why, decided=lock.since)

    def _unseen(self, workload: WorkloadKey, container: str) -> Iterator[BaselineEntry]:
        """Yield what was decided about behaviours that nobody showed yet."""
        for place in self.decisions.places():
            group = self._groups.by_place.get(place)
            if place[0] != workload or container not in ("", place[1]):
                continue
            for each in self.decisions.at(place):
                if each.type is None or (group is not None and group.find(each.type, each.key) is not None):
                    continue
                nothing = BaselineEntry(
                    workload=workload,
                    container=place[1],
                    type=each.type,
                    key=each.key,
                    state=BehaviourState.CANDIDATE,
                    count=0,
                    replicas=0,
                    of=0 if group is None else len(group.replicas) + group.past_replicas,
                    nodes=0,
                    revisions=(),
                    first_seen=0,
                    last_seen=0,
                    example=(),
                    parent="",
                )
                yield _with_decision(nothing, each, self._verdicts.now)

    def _phases(self, entry: BaselineEntry, replicas: Replicas) -> tuple[Phase, ...]:
        group = self._groups.by_place[entry.workload, entry.container]
        known = group.find(entry.type, entry.key)
        startup = self.settings.nanoseconds(self.settings.startup)
        return () if known is None else phases_of(group, known, self._groups.table, replicas, startup)


def _with_decision(entry: BaselineEntry, change: Change, now: int) -> BaselineEntry:
    if change.action is Action.REJECT:
        state = BehaviourState.REJECTED
    else:
        state = BehaviourState.EXPIRED if ended(change, now) else BehaviourState.APPROVED
    return dataclasses.replace(entry, state=state, by=change.by, why=change.why, decided=change.time, until=change.until)
