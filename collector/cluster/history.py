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

    __slots__ = ("_blur", "after", "begin", "earlier", "end", "sure", "who")

    def __init__(self, begin: int, certain: int, who: _Who, earlier: "_Holding[_Who] | None") -> None:
        self.begin = begin
        self._blur = _blur(certain - begin)
        self.end = self.sure = FOREVER
        """It has been lost by `end`, and was not before `sure`."""
        self.after = 0
        """What forgotten holders prove: before this it was one of them, or cannot be told."""
        self.who = who
        self.earlier = earlier

    @property
    def certain(self) -> int:
        return self.begin + self._blur


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

    def hold(self, key: _Key, who: _Who, begin: int, certain: int, *, doubtful: bool = False) -> None:
        """Note that `who` has it since some time from `begin` to `certain`; what is said twice only becomes more exact.

        Where that is doubtful, `who` is not said to have it before `certain`: an earlier holder may have been forgotten.
        """
        found = self._find(key, who)
        if found is None or certain >= found.end:
            found = self._link(key, who, min(begin, certain), certain)
        begin, certain = max(begin, found.begin), min(certain, found.certain)
        if (begin, certain) != (found.begin, found.certain):
            found = self._moved(key, found, min(begin, certain), certain)
        if doubtful:
            found.after = max(found.after, certain)

    def doubt(self, key: _Key, who: _Who, *, least: int, most: int, now: int) -> None:
        """Take note that the times that were said are off by something between the two; what was heard by now was so by now."""
        found = self._find(key, who)
        if found is None:
            return
        certain = max(found.certain, min(found.certain + most, now))
        found = self._moved(key, found, max(0, found.begin + least), certain)
        if found.end != FOREVER:
            found.end, found.sure = max(found.end, min(found.end + most, now)), max(0, found.sure + least)
        found.after = max(found.after, certain)

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
            begin, before = max(here.begin, here.after), here.earlier
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

    def _link(self, key: _Key, who: _Who, begin: int, certain: int) -> _Holding[_Who]:
        after: _Holding[_Who] | None = None
        here = self._newest.get(key)
        while here is not None and here.certain > certain:
            after, here = here, here.earlier
        new = _Holding(begin, certain, who, here)
        if after is None:
            self._newest[key] = new
        else:
            after.earlier = new
        return new

    def _moved(self, key: _Key, holding: _Holding[_Who], begin: int, certain: int) -> _Holding[_Who]:
        """Return what takes a holding's place with another window."""
        self._unlink(key, holding)
        new = self._link(key, holding.who, begin, certain)
        new.end, new.sure, new.after = holding.end, holding.sure, holding.after
        return new

    def _drop(self, key: _Key, holding: _Holding[_Who]) -> None:
        """Forget a holding, but not what it proves about the others."""
        here: _Holding[_Who] | None = self._newest[key]
        newer = True
        while here is not None:
            if here is holding:
                newer = False
            elif newer:
                here.after = max(here.after, holding.after, _after(holding, here))
            elif here.certain <= holding.begin:
                here.end = min(here.end, holding.begin)
            else:  # which of both was first cannot be told
                here.after = max(here.after, _after(holding, here))
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
