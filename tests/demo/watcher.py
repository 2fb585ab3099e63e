"""The collector's client: what is learned now, and each incident with the moment in which it arrived here."""

import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import grpc
from peerwatch.v1 import incident_pb2, query_pb2, query_pb2_grpc

__all__ = ["Arrival", "Picture", "Watcher"]

TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Arrival:
    """One revision of an incident and when this client had it, seconds since 1970."""

    at: float
    incident: incident_pb2.Incident


@dataclass(frozen=True)
class Picture:
    """What the collector knows at one moment."""

    workloads: tuple[query_pb2.ListWorkloadsResponse.Summary, ...]
    baseline: tuple[query_pb2.GetBaselineResponse.Entry, ...]


class Watcher:
    """Listens for incidents from the moment it is entered; asks for the rest when it is asked."""

    def __init__(self, channel: grpc.Channel) -> None:
        """It closes the channel at its end."""
        self._channel = channel
        self._query = query_pb2_grpc.QueryServiceStub(self._channel)
        self._arrivals: list[Arrival] = []
        self._listener = threading.Thread(target=self._listen, name="incidents", daemon=True)
        self._stream: Any = None  # a call that is also an iterator: grpc's types have no name for it

    def __enter__(self) -> Self:
        """Begin to listen."""
        self._stream = self._query.WatchIncidents(
            query_pb2.WatchIncidentsRequest(at_least=incident_pb2.Incident.INFO), wait_for_ready=True
        )
        self._listener.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        """Stop."""
        if self._stream is not None:
            self._stream.cancel()
        self._listener.join(TIMEOUT_S)
        self._channel.close()

    def arrivals(self) -> list[Arrival]:
        """Return every revision that arrived so far, in order."""
        return list(self._arrivals)

    def incidents(self) -> list[incident_pb2.Incident]:
        """Return all incidents that the collector holds, those included that came before this client."""
        request = query_pb2.ListIncidentsRequest(at_least=incident_pb2.Incident.INFO)
        return list(self._query.ListIncidents(request, timeout=TIMEOUT_S).incidents)

    def picture(self, namespace: str, name: str) -> Picture:
        """Return all workloads of a namespace, and the baseline of one of them as far as there is one."""
        request = query_pb2.ListWorkloadsRequest(namespace=namespace)
        workloads = self._query.ListWorkloads(request, timeout=TIMEOUT_S).workloads
        for summary in workloads:
            if summary.ref.workload.name == name:
                answer = self._query.GetBaseline(query_pb2.GetBaselineRequest(ref=summary.ref), timeout=TIMEOUT_S)
                return Picture(tuple(workloads), tuple(answer.entries))
        return Picture(tuple(workloads), ())

    def _listen(self) -> None:
        try:
            for response in self._stream or ():
                self._arrivals.append(Arrival(time.time(), response.incident))
        except grpc.RpcError:
            return  # cancelled at the end, or the collector is gone, which its daemon's check says better
