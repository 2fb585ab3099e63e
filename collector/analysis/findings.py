"""One behaviour judged on one replica: what incidents are made of."""

from dataclasses import dataclass

from collector.analysis.behaviours import Behaviour
from collector.analysis.sightings import Group, Replica
from collector.detect.peers import Comparison
from collector.detect.tools import Context
from collector.records import IncidentKind, Severity

__all__ = ["Finding"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One behaviour judged on one replica."""

    group: Group
    replica: Replica
    behaviour: Behaviour
    time: int
    """When it could be said, nanoseconds."""
    first_event: int
    severity: Severity
    score: float
    kind: IncidentKind
    compared: int
    sharing: int
    earlier: int
    """Replicas of the past that are known besides the compared ones."""
    earlier_sharing: int
    """Those of them that did it, too, suspected or not."""
    context: Context
    followed: bool
    deed: str = ""
    """What was done, in words, where that is more than the behaviour itself."""
    gone: int = 0
    """When it was usual here last, if it expired and comes back."""
    again: bool = False
    """It was told before, and goes on."""
    unpaid: bool = False
    """It is no alert because its workload has told more than its budget (`spending`)."""
    elsewhere: Comparison | None = None
    """What other workloads of the same image do, if it was compared with them."""
    unsure: bool = False
    """Its workload is known for minutes only or has few replicas, and it is not so rare that this does not matter."""
    said: Comparison | None = None
    """What the peers do in the same words, where the words are the reason and not the program."""
    errand: bool = False
    """Somebody from outside takes stock of most replicas in the same words."""
