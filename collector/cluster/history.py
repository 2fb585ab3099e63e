"""Who had something (an address, a port) when. Pure: times are passed in, nanoseconds since 1970.

One has it at a time. That is what makes late news usable: when somebody is known to have it from then on, whoever had it before
had lost it by then, whatever is still said about him.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from peerwatch.columns import NANOSECONDS

__all__ = ["BLUR", "FOREVER", "History", "Span", "told_from"]

FOREVER = 2**63 - 1

BLUR = NANOSECONDS
"""Times in Kubernetes have no fractions: what happened "at" one did so within the second after it."""

_Key = TypeVar("_Key", bound=Hashable)
_Who = TypeVar("_Who")


def told_from(begin: int, certain: int, *, heard: int, now: int) -> int:
    """Return since when who has something since `begin` to `certain` can be told to have it.

    If nothing was heard from `heard` till `now`, somebody may have had it before of whom nobody will ever hear.
    """
    return certain if heard < now and certain > heard else begin


@dataclass(frozen=True, slots=True)
class Span(Generic[_Who]):
    """`who` had it from `begin` on until before `end`."""

    begin: int
    end: int
    who: _Who


class _Holding(Generic[_Who]):
    """One entry of a chain, newest first: as most things have had one holder, there is no list to pay for."""

    __slots__ = ("_blur", "begin", "earlier", "end", "sure", "who")

    def __init__(self, begin: int, certain: int, who: _Who, earlier: "_Holding[_Who] | None") -> None:
        self.begin = begin
        self._blur = _blur(certain - begin)
        self.end = self.sure = FOREVER
        """It has been lost by `end`, and was not before `sure`."""
        self.who = who
        self.earlier = earlier

    @property
    def certain(self) -> int:
        return self.begin + self._blur

    def starts(self, begin: int) -> None:
        """Take note that it did not begin before this time."""
        self._blur = _blur(max(0, self.certain - begin))
        self.begin = begin


def _blur(time: int) -> int:
    return BLUR if time == BLUR else time  # one number for all: 32 bytes a pod


class History(Generic[_Key, _Who]):
    """Holders by key. Its size is that of what was put in and not forgotten: `forget` is the caller's duty."""

    def __init__(self) -> None:
        self._newest: dict[_Key, _Holding[_Who]] = {}

    def __len__(self) -> int:
        """Return how many keys have or had a holder."""
        return len(self._newest)

    def __contains__(self, key: _Key) -> bool:
        """Say whether anybody has or had it."""
        return key in self._newest

    def hold(self, key: _Key, who: _Who, begin: int, certain: int) -> None:
        """Note that `who` has it since some time from `begin` to `certain`; what is said twice only becomes more exact."""
        end = sure = FOREVER
        found = self._find(key, who)
        if found is not None and certain < found.end:
            begin, certain = max(begin, found.begin), min(certain, found.certain)
            end, sure = found.end, found.sure
            if (begin, certain) == (found.begin, found.certain):
                return
            self._unlink(key, found)
        after: _Holding[_Who] | None = None
        here = self._newest.get(key)
        while here is not None and here.certain > certain:
            after, here = here, here.earlier
        new = _Holding(min(begin, certain), certain, who, here)
        new.end, new.sure = end, sure
        if after is None:
            self._newest[key] = new
        else:
            after.earlier = new

    def end(self, key: _Key, who: _Who, time: int, sure: int | None = None) -> None:
        """Note that `who` has it no longer since `time`, or since earlier if that was said before.

        With `sure` it is not known when since then it was lost: nobody is named for the time between.
        """
        found = self._find(key, who)
        if found is not None:
            found.end = min(found.end, time)
            found.sure = min(found.sure, found.end if sure is None else sure)

    def forget(self, key: _Key, who: _Who) -> None:
        """Drop what is known of this holder."""
        while (found := self._find(key, who)) is not None:
            self._drop(key, found)

    def expire(self, time: int) -> None:
        """Forget who had something only before this time."""
        for key in [key for key, newest in self._newest.items() if newest.earlier is not None or newest.end <= time]:
            here: _Holding[_Who] | None = self._newest[key]
            while here is not None:
                if here.end <= time:
                    self._drop(key, here)
                here = here.earlier

    def spans(self, key: _Key) -> list[Span[_Who]]:
        """Return who had it when, newest first; at a time that is in none of these nobody had it, or it cannot be told who."""
        found = []
        until = FOREVER
        here = self._newest.get(key)
        while here is not None:
            end = min(here.sure, here.end, until)
            until = min(until, here.begin)
            begin, before = here.begin, here.earlier
            while before is not None:
                begin = max(begin, _after(before, here))
                before = before.earlier
            if begin < end:
                found.append(Span(begin, end, here.who))
            here = here.earlier
        return found

    def _find(self, key: _Key, who: _Who) -> _Holding[_Who] | None:
        here = self._newest.get(key)
        while here is not None and here.who is not who:
            here = here.earlier
        return here

    def _drop(self, key: _Key, holding: _Holding[_Who]) -> None:
        """Forget a holding, but not what it proves about the others."""
        here: _Holding[_Who] | None = self._newest[key]
        newer = True
        while here is not None:
            if here is holding:
                newer = False
            elif newer:
                here.starts(_after(holding, here))
            else:
                here.end = min(here.end, holding.begin)
            here = here.earlier
        self._unlink(key, holding)

    def _unlink(self, key: _Key, holding: _Holding[_Who]) -> None:
        after: _Holding[_Who] | None = None
        here = self._newest[key]
        while here is not holding and here.earlier is not None:
            after, here = here, here.earlier
        if after is not None:
            after.earlier = here.earlier
        elif here.earlier is not None:
            self._newest[key] = here.earlier
        else:
            del self._newest[key]


def _after(before: _Holding[_Who], here: _Holding[_Who]) -> int:
    """Return since when it can have been only this holder, and no longer the one before."""
    if before.end <= here.begin - BLUR:
        return here.begin
    if before.certain <= here.begin:
        return here.certain
    return max(here.certain, min(before.end, FOREVER - BLUR) + BLUR)  # which of both was first cannot be told
