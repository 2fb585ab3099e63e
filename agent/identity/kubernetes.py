"""Pods of this node from the Kubernetes API server: a list, then a watch for as long as the agent lives.

Plain HTTP: the client library's typed API costs 95 MB of memory for the models, of which not one is needed here, and its own
informer retries without a pause and keeps whole objects.
"""

import logging
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

import orjson

from agent.backoff import Backoff
from agent.identity.apiserver import from_kubeconfig, from_pod
from agent.identity.index import PodIndex
from agent.identity.pods import MalformedPodError, PodRecord, parse_pod
from agent.identity.watchlines import Change, ExpiredError, ServerError, failure, lines, watch_event

__all__ = ["KubernetesPods"]

_log = logging.getLogger(__name__)

PAGE = 500
"""Pods asked for at a time, as kubectl does; a node has fewer, so one page is the rule."""

CONNECT_TIMEOUT_S = 5.0
LIST_TIMEOUT_S = 30.0
"""Between two reads of a list's answer, seconds."""

INACTIVITY_S = 75.0
"""A watch that says nothing this long is taken for dead, seconds: bookmarks come each minute, plus up to a quarter jitter."""

WATCH_S = (240, 480)
"""The server ends a watch after a random time between these, seconds: agents that began together do not end together."""

RETRY_FIRST_S = 0.5
RETRY_CAP_S = 30.0
"""Longest pause between two tries, seconds, unless the server asks for more."""

RETRY_AFTER_CAP_S = 120.0
"""Longest pause that a server may ask for, seconds."""

STEADY_S = 10.0
"""A watch that lived shorter counts as a failure for the pace, seconds: a server that ends each at once is not hammered."""

MAX_LIST = 64 << 20
"""Largest page that is read, bytes."""


class KubernetesPods:
    """Keeps an index equal to the API server's pods of one node, from a thread.

    A server that is gone changes nothing but `age_s`: the index keeps what it has, the log gets one line, and one when the
    server is back. `synced` is set once the first list is in the index. `malformed` counts pods that could not be used.
    """

    def __init__(self, index: PodIndex, node: str, *, kubeconfig: str | None = None) -> None:
        """`kubeconfig`: a file; None means the service account of the pod that the agent runs in.

        Raises:
            ConfigError: there is no usable configuration.
        """
        self.synced = threading.Event()
        self.malformed = 0
        self._index = index
        self._node = node
        self._server = from_pod() if kubeconfig is None else from_kubeconfig(kubeconfig)
        self._backoff = Backoff(RETRY_FIRST_S, RETRY_CAP_S)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kubernetes-pods", daemon=True)
        self._heard_at = time.monotonic()
        self._down_since: float | None = None
        self._response: Any = None

    def start(self) -> None:
        """Begin; returns at once, also when the server cannot be reached."""
        self._thread.start()

    def stop(self) -> None:
        """End the watch; the index keeps what it has."""
        self._stop.set()
        response = self._response
        if response is not None:
            try:
                response.shutdown()  # wakes the read; closing would wait for it
            except (OSError, ValueError, RuntimeError):
                _log.debug("the watch had ended by itself")
        # A connect in progress is not woken; the thread is a daemon and ends with the process.
        self._thread.join(CONNECT_TIMEOUT_S)

    def age_s(self) -> float:
        """Return how long ago the server last said anything about these pods, seconds: how stale the index may be."""
        return time.monotonic() - self._heard_at

    def _run(self) -> None:
        # "0": any version that the server has in memory, as the kubelet asks; "": the newest, read through to etcd, which is
        # dear and asked for only when the server has forgotten the version that we have.
        version, listed = "0", False
        while not self._stop.is_set():
            pause = 0.0
            begin = time.monotonic()
            try:
                if not listed:
                    version, listed = self._list(version), True
                version = self._watch(version)
            except ExpiredError as expired:
                _log.debug("listing again: %s", expired)
                version, listed = "", False
            except _Lost as lost:
                pause = lost.retry_after_s
                self._tell_lost(lost)
            # The pace begins anew after a watch that lasted; whatever ends sooner waits longer each time.
            if time.monotonic() - begin >= STEADY_S:
                self._backoff.reset()
            self._stop.wait(max(self._backoff.next_s(), min(pause, RETRY_AFTER_CAP_S)))

    def _list(self, version: str) -> str:
        """Put the current pods into the index; return the version at which they are."""
        pods: list[PodRecord] = []
        token = ""
        while True:
            parameters = {"limit": str(PAGE)} | ({"continue": token} if token else {"resourceVersion": version})
            with self._request(parameters, LIST_TIMEOUT_S) as response:
                body = response.read(MAX_LIST + 1)
            if len(body) > MAX_LIST:
                raise _Lost(f"a list is larger than {MAX_LIST >> 20} MiB")
            try:
                page = orjson.loads(body)
                items, metadata = page["items"] or [], page["metadata"]
                next_version, token = metadata["resourceVersion"], metadata.get("continue", "")
            except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
                raise _Lost("its answer to a list is no PodList") from None
            pods.extend(pod for item in items if (pod := self._parse(item)) is not None)
            if not token:
                break
        self._index.replace(pods)
        self.synced.set()
        self._heard(len(pods))
        return str(next_version)

    def _watch(self, version: str) -> str:
        """Follow changes until the watch ends, in whatever way; return the version at which to go on.

        A watch that breaks is no outage: servers end each after a while, balancers cut them. The next request will tell.
        """
        parameters = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(random.randint(*WATCH_S)),  # noqa: S311 — spreads load, hides nothing
        }
        try:
            with self._request(parameters, INACTIVITY_S) as response:
                self._heard(len(self._index))
                self._response = response
                for line in lines(self._chunks(response)):
                    event = watch_event(line)
                    if event is None:
                        continue
                    if event.change is Change.DELETE:
                        self._index.delete(str(event.object["metadata"].get("uid", "")))
                    elif event.change is Change.APPLY and (pod := self._parse(event.object)) is not None:
                        self._index.apply(pod)
                    version = event.version
                    self._heard_at = time.monotonic()
        except _Lost as lost:
            if self._response is None:
                raise
            _log.debug("watch ended: %s", lost)
        finally:
            self._response = None
        return version

    def _chunks(self, response: Any) -> Iterator[bytes]:  # noqa: ANN401 — urllib3's response, imported late
        # `stop` may have come before there was a response to shut down.
        if not self._stop.is_set():
            yield from response.stream(1 << 16)

    def _parse(self, raw: object) -> PodRecord | None:
        try:
            return parse_pod(raw)
        except MalformedPodError as error:
            self.malformed += 1
            if self.malformed == 1:
                _log.warning(
                    "the API server sent a pod that cannot be used (%s); such pods are counted, not named again", error
                )
            return None

    @contextmanager
    def _request(self, parameters: dict[str, str], read_timeout_s: float) -> Iterator[Any]:
        """Ask for pods of this node; what goes wrong until the answer is read becomes `_Lost`, save an expired version."""
        from urllib3 import Timeout  # noqa: PLC0415 — not there without peerwatch[agent], which the server above has checked
        from urllib3.exceptions import HTTPError  # noqa: PLC0415 — as above

        query = urlencode({"fieldSelector": f"spec.nodeName={self._node}"} | parameters)
        response = None
        try:
            response = self._server.pool.request(
                "GET",
                f"{self._server.url}/api/v1/pods?{query}",
                headers={"Accept": "application/json", "User-Agent": "peerwatch-agent"} | self._credentials(),
                timeout=Timeout(connect=CONNECT_TIMEOUT_S, read=read_timeout_s),
                preload_content=False,
                retries=False,  # pauses are ours
            )
            if response.status != 200:
                raise failure(response.status, response.read(1 << 16), response.headers.get("Retry-After", ""))
            yield response
        except ExpiredError:
            raise
        except ServerError as error:
            raise _Lost(str(error), error.retry_after_s) from error
        except (HTTPError, OSError) as error:
            raise _Lost(" ".join(str(error).split())[:200]) from error
        finally:
            if response is not None:
                response.close()  # a watch is never read to its end, so its connection cannot be used again

    def _credentials(self) -> dict[str, str]:
        try:
            return self._server.credentials()
        except Exception as error:  # a token file that is gone, a plugin that fails: it may be back with the next try
            raise _Lost(f"no credentials: {' '.join(str(error).split())[:200]}") from error

    def _heard(self, pods: int) -> None:
        self._heard_at = time.monotonic()
        if self._down_since is not None:
            _log.info("the API server is back after %.0f s: %d pods", self._heard_at - self._down_since, pods)
            self._down_since = None

    def _tell_lost(self, lost: "_Lost") -> None:
        if self._down_since is None and not self._stop.is_set():
            self._down_since = time.monotonic()
            _log.warning(
                "no pods from the API server at %s (%s); the %d known stay, new ones are unknown until it is back",
                self._server.url,
                lost,
                len(self._index),
            )


class _Lost(Exception):  # noqa: N818 — a state of the connection, never leaves this module
    """No answer, or one that is of no use. `retry_after_s`: how long the server asks to wait."""

    def __init__(self, text: str, retry_after_s: float = 0) -> None:
        super().__init__(text)
        self.retry_after_s = retry_after_s
