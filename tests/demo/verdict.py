"""Whether exactly the attacked replica was flagged, and how fast. Pure: incidents with their arrivals in, sentences out."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from peerwatch.v1 import incident_pb2

from demo.watcher import Arrival

__all__ = ["Verdict", "alerts_of", "judge"]


@dataclass(frozen=True)
class Verdict:
    """`why` is empty if the demo shows what it should."""

    why: str
    first_s: float = 0.0
    median_s: float = 0.0
    behaviours: int = 0

    @property
    def exit_code(self) -> int:
        """Return the contract's code: 0 yes, 1 no."""
        return 1 if self.why else 0


def alerts_of(incidents: Sequence[incident_pb2.Incident]) -> list[incident_pb2.Incident]:
    """Return the newest revision of each incident that is worth telling a person, oldest first."""
    newest: dict[str, incident_pb2.Incident] = {}
    for incident in incidents:
        known = newest.get(incident.id)
        if known is None or incident.revision >= known.revision:
            newest[incident.id] = incident
    alerts = [each for each in newest.values() if each.severity >= incident_pb2.Incident.LOW]
    return sorted(alerts, key=lambda each: each.first_event.ToNanoseconds())


def judge(
    arrivals: Sequence[Arrival],
    held: Sequence[incident_pb2.Incident],
    attacked: str,
    limit_s: float,
) -> Verdict:
    """Judge a run in which the pod `attacked` was broken into; `held` are the incidents that the collector lists at the end.

    `limit_s` is the longest time from an exec to its finding, median over what the attack did, seconds.
    """
    alerts = alerts_of([*held, *(each.incident for each in arrivals)])
    for alert in alerts:
        others = sorted({replica.pod for replica in alert.replicas} - {attacked})
        if others or not alert.replicas:
            what = ", ".join(behaviour.key for behaviour in alert.behaviours)
            return Verdict(f"a false alert: {', '.join(others) or alert.workload.name} was flagged for {what}: {alert.reason}")
    if not alerts:
        return Verdict(f"the attack on {attacked} was not detected")
    ids = {alert.id for alert in alerts}
    of_attack = [each for each in arrivals if each.incident.id in ids]
    if not of_attack:
        return Verdict("the collector lists the alert, but never sent it to a client that was watching")
    told: dict[tuple[int, str], float] = {}
    for arrival in of_attack:
        for behaviour in arrival.incident.behaviours:
            seen = behaviour.first_seen.ToNanoseconds() / 1e9
            told.setdefault((behaviour.type, behaviour.key), arrival.at - seen)
    first = of_attack[0]
    first_s = first.at - first.incident.first_event.ToNanoseconds() / 1e9
    median_s = statistics.median(told.values()) if told else first_s
    why = f"the finding took {median_s:.2f} s, more than {limit_s:g} s" if median_s >= limit_s else ""
    return Verdict(why, first_s, median_s, len(told))
