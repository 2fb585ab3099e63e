"""The one door of learning and detection, used live and by backtest: events in, incidents out, in event time.

What comes out depends on the events and their order alone, not on how they are cut into batches.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from peerwatch.columns import EventColumns

from collector.analysis import spending
from collector.analysis.baselines import baseline_of, replica_records, sighting_record, summary
from collector.analysis.batch import Batch
from collector.analysis.decay import Calendar
from collector.analysis.groups import Counters, Groups
from collector.analysis.restoring import restore
from collector.analysis.settings import Settings
from collector.analysis.verdicts import Verdicts
from collector.analysis.volume import VolumeWatch
from collector.records import (
    BaselineEntry,
    ExpiredRecord,
    Incident,
    ReplicaRecord,
    SightingRecord,
    WorkloadKey,
    WorkloadSummary,
)

__all__ = ["Analysis", "Changes", "Counters", "Settings", "Spending"]

_DEFAULTS = Settings()


@dataclass(frozen=True, slots=True)
class Changes:
    """What has changed since the last call, with absolute values: saving it twice is harmless."""

    replicas: list[ReplicaRecord]
    sightings: list[SightingRecord]
    expired: list[ExpiredRecord]
    """Sightings of these that were saved before are void; those above came later."""


@dataclass(frozen=True, slots=True)
class Spending:
    """The budget of alerts, and how long it was earned."""

    budget: float
    """Alerts that may come per replica and day."""
    replica_days: float
    """How long all replicas lived that are known one by one."""


class Analysis:
    """Learns what is normal and says what is not. Pure: event time only, no I/O."""

    def __init__(self, settings: Settings = _DEFAULTS) -> None:
        self.settings = settings
        self._groups = self._make_groups()
        self._verdicts = self._make_verdicts()
        self._volume = VolumeWatch(self._groups)
        self._calendar = Calendar(self._groups)

    def _make_groups(self) -> Groups:
        return Groups(self.settings)

    def _make_verdicts(self) -> Verdicts:
        return Verdicts(self._groups)

    @property
    def counters(self) -> Counters:
        """What was not analysed and what had to be forgotten."""
        return self._groups.counters

    def observe(self, events: EventColumns) -> list[Incident]:
        """Take events in and return the incidents that are new or have grown, in order."""
        for part in self._calendar.parts(events):
            Batch(self._groups, self._verdicts, self._volume, part).run()
        return self._verdicts.take_out()

    def advance(self, now: int) -> list[Incident]:
        """Let event time come to `now` (nanoseconds): what was held until then is decided."""
        self._count_until(now)
        self._verdicts.advance(now)
        return self._verdicts.take_out()

    def finish(self) -> list[Incident]:
        """Decide what is still held and say what was not said yet, as if all went on quietly after the last event."""
        self._count_until(self._volume.next_due or 0)
        self._verdicts.finish()
        return self._verdicts.take_out()

    def _count_until(self, now: int) -> None:
        """End the window of counts that is over by `now`."""
        due = self._volume.next_due
        if due is not None and due <= max(now, self._verdicts.now):
            self._verdicts.end_window(self._volume, due)

    def spending(self) -> Spending:
        """Return what the budget is, and how long it was earned."""
        lived = sum(map(spending.replica_days, self._groups.by_workload().values()))
        return Spending(self.settings.budget, lived)

    def workloads(self) -> list[WorkloadSummary]:
        """Return a summary of each workload, sorted by key."""
        table, now, alerts = self._groups.table, self._verdicts.now, self._verdicts.alerts
        return [
            summary(key, groups, table, now, alerts.get(key, 0)) for key, groups in sorted(self._groups.by_workload().items())
        ]

    def baseline(self, workload: WorkloadKey, container: str = "") -> list[BaselineEntry]:
        """Return what is known of a workload's behaviours (of one container, if named), sorted."""
        return [
            entry
            for group in self._groups.of(workload, container)
            for entry in baseline_of(group, self._groups.table, self._verdicts.now)
        ]

    def take_changes(self) -> Changes:
        """Return what has changed since the last call."""
        table = self._groups.table
        rows = np.flatnonzero(table.dirty).tolist()
        table.dirty[:] = False
        touched = {(id(table.group[row]), int(table.replica[row])): row for row in rows}
        sightings = [sighting_record(table, row) for row in rows]
        return Changes(replica_records(table, touched.values()), sightings, self._calendar.take_expired())

    def restore(
        self,
        replicas: Iterable[ReplicaRecord],
        sightings: Iterable[SightingRecord],
        incidents: Iterable[Incident],
        expired: Iterable[ExpiredRecord] = (),
    ) -> None:
        """Start from what was saved: later verdicts are those that would have followed without the restart."""
        restore(self._groups, self._verdicts, replicas, sightings, incidents, expired=expired)
        self._calendar.begin(self._verdicts.now)
