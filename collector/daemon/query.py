"""Answers people: status, workloads, baselines, incidents, and what was recorded."""

import asyncio
import datetime
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc
from peerwatch.columns import EventColumns
from peerwatch.v1 import query_pb2, query_pb2_grpc
from typing_extensions import override

from collector.archive.selection import Selection
from collector.archive.store import Archive
from collector.daemon.curator import Curator
from collector.daemon.event_messages import events_to_proto
from collector.daemon.watchers import TooManyWatchersError, Watchers
from collector.errors import StorageError
from collector.ingest.counters import Counters
from collector.ingest.pipeline import Pipeline
from collector.messages import (
    baseline_to_proto,
    change_to_proto,
    completeness_to_proto,
    incident_to_proto,
    lock_to_proto,
    nanoseconds,
    ref_from_proto,
    summary_to_proto,
    timestamp,
)
from collector.records import Severity, WorkloadKey
from collector.state import NodeRecord, State

__all__ = ["QueryService", "Sources"]

REPLAYS_MAX = 4
"""Replays at the same time: each reads and decodes files."""

EVENTS_PER_MESSAGE = 500
"""About 500 kB; well below gRPC's bound of 4 MiB."""

_Context = grpc.aio.ServicerContext
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Sources:
    """What answers come from, and the threads that may touch it."""

    pipeline: Pipeline
    curator: Curator
    worker: Executor
    """The one thread of `pipeline` and `curator`."""
    state: State
    archive: Archive
    readers: Executor
    """Threads that read `state` and `archive`."""
    watchers: Watchers
    counters: Counters
    connected: Callable[[str, str], bool]
    authority_ends: Callable[[], datetime.datetime | None]
    version: str
    started: int
    """Nanoseconds since 1970."""


class QueryService(query_pb2_grpc.QueryServiceServicer):
    """Serves `QueryService` of `query.proto`."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._replays = asyncio.Semaphore(REPLAYS_MAX)

    async def _in(self, executor: Executor, context: "_Context[Any, Any]", call: Callable[[], _T]) -> _T:
        try:
            return await asyncio.get_running_loop().run_in_executor(executor, call)
        except StorageError as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))

    @override
    async def GetStatus(
        self, request: query_pb2.GetStatusRequest, context: "_Context[Any, Any]"
    ) -> query_pb2.GetStatusResponse:
        """Say how the collector and its agents are."""
        del request
        at = self._sources
        nodes = await self._in(at.worker, context, at.pipeline.nodes)
        workloads = await self._in(at.worker, context, at.pipeline.workloads)
        left_out = await self._in(at.worker, context, at.pipeline.left_out)
        spending = await self._in(at.worker, context, at.pipeline.spending)
        archived, alerts = await self._in(at.readers, context, lambda: (at.state.archived_bytes(), at.state.alerts()))
        answer = query_pb2.GetStatusResponse(
            version=at.version,
            started=timestamp(at.started),
            agents=[self._agent(node) for node in nodes],
            events=sum(node.events for node in nodes),
            archived_bytes=archived,
            workloads=sum(each.last_seen > 0 for each in workloads),  # the others are expected only
            alerts=alerts,
            refused=at.counters.all(),
            now=timestamp(time.time_ns()),
            left_out=left_out,
            budget=spending.budget,
            replica_days=spending.replica_days,
        )
        if (ends := at.authority_ends()) is not None:
            answer.authority_ends.FromDatetime(ends)
        return answer

    def _agent(self, node: NodeRecord) -> query_pb2.GetStatusResponse.Agent:
        agent = query_pb2.GetStatusResponse.Agent(
            cluster=node.cluster,
            node=node.node,
            version=node.version,
            connected=self._sources.connected(node.cluster, node.node),
            last_batch=timestamp(node.last_batch),
            events=node.events,
            lost=node.lost,
        )
        if node.canary is not None:
            agent.last_canary.FromNanoseconds(node.canary.arrived)
            agent.canary_delay.FromNanoseconds(node.canary.delay)
        return agent

    @override
    async def ListWorkloads(
        self, request: query_pb2.ListWorkloadsRequest, context: "_Context[Any, Any]"
    ) -> query_pb2.ListWorkloadsResponse:
        """List what is watched."""
        workloads = await self._in(self._sources.worker, context, self._sources.pipeline.workloads)
        return query_pb2.ListWorkloadsResponse(
            workloads=[summary_to_proto(each) for each in workloads if request.namespace in {"", each.key.namespace}]
        )

    @override
    async def GetBaseline(
        self, request: query_pb2.GetBaselineRequest, context: "_Context[Any, Any]"
    ) -> query_pb2.GetBaselineResponse:
        """Return what a workload does, and what people decided about it."""
        at, key = self._sources, ref_from_proto(request.ref)
        answer = await self._in(at.worker, context, lambda: self._baseline(key, request))
        if answer is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such workload was seen")
        return answer

    def _baseline(self, key: WorkloadKey, request: query_pb2.GetBaselineRequest) -> query_pb2.GetBaselineResponse | None:
        at = self._sources
        entries = at.pipeline.baseline(key, request.container)
        if not entries and key not in {each.key for each in at.pipeline.workloads()}:
            return None
        return query_pb2.GetBaselineResponse(
            ref=request.ref,
            entries=map(baseline_to_proto, entries),
            completeness=map(completeness_to_proto, at.curator.completeness(key, request.container)),
            lock=lock_to_proto(at.curator.lock(key)),
        )

    @override
    async def ListBaselineChanges(
        self, request: query_pb2.ListBaselineChangesRequest, context: "_Context[Any, Any]"
    ) -> query_pb2.ListBaselineChangesResponse:
        """List what people did to a baseline, newest first."""
        at, key = self._sources, ref_from_proto(request.ref)
        changes = await self._in(at.readers, context, lambda: at.state.changes_of(key, limit=request.limit))
        return query_pb2.ListBaselineChangesResponse(
            records=[
                query_pb2.ListBaselineChangesResponse.Record(
                    time=timestamp(each.time), author=each.by, via=each.via, change=change_to_proto(each)
                )
                for each in changes
            ]
        )

    @override
    async def ListIncidents(
        self, request: query_pb2.ListIncidentsRequest, context: "_Context[Any, Any]"
    ) -> query_pb2.ListIncidentsResponse:
        """List incidents, newest first or as the request says."""
        state = self._sources.state
        incidents = await self._in(
            self._sources.readers,
            context,
            lambda: state.incidents(
                namespace=request.namespace,
                workload=request.workload,
                at_least=_severity(request.at_least),
                limit=request.limit,
                by_risk=request.by_risk,
            ),
        )
        return query_pb2.ListIncidentsResponse(incidents=map(incident_to_proto, incidents))

    @override
    async def WatchIncidents(
        self, request: query_pb2.WatchIncidentsRequest, context: "_Context[Any, Any]"
    ) -> AsyncIterator[query_pb2.WatchIncidentsResponse]:
        """Send incidents as they come."""
        watchers = self._sources.watchers
        try:
            queue = watchers.join()
        except TooManyWatchersError as error:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, str(error))
        try:
            await context.send_initial_metadata(())  # tells the caller that nothing is missed from here on
            while True:
                incident = await queue.get()
                if incident.severity >= _severity(request.at_least):
                    yield query_pb2.WatchIncidentsResponse(incident=incident_to_proto(incident))
        finally:
            watchers.leave(queue)

    @override
    async def ReplayEvents(
        self, request: query_pb2.ReplayEventsRequest, context: "_Context[Any, Any]"
    ) -> AsyncIterator[query_pb2.ReplayEventsResponse]:
        """Send recorded events in time order."""
        at = self._sources
        selection = Selection(
            since=nanoseconds(getattr(request, "from")),  # `from` is a word of Python
            until=nanoseconds(request.to),
            cluster=request.cluster,
            namespace=request.namespace,
            workload=request.workload,
            pod=request.pod,
            container=request.container,
        )
        if self._replays.locked():
            at.counters.add("too_many_replays")
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"{REPLAYS_MAX} replays run; try again later")
        async with self._replays:
            snapshot = await self._in(at.worker, context, lambda: at.pipeline.snapshot(selection))
            tables = at.archive.scan(snapshot, selection)
            try:
                while (messages := await self._in(at.readers, context, lambda: _next(tables))) is not None:
                    for message in messages:
                        yield message
            finally:
                tables.close()
                for file, _ in snapshot.segments:
                    file.close()


def _severity(number: int) -> Severity:
    """Return the severity asked for; none, or one of a newer command, is the lowest."""
    return Severity(number) if Severity.INFO <= number <= Severity.CRITICAL else Severity.INFO


def _next(tables: Iterator[EventColumns]) -> list[query_pb2.ReplayEventsResponse] | None:
    table = next(tables, None)
    if table is None:
        return None
    events = events_to_proto(table)
    return [
        query_pb2.ReplayEventsResponse(events=events[begin : begin + EVENTS_PER_MESSAGE])
        for begin in range(0, len(events), EVENTS_PER_MESSAGE)
    ]
