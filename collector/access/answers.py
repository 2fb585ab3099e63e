"""Answers of the API server, kept for a while: the same question is not asked with every call, nor twice at a time.

An answer is fresh for minutes, no longer: a token that is taken back must stop working. When the API server cannot be asked, a
good answer holds on for a bounded time more, so that its outage is not ours; a question without any answer fails.
"""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Generic, TypeVar

__all__ = ["Answers", "AwayError", "BusyError", "Freshness"]

LOG = logging.getLogger(__name__)

ASKING_MAX = 256
"""Questions under way or waiting for a thread; beyond it, callers are told to come back."""

KEPT_MAX = 16_384
"""Answers: one for each node of the largest cluster, two while tokens are renewed, and some people. 1 KB each."""

_V = TypeVar("_V")


class AwayError(Exception):
    """The API server cannot be asked now, and nothing is known that could stand in; the text says why."""


class BusyError(AwayError):
    """Too many questions wait already."""


@dataclass(frozen=True, slots=True)
class Freshness:
    """How long answers hold, seconds."""

    yes_s: float
    no_s: float
    stale_s: float
    """How long after it was given a good answer stands in for an API server that is away."""
    retry_s: float = 10.0
    """After a failure, an answer that stands in does so for this long before the question is asked again."""


@dataclass(slots=True)
class _Kept(Generic[_V]):
    answer: _V | None
    given: float
    fresh_until: float


class Answers(Generic[_V]):
    """Asks, and remembers. `None` is an answer: no. Belongs to the event loop; questions are asked in `executor`."""

    def __init__(
        self,
        freshness: Freshness,
        executor: Executor,
        *,
        clock: Callable[[], float] = time.monotonic,
        asking_max: int = ASKING_MAX,
        kept_max: int = KEPT_MAX,
    ) -> None:
        self._freshness = freshness
        self._executor = executor
        self._clock = clock
        self._asking_max = asking_max
        self._kept_max = kept_max
        self._kept: OrderedDict[Hashable, _Kept[_V]] = OrderedDict()
        self._asking: dict[Hashable, asyncio.Task[_V | None]] = {}

    async def get(self, key: Hashable, question: Callable[[], _V | None], *, before: Callable[[], None]) -> _V | None:
        """Return the answer to a question.

        Args:
            key: what the answer is kept under.
            question: asks; it may block, and raises AwayError when there is nobody to answer.
            before: called before something is asked about which nothing good is known; may raise to prevent it.

        Raises:
            AwayError: there is no answer.
        """
        kept = self._kept.get(key)
        if kept is not None and self._clock() < kept.fresh_until:
            self._kept.move_to_end(key)
            return kept.answer
        standing_in = kept is not None and kept.answer is not None
        asking = self._asking.get(key)
        if asking is None:
            if not standing_in:
                before()
            if len(self._asking) >= self._asking_max:
                return self._stand_in(key, BusyError("too many callers wait to be known"))
            asking = asyncio.create_task(self._ask(key, question))
            asking.add_done_callback(_looked_at)
            self._asking[key] = asking
        try:
            return await asyncio.shield(asking)  # one caller who leaves does not end the question of others
        except AwayError as error:
            return self._stand_in(key, error)

    async def _ask(self, key: Hashable, question: Callable[[], _V | None]) -> _V | None:
        try:
            answer = await asyncio.get_running_loop().run_in_executor(self._executor, question)
        except AwayError:
            raise
        except Exception as error:  # noqa: BLE001 — a fault of ours; its text and its trace may hold the token
            LOG.error("asking the API server failed: %s", type(error).__name__)  # noqa: TRY400 — see above
            raise AwayError(type(error).__name__) from None
        finally:
            del self._asking[key]
        now = self._clock()
        fresh_s = self._freshness.no_s if answer is None else self._freshness.yes_s
        self._kept[key] = _Kept(answer, now, now + fresh_s)
        self._kept.move_to_end(key)
        if len(self._kept) > self._kept_max:
            self._kept.popitem(last=False)
        return answer

    def _stand_in(self, key: Hashable, error: AwayError) -> _V:
        kept, now = self._kept.get(key), self._clock()
        if kept is None or kept.answer is None or now - kept.given > self._freshness.stale_s:
            raise error
        kept.fresh_until = min(now + self._freshness.retry_s, kept.given + self._freshness.stale_s)
        return kept.answer


def _looked_at(asking: "asyncio.Task[_V | None]") -> None:
    """Whoever waited was told; when all of them have left, a failure is nobody's business."""
    if not asking.cancelled():
        asking.exception()
