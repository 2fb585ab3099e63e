"""Who a caller is once that is proven, and what it means that somebody is refused.

A handler asks `current()`: what a message claims about its sender is compared with that, never believed.
"""

from contextvars import ContextVar
from dataclasses import dataclass

import grpc
from typing_extensions import override

__all__ = ["Caller", "Identity", "Permission", "RefusedCallError", "current", "entered"]

NODE_NAME = "authentication.kubernetes.io/node-name"
"""Under this key a TokenReview tells the node of the pod that a token was made for (Kubernetes 1.30 and newer)."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A user as the API server knows them; what it says of a user is asked back with each question about their rights."""

    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @property
    def node(self) -> str:
        """The node that the token's pod runs on; empty if the API server does not say."""
        values = dict(self.extra).get(NODE_NAME, ())
        return values[0] if len(values) == 1 else ""


@dataclass(frozen=True, slots=True)
class Permission:
    """A question to RBAC about the API group peerwatch.dev. An empty namespace means: in all of them."""

    verb: str
    resource: str
    namespace: str = ""

    @override
    def __str__(self) -> str:
        where = f"in namespace {self.namespace}" if self.namespace else "in all namespaces"
        return f"{self.verb} {self.resource}.peerwatch.dev {where}"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls. Empty: nobody had to prove anything (everybody may, or they came through the socket in the pod)."""

    name: str = ""
    node: str = ""
    """An agent's node; its stream may be about no other."""
    identity: Identity | None = None


class RefusedCallError(Exception):
    """A call is refused.

    Args:
        reason: the name of the counter.
        code: what the caller is told.
        text: one line for the caller, without anything they sent.
    """

    def __init__(self, reason: str, code: grpc.StatusCode, text: str) -> None:
        super().__init__(text)
        self.reason = reason
        self.code = code


_NOBODY = Caller()
_CURRENT: ContextVar[Caller] = ContextVar("caller", default=_NOBODY)


def current() -> Caller:
    """Return who makes the call that is being served."""
    return _CURRENT.get()


def entered(caller: Caller) -> None:
    """Say who makes the call that this task serves."""
    _CURRENT.set(caller)
