"""Gives incidents their risk before they are told and written, and again when the rest of it is known.

An alert never waits for its rank: what its service account may is asked for meanwhile, and the incident is written again with
it. It is not told again for that; its next revision has it.
"""

from collections import OrderedDict
from dataclasses import replace

from collector.cluster.watching import ClusterWatch
from collector.records import Incident

__all__ = ["Ranks"]

WAITING_MAX = 1_000
"""Incidents whose rank is not complete; of more, the oldest keep the rank that they have."""


class Ranks:
    """The ranks of incidents, as far as a watch knows; without one there are none."""

    def __init__(self, watch: ClusterWatch | None) -> None:
        self._watch = watch
        self._waiting: OrderedDict[str, Incident] = OrderedDict()
        self._answers = 0

    def rank(self, incident: Incident) -> Incident:
        """Return an incident with its risk."""
        if self._watch is None:
            return incident
        risk, complete = self._watch.risk(incident)
        self._waiting.pop(incident.id, None)
        if not complete:
            self._waiting[incident.id] = incident
            if len(self._waiting) > WAITING_MAX:
                self._waiting.popitem(last=False)
        return replace(incident, risk=risk)

    def completed(self) -> list[Incident]:
        """Return the incidents of which more is known than when they were ranked."""
        if self._watch is None or not self._waiting or self._watch.answers == self._answers:
            return []
        self._answers = self._watch.answers
        return [self.rank(each) for each in list(self._waiting.values())]
