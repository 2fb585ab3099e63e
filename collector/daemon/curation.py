"""Serves what changes baselines; what only looks is in `query`.

Whether a caller may decide is known before a call comes here. The author is who they have proven to be; where nothing had to be
proven, who they say they are.
"""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any

import grpc
from peerwatch.v1 import query_pb2, query_pb2_grpc
from typing_extensions import override

from collector.access import callers
from collector.daemon.curator import Curator, Made
from collector.errors import InputError, StorageError
from collector.ingest.counters import Counters
from collector.messages import change_from_proto, ref_from_proto
from collector.records import Change

__all__ = ["CurationService"]

_Context = grpc.aio.ServicerContext


class CurationService(query_pb2_grpc.CurationServiceServicer):
    """Serves `CurationService` of `query.proto`.

    Args:
        curator: makes the changes; called in `worker` only.
        worker: the one thread that `curator` belongs to.
        counters: what was refused.
        clock: nanoseconds since 1970.
    """

    def __init__(
        self, curator: Curator, *, worker: Executor, counters: Counters, clock: Callable[[], int] = time.time_ns
    ) -> None:
        self._curator = curator
        self._worker = worker
        self._counters = counters
        self._clock = clock

    @override
    async def ChangeBaseline(
        self, request: query_pb2.ChangeBaselineRequest, context: "_Context[Any, Any]"
    ) -> query_pb2.ChangeBaselineResponse:
        """Make changes of one workload, all or none."""
        try:
            changes = self._changes(request, context)
            made = await asyncio.get_running_loop().run_in_executor(self._worker, self._make, changes, request)
        except InputError as error:
            self._counters.add("refused_change")
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except StorageError as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
        return query_pb2.ChangeBaselineResponse(made=made.made, listed=made.listed, unlisted=made.unlisted)

    def _make(self, changes: list[Change], request: query_pb2.ChangeBaselineRequest) -> Made:
        return self._curator.change(changes, allow_unseen=request.allow_unseen, allow_known_bad=request.allow_known_bad)

    def _changes(self, request: query_pb2.ChangeBaselineRequest, context: "_Context[Any, Any]") -> list[Change]:
        now, proven, workload = self._clock(), callers.current().name, ref_from_proto(request.ref)
        author = proven or request.author
        via = context.peer().rpartition(":")[0]  # without the caller's port, which says nothing later
        if proven:
            via += " by token"
        try:
            return [change_from_proto(each, workload, time=now, by=author, via=via) for each in request.changes]
        except ValueError as error:
            raise InputError(f"{error}: this collector knows no such change; it may be older than the caller") from error
