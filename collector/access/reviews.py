"""What the API server says of a token, and of what its user may do: TokenReview and SubjectAccessReview.

The API server's word is the only one that counts; what a token says of itself is not looked at here. Tokens are kept nowhere:
answers are found again by a digest.
"""

import hashlib
import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from typing import Any, Protocol

import grpc
from peerwatch.kubernetes.connection import ApiServer
from peerwatch.kubernetes.errors import ServerError

from collector.access.answers import Answers, AwayError, Freshness
from collector.access.budget import Budget
from collector.access.callers import Identity, Permission, RefusedCallError

__all__ = ["ApiReviewer", "Reviewer", "Reviews"]

LOG = logging.getLogger(__name__)

GROUP = "peerwatch.dev"
"""The API group of what people may do here. Nothing is installed under it: RBAC decides about names that it does not know."""

TIMEOUT_S = 5.0
"""For one answer: an agent waits 10 s for its own."""

TOKENS = Freshness(yes_s=120, no_s=30, stale_s=3_600)
"""A token that is taken back works two minutes more. While the API server is away, known tokens hold on for an hour, as long as
the kubelet's live, so that detection goes on through an upgrade of the control plane."""

RIGHTS = Freshness(yes_s=30, no_s=10, stale_s=300)
"""People see at once what changed in RBAC; and nobody decides about baselines for long while nobody can say who may."""

BURST, PER_S = 10.0, 1.0
"""Unknown tokens of one address: an agent has a new one each hour, people that share an address a few."""

INVALID = frozenset({400, 413, 422})
"""The API server was asked, and found the question itself impossible: the token's fault."""

DENIED = frozenset({401, 403})
"""The collector itself may not ask."""

TELL_S = 60.0
"""A reason why nothing can be asked is logged this often, at most."""


class Reviewer(Protocol):
    """Answers, and may block; raises AwayError when there is no answer."""

    def review(self, token: str, audience: str) -> Identity | None:
        """Return whose token it is; None: nobody's, or not made for this audience (empty: the API server's own)."""

    def allows(self, who: Identity, may: Permission) -> bool:
        """Say whether RBAC lets them."""


class ApiReviewer:
    """Asks a real API server. Thread safe."""

    def __init__(self, api: ApiServer) -> None:
        self._api = api

    def review(self, token: str, audience: str) -> Identity | None:
        """Ask with a TokenReview."""
        spec: dict[str, Any] = {"token": token}
        if audience:
            spec["audiences"] = [audience]
        try:
            status = self._ask("authentication.k8s.io", "TokenReview", spec)
        except _ImpossibleError:
            return None
        user = status.get("user")
        # An authenticator that knows nothing of audiences says yes to any; without this, its tokens would be good here, too.
        if status.get("authenticated") is not True or (audience and audience not in (status.get("audiences") or ())):
            return None
        return _identity(user) if isinstance(user, Mapping) and user.get("username") else None

    def allows(self, who: Identity, may: Permission) -> bool:
        """Ask with a SubjectAccessReview."""
        attributes = {"group": GROUP, "resource": may.resource, "verb": may.verb, "namespace": may.namespace}
        spec = {
            "user": who.name,
            "uid": who.uid,
            "groups": list(who.groups),
            "extra": {key: list(values) for key, values in who.extra},
            "resourceAttributes": attributes,
        }
        try:
            return self._ask("authorization.k8s.io", "SubjectAccessReview", spec).get("allowed") is True
        except _ImpossibleError:  # a namespace that cannot be one
            return False

    def _ask(self, group: str, kind: str, spec: Mapping[str, Any]) -> Mapping[str, Any]:
        body = {"apiVersion": f"{group}/v1", "kind": kind, "spec": spec}
        path = f"/apis/{group}/v1/{kind.lower()}s"
        try:
            answer = self._api.request("POST", path, body=body, timeout_s=TIMEOUT_S)
        except ServerError as error:
            if error.status in INVALID:
                raise _ImpossibleError from None
            if error.status in DENIED:
                raise AwayError(f"the collector may not create {kind}s (HTTP {error.status}); see its ClusterRole") from None
            raise AwayError(f"the API server does not answer a {kind} ({_cause(error)})") from None
        status = answer.get("status")
        return status if isinstance(status, Mapping) else {}


class _ImpossibleError(Exception):
    """The API server says that the question makes no sense."""


class Reviews:
    """What a `Reviewer` says, remembered. Belongs to the event loop; questions are asked in `executor`."""

    def __init__(self, reviewer: Reviewer, executor: Executor, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._reviewer = reviewer
        self._clock = clock
        self._tokens: Answers[Identity] = Answers(TOKENS, executor, clock=clock)
        self._rights: Answers[bool] = Answers(RIGHTS, executor, clock=clock)
        self._budget = Budget(burst=BURST, per_s=PER_S)
        self._told = -TELL_S

    async def identify(self, token: str, audience: str, address: str) -> Identity:
        """Return whose token it is.

        Raises:
            RefusedCallError: nobody's, too many were tried from this address, or it cannot be found out now.
        """

        def before() -> None:
            if not self._budget.take(address, self._clock()):
                raise RefusedCallError(
                    "too_many_tokens", grpc.StatusCode.RESOURCE_EXHAUSTED, "too many unknown tokens from here; try again later"
                )

        digest = hashlib.sha256(f"{audience} {token}".encode()).digest()
        try:
            who = await self._tokens.get(digest, lambda: self._reviewer.review(token, audience), before=before)
        except AwayError as error:
            raise self._away(error) from None
        if who is None:
            wanted = f"for audience {audience}" if audience else "for the API server"
            raise RefusedCallError(
                "token_refused", grpc.StatusCode.UNAUTHENTICATED, f"the API server does not take the token as one {wanted}"
            )
        return who

    async def require(self, who: Identity, may: Permission) -> None:
        """Let them pass if RBAC does.

        Raises:
            RefusedCallError: it does not, or it cannot be found out now.
        """
        try:
            allowed = await self._rights.get((who, may), lambda: self._reviewer.allows(who, may) or None, before=lambda: None)
        except AwayError as error:
            raise self._away(error) from None
        if not allowed:
            raise RefusedCallError(
                "not_allowed", grpc.StatusCode.PERMISSION_DENIED, f"{who.name[:200]} may not {may}; ask for a role that does"
            )

    def _away(self, error: AwayError) -> RefusedCallError:
        if self._clock() - self._told >= TELL_S:
            self._told = self._clock()
            LOG.warning("callers cannot be known: %s; those known before hold on for a while", error)
        return RefusedCallError(
            "reviews_unavailable", grpc.StatusCode.UNAVAILABLE, "who calls cannot be found out now: try again later"
        )


def _identity(user: Mapping[str, Any]) -> Identity:
    extra = user.get("extra") or {}
    return Identity(
        str(user["username"]),
        str(user.get("uid") or ""),
        tuple(map(str, user.get("groups") or ())),
        tuple(sorted((str(key), tuple(map(str, values))) for key, values in extra.items())),
    )


def _cause(error: ServerError) -> str:
    """Say what failed, without the server's own words: they may repeat what was sent."""
    return f"HTTP {error.status}" if error.status else "no connection"
