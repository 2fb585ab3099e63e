"""All groups (containers of workloads) and the table of their sightings, within bounds."""

from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
from peerwatch.subjects import ContainerKind, Subject

from collector.analysis import learning
from collector.analysis.behaviours import Behaviour, Vocabulary
from collector.analysis.notes import Notes
from collector.analysis.settings import Settings
from collector.analysis.sightings import Group, Replica, SightingTable, Standing
from collector.records import WorkloadKey

__all__ = ["Counters", "Groups", "Place", "place_of"]

I64 = npt.NDArray[np.int64]

MOST_NOTED = 2_500_000
"""Sightings that are found without looking, 20 bytes each: those of ten thousand replicas with two hundred behaviours."""

Place = tuple[WorkloadKey, str]
"""Workload and container: what names a group."""


def place_of(subject: Subject) -> Place:
    """Return whose group a subject belongs to."""
    pod = subject.pod
    return WorkloadKey(subject.cluster, pod.namespace, pod.workload.kind, pod.workload.name), subject.container.name


@dataclass(slots=True)
class Counters:
    """What was not analysed, and what had to be forgotten."""

    events: int = 0
    unresolved: int = 0
    """Events of which nobody could say whose they are."""
    folded_replicas: int = 0
    dropped_behaviours: int = 0
    forgotten_workloads: int = 0
    unpaid_alerts: int = 0
    """Findings that were noted only, since their workload had more alerts than the budget allows."""
    expired_behaviours: int = 0
    """What was learned and is not done any more; it is kept as history."""

    def left_out(self) -> dict[str, int]:
        """Return all but the events, by name, without what has not happened."""
        return {name: count for name, count in asdict(self).items() if count and name != "events"}


class Groups:
    """Finds, adds and forgets groups, replicas and behaviours."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.counters = Counters()
        self.table = SightingTable()
        self.by_place: dict[Place, Group] = {}
        self._by_image: dict[str, dict[Place, Group]] = {}
        self.vocabulary = Vocabulary()
        self._notes = Notes()
        """Sightings by subject and behaviour as the vocabulary numbers them."""

    def group(self, place: Place, kind: ContainerKind, time: int) -> Group:
        """Return a group, adding it when it is new."""
        group = self.by_place.get(place)
        if group is None:
            if len(self.by_place) >= self.settings.most_workloads:
                self._forget_one()
            group = self.by_place[place] = Group(self.table, *place, kind, time)
        return group

    def by_workload(self) -> dict[WorkloadKey, list[Group]]:
        """Return the groups of each workload."""
        found: dict[WorkloadKey, list[Group]] = {}
        for group in self.by_place.values():
            found.setdefault(group.workload, []).append(group)
        return found

    def of(self, workload: WorkloadKey, container: str = "") -> list[Group]:
        """Return the groups of a workload's containers (of the one that is named), sorted by name."""
        found = [group for (key, name), group in self.by_place.items() if key == workload and container in ("", name)]
        return sorted(found, key=lambda each: each.container)

    def see(self, subject: Subject, behaviour: Behaviour, time: int) -> tuple[int, bool]:
        """Return the sighting of a behaviour on a replica, and whether it has to be judged: it is new and not learned."""
        pod = subject.pod
        group = self.group(place_of(subject), subject.container.kind, time)
        replica = group.by_uid.get(pod.uid or pod.name)
        if replica is None:
            record = Replica(pod.uid or pod.name, pod.name, subject.node, pod.revision, pod.created_at, time)
            replica = group.replica(record)
            self._runs(group, subject)
        record = group.replicas[replica]
        record.container_started = max(record.container_started, subject.container.started_at)
        generalised = group.generalised
        index = group.entry(behaviour)
        if group.generalised != generalised:
            self.table.outdate(group)
        entry = group.entries[index]
        known = entry.rows.get(replica)
        if known is not None:
            return known, False
        learned = entry.accepted or (
            (len(entry.rows) > 0 or entry.past_replicas > 0) and learning.is_learned(entry, group, time)
        )
        row = group.sight(replica, index, time)
        self._make_room(group, replica, index)
        if behaviour.base and not learned:
            told_for = self.settings.nanoseconds(self.settings.cool_down)
            standing = learning.standing_of(group, replica, behaviour.base, time, self.table, told_for=told_for)
            if standing not in (Standing.ACCEPTED, Standing.PENDING):  # what is told of the program is told of its arguments
                self.table.standing[row] = standing
                return row, False
        return row, not learned

    def find(self, subject: Subject, behaviour: Behaviour) -> int:
        """Return a known sighting, -1 when it is new."""
        known = self.replica_of(subject)
        return -1 if known is None else known[0].find_sighting(known[1], behaviour)

    def replica_of(self, subject: Subject) -> tuple[Group, int] | None:
        """Return group and replica of a subject, None when it is new."""
        group = self.by_place.get(place_of(subject))
        if group is None:
            return None
        if not group.image:  # it was restored
            self._runs(group, subject)
        replica = group.by_uid.get(subject.pod.uid or subject.pod.name)
        return None if replica is None else (group, replica)

    def _runs(self, group: Group, subject: Subject) -> None:
        """Note which image a group runs: that of its newest replica."""
        group.image_name = subject.container.image or group.image_name
        image = subject.container.image_digest or subject.container.image
        if image and image != group.image:
            self._leave_image(group)
            group.image, group.same_image = image, self._by_image.setdefault(image, {})
            group.same_image[group.workload, group.container] = group

    def _leave_image(self, group: Group) -> None:
        group.same_image.pop((group.workload, group.container), None)
        if not group.same_image:
            self._by_image.pop(group.image, None)

    def known(self, pairs: I64) -> I64:
        """Return the sightings that were noted of pairs of subject and behaviour, -1 where none was."""
        self._forget_outdated()
        return self._notes.find(pairs)

    def note(self, pair: int, row: int) -> None:
        """Note the sighting of a pair, so that the next table needs not look for it."""
        group = self.table.group[row]
        if group is not None:
            self._notes.add(pair, row, group)

    def _forget_outdated(self) -> None:
        if len(self._notes) > MOST_NOTED:
            for group in self.by_place.values():
                self.table.outdate(group)
        for group in self.table.outdated:
            self._notes.tear_out(group)
        self.table.outdated.clear()

    def _make_room(self, group: Group, replica: int, index: int) -> None:
        if len(group.replicas) > self.settings.most_replicas:
            ids, slots = group.members()
            others = ids != replica
            oldest = int(ids[others][np.argmin(self.table.lives.last[slots[others]])])  # the first of them: ids ascend
            group.fold_replica(oldest)
            self.counters.folded_replicas += 1
        if len(group.entries) > self.settings.most_behaviours:
            many = max(1, self.settings.most_behaviours // 8)
            self.counters.dropped_behaviours += group.drop_entries(many, keep=index)
        most = self.settings.most_sightings
        if len(self.table) > most and len(self.by_place) > 1:
            self._forget_until(most - most // 8, keep=group)

    def _forget_one(self) -> None:
        self._forget(min(self.by_place.items(), key=_last_seen)[0])

    def _forget_until(self, most: int, *, keep: Group) -> None:
        """Forget groups, those unseen longest first, until there are at most so many sightings."""
        for place, group in sorted(self.by_place.items(), key=_last_seen):
            if len(self.table) <= most:
                return
            if group is not keep:
                self._forget(place)

    def _forget(self, place: Place) -> None:
        group = self.by_place.pop(place)
        self._leave_image(group)
        group.forget()
        self.counters.forgotten_workloads += 1


def _last_seen(item: tuple[Place, Group]) -> tuple[int, Place]:
    place, group = item
    return int(group.table.last[group.rows()].max(initial=0)), place
