"""What each call needs. A call that is not in the table is refused: a new one must be thought about here first."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from collector.access.callers import Permission

__all__ = ["AGENTS", "RULES", "Rule"]

_Request = Any  # of any type of query.proto


def _everywhere(_: _Request) -> str:
    return ""


def _of_filter(request: _Request) -> str:
    return str(request.namespace)


def _of_workload(request: _Request) -> str:
    return str(request.ref.namespace)


@dataclass(frozen=True, slots=True)
class Rule:
    """The verb and the resource that RBAC is asked about, and the namespace that a request is limited to; empty: none."""

    verb: str
    resource: str
    namespace: Callable[[_Request], str] = _everywhere

    def permission(self, request: _Request) -> Permission:
        """Return what is needed for this request."""
        return Permission(self.verb, self.resource, self.namespace(request))


AGENTS = "/peerwatch.v1.IngestService/Stream"
"""The one call of agents; people have no business there, and agents none elsewhere."""

_QUERY = "/peerwatch.v1.QueryService/"

RULES: Mapping[str, Rule] = {
    f"{_QUERY}GetStatus": Rule("get", "status"),
    f"{_QUERY}ListWorkloads": Rule("get", "baselines", _of_filter),
    f"{_QUERY}GetBaseline": Rule("get", "baselines", _of_workload),
    f"{_QUERY}ListBaselineChanges": Rule("get", "baselines", _of_workload),
    f"{_QUERY}ListIncidents": Rule("get", "incidents", _of_filter),
    f"{_QUERY}WatchIncidents": Rule("watch", "incidents"),
    f"{_QUERY}ReplayEvents": Rule("get", "events", _of_filter),
    "/peerwatch.v1.CurationService/ChangeBaseline": Rule("update", "baselines", _of_workload),
}
