"""The gate with real gRPC on both sides; who callers are is said by a reviewer that the test holds."""

import asyncio
import base64
import json
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from peerwatch.v1 import ingest_pb2, ingest_pb2_grpc, query_pb2, query_pb2_grpc
from typing_extensions import override

from collector.access import callers, reviews
from collector.access.answers import Freshness
from collector.access.callers import NODE_NAME, Identity, Permission
from collector.access.doors import AUDIENCE, TokenAgents, TokenUsers
from collector.access.entrance import SERVER_OPTIONS
from collector.access.gate import Gate
from collector.access.reviews import Reviews
from collector.access.rules import AGENTS, RULES

Context = grpc.aio.ServicerContext
Metadata = tuple[tuple[str, str], ...]
ACCOUNT = "peerwatch/peerwatch-agent"
AGENT_USER = "system:serviceaccount:peerwatch:peerwatch-agent"


def token(**claims: object) -> str:
    """Return a token that says this of itself; nothing has signed it."""
    middle = {"sub": AGENT_USER, "aud": [AUDIENCE]} | claims
    return f"e30.{base64.urlsafe_b64encode(json.dumps(middle).encode()).decode().rstrip('=')}.c2lnbmF0dXJl"


@dataclass
class Reviewer:
    """Knows tokens and rights."""

    tokens: dict[str, Identity] = field(default_factory=dict)
    rights: set[tuple[str, Permission]] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)

    def review(self, token: str, audience: str) -> Identity | None:
        self.asked.append(audience)
        return self.tokens.get(token)

    def allows(self, who: Identity, may: Permission) -> bool:
        return (who.name, may) in self.rights


class Services(query_pb2_grpc.QueryServiceServicer, ingest_pb2_grpc.IngestServiceServicer):
    """Tell who calls."""

    @override
    async def ListIncidents(self, request: object, context: Context) -> query_pb2.ListIncidentsResponse:
        await context.send_initial_metadata((("caller", callers.current().name),))
        return query_pb2.ListIncidentsResponse()

    @override
    async def WatchIncidents(self, request: object, context: Context) -> AsyncIterator[query_pb2.WatchIncidentsResponse]:
        await context.send_initial_metadata((("caller", callers.current().name),))
        await asyncio.Event().wait()
        yield query_pb2.WatchIncidentsResponse()

    @override
    async def Stream(self, requests: AsyncIterator[Any], context: Context) -> AsyncIterator[ingest_pb2.StreamResponse]:
        await context.send_initial_metadata((("node", callers.current().node),))
        async for request in requests:
            yield ingest_pb2.StreamResponse(acknowledged=request.batch.sequence)


@dataclass
class Site:
    reviewer: Reviewer
    refused: Counter[str]
    channel: grpc.aio.Channel

    async def refusal(
        self, method: str, shown: str | None, message: bytes = b"", *, kind: str = "unary_unary"
    ) -> grpc.aio.AioRpcError:
        """Make a call that must fail and return the error."""
        metadata = () if shown is None else (("authorization", f"Bearer {shown}"),)
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await self.call(method, metadata, message, kind)
        assert not shown or shown not in str(raised.value)
        return raised.value

    async def call(self, method: str, metadata: Metadata, message: bytes = b"", kind: str = "unary_unary") -> object:
        call = getattr(self.channel, kind)(method)
        if kind == "unary_unary":
            return await call(message, metadata=metadata)
        stream = call(metadata=metadata) if kind == "stream_stream" else call(message, metadata=metadata)
        # Nothing is written to be refused: a write that meets the refusal half-way ends the call as INTERNAL on this side.
        if kind == "stream_stream" and message:
            await stream.write(message)
        return await stream.read()


def with_site(body: Callable[[Site], Awaitable[None]], **gate: float) -> Site:
    sites = []

    async def main() -> None:
        reviewer, refused = Reviewer(), Counter[str]()
        with ThreadPoolExecutor(2) as threads:
            known = Reviews(reviewer, threads)
            doors = TokenAgents(known, ACCOUNT), TokenUsers(known)
            server = grpc.aio.server(
                options=SERVER_OPTIONS, interceptors=[Gate(*doors, count=lambda reason: refused.update([reason]), **gate)]
            )
            query_pb2_grpc.add_QueryServiceServicer_to_server(Services(), server)
            ingest_pb2_grpc.add_IngestServiceServicer_to_server(Services(), server)
            handlers = {"Sum": grpc.unary_unary_rpc_method_handler(lambda *_: b"")}
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("peerwatch.v1.New", handlers),))
            port = server.add_insecure_port("127.0.0.1:0")
            await server.start()
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                sites.append(Site(reviewer, refused, channel))
                try:
                    await asyncio.wait_for(body(sites[0]), 30)
                finally:
                    await server.stop(0)

    asyncio.run(main())
    return sites[0]


def test_every_call_of_the_contract_is_in_the_table() -> None:
    services = {**query_pb2.DESCRIPTOR.services_by_name, **ingest_pb2.DESCRIPTOR.services_by_name}
    methods = {f"/{service.full_name}/{each.name}" for service in services.values() for each in service.methods}

    assert methods == RULES.keys() | {AGENTS}


def test_every_namespace_that_a_rule_asks_about_is_one_of_its_requests() -> None:
    for method, rule in RULES.items():
        service, name = method.split("/")[1:]
        (found,) = (each for each in query_pb2.DESCRIPTOR.services_by_name.values() if each.full_name == service)
        request = getattr(query_pb2, found.methods_by_name[name].input_type.name)()
        assert rule.permission(request).namespace == ""  # raises if there is no such field


def test_a_call_that_is_not_in_the_table_is_refused_though_it_is_served() -> None:
    async def body(site: Site) -> None:
        error = await site.refusal("/peerwatch.v1.New/Sum", None)
        assert error.code() is grpc.StatusCode.UNIMPLEMENTED

    assert with_site(body).refused == {"unknown_call": 1}


@pytest.mark.parametrize(
    ("shown", "reason"),
    [
        (None, "no_token"),
        ("", "bad_token"),
        ("two words", "bad_token"),
        ("x" * 20_000, "bad_token"),
        ("not.a.jwt", "bad_token"),
        (token(aud=["https://kubernetes.default.svc"]), "foreign_audience"),
        (token(aud=7), "foreign_audience"),
        (token(sub="system:serviceaccount:peerwatch:default"), "foreign_account"),
        (token(sub=["system:serviceaccount:peerwatch:peerwatch-agent"]), "foreign_account"),
    ],
)
def test_most_strangers_are_refused_as_agents_without_a_question_to_anybody(shown: str | None, reason: str) -> None:
    async def body(site: Site) -> None:
        error = await site.refusal(AGENTS, shown, kind="stream_stream")
        assert error.code() in {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}

    site = with_site(body)
    assert (site.refused, site.reviewer.asked) == ({reason: 1}, [])


@pytest.mark.parametrize(
    ("who", "reason"),
    [
        (None, "token_refused"),
        (Identity("system:serviceaccount:peerwatch:other", extra=((NODE_NAME, ("node-1",)),)), "foreign_account"),
        (Identity(AGENT_USER), "no_node"),
        (Identity(AGENT_USER, extra=((NODE_NAME, ("node-1", "node-2")),)), "no_node"),
    ],
)
def test_what_a_token_says_of_itself_is_worth_nothing_against_the_review(who: Identity | None, reason: str) -> None:
    async def body(site: Site) -> None:
        if who is not None:
            site.reviewer.tokens[token()] = who
        await site.refusal(AGENTS, token(), kind="stream_stream")

    assert with_site(body).refused == {reason: 1}


def test_an_agent_is_on_the_node_of_its_review() -> None:
    async def body(site: Site) -> None:
        site.reviewer.tokens[token()] = Identity(AGENT_USER, extra=((NODE_NAME, ("node-7",)),))
        stream = site.channel.stream_stream(AGENTS)(metadata=(("authorization", f"Bearer {token()}"),))
        assert dict(await stream.initial_metadata())["node"] == "node-7"
        stream.cancel()

    assert with_site(body).reviewer.asked == [AUDIENCE]


def test_an_agent_may_not_ask_and_a_person_may_not_send() -> None:
    async def body(site: Site) -> None:
        site.reviewer.tokens[token()] = Identity(AGENT_USER, extra=((NODE_NAME, ("node-7",)),))
        site.reviewer.tokens["opaque"] = Identity("alice")
        error = await site.refusal("/peerwatch.v1.QueryService/ListIncidents", token())
        assert error.code() is grpc.StatusCode.PERMISSION_DENIED
        assert "get incidents.peerwatch.dev" in error.details()
        await site.refusal(AGENTS, "opaque", kind="stream_stream")

    assert with_site(body).refused == {"not_allowed": 1, "bad_token": 1}


def test_rbac_is_asked_about_the_namespace_that_a_request_is_limited_to() -> None:
    async def body(site: Site) -> None:
        site.reviewer.tokens["alices-token"] = Identity("alice")
        site.reviewer.rights.add(("alice", Permission("get", "incidents", "shop")))
        method, metadata = "/peerwatch.v1.QueryService/ListIncidents", (("authorization", "Bearer alices-token"),)
        call = site.channel.unary_unary(method)(
            query_pb2.ListIncidentsRequest(namespace="shop").SerializeToString(), metadata=metadata
        )
        assert dict(await call.initial_metadata())["caller"] == "alice"
        await call
        for namespace in ("", "bank"):
            request = query_pb2.ListIncidentsRequest(namespace=namespace).SerializeToString()
            await site.refusal(method, "alices-token", request)

    site = with_site(body)
    assert (site.refused, site.reviewer.asked) == ({"not_allowed": 2}, [""])


def test_garbage_is_not_even_parsed_before_it_is_known_who_sent_it() -> None:
    async def body(site: Site) -> None:
        method, garbage = "/peerwatch.v1.QueryService/ListIncidents", b"\xff" * 100
        error = await site.refusal(method, "nobody", garbage)
        assert error.code() is grpc.StatusCode.UNAUTHENTICATED
        site.reviewer.tokens["alices-token"] = Identity("alice")
        error = await site.refusal(method, "alices-token", garbage)
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        site.reviewer.tokens[token()] = Identity(AGENT_USER, extra=((NODE_NAME, ("n",)),))
        error = await site.refusal(AGENTS, token(), garbage, kind="stream_stream")
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT

    assert with_site(body).refused == {"token_refused": 1, "bad_message": 2}


def test_a_call_that_lasts_ends_when_its_token_is_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reviews, "TOKENS", Freshness(yes_s=0, no_s=0, stale_s=0))

    async def body(site: Site) -> None:
        metadata = (("authorization", "Bearer alices-token"),)
        site.reviewer.tokens["alices-token"] = Identity("alice")
        site.reviewer.rights.add(("alice", Permission("watch", "incidents")))
        watch = site.channel.unary_stream("/peerwatch.v1.QueryService/WatchIncidents")(b"", metadata=metadata)
        assert dict(await watch.initial_metadata())["caller"] == "alice"
        site.reviewer.tokens.clear()
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await watch.read()
        assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED

    with_site(body, recheck_s=0.05)


def test_calls_beyond_the_bound_are_refused_and_those_that_end_make_room() -> None:
    async def body(site: Site) -> None:
        site.reviewer.tokens[token()] = Identity(AGENT_USER, extra=((NODE_NAME, ("n",)),))
        metadata = (("authorization", f"Bearer {token()}"),)
        streams = [site.channel.stream_stream(AGENTS)(metadata=metadata) for _ in range(3)]
        for stream in streams:
            await stream.initial_metadata()
        error = await site.refusal(AGENTS, token(), kind="stream_stream")
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        await streams[0].done_writing()
        assert await streams[0].read() is grpc.aio.EOF
        again = site.channel.stream_stream(AGENTS)(metadata=metadata)
        assert dict(await again.initial_metadata())["node"] == "n"
        for stream in (*streams, again):
            stream.cancel()

    assert with_site(body, calls_max=3).refused == {"too_many_calls": 1}


def test_no_token_is_ever_written_to_a_log(caplog: pytest.LogCaptureFixture) -> None:
    secret = token(jti="secret")

    async def body(site: Site) -> None:
        def fail(token: str, audience: str) -> Identity | None:
            raise ValueError(f"HTTP 400: {token} for {audience}")

        await site.refusal(AGENTS, secret, kind="stream_stream")
        site.reviewer.review = fail  # type: ignore[method-assign]  # a fault that nobody foresaw
        await site.refusal("/peerwatch.v1.QueryService/ListIncidents", token(jti="other"))

    with caplog.at_level(logging.DEBUG):
        with_site(body)
    assert secret not in caplog.text
