"""Takes what people decide: checks it, keeps it, and lets detection follow. Belongs to the worker thread.

A change is on disk before it holds, and it is made as a whole or not at all.
"""

import dataclasses
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from collector.analysis.behaviour_keys import is_key
from collector.analysis.curated import CuratedAnalysis
from collector.analysis.curation import program_of
from collector.errors import InputError
from collector.records import (
    CHANGES_MAX,
    Action,
    BaselineEntry,
    BehaviourState,
    BehaviourType,
    Change,
    Completeness,
    Lock,
    WorkloadKey,
)
from collector.state import State

__all__ = ["Curator", "Made"]

DECISIONS_MAX = 1_000_000
"""Decisions that hold at the same time, 500 bytes each: 50 for each of the 20,000 containers that are watched."""

TEXT_MAX = 500
"""Characters of a reason: a sentence and a link."""

NAME_MAX = 256
"""Characters of an author or a name; Kubernetes' names end at 253."""

KEY_MAX = 4_096
"""Characters of a behaviour: more than any that is made."""

YEAR_2200 = 7_258_118_400 * 1_000_000_000
"""What is later is no date that somebody meant; and times of 64 bits end in 2262."""

_ON_LIST = {BehaviourState.LEARNED, BehaviourState.APPROVED}


@dataclass(frozen=True, slots=True)
class Made:
    """What came of a call."""

    made: int
    listed: int = 0
    """On the list of a lock."""
    unlisted: int = 0
    """Seen, but not on it."""


class Curator:
    """Changes baselines."""

    def __init__(self, state: State, analysis: CuratedAnalysis) -> None:
        self._state = state
        self._analysis = analysis

    def load(self) -> None:
        """Take over what was decided in earlier runs; detection is restored after it."""
        self._analysis.decide(self._state.changes())

    def change(self, changes: Sequence[Change], *, allow_unseen: bool = False, allow_known_bad: bool = False) -> Made:
        """Make changes of one workload.

        Raises:
            InputError: one of them is wrong; none was made.
            StorageError: they cannot be kept; none was made.
        """
        if not 0 < len(changes) <= CHANGES_MAX:
            raise InputError(f"a call has 1 to {CHANGES_MAX} changes, not {len(changes)}; make several calls")
        if len(self._analysis.decisions) + len(changes) > DECISIONS_MAX:
            raise InputError(f"{DECISIONS_MAX} decisions are kept; reset those that are not needed any more")
        for each in changes:
            _check(each)
        if any(each.action is Action.LOCK for each in changes[:-1]):
            raise InputError("a lock comes last: its list is made of what was decided before")
        workload = changes[0].workload
        if any(each.workload != workload for each in changes):
            raise InputError("the changes of a call are of one workload; make one call for each")
        entries = self._analysis.baseline(workload)
        if allow_unseen:
            _check_keys(changes)
        else:
            _check_seen(changes, entries, seen=any(each.key == workload for each in self._analysis.workloads()))
        if not allow_known_bad:
            self._check_known_bad(changes)
        _check_programs(changes, entries)
        made = list(changes)
        if changes[-1].action is Action.LOCK:
            made += _listing(changes[-1], made, entries)
        self._state.add_changes(made)
        self._analysis.decide(made)
        if changes[-1].action is not Action.LOCK:
            return Made(len(changes))
        after = self._analysis.baseline(workload)
        states = [each.state for each in after if not program_of(each.type, each.key)]
        return Made(len(changes), sum(each in _ON_LIST for each in states), states.count(BehaviourState.CANDIDATE))

    def lock(self, workload: WorkloadKey) -> Lock | None:
        """Return who locked a workload."""
        return self._analysis.lock(workload)

    def completeness(self, workload: WorkloadKey, container: str) -> list[Completeness]:
        """Return how much is known of a workload's containers."""
        return self._analysis.completeness(workload, container)

    def _check_known_bad(self, changes: Sequence[Change]) -> None:
        for each in changes:
            if each.action is not Action.APPROVE or each.type is None:
                continue
            if self._analysis.is_known_bad((each.workload, each.container), each.type, each.key):
                raise InputError(
                    f"{each.key} is known to be bad on any system; if it is meant to be normal here, say so with --known-bad"
                )


def _check_programs(changes: Sequence[Change], entries: Sequence[BaselineEntry]) -> None:
    rejected = {(each.container, each.key) for each in entries if each.state is BehaviourState.REJECTED}
    rejected -= {(each.container, each.key) for each in changes if each.action in {Action.APPROVE, Action.RESET}}
    rejected |= {(each.container, each.key) for each in changes if each.action is Action.REJECT}
    for each in changes:
        if each.type is None or each.action is not Action.APPROVE:
            continue
        program = program_of(each.type, each.key)
        if (each.container, program) in rejected:
            raise InputError(f"{program} is rejected, so its arguments cannot be approved; reset it first")


def _listing(lock: Change, changes: Sequence[Change], entries: Sequence[BaselineEntry]) -> list[Change]:
    """Return what a lock puts on its list: what is learned now, save for what the same call decides otherwise."""
    decided = {(each.container, each.type, each.key) for each in changes}
    return [
        dataclasses.replace(lock, action=Action.LIST, container=each.container, type=each.type, key=each.key)
        for each in entries
        if each.state is BehaviourState.LEARNED
        and (each.container, each.type, each.key) not in decided
        and not program_of(each.type, each.key)
    ]


def _check(change: Change) -> None:
    workload = change.workload
    for what, text, most in (
        ("the author", change.by, NAME_MAX),
        ("the reason", change.why, TEXT_MAX),
        *((f"the {name} of the workload", getattr(workload, name), NAME_MAX) for name in ("namespace", "kind", "name")),
    ):
        _check_text(what, text, most)
    _check_text("the cluster", workload.cluster, NAME_MAX, empty=True)
    whole = change.action in {Action.LOCK, Action.UNLOCK}
    if change.action is Action.LIST:
        raise InputError("LIST is made by LOCK and cannot be asked for")
    if whole == (change.type is not None):
        raise InputError(f"{change.action.name} is of {'a workload, not of a behaviour' if whole else 'a behaviour: name one'}")
    if not whole:
        _check_text("the container", change.container, NAME_MAX)
        _check_text("the behaviour", change.key, KEY_MAX)
    if change.until and change.action is not Action.APPROVE:
        raise InputError("only an approval has an end")
    if change.until and not change.time < change.until < YEAR_2200:
        raise InputError("an approval must end in the future, and before the year 2200")


def _check_text(what: str, text: str, most: int, *, empty: bool = False) -> None:
    if not text.strip() and not empty:
        raise InputError(f"{what} is missing")
    if len(text) > most:
        raise InputError(f"{what} has {len(text)} characters; at most {most} are kept")
    if not text.isprintable():
        bad = next(char for char in text if not char.isprintable())
        name = unicodedata.name(bad, "a control character")
        raise InputError(f"{what} has a character that is not printable (U+{ord(bad):04X}, {name.lower()})")


def _check_keys(changes: Sequence[Change]) -> None:
    for each in changes:
        if each.action is not Action.RESET and each.type and not is_key(each.key, connect=each.type is BehaviourType.CONNECT):
            raise InputError(
                f"{each.key} is no behaviour; `peerwatch baseline show` prints some: a program by its path, as in"
                " /usr/bin/nc <- /bin/sh : -l -p <n>, or where one connects to, as in /usr/bin/curl -> shop/cart:8080/tcp"
            )


def _check_seen(changes: Sequence[Change], entries: Sequence[BaselineEntry], *, seen: bool) -> None:
    if not seen:
        raise InputError("no such workload was seen")
    known = {(each.container, each.type, each.key) for each in entries}
    for each in changes:
        if each.type is not None and (each.container, each.type, each.key) not in known:
            raise InputError(
                f"{each.key} was not seen in container {each.container}; `peerwatch baseline show` lists what was,"
                " and --unseen decides about what is still to come"
            )
