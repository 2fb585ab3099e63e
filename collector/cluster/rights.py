"""What service accounts may do with the API server, asked of it in the background when it matters.

The question is a SubjectAccessReview, which the collector may ask anyway; so it needs no right to read roles and bindings, and
the answer is that of whatever authorises in this cluster. Nobody waits for it: until it is there, nothing is known.
"""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from peerwatch.kubernetes.connection import ApiServer
from peerwatch.kubernetes.errors import ServerError

from collector.risk import Fact

__all__ = ["Rights"]

LOG = logging.getLogger(__name__)

PATH = "/apis/authorization.k8s.io/v1/subjectaccessreviews"

TIMEOUT_S = 5.0
"""For one answer."""

FRESH_S = 600.0
"""After which an answer is asked for again: what an account may changes with deployments."""

RETRY_S = 60.0
"""After which a question that had no answer is asked again, if somebody still wants to know."""

MOST_KNOWN = 10_000
"""Accounts, those asked for last: 2 MB. Incidents come from a handful."""

MOST_ASKED = 64
"""Accounts whose questions wait; more than that at once is an outage of the API server, and they are asked for again."""


@dataclass(frozen=True, slots=True)
class _Question:
    fact: Fact
    verb: str
    resource: str
    everywhere: bool
    subresource: str = ""
    group: str = ""


QUESTIONS = (
    _Question(Fact.ANYTHING, "*", "*", everywhere=True, group="*"),
    _Question(Fact.ALL_SECRETS, "list", "secrets", everywhere=True),
    _Question(Fact.SECRETS, "list", "secrets", everywhere=False),
    _Question(Fact.PODS, "create", "pods", everywhere=False),
    _Question(Fact.ENTER, "create", "pods", everywhere=False, subresource="exec"),
)
"""Whoever may start or enter pods has the rights of all accounts of the namespace."""

IMPLIED = {
    Fact.ANYTHING: Fact.ALL_SECRETS | Fact.SECRETS | Fact.PODS | Fact.ENTER,
    Fact.ALL_SECRETS: Fact.SECRETS,
}
"""What needs not be asked, nor said, any more."""


@dataclass(slots=True)
class _Known:
    facts: Fact | None
    until: float


class Rights:
    """What service accounts may, as far as it is known. Thread safe. `version` rises with each answer."""

    def __init__(self, server: ApiServer, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.version = 0
        self._server = server
        self._clock = clock
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[str, str], _Known] = OrderedDict()
        self._asked: set[tuple[str, str]] = set()
        self._executor = ThreadPoolExecutor(1, "rights")
        self._told = False

    def of(self, namespace: str, account: str) -> Fact | None:
        """Return what an account may, None if that is not known (yet); what is not known is asked for."""
        key = (namespace, account)
        with self._lock:
            known = self._known.get(key)
            if known is not None:
                self._known.move_to_end(key)
            if (known is None or known.until <= self._clock()) and key not in self._asked and len(self._asked) < MOST_ASKED:
                self._asked.add(key)
                self._executor.submit(self._ask, key)
        return None if known is None else known.facts

    def stop(self) -> None:
        """End, without waiting for answers."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _ask(self, key: tuple[str, str]) -> None:
        try:
            facts: Fact | None = self._answers(key)
        except ServerError as error:
            facts = None
            self._tell(error)
        with self._lock:
            before = self._known.get(key)
            if facts is None and before is not None:
                facts = before.facts  # as of then
            self._known[key] = _Known(facts, self._clock() + (FRESH_S if facts is not None else RETRY_S))
            self._known.move_to_end(key)
            if len(self._known) > MOST_KNOWN:
                self._known.popitem(last=False)
            self._asked.discard(key)
            self.version += 1

    def _answers(self, key: tuple[str, str]) -> Fact:
        facts = Fact(0)
        for question in QUESTIONS:
            implied = any(found in facts and question.fact in more for found, more in IMPLIED.items())
            if not implied and self._allows(key, question):
                facts |= question.fact
        return facts

    def _allows(self, key: tuple[str, str], question: _Question) -> bool:
        namespace, account = key
        attributes = {"verb": question.verb, "resource": question.resource, "group": question.group}
        if not question.everywhere:
            attributes["namespace"] = namespace
        if question.subresource:
            attributes["subresource"] = question.subresource
        spec = {
            "user": f"system:serviceaccount:{namespace}:{account}",
            "groups": ["system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated"],
            "resourceAttributes": attributes,
        }
        body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
        status = self._server.request("POST", PATH, body=body, timeout_s=TIMEOUT_S).get("status")
        return isinstance(status, dict) and status.get("allowed") is True

    def _tell(self, error: ServerError) -> None:
        if not self._told:
            self._told = True
            LOG.warning("what service accounts may is not known, and counts for no incident's risk: %s", error)
