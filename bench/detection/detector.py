"""What a detector is to this benchmark: tables of events in, alerts out.

Every detector, peerwatch and each baseline, is a function of this shape, so that all are fed the same tables in the same order
and judged by the same scorer. One that keeps state makes it anew at each call. It knows nothing of labels, scenarios or seeds.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

from peerwatch.columns import EventColumns

from collector.analysis import Analysis, Settings
from collector.records import Incident, Severity, WorkloadKey

__all__ = ["ALERT_COOL_DOWN_S", "Alert", "Detector", "Severity", "WorkloadKey", "alerts_of", "peerwatch"]

ALERT_COOL_DOWN_S = 900
"""Alerts of the same workload, pod and kind of item within 15 minutes are one: as in the published evaluations. Detectors
that have no de-duplication of their own apply this one before they return anything."""


@dataclass(frozen=True, slots=True)
class Alert:
    """What an operator would see, once, after the detector's own de-duplication."""

    time: int
    """Event time at which it could first be raised, nanoseconds."""
    severity: Severity
    """INFO is a line in a report, LOW and above are alerts; a detector without severities says MEDIUM."""
    workload: WorkloadKey
    pods: frozenset[str]
    """Names of the pods it accuses."""
    evidence: frozenset[tuple[int, str, int]]
    """Events it rests on: time (nanoseconds), pod's name, pid. An alert without evidence is never a hit."""
    label: str = ""
    """One line for a person who looks at what was false."""
    subjects: int = 0
    """How many odd things it tells of; for people, never judged."""


Detector: TypeAlias = Callable[[Iterable[EventColumns]], Iterable[Alert]]
"""Tables are sorted by time, one after the other; alerts may come in any order."""


def peerwatch(tables: Iterable[EventColumns], settings: Settings | None = None) -> list[Alert]:
    """Judge by the product's own analysis."""
    analysis = Analysis(settings or Settings())
    latest: dict[str, Incident] = {}
    for table in tables:
        latest.update((incident.id, incident) for incident in analysis.observe(table))
    latest.update((incident.id, incident) for incident in analysis.finish())
    return alerts_of(latest.values())


def alerts_of(incidents: Iterable[Incident]) -> list[Alert]:
    """Return the last revision of each incident as an alert."""
    return [
        Alert(
            time=each.time,
            severity=each.severity,
            workload=each.workload,
            pods=frozenset(replica.pod for replica in each.replicas),
            evidence=frozenset((item.time, item.pod, item.pid) for item in each.evidence),
            label=f"{each.reason} {[behaviour.key for behaviour in each.behaviours]}",
            subjects=len(each.behaviours),
        )
        for each in incidents
    ]
