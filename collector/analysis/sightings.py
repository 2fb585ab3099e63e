"""What was seen: per container of a workload its replicas, its behaviours, and which replica showed which.

Sightings are rows of numpy columns, so that counting a batch is one array operation and a case is judged on slices. All is
bounded: replicas that are long gone and behaviours that hardly anybody supports are folded into history numbers or dropped.
"""

import enum
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from peerwatch.columns import NANOSECONDS
from peerwatch.subjects import ContainerKind

from collector.analysis import behaviour_keys
from collector.analysis.behaviours import Behaviour, context_of
from collector.analysis.growing import Columns, Numbers
from collector.analysis.lives import Lives
from collector.detect import arguments, software
from collector.detect.argument_context import fixed_words
from collector.detect.context import is_outside, kind_of_place
from collector.detect.forms import ANY, Forms
from collector.detect.tools import Level, base_name, is_interpreter
from collector.records import BehaviourType, WorkloadKey

__all__ = ["ARGUMENTS", "MOST_ALERTS", "Entry", "Gone", "Group", "Replica", "SightingTable", "Standing"]

I64 = npt.NDArray[np.int64]

START_SEEN = 120 * NANOSECONDS
"""Nanoseconds from a pod's creation within which its first event belongs to its start: scheduling and pulling an image."""

MOST_COUNTED = 2**53
"""Where a count stays: nodes say how many events a row stands for, and a thousand of these still add up in 64 bits."""

FEW = 12
"""Events up to which counting them one by one is faster than as arrays."""

MOST_NODES = 64
MOST_REVISIONS = 16
"""Node names and revisions kept per behaviour: enough to show, whatever the cluster's size."""

MOST_ALERTS = 48.0
"""Alerts that a group has at the beginning, and at most (`spending`): four times as many as the most attacked one had of a
recording with 52 attacks in half an hour. Somebody has looked by then."""


class Standing(enum.IntEnum):
    """What is thought of a sighting."""

    ACCEPTED = 0
    PENDING = 1
    """Held: peers may still follow."""
    FLAGGED = 2
    """Reported: supports nothing."""
    PERSON = 3
    """Somebody's `kubectl exec`: says nothing about what the workload does."""
    MILD = 4
    """Reported because it was new and for nothing else: teaches nothing, but is a sign of how often something is new here."""


ARGUMENTS = 3
"""Type of an argument template in the table: to people it is an exec, told more exactly, but it must not be counted as one."""

_SIGHTING = {
    "replica": np.int32,
    "behaviour": np.int32,
    "slot": np.int32,
    "cell": np.int32,
    "type": np.int8,
    "standing": np.int8,
    "source": np.int64,
    "count": np.int64,
    "first": np.int64,
    "last": np.int64,
    "dirty": np.bool_,
    "hot": np.bool_,
}
_LIFE = {"first": np.int64, "last": np.int64, "count": np.int64, "revision": np.int64, "start_seen": np.bool_}


class SightingTable(Columns):
    """All sightings of all workloads, one per row, and the lives of all replicas, whose rows are called slots.

    `replica` and `behaviour` are ids within the sighting's group, `slot` is the replica's life, `cell` where it is counted
    for volume (-1: not known yet). `dirty`: changed since it was last saved. `hot`: its events are evidence that is still
    collected. What a replica did as a whole is summed up in `lives` without argument templates: they are the same events, told
    more exactly.
    """

    def __init__(self) -> None:
        super().__init__(_SIGHTING, 1024)
        self.lives = Columns(_LIFE)
        self.removed: list[int] = []
        """Rows that were removed since somebody cleared this list: who keeps notes on rows tears them up."""
        self.heated: list[int] = []
        """Rows whose events are evidence again since somebody cleared this list."""
        self.outdated: list[Group] = []
        """Groups of which rows were removed, or behaviours became one: what was noted about their sightings is void."""
        self.group: list[Group | None] = []

    def sight(self, group: "Group", replica: int, behaviour: int, entry: "Entry", time: int) -> int:
        """Add a sighting that was not counted yet and return its row."""
        slot, kind = group.replicas[replica].slot, entry.column_type
        row = self.add(
            replica=replica,
            behaviour=behaviour,
            slot=slot,
            cell=-1,
            type=kind,
            source=entry.source,
            first=time,
            last=time,
            standing=Standing.ACCEPTED,
            dirty=True,
        )
        if row == len(self.group):
            self.group.append(group)
        self.group[row] = group
        if kind != ARGUMENTS:
            self.lives.last[slot] = max(self.lives.last[slot], time)
        return row

    def remove(self, row: int) -> None:
        """Forget a sighting."""
        self.outdate(self.group[row])
        self.group[row] = None
        self.dirty[row] = self.hot[row] = False
        self.drop(row)
        self.removed.append(row)

    def heat(self, row: int) -> None:
        """Let a sighting's events be evidence again."""
        self.hot[row] = True
        self.heated.append(row)

    def outdate(self, group: "Group | None") -> None:
        """Declare void what was noted about a group's sightings."""
        if group is not None and (not self.outdated or self.outdated[-1] is not group):
            self.outdated.append(group)

    def apply(self, rows: I64, counts: I64, times: I64) -> None:
        """Count events; those of row -1 are of no sighting."""
        if len(rows) > FEW:
            known = rows >= 0
            self._apply_many(rows[known], counts[known], times[known])
            return
        for row, many, time in zip(rows.tolist(), counts.tolist(), times.tolist(), strict=True):
            if row >= 0:
                self._apply_one(row, many, time)

    def _apply_one(self, row: int, many: int, time: int) -> None:
        self.count[row] = min(self.count.item(row) + many, MOST_COUNTED)
        self.dirty[row] = True
        if time > self.last.item(row):
            self.last[row] = time
        elif time < self.first.item(row):
            self.first[row] = time
        if self.type.item(row) != ARGUMENTS:
            lives, slot = self.lives, self.slot.item(row)
            lives.count[slot] = min(lives.count.item(slot) + many, MOST_COUNTED)
            if time > lives.last.item(slot):
                lives.last[slot] = time

    def _apply_many(self, rows: I64, counts: I64, times: I64) -> None:
        np.add.at(self.count, rows, counts)
        self.count[rows] = np.minimum(self.count[rows], MOST_COUNTED)
        np.maximum.at(self.last, rows, times)
        np.minimum.at(self.first, rows, times)
        self.dirty[rows] = True
        whole, lives = self.type[rows] != ARGUMENTS, self.lives
        slots = self.slot[rows[whole]]
        np.add.at(lives.count, slots, counts[whole])
        lives.count[slots] = np.minimum(lives.count[slots], MOST_COUNTED)
        np.maximum.at(lives.last, slots, times[whole])


@dataclass(slots=True)
class Replica:
    """One container of one pod."""

    uid: str
    pod: str
    node: str
    revision: str
    created_at: int
    first: int
    """Its first event, with which its life begins for us. Not with the pod's creation: images are pulled for minutes, and a pod
    that runs when the agent comes shows what is usual for it in its first observed seconds, too."""
    container_started: int = 0
    """When its container was started last, as far as something new was seen since."""
    rows: list[int] = field(default_factory=list)
    """Its sightings."""
    slot: int = -1
    """Its life in the table."""

    @property
    def restarted(self) -> bool:
        """Whether its container was started again in its life."""
        return self.container_started > self.first

    def starts(self, time: int, startup: int) -> bool:
        """Return whether it or its container was starting at a time; both in nanoseconds."""
        return 0 <= time - max(self.first, self.container_started) < startup or time - self.first < startup

    @property
    def start_seen(self) -> bool:
        """Whether its start was observed: only then its start can be compared with others' starts."""
        return self.first - self.created_at < START_SEEN or not self.created_at


@dataclass(frozen=True, slots=True)
class Gone:
    """What a behaviour was before it expired: history, which supports nothing."""

    replicas: int
    count: int
    first: int
    last: int
    since: int
    """When it expired."""

    def and_then(self, later: "Gone") -> "Gone":
        """Return both as one."""
        first, last = min(self.first, later.first), max(self.last, later.last)
        return Gone(self.replicas + later.replicas, self.count + later.count, first, last, later.since)


@dataclass(slots=True)
class Entry:
    """One behaviour of a group."""

    type: BehaviourType
    key: str
    example: tuple[str, ...]
    parent: str
    source: int
    """Who does it, as a number: the parent of an exec, the program of a connect, the exec of arguments."""
    base: str = ""
    """Of arguments: key of their exec."""
    place: str = ""
    """Of a connect: the kind of place that it goes to."""
    outside: bool = False
    """It goes outside of the cluster."""
    level: Level = Level.NEUTRAL
    """What it means anywhere, as its first example has it."""
    rows: dict[int, int] = field(default_factory=dict)
    """Replica id → sighting."""
    nodes: set[str] = field(default_factory=set)
    revisions: dict[str, None] = field(default_factory=dict)
    past_replicas: int = 0
    """Replicas that were folded into history."""
    past_count: int = 0
    past_first: int = 0
    past_last: int = 0
    accepted: bool = False
    """Most of the peers did it when it was judged: the workload's own change."""
    gone: Gone | None = None
    """What it was before it expired, if it ever did."""

    @property
    def column_type(self) -> int:
        """What it counts as."""
        return ARGUMENTS if self.base else int(self.type)

    def firsts(self, table: SightingTable) -> list[int]:
        """Return when each replica showed it first; those that are numbers by now count as one."""
        firsts: list[int] = table.first[list(self.rows.values())].tolist()
        return [*firsts, self.past_first] if self.past_count else firsts

    def seen_by(self, replica: int, row: int, node: str, revision: str) -> None:
        """Note that a replica shows it."""
        self.rows[replica] = row
        if len(self.nodes) < MOST_NODES:
            self.nodes.add(node)
        if revision and len(self.revisions) < MOST_REVISIONS:
            self.revisions[revision] = None


def _number(text: str) -> int:
    """Return a number for a text, the same in every run; 62 bits, so that two texts of one group do not meet."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()) >> 2


class Group:
    """One container of a workload: what its replicas are compared within."""

    def __init__(self, table: SightingTable, workload: WorkloadKey, container: str, kind: ContainerKind, first: int) -> None:
        self.table = table
        self.workload = workload
        self.container = container
        self.kind = kind
        self.first = first
        self.replicas: dict[int, Replica] = {}
        self.entries: dict[int, Entry] = {}
        self.by_uid: dict[str, int] = {}
        self.by_key: dict[tuple[BehaviourType, str], int] = {}
        self.past_replicas = 0
        self.past_observations = dict.fromkeys(BehaviourType, 0)
        self.past_lives = Lives()
        self.alerts_left = MOST_ALERTS
        """What is left of the alerts that it may have (`spending`) …"""
        self.paid_until = first
        """… as of this time."""
        self._forms: dict[str, Forms] = {}
        """Per exec the templates of its arguments."""
        self.generalised = 0
        """How often templates became one: what some behaviour was known under may have changed."""
        self.image = ""
        """Its digest, its name where that is not known."""
        self.image_name = ""
        self.runs_anything = False
        """A program of its image that is named for it (a build runner) was seen to start others."""
        self.runs_scripts: list[Entry] = []
        """What is named for it, too, but whoever runs an interpreter could say so: it has to be accepted."""
        self.same_image: dict[tuple[WorkloadKey, str], Group] = {}
        """All groups of its image, itself included; they share this."""
        self.page = -1
        """Where its sightings are noted (`notes`), -1: nowhere."""
        self._next_replica = self._next_entry = 0
        self._rows = {kind: Numbers() for kind in (*map(int, BehaviourType), ARGUMENTS)}
        self._members: tuple[I64, I64] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The names that it got from who deployed it, which say what it is there for."""
        return self.image_name, self.workload.name, self.container, self.workload.namespace

    def rows(self) -> I64:
        """Return all sightings of the group."""
        return np.concatenate([each.array() for each in self._rows.values()])

    def rows_of(self, column_type: int) -> I64:
        """Return the sightings of one type."""
        return self._rows[column_type].array()

    def members(self) -> tuple[I64, I64]:
        """Return the replicas' ids, ascending, and their slots."""
        if self._members is None:
            slots = [each.slot for each in self.replicas.values()]
            self._members = np.fromiter(self.replicas, np.int64, len(self.replicas)), np.array(slots, np.int64)
        return self._members

    def replica(self, record: Replica) -> int:
        """Return the id of a replica, adding it when it is new."""
        known = self.by_uid.get(record.uid)
        if known is None:
            known = self.by_uid[record.uid] = self._next_replica
            self._next_replica += 1
            self.replicas[known] = record
            self._members = None
            first, revision = record.first, _number(record.revision)
            record.slot = self.table.lives.add(first=first, last=first, revision=revision, start_seen=record.start_seen)
        return known

    def entry(self, behaviour: Behaviour) -> int:
        """Return the id of a behaviour, adding it when it is new; the first spelling of a path stays."""
        kind, key = behaviour.type, self._key_of(behaviour, learn=True)
        name = (kind, behaviour_keys.merged(key))
        known = self.by_key.get(name)
        if known is None:
            known = self.by_key[name] = self._next_entry
            self._next_entry += 1
            doer = behaviour.base or (behaviour.parent if kind is BehaviourType.EXEC else behaviour.exe)
            source = _number(behaviour_keys.merged(doer))
            entry = Entry(kind, key, behaviour.example, behaviour.parent, source, behaviour.base)
            entry.level = context_of(behaviour).level
            if kind is BehaviourType.CONNECT:
                entry.place, entry.outside = kind_of_place(behaviour.target), is_outside(behaviour.target)
            # What a free position holds was found to vary: nothing of it is judged.
            entry.accepted = bool(behaviour.base) and ANY in key.removeprefix(behaviour.base).split()
            self.entries[known] = entry
            if kind is BehaviourType.EXEC and not behaviour.base:
                self.runs_anything |= software.runs_anything(base_name(behaviour.parent))
                if is_interpreter(base_name(behaviour.exe)) and any(map(software.runs_anything, behaviour.example[1:3])):
                    self.runs_scripts.append(entry)
        return known

    def _key_of(self, behaviour: Behaviour, *, learn: bool) -> str:
        """Return the key under which a behaviour is known: that of arguments depends on which positions are free."""
        if not behaviour.base:
            return behaviour.key
        base = behaviour_keys.merged(behaviour.base)
        forms = self._forms.get(base)
        if forms is None:
            if not learn:
                return behaviour.key
            forms = self._forms[base] = Forms()
        words = behaviour.words
        fixed = fixed_words(behaviour.exe, words)
        known = forms.find(words, fixed)
        if learn and known != (learned := forms.add(words, fixed)):
            known = learned
            self.generalised += 1
        return behaviour.key if known == words else f"{behaviour.base}{behaviour_keys.ARGUMENTS}{arguments.text_of(known)}"

    def sight(self, replica: int, behaviour: int, time: int) -> int:
        """Add a sighting and return its row."""
        entry, record = self.entries[behaviour], self.replicas[replica]
        row = self.table.sight(self, replica, behaviour, entry, time)
        record.rows.append(row)
        entry.seen_by(replica, row, record.node, record.revision)
        self._rows[entry.column_type].append(row)
        return row

    def fold_replica(self, replica: int) -> None:
        """Turn a replica that is gone into history: its sightings become numbers of its behaviours."""
        table, record = self.table, self.replicas.pop(replica)
        del self.by_uid[record.uid]
        self._members = None
        self.past_replicas += 1
        self.past_lives.add(record.first, table.lives.last.item(record.slot))
        for row in record.rows:
            entry = self.entries[table.behaviour.item(row)]
            del entry.rows[replica]
            count, first = table.count.item(row), table.first.item(row)
            if not entry.base:
                self.past_observations[entry.type] += count
            entry.past_count += count
            entry.past_first = min(entry.past_first or first, first)
            entry.past_last = max(entry.past_last, table.last.item(row))
            if table.standing[row] == Standing.ACCEPTED:
                entry.past_replicas += 1
            table.remove(row)
        table.lives.drop(record.slot)
        self._forget_rows(record.rows)

    def _forget_rows(self, gone: list[int]) -> None:
        for kind, rows in self._rows.items():
            self._rows[kind] = Numbers(rows.array()[~np.isin(rows.array(), gone)])

    def find_behaviour(self, behaviour: Behaviour) -> Entry | None:
        """Return a known behaviour."""
        return self.find(behaviour.type, self._key_of(behaviour, learn=False))

    def find_sighting(self, replica: int, behaviour: Behaviour) -> int:
        """Return the row of what a replica shows, -1 if it does not."""
        entry = self.find_behaviour(behaviour)
        return -1 if entry is None else entry.rows.get(replica, -1)

    def find(self, kind: BehaviourType, key: str) -> Entry | None:
        """Return what is known by a key."""
        known = self.by_key.get((kind, behaviour_keys.merged(key)))
        return None if known is None else self.entries[known]

    def arguments_of(self, base: str) -> list[Entry]:
        """Return the argument templates of an exec."""
        forms = self._forms.get(behaviour_keys.merged(base), ())
        keys = (f"{base}{behaviour_keys.ARGUMENTS}{arguments.text_of(words)}" for words in forms)
        return [entry for entry in (self.find(BehaviourType.EXEC, key) for key in keys) if entry is not None]

    def expire(self, behaviours: Iterable[int], now: int) -> None:
        """Turn what is not done any more into history that supports nothing: whoever does it again is judged anew."""
        table = self.table
        removed: list[int] = []
        for behaviour in behaviours:
            entry = self.entries[behaviour]
            rows = list(entry.rows.values())
            counts = int(table.count[rows].sum())
            first, lasts = min(entry.firsts(table), default=0), [*table.last[rows].tolist(), entry.past_last]
            gone = Gone(len(rows) + entry.past_replicas, counts + entry.past_count, first, max(lasts), now)
            entry.gone = gone if entry.gone is None else entry.gone.and_then(gone)
            for replica, row in entry.rows.items():
                self.replicas[replica].rows.remove(row)
                table.remove(row)
            if not entry.base:
                self.past_observations[entry.type] += counts
            entry.rows.clear()
            entry.nodes.clear()
            entry.revisions.clear()
            entry.past_replicas = entry.past_count = entry.past_first = entry.past_last = 0
            entry.accepted = False
            removed += rows
        self._forget_rows(removed)
        self._sum_up()

    def drop_entries(self, many: int, *, keep: int) -> int:
        """Forget behaviours with the least support, the longest unseen first, but not `keep`; return how many."""
        table = self.table

        def worth(behaviour: int) -> tuple[int, int, int]:
            entry = self.entries[behaviour]
            last = max((table.last.item(row) for row in entry.rows.values()), default=entry.past_last)
            return len(entry.rows) + entry.past_replicas, last, behaviour

        unwanted = sorted((each for each in self.entries if each != keep), key=worth)[:many]
        gone: list[int] = []
        for behaviour in unwanted:
            entry = self.entries.pop(behaviour)
            del self.by_key[entry.type, behaviour_keys.merged(entry.key)]
            for replica, row in entry.rows.items():
                self.replicas[replica].rows.remove(row)
                table.remove(row)
                gone.append(row)
        self._forget_rows(gone)
        self._sum_up()
        return len(unwanted)

    def _sum_up(self) -> None:
        """Work out anew what each replica did as a whole."""
        table, lives, slots = self.table, self.table.lives, self.members()[1]
        rows = np.concatenate([self.rows_of(int(kind)) for kind in BehaviourType])
        lives.count[slots], lives.last[slots] = 0, lives.first[slots]
        np.add.at(lives.count, table.slot[rows], table.count[rows])
        np.maximum.at(lives.last, table.slot[rows], table.last[rows])

    def forget(self) -> None:
        """Leave the table."""
        for row in self.rows().tolist():
            self.table.remove(row)
        for slot in self.members()[1].tolist():
            self.table.lives.drop(slot)
