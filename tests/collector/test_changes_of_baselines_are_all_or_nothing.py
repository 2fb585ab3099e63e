"""A change is checked, then kept, then it holds: all of a call or nothing of it."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
from detection.cluster import BEGIN, CART, SECOND, Cluster

from collector.analysis.curated import CuratedAnalysis
from collector.daemon import curator as curators
from collector.daemon.curator import Curator
from collector.errors import InputError, StorageError
from collector.records import Action, BehaviourState, BehaviourType, Change, WorkloadKey
from collector.state import State

PSQL = "/usr/bin/psql <- /usr/bin/server"
RARE = "/usr/bin/rare <- /usr/bin/server"
NOW = BEGIN + 1000 * SECOND


def change(action: Action = Action.APPROVE, key: str = RARE, **changes: object) -> Change:
    whole = action in {Action.LOCK, Action.UNLOCK}
    values = {"container": "" if whole else "app", "type": None if whole else BehaviourType.EXEC, "key": "" if whole else key}
    return dataclasses.replace(Change(NOW, CART, action, "alice", "because", **values), **changes)  # type: ignore[arg-type] — ditto


@pytest.fixture
def analysis() -> CuratedAnalysis:
    cluster = Cluster()
    pods = cluster.pods(5)
    cluster.normal(pods, 0, 90)
    cluster.exec(50, pods[0], "/usr/bin/rare")
    found = CuratedAnalysis()
    found.observe(cluster.table())
    return found


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    opened = State.for_file(tmp_path / "state.db")
    yield opened
    opened.close()


@pytest.fixture
def curator(state: State, analysis: CuratedAnalysis) -> Curator:
    return Curator(state, analysis)


def states(analysis: CuratedAnalysis) -> dict[str, BehaviourState]:
    return {each.key: each.state for each in analysis.baseline(CART)}


def test_what_was_decided_is_known_to_the_next_run(curator: Curator, state: State, analysis: CuratedAnalysis) -> None:
    curator.change([change(), change(Action.REJECT, PSQL, why="no SQL")])
    made = curator.change([change(Action.LOCK, why="complete")])
    assert (made.made, made.unlisted) == (1, 0)
    assert made.listed == len(
        [
            each
            for each in analysis.baseline(CART)
            if each.state in {BehaviourState.LEARNED, BehaviourState.APPROVED} and " : " not in each.key
        ]
    )

    again = CuratedAnalysis()
    Curator(state, again).load()
    assert states(again) == {RARE: BehaviourState.APPROVED, PSQL: BehaviourState.REJECTED}
    assert again.lock(CART) == analysis.lock(CART)
    server = ((CART, "app"), BehaviourType.EXEC, "/usr/bin/server")
    assert again.decisions.is_listed(*server)
    assert [each.action for each in state.changes_of(CART)] == [Action.LOCK, Action.REJECT, Action.APPROVE]
    assert [each.action for each in state.changes_of(CART, limit=1)] == [Action.LOCK]
    assert state.changes_of(WorkloadKey("test", "shop", "Deployment", "other")) == []


def test_a_lock_says_what_is_not_on_its_list(curator: Curator) -> None:
    made = curator.change([change(Action.LOCK)])
    assert made.unlisted == 1
    assert made.listed >= 3


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"key": "/usr/bin/nobody"}, "was not seen in container app"),
        ({"container": "web"}, "was not seen in container web"),
        ({"workload": WorkloadKey("test", "shop", "Deployment", "carts")}, "of one workload"),
        ({"by": " "}, "the author is missing"),
        ({"why": ""}, "the reason is missing"),
        ({"why": "x" * 501}, "at most 500"),
        ({"by": "\x1b[31mroot"}, "U+001B"),
        ({"by": "root\u202e"}, "U+202E, right-to-left override"),
        ({"key": RARE + "\n"}, "not printable"),
        ({"key": ""}, "the behaviour is missing"),
        ({"key": "x" * 5000}, "at most 4096"),
        ({"type": None}, "name one"),
        ({"action": Action.LOCK}, "of a workload"),
        ({"action": Action.LIST}, "LIST is made by LOCK"),
        ({"until": NOW - 1}, "in the future"),
        ({"until": 2**63 - 1}, "before the year 2200"),
        ({"until": NOW + SECOND, "action": Action.REJECT}, "only an approval has an end"),
    ],
)
def test_one_wrong_change_undoes_the_call(
    curator: Curator, state: State, analysis: CuratedAnalysis, wrong: dict[str, object], words: str
) -> None:
    before = states(analysis)
    with pytest.raises(InputError) as caught:
        curator.change([change(), dataclasses.replace(change(), **wrong)])  # type: ignore[arg-type] — fields of every type
    assert words in str(caught.value)
    assert str(caught.value).isprintable()
    assert states(analysis) == before
    assert list(state.changes()) == []


def test_a_workload_that_was_not_seen_is_no_typing_error_on_purpose_only(curator: Curator, analysis: CuratedAnalysis) -> None:
    other = change(workload=WorkloadKey("test", "shop", "Deployment", "carts"))
    with pytest.raises(InputError, match="no such workload"):
        curator.change([other])
    curator.change([other], allow_unseen=True)
    assert [each.state for each in analysis.baseline(other.workload)] == [BehaviourState.APPROVED]


def test_a_call_without_or_with_too_many_changes_is_refused(curator: Curator, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="1 to 20000"):
        curator.change([])
    monkeypatch.setattr(curators, "CHANGES_MAX", 2)
    with pytest.raises(InputError, match="1 to 2"):
        curator.change([change()] * 3)
    monkeypatch.setattr(curators, "DECISIONS_MAX", 1)
    curator.change([change()])
    with pytest.raises(InputError, match="1 decisions are kept"):
        curator.change([change(Action.REJECT, PSQL)])


def test_what_cannot_be_kept_does_not_hold(
    curator: Curator, state: State, analysis: CuratedAnalysis, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_changes: object) -> None:
        raise StorageError("database or disk is full")

    monkeypatch.setattr(state, "add_changes", full)
    with pytest.raises(StorageError):
        curator.change([change()])
    assert states(analysis)[RARE] is BehaviourState.CANDIDATE


def test_a_lock_comes_last(curator: Curator) -> None:
    with pytest.raises(InputError, match="a lock comes last"):
        curator.change([change(Action.LOCK), change()])
    assert curator.change([change(), change(Action.LOCK)]).unlisted == 0


def test_what_was_not_seen_is_decided_about_on_purpose_only(curator: Curator, analysis: CuratedAnalysis) -> None:
    to_come = change(Action.REJECT, "/bin/bash")
    with pytest.raises(InputError, match="--unseen"):
        curator.change([to_come])
    curator.change([to_come], allow_unseen=True)
    assert states(analysis)["/bin/bash"] is BehaviourState.REJECTED


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        (BehaviourType.EXEC, "curl"),
        (BehaviourType.EXEC, "sh -c id"),
        (BehaviourType.EXEC, "/usr/bin/curl -> shop/db:5432/tcp"),
        (BehaviourType.CONNECT, "/usr/bin/curl"),
        (BehaviourType.CONNECT, "/usr/bin/curl -> shop/db"),
        (BehaviourType.CONNECT, "/usr/bin/curl -> shop/db:5432"),
        (BehaviourType.CONNECT, "curl -> shop/db:5432/tcp"),
    ],
)
def test_what_can_be_no_behaviour_is_not_decided_about(curator: Curator, state: State, kind: BehaviourType, key: str) -> None:
    with pytest.raises(InputError, match="is no behaviour"):
        curator.change([change(type=kind, key=key)], allow_unseen=True)
    assert list(state.changes()) == []


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        (BehaviourType.EXEC, "/bin/busybox[wget] (injected) : -q <url>"),
        (BehaviourType.EXEC, "/bin/sh <- /usr/bin/server : -c echo a -> b"),
        (BehaviourType.EXEC, "memfd:x (memory file) <- /usr/bin/server"),
        (BehaviourType.CONNECT, "/usr/bin/curl -> public 52.1.0.0/16:443/tcp"),
        (BehaviourType.CONNECT, "/usr/bin/curl -> shop/db:high/udp"),
    ],
)
def test_what_is_still_to_come_may_be_of_every_form(curator: Curator, state: State, kind: BehaviourType, key: str) -> None:
    curator.change([change(type=kind, key=key)], allow_unseen=True, allow_known_bad=True)
    assert key in {each.key for each in state.changes()}


def test_what_is_known_to_be_bad_is_approved_on_purpose_only(curator: Curator, analysis: CuratedAnalysis) -> None:
    shell = change(key="/bin/sh (stdio socket) <- /usr/bin/server")
    with pytest.raises(InputError, match="--known-bad"):
        curator.change([shell], allow_unseen=True)
    curator.change([shell], allow_unseen=True, allow_known_bad=True)
    assert states(analysis)[shell.key] is BehaviourState.APPROVED


def test_who_approves_arguments_approves_their_program(curator: Curator, analysis: CuratedAnalysis) -> None:
    arguments = change(key=RARE + " : -s <url>")
    curator.change([arguments], allow_unseen=True)
    assert states(analysis)[RARE] is BehaviourState.APPROVED
    curator.change([dataclasses.replace(arguments, action=Action.RESET)])
    assert states(analysis)[RARE] is BehaviourState.CANDIDATE

    rejected = change(Action.REJECT, "/usr/bin/wget <- /bin/sh")
    curator.change([rejected], allow_unseen=True)
    with pytest.raises(InputError, match="reset it first"):
        curator.change([change(key="/usr/bin/wget <- /bin/sh : -q <url>")], allow_unseen=True)
