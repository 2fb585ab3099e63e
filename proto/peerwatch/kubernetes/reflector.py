"""Keeps a store equal to the API server's objects of one kind: a list, then a watch for as long as the process lives.

The client library's own informer retries without a pause and keeps whole objects; this one gives each object to `parse` and
keeps nothing.
"""

import logging
import math
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from peerwatch.backoff import Backoff
from peerwatch.kubernetes.connection import JSON, ApiServer, read_body
from peerwatch.kubernetes.errors import ExpiredError, ServerError
from peerwatch.kubernetes.fields import MalformedError
from peerwatch.kubernetes.listing import Page
from peerwatch.kubernetes.watchlines import Change, lines, watch_event
from peerwatch.memory import give_back

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

__all__ = ["WATCH_S", "Reflector", "Resource", "Store"]

_log = logging.getLogger(__name__)

PAGE = 500
"""Objects asked for at a time, as kubectl does."""

LIST_TIMEOUT_S = 30.0
"""Between two reads of a list's answer, seconds."""

INACTIVITY_S = 75.0
"""A watch that says nothing this long is taken for dead, seconds: bookmarks come each minute, plus up to a quarter jitter."""

WATCH_S = (240, 480)
"""The server ends a watch after a random time between these, seconds: those that began together do not end together."""

RETRY_FIRST_S = 0.5
RETRY_CAP_S = 30.0
"""Longest pause between two tries, seconds, unless the server asks for more."""

RETRY_AFTER_CAP_S = 120.0
"""Longest pause that a server may ask for, seconds."""

STEADY_S = 10.0
"""A watch that lived shorter counts as a failure for the pace, seconds: a server that ends each at once is not hammered."""

CATCH_UP_S = 2.0
"""A watch that opens tells first what was missed, and not where that ends: after so many seconds it is taken as told."""

LOOK_S = 0.1
"""How often who begins after others looks at them, seconds."""

STOP_S = 5.0
"""How long `stop` waits for the thread, seconds."""

MAX_LIST = 64 << 20
"""Largest page that is read, bytes."""

_Item = TypeVar("_Item")
_Taken_contra = TypeVar("_Taken_contra", contravariant=True)


@dataclass(frozen=True, slots=True)
class Resource:
    """What to list and watch."""

    path: str
    """As in `/api/v1/pods`."""
    plural: str
    """As people call them, for the log."""
    selectors: Mapping[str, str] = field(default_factory=dict)
    metadata_only: bool = False
    """Have the server leave out specification and status."""
    from_cache: bool = False
    """Let the first list be what the server has in memory, as the kubelet asks, and in one piece: for lists that are short."""

    def accept(self, kind: str) -> str:
        """Return what to ask for; a server that cannot leave anything out sends the whole."""
        return f"{JSON};as={kind};g=meta.k8s.io;v=v1,{JSON}" if self.metadata_only else JSON


class Store(Protocol[_Taken_contra]):
    """Where the objects go. Called from the reflector's thread only."""

    def __len__(self) -> int:
        """Return how many objects there are."""
        ...

    def replace(self, items: Iterable[_Taken_contra], /) -> None:
        """Make these all objects there are; what is raised while they come leaves it to the store how many were taken."""
        ...

    def apply(self, item: _Taken_contra, /) -> None:
        """Add an object or replace what is known of it."""
        ...

    def delete(self, key: str, /) -> None:
        """Note that the object with this uid is gone."""
        ...


class Reflector(Generic[_Item]):
    """Keeps a store equal to the server's objects, from a thread.

    A server that is gone changes nothing but `age_s`: the store keeps what it has, the log gets one line, and one when the
    server is back. `synced` is set once the first list is in the store; `tried` then, too, or when the server has said that it
    will not give it. `malformed` counts objects that could not be used, `requests` what was asked of the server.
    """

    def __init__(self, server: ApiServer, resource: Resource, store: Store[_Item], parse: Callable[[object], _Item]) -> None:
        """`parse` raises `MalformedError` for what cannot be used."""
        self.synced = threading.Event()
        self.tried = threading.Event()
        self.malformed = 0
        self.requests = 0
        self._server = server
        self._resource = resource
        self.store = store
        self._parse_one = parse
        self._backoff = Backoff(RETRY_FIRST_S, RETRY_CAP_S)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"watch-{resource.plural}", daemon=True)
        self._heard_at = time.monotonic()
        self._complete_at = -math.inf
        self._opened_at = math.inf
        self._down_since: float | None = None
        self._response: BaseHTTPResponse | None = None
        self._after: tuple[Reflector[Any], ...] = ()

    def start(self, *, after: "Iterable[Reflector[Any]]" = ()) -> None:
        """Begin, once the first lists of others have been tried; returns at once, also when the server cannot be reached."""
        self._after = tuple(after)
        self._thread.start()

    def stop(self, wait_s: float = STOP_S) -> None:
        """End the watch, and wait so long for its thread; the store keeps what it has."""
        self._stop.set()
        response = self._response
        if response is not None:
            try:
                response.shutdown()  # wakes the read; closing would wait for it
            except (OSError, ValueError, RuntimeError):
                _log.debug("the watch had ended by itself")
        # A connect in progress is not woken; the thread is a daemon and ends with the process.
        self._thread.join(wait_s)

    @property
    def watching(self) -> bool:
        """Whether a watch is open now: what the server says, the store hears."""
        return self._response is not None and self.synced.is_set()

    def age_s(self) -> float:
        """Return how long ago the server last said anything about these objects, seconds: how stale the store may be."""
        return time.monotonic() - self._heard_at

    def behind_s(self) -> float:
        """Return how long the store may have missed news, seconds: 0 while a watch goes on, infinity before the first list."""
        now = time.monotonic()
        return 0.0 if now >= self._opened_at + CATCH_UP_S else now - self._complete_at

    def _run(self) -> None:
        while not all(each.tried.is_set() for each in self._after):
            if self._stop.wait(LOOK_S):
                return
        # "0": any version that the server has in memory; "": the newest, read through to etcd, which is dear and asked for
        # only where the list is long (it then comes in pages), or the server has forgotten the version that we have.
        version, listed = "0" if self._resource.from_cache else "", False
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
            except ServerError as lost:
                pause = lost.retry_after_s
                if lost.refused:
                    self.tried.set()
                self._tell_lost(lost)
            # The pace begins anew after a watch that lasted; whatever ends sooner waits longer each time.
            if time.monotonic() - begin >= STEADY_S:
                self._backoff.reset()
            self._stop.wait(max(self._backoff.next_s(), min(pause, RETRY_AFTER_CAP_S)))

    def _list(self, version: str) -> str:
        """Put the current objects into the store, page by page; return the version at which they are."""
        pages = _Pages(version)
        begin = time.monotonic()
        self.store.replace(self._items(pages))
        self._complete_at = begin
        give_back()  # pages are large, and the next list is a long time away
        self.synced.set()
        self.tried.set()
        self._heard(len(self.store))
        return pages.version

    def _items(self, pages: "_Pages") -> Iterator[_Item]:
        while True:
            query = {"limit": str(PAGE)}
            if pages.token:
                query["continue"] = pages.token
            elif pages.version:
                query["resourceVersion"] = pages.version
            self.requests += 1
            with self._server.open(
                "GET",
                self._resource.path,
                query={**self._resource.selectors, **query},
                accept=self._resource.accept("PartialObjectMetadataList"),
                read_timeout_s=LIST_TIMEOUT_S,
            ) as response:
                page = Page(read_body(response, MAX_LIST))
                response.release_conn()
            for item in page.items():
                one = self._parse(item)
                if one is not None:
                    yield one
            pages.turn(page.metadata)
            del page  # before the next is asked for
            if not pages.token:
                return
            if self._stop.is_set():
                raise ServerError("stopped")

    def _watch(self, version: str) -> str:
        """Follow changes until the watch ends, in whatever way; return the version at which to go on.

        A watch that breaks is no outage: servers end each after a while, balancers cut them. The next request will tell.
        """
        query = {
            **self._resource.selectors,
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(random.randint(*WATCH_S)),  # noqa: S311 — spreads load, hides nothing
        }
        self.requests += 1
        try:
            with self._server.open(
                "GET",
                self._resource.path,
                query=query,
                accept=self._resource.accept("PartialObjectMetadata"),
                read_timeout_s=INACTIVITY_S,
            ) as response:
                self._heard(len(self.store))
                self._response = response
                self._opened_at = self._heard_at
                # `stop` may have come before there was a response to shut down.
                for line in lines(() if self._stop.is_set() else response.stream(1 << 16)):
                    event = watch_event(line)
                    if event is None:
                        continue
                    if event.change is Change.DELETE:
                        self.store.delete(str(event.object["metadata"].get("uid", "")))
                    elif event.change is Change.APPLY and (one := self._parse(event.object)) is not None:
                        self.store.apply(one)
                    version = event.version
                    self._heard_at = time.monotonic()
            self._closed(time.monotonic())  # the server has ended it, and was there until now
        except ExpiredError:
            raise
        except ServerError as lost:
            if self._response is None:
                raise
            _log.debug("watch ended: %s", lost)
        finally:
            self._closed(self._heard_at)
            self._response = None
        return version

    def _closed(self, until: float) -> None:
        """Take note that a watch has ended of which all is known that was until some time."""
        if until >= self._opened_at + CATCH_UP_S:
            self._complete_at = until
        self._opened_at = math.inf

    def _parse(self, raw: object) -> _Item | None:
        try:
            return self._parse_one(raw)
        except MalformedError as error:
            self.malformed += 1
            if self.malformed == 1:
                _log.warning(
                    "the API server sent one of the %s that cannot be used (%s); such are counted, not named again",
                    self._resource.plural,
                    error,
                )
            return None

    def _heard(self, count: int) -> None:
        self._heard_at = time.monotonic()
        if self._down_since is not None:
            _log.info(
                "the API server is back after %.0f s: %d %s", self._heard_at - self._down_since, count, self._resource.plural
            )
            self._down_since = None
            # It is there: if it has forgotten our version meanwhile, the list that is due now need not wait as long as a try.
            self._backoff.reset()

    def _tell_lost(self, lost: ServerError) -> None:
        if self._down_since is None and not self._stop.is_set():
            self._down_since = time.monotonic()
            _log.warning(
                "no %s from the API server at %s (%s); the %d known stay, new ones are unknown until it is back",
                self._resource.plural,
                self._server.url,
                lost,
                len(self.store),
            )


@dataclass(slots=True)
class _Pages:
    """How far a list has come."""

    version: str
    token: str = ""

    def turn(self, metadata: Mapping[str, object]) -> None:
        """Take note of a page that was read.

        Raises:
            ServerError: it was none.
        """
        if not metadata.get("resourceVersion"):
            raise ServerError("its answer to a list is no list")
        self.version, self.token = str(metadata["resourceVersion"]), str(metadata.get("continue") or "")
