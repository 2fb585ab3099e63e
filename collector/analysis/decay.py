"""What is not done any more expires: an allow list that only grows would excuse for ever what a version of long ago did.

It is looked at when a new day of event time begins (UTC), before the day's first event: what comes out depends on the events
and their order alone, live, in a backtest and after a restart.
"""

from collections.abc import Iterator

import numpy as np
from peerwatch.columns import EventColumns

from collector.analysis.groups import Groups
from collector.analysis.learning import is_learned
from collector.analysis.lives import DAY
from collector.analysis.phases import phases_of
from collector.analysis.questions import Replicas
from collector.analysis.sightings import Entry, Group, SightingTable
from collector.detect import support
from collector.detect.forms import ANY
from collector.records import ExpiredRecord, Phase

__all__ = ["Calendar"]


class Calendar:
    """Cuts what comes at midnights, and lets expire what is gone."""

    def __init__(self, groups: Groups) -> None:
        self._groups = groups
        self._day = 0
        self._expired: list[ExpiredRecord] = []

    def begin(self, time: int) -> None:
        """Go on from this time, as after a restart."""
        self._day = max(self._day, time // DAY)

    def parts(self, events: EventColumns) -> Iterator[EventColumns]:
        """Yield the events up to the end of each day; between two days, what is gone expires."""
        days = np.maximum.accumulate(events.time // DAY)
        begin = 0
        for row in np.flatnonzero(np.diff(days, prepend=self._day) > 0).tolist():
            if days[row] <= self._day:
                continue
            if row > begin:
                yield events.take(np.arange(begin, row))
                begin = row
            self._turn(int(days[row]))
        yield events.take(np.arange(begin, len(events))) if begin else events

    def take_expired(self) -> list[ExpiredRecord]:
        """Return what has expired since the last call."""
        expired, self._expired = self._expired, []
        return expired

    def _turn(self, day: int) -> None:
        """Begin a day."""
        if self._day:
            for group in self._groups.by_place.values():
                self._expire(group, day * DAY)
        self._day = day

    def _expire(self, group: Group, now: int) -> None:
        table = self._groups.table
        silent = _silent(group, table, now - support.GONE_DAYS * DAY)
        if not silent:
            return
        replicas = Replicas.of(group, now)
        lives = group.past_lives.copy()
        lives.add_all(zip(replicas.first.tolist(), replicas.last.tolist(), strict=True))
        startup = self._groups.settings.nanoseconds(self._groups.settings.startup)
        gone = [
            behaviour
            for behaviour, last in silent
            if support.gone(
                days=lives.days_after(last),
                starts=lives.starts_after(last),
                steady=Phase.STEADY in phases_of(group, group.entries[behaviour], table, replicas, startup),
            )
            and is_learned(group.entries[behaviour], group, now)
        ]
        if not gone:
            return
        group.expire(gone, now)
        self._groups.counters.expired_behaviours += len(gone)
        self._expired += [_record(group, group.entries[behaviour]) for behaviour in gone]


def _silent(group: Group, table: SightingTable, since: int) -> list[tuple[int, int]]:
    """Return the behaviours that were not seen since, each with when it was seen last."""
    rows = group.rows()
    if group.first >= since:
        return []
    known, place = np.unique(table.behaviour[rows], return_inverse=True)
    last = np.zeros(len(known), np.int64)
    np.maximum.at(last, place, table.last[rows])
    found = {int(known[each]): int(last[each]) for each in np.flatnonzero(last < since).tolist()}
    found = {behaviour: max(time, group.entries[behaviour].past_last) for behaviour, time in found.items()}
    found |= {behaviour: each.past_last for behaviour, each in group.entries.items() if not each.rows and each.past_count}
    # What a free position holds was found to vary: nothing of it is judged, so nothing is unlearned.
    return [
        (behaviour, time)
        for behaviour, time in sorted(found.items())
        if time < since and not (group.entries[behaviour].base and ANY in group.entries[behaviour].key.split())
    ]


def _record(group: Group, entry: Entry) -> ExpiredRecord:
    gone = entry.gone
    if gone is None:
        raise LookupError(f"{entry.key} did not expire")
    return ExpiredRecord(
        workload=group.workload,
        container=group.container,
        type=entry.type,
        key=entry.key,
        replicas=gone.replicas,
        count=gone.count,
        first_seen=gone.first,
        last_seen=gone.last,
        expired=gone.since,
        example=entry.example,
        parent=entry.parent,
    )
