"""Who may come in, and as whom: one door for agents, one for people. Which one leads where is in `rules`."""

import re
from typing import Protocol

import grpc

from collector.access.callers import Caller, Permission, RefusedCallError
from collector.access.credentials import Claims, Credentials
from collector.access.reviews import Reviews

__all__ = ["AUDIENCE", "AnyAgent", "AnyUser", "CertificateAgents", "Door", "TokenAgents", "TokenUsers"]

AUDIENCE = "peerwatch-collector"
"""What tokens are made for that are shown here only; an agent's is of no use at the API server. The chart says the same."""

_NODE_URI = re.compile(r"peerwatch://node/([A-Za-z0-9.\-]{1,253})", re.ASCII)


class Door(Protocol):
    """Lets callers in, or not. Asked again for calls that last."""

    async def admit(self, shown: Credentials) -> Caller:
        """Return who it is.

        Raises:
            RefusedCallError: they may not come in.
        """

    async def allow(self, caller: Caller, may: Permission) -> None:
        """Let them do what they ask for.

        Raises:
            RefusedCallError: they may not.
        """


class AnyAgent:
    """Whoever reaches the port is an agent, and speaks for the node that they name."""

    async def admit(self, shown: Credentials) -> Caller:
        """Let them in."""
        del shown
        return Caller()

    async def allow(self, caller: Caller, may: Permission) -> None:
        """Let them."""


class AnyUser(AnyAgent):
    """Whoever reaches the port may look and decide, under the name that they give."""


class TokenAgents:
    """Agents show the token that their pod was given. It must be of one service account, and made for this collector."""

    def __init__(self, reviews: Reviews, account: str) -> None:
        """`account` is NAMESPACE/NAME."""
        self._reviews = reviews
        self._user = f"system:serviceaccount:{account.replace('/', ':')}"

    async def admit(self, shown: Credentials) -> Caller:
        """Return the node whose kubelet asked for the token."""
        token = shown.token()
        claims = Claims.of(token)
        # Most strangers are turned away here, by what they say of themselves: that costs nobody anything.
        if claims is None:
            raise _no("bad_token", "an agent's token is a service account's")
        if AUDIENCE not in claims.audiences:
            raise _no("foreign_audience", f"the token is not made for audience {AUDIENCE}")
        self._check_account(claims.subject)
        who = await self._reviews.identify(token, AUDIENCE, shown.address)
        self._check_account(who.name)
        if not who.node:
            raise _no("no_node", "the API server names no node: the token must be a pod's, and Kubernetes 1.30 or newer")
        return Caller(who.name, who.node, who)

    def _check_account(self, user: str) -> None:
        if user != self._user:
            raise RefusedCallError(
                "foreign_account", grpc.StatusCode.PERMISSION_DENIED, "this service account is not the agents'"
            )

    async def allow(self, caller: Caller, may: Permission) -> None:
        """Let them: an agent may do one thing, and which events it may send is looked at with the events."""


class CertificateAgents:
    """Agents show a certificate that names their node, as the URI peerwatch://node/NAME; nothing else in it counts."""

    async def admit(self, shown: Credentials) -> Caller:
        """Return the node of the certificate; that it is valid, TLS has checked."""
        found = [match[1] for match in map(_NODE_URI.fullmatch, shown.uris) if match]
        if not shown.certified or len(found) != 1:
            raise _no("no_node", "the certificate names no node: one URI peerwatch://node/NAME is needed")
        return Caller(f"certificate of node {found[0]}", found[0])

    async def allow(self, caller: Caller, may: Permission) -> None:
        """Let them, as `TokenAgents`."""


class TokenUsers:
    """People show a token of the cluster, and its RBAC decides; who is in the collector's pod already need not."""

    def __init__(self, reviews: Reviews) -> None:
        self._reviews = reviews

    async def admit(self, shown: Credentials) -> Caller:
        """Return who it is."""
        if shown.local:
            return Caller()
        token = shown.token()
        claims = Claims.of(token)
        # Either audience will do, and the API server checks it: one for this collector only, or whatever it takes itself.
        audience = AUDIENCE if claims is not None and AUDIENCE in claims.audiences else ""
        who = await self._reviews.identify(token, audience, shown.address)
        return Caller(who.name, identity=who)

    async def allow(self, caller: Caller, may: Permission) -> None:
        """Let them if RBAC does."""
        if caller.identity is not None:
            await self._reviews.require(caller.identity, may)


def _no(reason: str, text: str) -> RefusedCallError:
    return RefusedCallError(reason, grpc.StatusCode.UNAUTHENTICATED, text)
