"""Which weak signs belong together: the steps of one cause on one replica, none of which is enough to be told."""

from collections import OrderedDict, deque
from dataclasses import dataclass, field

from peerwatch.columns import NANOSECONDS

from collector.analysis.behaviours import Behaviour
from collector.analysis.findings import Finding
from collector.analysis.incidents import OpenIncident
from collector.analysis.novelty import MOMENT
from collector.detect.decision import Sign
from collector.detect.tools import Level
from collector.records import BehaviourType, Evidence, WorkloadKey

__all__ = ["Chains", "Step", "Watched"]

MOST_REPLICAS = 4096
"""Replicas whose latest steps are remembered; those longest without one are forgotten."""

MOST_STEPS = 16
"""Steps remembered per replica: of a chain that is longer, the latest are enough to tell it."""

SIBLINGS = 300 * NANOSECONDS
"""Nanoseconds within which what one process starts may be somebody's who sends it one command after the other."""


@dataclass(slots=True)
class Watched:
    """A sighting that is held or was told: its evidence is collected."""

    row: int
    behaviour: Behaviour
    evidence: list[Evidence] = field(default_factory=list)
    parent_pid: int = 0
    holds: int = 0
    told: int = 0
    """How often it was told anew."""
    finding: Finding | None = None
    incident: OpenIncident | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """A sighting that is nothing by itself, as it was judged last."""

    watched: Watched
    finding: Finding
    sign: Sign

    def follows(self, other: "Step") -> bool:
        """Return whether two steps have one cause: the same moment, or one process started the other."""
        return (
            abs(self.finding.first_event - other.finding.first_event) < MOMENT
            or self._is_sibling(other)
            or _parent(self.watched, other.watched)
            or _parent(other.watched, self.watched)
        )

    def _is_sibling(self, other: "Step") -> bool:
        """Return whether the same process started both, one soon after the other, and neither is everyday."""
        odd = min(self.sign.level, other.sign.level) >= Level.SUSPICIOUS
        soon = abs(self.finding.first_event - other.finding.first_event) < SIBLINGS
        return odd and soon and self.watched.parent_pid == other.watched.parent_pid > 0


def _parent(child: Watched, other: Watched) -> bool:
    # What connects may be the service itself, whose children are all that happens: only what was executed has children here.
    executed = other.behaviour.type is BehaviourType.EXEC
    return executed and child.parent_pid > 0 and any(each.pid == child.parent_pid for each in other.evidence)


class Chains:
    """The latest weak steps of each replica."""

    def __init__(self) -> None:
        self._steps: OrderedDict[tuple[WorkloadKey, str, str], deque[Step]] = OrderedDict()

    def __len__(self) -> int:
        """Return of how many replicas there are steps."""
        return len(self._steps)

    def extend(self, step: Step) -> list[Step]:
        """Add a step, or what is thought of it by now, and return those of its cause, itself included, as they came."""
        finding = step.finding
        place = finding.group.workload, finding.group.container, finding.replica.uid
        known = self._steps.pop(place, ())
        steps = deque((each for each in known if each.watched is not step.watched), MOST_STEPS)
        steps.append(step)
        self._steps[place] = steps
        if len(self._steps) > MOST_REPLICAS:
            self._steps.popitem(last=False)
        chain, rest = [step], [each for each in reversed(steps) if each is not step]
        for each in chain:  # grows while it is read: who follows one of them follows all
            chain += (more := [other for other in rest if each.follows(other)])
            rest = [other for other in rest if other not in more]
        return sorted(chain, key=lambda each: each.finding.first_event)
