"""What the commands about baselines ask a collector, and the changes that they send it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc
from peerwatch.v1 import query_pb2, query_pb2_grpc

from collector.commands.client import TIMEOUT_S, Server, connected
from collector.commands.workloads import find_workload
from collector.messages import (
    baseline_from_proto,
    change_from_proto,
    change_to_proto,
    completeness_from_proto,
    lock_from_proto,
    nanoseconds,
    ref_to_proto,
)
from collector.records import BaselineEntry, Change, Completeness, Lock, WorkloadKey

__all__ = ["Baseline", "Baselines", "asking_baselines"]


@dataclass(frozen=True, slots=True)
class Baseline:
    """One workload's baseline, as the collector tells it."""

    workload: WorkloadKey
    entries: tuple[BaselineEntry, ...] = ()
    completeness: tuple[Completeness, ...] = ()
    lock: Lock | None = None


class Baselines:
    """The baselines of one collector."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._query = query_pb2_grpc.QueryServiceStub(channel)
        self._curation = query_pb2_grpc.CurationServiceStub(channel)

    def find(self, workload: str, cluster: str = "") -> WorkloadKey:
        """Return the workload that a person means."""
        return find_workload(self._query, workload, cluster)

    def get(self, workload: WorkloadKey, container: str = "") -> Baseline:
        """Return a baseline."""
        request = query_pb2.GetBaselineRequest(ref=ref_to_proto(workload), container=container)
        answer = self._query.GetBaseline(request, timeout=TIMEOUT_S)
        return Baseline(
            workload,
            tuple(baseline_from_proto(workload, each) for each in answer.entries),
            tuple(map(completeness_from_proto, answer.completeness)),
            lock_from_proto(answer),
        )

    def get_or_empty(self, workload: WorkloadKey) -> Baseline:
        """Return a baseline, an empty one of a workload that was not seen yet."""
        try:
            return self.get(workload)
        except grpc.RpcError as error:
            call: Any = error  # what a call raises is its own grpc.Call, too; the types do not say so
            if call.code() is not grpc.StatusCode.NOT_FOUND:
                raise
            return Baseline(workload)

    def change(
        self, changes: Sequence[Change], *, allow_unseen: bool = False, allow_known_bad: bool = False
    ) -> query_pb2.ChangeBaselineResponse:
        """Make changes of one workload and one author, all or none."""
        request = query_pb2.ChangeBaselineRequest(
            ref=ref_to_proto(changes[0].workload),
            changes=map(change_to_proto, changes),
            author=changes[0].by,
            allow_unseen=allow_unseen,
            allow_known_bad=allow_known_bad,
        )
        return self._curation.ChangeBaseline(request, timeout=TIMEOUT_S)

    def log(self, workload: WorkloadKey, limit: int) -> list[Change]:
        """Return what was done to a baseline, newest first."""
        request = query_pb2.ListBaselineChangesRequest(ref=ref_to_proto(workload), limit=limit)
        answer = self._query.ListBaselineChanges(request, timeout=TIMEOUT_S)
        return [
            change_from_proto(each.change, workload, time=nanoseconds(each.time), by=each.author, via=each.via)
            for each in answer.records
        ]


@contextmanager
def asking_baselines(server: Server) -> Iterator[Baselines]:
    """Give the baselines of a collector.

    Raises:
        UnavailableError: it cannot be reached, or cannot answer now.
        InputError: it says that the question is wrong.
    """
    with connected(server) as channel:
        yield Baselines(channel)
