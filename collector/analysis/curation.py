"""What people decided about behaviours, and what follows from it for a sighting.

An approved behaviour is told of no replica, a rejected one of every replica that shows it; of a locked workload every program
and destination is told that is not on its list (arguments are templates that never stop being learned: they are judged as
anywhere else). Where nobody decided, what was seen speaks for itself. What holds is the sum of all changes in their order:
there is nothing else to save.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from collector.analysis import behaviour_keys
from collector.analysis.groups import Place
from collector.records import Action, BehaviourType, Change, Lock, Severity, WorkloadKey

__all__ = ["NEVER", "SILENT", "Decisions", "Ruling", "ended", "program_of"]

_Name = tuple[BehaviourType, str]
"""Type and merged key: what names a behaviour within a group."""

NEVER = 2**63
"""Later than any time."""


@dataclass(frozen=True, slots=True)
class Ruling:
    """What a decision means for a sighting."""

    told: bool
    """False: it is normal, whatever it looks like."""
    least: Severity = Severity.INFO
    """How severe it is at least."""
    why: str = ""


SILENT = Ruling(told=False)


@dataclass(slots=True)
class _Locked:
    change: Change
    listed: set[tuple[str, _Name]] = field(default_factory=set)
    """Container and name of what was learned by then."""


class Decisions:
    """What holds now."""

    def __init__(self) -> None:
        self._decided: dict[Place, dict[_Name, Change]] = {}
        self._locks: dict[WorkloadKey, _Locked] = {}
        self._arguments: dict[tuple[Place, _Name], dict[_Name, Change]] = {}
        """Per program the approvals of its arguments: who approves these approves the program."""

    def __len__(self) -> int:
        """Return how many behaviours and locks are kept."""
        return sum(map(len, self._decided.values())) + sum(1 + len(each.listed) for each in self._locks.values())

    def apply(self, change: Change) -> None:
        """Let one change follow those before."""
        place = (change.workload, change.container)
        if change.action is Action.LOCK:
            self._locks[change.workload] = _Locked(change)
        elif change.action is Action.UNLOCK:
            self._locks.pop(change.workload, None)
        elif change.type is None:
            return  # of a newer version, which no longer runs
        elif change.action is Action.LIST:
            if change.workload in self._locks:
                self._locks[change.workload].listed.add((change.container, _name(change.type, change.key)))
        else:
            self._decide(place, _name(change.type, change.key), change)

    def _decide(self, place: Place, name: _Name, change: Change) -> None:
        program = program_of(*name)
        tables: list[tuple[dict[Any, dict[_Name, Change]], object]] = [(self._decided, place)]
        if program:
            tables.append((self._arguments, (place, (name[0], program))))
        for table, at in tables:
            row = table.setdefault(at, {})
            row.pop(name, None)
            if change.action is Action.APPROVE or (change.action is Action.REJECT and table is self._decided):
                row[name] = change
            if not row:
                del table[at]

    def own(self, place: Place, kind: BehaviourType, key: str) -> Change | None:
        """Return the approval or rejection of just this behaviour."""
        decided = self._decided.get(place)
        return decided.get(_name(kind, key)) if decided else None

    def of(self, place: Place, kind: BehaviourType, key: str) -> Change | None:
        """Return the approval or rejection of a behaviour; for a program that of its arguments will do."""
        own = self.own(place, kind, key)
        if own is not None or not self._arguments:
            return own
        approvals = self._arguments.get((place, _name(kind, key)))
        return max(approvals.values(), key=lambda each: each.until or NEVER) if approvals else None

    def at(self, place: Place) -> Iterator[Change]:
        """Yield all approvals and rejections of one container."""
        yield from self._decided.get(place, {}).values()

    def places(self) -> list[Place]:
        """Return all containers about which something was decided."""
        return list(self._decided)

    def workloads(self) -> set[WorkloadKey]:
        """Return all workloads about which something was decided."""
        return {workload for workload, _ in self._decided} | set(self._locks)

    def lock(self, workload: WorkloadKey) -> Lock | None:
        """Return whether a workload is locked, and by whom."""
        locked = self._locks.get(workload)
        return None if locked is None else Lock(locked.change.by, locked.change.why, locked.change.time)

    def is_listed(self, place: Place, kind: BehaviourType, key: str) -> bool:
        """Return whether a behaviour was learned when its workload was locked."""
        locked = self._locks.get(place[0])
        return locked is not None and (place[1], _name(kind, key)) in locked.listed

    def ruling(self, place: Place, kind: BehaviourType, key: str, now: int) -> Ruling | None:
        """Return what was decided about a behaviour, None where nobody did."""
        change = self.of(place, kind, key)
        if change is not None:
            if change.action is Action.REJECT:
                return Ruling(told=True, least=Severity.HIGH, why=f"rejected by {change.by}: {change.why}")
            if not ended(change, now):
                return SILENT
            return Ruling(told=True, least=Severity.MEDIUM, why=f"its approval by {change.by} has ended")
        lock = self._locks.get(place[0])
        if lock is None or program_of(kind, key):
            return None
        if (place[1], _name(kind, key)) in lock.listed:
            return SILENT
        return Ruling(told=True, least=Severity.MEDIUM, why=f"not on the list that {lock.change.by} locked")


def ended(change: Change, now: int) -> bool:
    """Return whether an approval is over."""
    return 0 < change.until <= now


def _name(kind: BehaviourType, key: str) -> _Name:
    return kind, behaviour_keys.merged(key)


def program_of(kind: BehaviourType, key: str) -> str:
    """Return the key of the exec whose arguments a key tells, empty for what is no argument template."""
    base, separator, _ = key.partition(behaviour_keys.ARGUMENTS)
    return base if separator and kind is BehaviourType.EXEC else ""
