"""How much is at stake where an incident is: a rank from its severity and from what Kubernetes says of its workload. Pure.

Severity says how odd or bad a deed is; the same deed is worse in a privileged pod that the internet reaches than in a sandbox.
The rank puts incidents in an order, nothing else: it raises no severity and wakes nobody.
"""

import enum
from dataclasses import dataclass

from collector.records import Risk, Severity

__all__ = ["Fact", "Place", "rank_of", "risk_of"]


class Fact(enum.IntFlag):
    """What is known of a place. Those of a pod come first and fit into a byte: the view keeps one number for each pod."""

    PRIVILEGED = enum.auto()
    HOST_PROCESSES = enum.auto()
    HOST_NETWORK = enum.auto()
    HOST_IPC = enum.auto()
    HOST_FILES = enum.auto()
    CAPABILITIES = enum.auto()
    HOST_PORT = enum.auto()
    TOKEN = enum.auto()
    """It holds its service account's token: what the account may do, whoever is in the pod may."""
    REACHED = enum.auto()
    ANYTHING = enum.auto()
    ALL_SECRETS = enum.auto()
    SECRETS = enum.auto()
    PODS = enum.auto()
    ENTER = enum.auto()
    PRODUCTION = enum.auto()
    TEST = enum.auto()


SEVERITY_POINTS = 16
"""Between one severity and the next."""

CONTEXT_POINTS = 20
"""The most that a place adds: it may lift an incident past the next severity, never past the one after that."""

WEIGHTS = {
    Fact.ANYTHING: (10, "its service account may do anything in the cluster"),
    Fact.PRIVILEGED: (8, "privileged"),
    Fact.ALL_SECRETS: (8, "its service account may read all secrets"),
    Fact.HOST_PROCESSES: (6, "shares its node's processes"),
    Fact.HOST_FILES: (6, "may change its node's files"),
    Fact.CAPABILITIES: (6, "has capabilities that lead to its node"),
    Fact.REACHED: (6, "reachable from outside"),
    Fact.TEST: (-6, "not in production"),
    Fact.SECRETS: (5, "its service account may read its namespace's secrets"),
    Fact.PODS: (5, "its service account may start pods"),
    Fact.ENTER: (5, "its service account may execute in other pods"),
    Fact.HOST_NETWORK: (4, "shares its node's network"),
    Fact.HOST_PORT: (4, "reachable at its node's port"),
    Fact.PRODUCTION: (4, "in production"),
    Fact.HOST_IPC: (2, "shares its node's memory segments"),
}
"""Points and words, what weighs most first. A way to the node or to the whole cluster is worth half a severity or more; what
makes it likelier that somebody comes, or that it hurts, a quarter to a third."""


@dataclass(frozen=True, slots=True)
class Place:
    """What is known of where an incident is."""

    facts: Fact
    way: str = ""
    """What leads there from outside of the cluster."""
    account: str = ""
    """The service account of its pods; empty where no pod is known."""


def rank_of(severity: Severity, points: int = 0) -> int:
    """Return the rank, 1 to 100, of what is so severe at a place of so many points."""
    return SEVERITY_POINTS * severity + min(CONTEXT_POINTS, max(0, points))


def risk_of(severity: Severity, place: Place) -> Risk:
    """Return the rank of what is so severe at this place, and why."""
    known = [(fact, *WEIGHTS[fact]) for fact in WEIGHTS if fact & place.facts]
    words = (f"{text} ({place.way})" if fact is Fact.REACHED and place.way else text for fact, _, text in known)
    return Risk(rank_of(severity, sum(points for _, points, _ in known)), tuple(words))
