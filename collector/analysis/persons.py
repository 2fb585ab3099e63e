"""Which programs come from outside of containers, in the whole cluster: what hardly any of them is, is told of a person.

Probes, scanners and administrators repeat themselves from workload to workload. So a program that somebody runs with
`kubectl exec` is compared with all that ever came from outside anywhere: how varied a workload's own life is says nothing about
persons, and one workload sees too few of them. Names count, not paths: images differ.
"""

from collections import Counter, OrderedDict

from collector.analysis.behaviours import Behaviour
from collector.detect.surprise import rarity
from collector.detect.tools import base_name
from collector.records import BehaviourType

__all__ = ["Persons"]

MOST = 4096
"""Names that are remembered; the longest unmet are forgotten."""

MOST_REPLICAS = 64
"""Replicas remembered per name: who is met on more is not rare, however many it is."""


class Persons:
    """Which names came from outside, on which replicas."""

    def __init__(self) -> None:
        self._met: OrderedDict[str, dict[str, None]] = OrderedDict()
        self._sizes: Counter[int] = Counter()
        """Number of replicas → how many names were met on so many."""

    def __len__(self) -> int:
        """Return how many names are remembered."""
        return len(self._met)

    def meet(self, behaviour: Behaviour, uid: str) -> None:
        """Note that a replica shows a behaviour; what is no program from outside is left out."""
        name = _name(behaviour)
        if name is None:
            return
        replicas = self._met.setdefault(name, {})
        self._met.move_to_end(name)
        if uid not in replicas and len(replicas) < MOST_REPLICAS:
            self._sizes[len(replicas)] -= 1
            replicas[uid] = None
            self._sizes[len(replicas)] += 1
        if len(self._met) > MOST:
            _, forgotten = self._met.popitem(last=False)
            self._sizes[len(forgotten)] -= 1

    def rarity(self, behaviour: Behaviour, uid: str) -> float:
        """Return how probable it is that what comes from outside next is as rare as this; 1 where that is no question."""
        name = _name(behaviour)
        if name is None:
            return 1.0
        replicas = self._met.get(name, {})
        others = len(replicas) - (uid in replicas)
        return rarity({size: names for size, names in self._sizes.items() if size and names}, others)


def _name(behaviour: Behaviour) -> str | None:
    outside = behaviour.injected
    return base_name(behaviour.exe) if outside and behaviour.type is BehaviourType.EXEC and not behaviour.base else None
