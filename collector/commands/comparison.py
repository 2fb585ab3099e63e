"""What other settings would change: the incidents of two runs over the same events, side by side. Pure.

An incident is named by its first finding, and with other settings the same cause may begin with another one. So what is left
after equal ids is paired by cause: the same replica, the same behaviour, minutes apart at most.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from peerwatch.times import NANOSECONDS

from collector.records import Incident, Severity, WorkloadKey

__all__ = ["Difference", "compare"]

APART = 300 * NANOSECONDS
"""How far the first events of one cause may lie apart in two runs: an incident grows for so long."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One incident that only one run has, or that both have with another severity."""

    before: Incident | None
    after: Incident | None

    @property
    def sign(self) -> str:
        """`-` only before, `+` only after, `~` of another severity."""
        return "+" if self.before is None else "-" if self.after is None else "~"

    @property
    def incident(self) -> Incident:
        """The incident as it would be, or as it was if it would not be."""
        incident = self.after or self.before
        if incident is None:
            raise ValueError("a difference has at least one side")
        return incident


def compare(before: Iterable[Incident], after: Iterable[Incident], least: Severity = Severity.INFO) -> list[Difference]:
    """Return what differs in the last revisions of two runs, in the order of first events.

    Args:
        before: incidents of the first run, all revisions.
        after: those of the second.
        least: what is below on both sides is left out.
    """
    old, new = _last(before), _last(after)
    pairs = {each.id: new.pop(each.id) for each in list(old.values()) if each.id in new}
    rest: dict[WorkloadKey, list[Incident]] = {}
    for each in new.values():
        rest.setdefault(each.workload, []).append(each)
    for each in old.values():
        mates = rest.get(each.workload, []) if each.id not in pairs else []
        same = next((other for other in mates if other.id in new and _same_cause(each, other)), None)
        if same is not None:
            pairs[each.id] = new.pop(same.id)
    found = [Difference(each, pairs.get(each.id)) for each in old.values()]
    found += [Difference(None, each) for each in new.values()]
    return sorted(
        (each for each in found if _differs(each) and any(side.severity >= least for side in _sides(each))),
        key=lambda each: (each.incident.first_event, each.incident.id),
    )


def _last(incidents: Iterable[Incident]) -> dict[str, Incident]:
    """Return the last revision of each incident, by id, in the order of first events."""
    last = {each.id: each for each in incidents}
    return dict(sorted(last.items(), key=lambda item: (item[1].first_event, item[0])))


def _same_cause(one: Incident, other: Incident) -> bool:
    return (
        abs(one.first_event - other.first_event) <= APART
        and not set(one.replicas).isdisjoint(other.replicas)
        and not {(each.type, each.key) for each in one.behaviours}.isdisjoint(
            (each.type, each.key) for each in other.behaviours
        )
    )


def _differs(difference: Difference) -> bool:
    before, after = difference.before, difference.after
    return before is None or after is None or before.severity is not after.severity


def _sides(difference: Difference) -> Iterator[Incident]:
    yield from (each for each in (difference.before, difference.after) if each is not None)
