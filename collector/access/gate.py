"""Stands before every call: who is it, may they. Nothing of a call is parsed or served before that is known.

A call that lasts is asked about again every few minutes, and ended when the answer has changed.
"""

import asyncio
import contextlib
import random
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any, NoReturn, TypeAlias, cast

import grpc
from typing_extensions import override

from collector.access.callers import Caller, RefusedCallError, entered
from collector.access.credentials import Credentials
from collector.access.doors import Door
from collector.access.rules import AGENTS, RULES, Rule

__all__ = ["Gate"]

CALLS_MAX = 8_192
"""Calls at a time: the streams of the largest cluster, and people. Beyond it a call is refused before anything else."""

RECHECK_S = 240.0
"""How often a call that lasts is asked about again: a token that is taken back works this long at most, and as long again as an
answer is fresh."""

_Handler = Any  # of gRPC; which of its four functions it has, depends on the method
_Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
_Message = Any  # of any type of query.proto and ingest.proto
_Responses = AsyncGenerator[_Message, None]


class Gate(grpc.aio.ServerInterceptor):
    """Lets calls through.

    Args:
        agents: the door of `AGENTS`.
        people: the door of everything else.
        count: told of each refusal, by reason.
        recheck_s: how often long calls are asked about again.
        calls_max: calls at a time.
    """

    def __init__(
        self,
        agents: Door,
        people: Door,
        *,
        count: Callable[[str], None],
        recheck_s: float = RECHECK_S,
        calls_max: int = CALLS_MAX,
    ) -> None:
        self._agents = agents
        self._people = people
        self._count = count
        self._recheck_s = recheck_s
        self._calls_max = calls_max
        self._calls = 0

    @override
    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[_Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> _Handler:
        """Return what serves a call: its own handler, behind the checks."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or (method != AGENTS and method not in RULES):
            return grpc.stream_stream_rpc_method_handler(self._refuse)  # whatever it is: no message of it is read
        door, rule = (self._agents, None) if method == AGENTS else (self._people, RULES[method])
        return grpc.stream_stream_rpc_method_handler(_Guard(self, door, rule, handler).serve, None, handler.response_serializer)

    async def _refuse(self, requests: AsyncIterator[Any], context: _Context) -> None:
        del requests
        self._count("unknown_call")
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "this collector has no such call; it may be older than the caller")

    @contextlib.asynccontextmanager
    async def passing(self, context: _Context) -> AsyncIterator[None]:
        """Count a call in and out, and end it when it is refused."""
        try:
            self._enter()
            try:
                yield
            finally:
                self._calls -= 1
        except RefusedCallError as refused:
            self._count(refused.reason)
            await context.abort(refused.code, str(refused))

    def _enter(self) -> None:
        if self._calls >= self._calls_max:
            raise RefusedCallError(
                "too_many_calls", grpc.StatusCode.RESOURCE_EXHAUSTED, f"{self._calls_max} calls are open; try again later"
            )
        self._calls += 1

    async def until_refused(self, responses: _Responses, check: Callable[[], Awaitable[object]]) -> AsyncIterator[_Message]:
        """Yield responses for as long as the caller may have them.

        Raises:
            RefusedCallError: they may not any more.
        """
        watching = asyncio.create_task(self._watch(check))
        waiting: list[asyncio.Task[Any]] = [watching]
        try:
            while True:
                step = asyncio.create_task(_next(responses))
                waiting = [step, watching]
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                if not step.done():
                    await watching  # raises
                response = step.result()
                if response is _END:
                    return
                yield response
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
            await responses.aclose()

    async def _watch(self, check: Callable[[], Awaitable[Any]]) -> NoReturn:
        while True:
            # Not for all callers at once.
            await asyncio.sleep(self._recheck_s * random.uniform(0.75, 1))  # noqa: S311 — spreads load, hides nothing
            await check()


class _Guard:
    """One call, behind its door.

    To gRPC each call is a stream of bytes, whatever it is in the contract; on the wire they are the same. So the request of a
    stranger is neither put together nor parsed, however large it is.
    """

    def __init__(self, gate: Gate, door: Door, rule: Rule | None, handler: _Handler) -> None:
        self._gate = gate
        self._door = door
        self._rule = rule
        self._handler = handler

    async def serve(self, raw: AsyncIterator[bytes], context: _Context) -> AsyncIterator[_Message]:
        """Answer, once it is known to whom."""
        async with self._gate.passing(context):
            shown, request = Credentials.of(context), None
            caller = await self._door.admit(shown)
            if not self._handler.request_streaming:
                request = self._parse(await anext(raw, b"") or b"")
                await self._allow(caller, request)
            entered(caller)
            if not self._handler.response_streaming:
                yield await self._handler.unary_unary(request, context)
                return

            async def check() -> None:
                await self._allow(await self._door.admit(shown), request)

            async for response in self._gate.until_refused(self._responses(raw, request, context), check):
                yield response

    def _responses(self, raw: AsyncIterator[bytes], request: _Message, context: _Context) -> _Responses:
        handler: _Handler = self._handler
        if handler.request_streaming:
            return cast("_Responses", handler.stream_stream(self._parsed(raw), context))
        return cast("_Responses", handler.unary_stream(request, context))

    async def _allow(self, caller: Caller, request: _Message) -> None:
        if self._rule is not None:
            await self._door.allow(caller, self._rule.permission(request))

    def _parse(self, raw: bytes) -> _Message:
        try:
            return self._handler.request_deserializer(raw)
        except Exception:  # noqa: BLE001 — whatever the parser thinks of it, it is no request
            raise RefusedCallError("bad_message", grpc.StatusCode.INVALID_ARGUMENT, "the request cannot be read") from None

    async def _parsed(self, requests: AsyncIterator[bytes]) -> AsyncIterator[_Message]:
        async for raw in requests:
            yield self._parse(raw)


_END = object()


async def _next(responses: _Responses) -> _Message:
    return await anext(responses, _END)
