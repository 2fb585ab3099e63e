"""While the API server is not heard, addresses may change hands unseen: what cannot be told then is told later or left open."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster_objects import Cluster, at
from collector_shelf import Shelf, claim
from hypothesis import given, settings, strategies as st
from peerwatch.addresses import pack_address
from peerwatch.columns import ColumnsBuilder, EventColumns

from collector.archive.unsettled import UNSETTLED, unsettled
from collector.cluster.history import FOREVER
from collector.cluster.naming import name, name_later
from collector.recordings import archived
from collector.records import BehaviourType, WorkloadKey

WEB = WorkloadKey("test", "shop", "Deployment", "web")
HOUR = 3600


def connects(*seen: tuple[str, float], who: str = "uid-web-1", port: int = 5432, accepts: bool = False) -> EventColumns:
    """Return connects of a pod to addresses, at seconds."""
    builder = ColumnsBuilder()
    subject = builder.subject(claim(who))
    process = builder.process(pid=1, start_time=at(0), exe="/bin/x")
    for address, second in seen:
        where = {"protocol": 1, "address": pack_address(address), "port": port}
        if accepts:
            builder.accept(at(second), subject, process, **where)
        else:
            builder.connect(at(second), subject, process, result=1, **where)
    return builder.build()


def told(tables: list[EventColumns]) -> list[str]:
    """Return what readers are told of the other sides, in the order of time."""
    found = [table.peers[number - 1] if number else None for table in tables for number in table.connects.peer.tolist()]
    return [f"{each.workload.kind}/{each.workload.name}" if each else "" for each in found]


def judged(shelf: Shelf) -> dict[str, int]:
    """Return how often each destination counted."""
    entries = [each for each in shelf.pipeline.baseline(WEB, "") if each.type is BehaviourType.CONNECT]
    return {each.key.removeprefix("/bin/x -> ").removesuffix(":5432/tcp"): each.count for each in entries}


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    shelf = Shelf(tmp_path)
    know(shelf.cluster)
    yield shelf
    shelf.close()


def know(cluster: Cluster) -> None:
    """Hear of who connects, and of a database with an address of its own and one with a service's."""
    cluster.owned("ReplicaSet", "web-5d9c", ("Deployment", "web"))
    cluster.pod("web-1", ips=["10.1.0.1"])
    cluster.pod("db-0", ips=["10.1.0.9"], owner=("StatefulSet", "db"))
    cluster.service("cache", ips=["10.9.0.1"])


def hand_over(cluster: Cluster, *, heard: float, now: float) -> None:
    """Hear, by a list, that the database is gone and somebody else has its address, since some time after `heard`."""
    since = {"created": heard + 600, "running": heard + 605}
    cluster.pod("mail-0", ips=["10.1.0.9"], owner=("StatefulSet", "mail"), **since, now=now, heard=at(heard))
    cluster.view.delete_pod("uid-db-0", at(heard), at(now))


def test_an_address_that_changes_hands_meanwhile_is_nobody_s_until_it_is_known_whose_it_was(shelf: Shelf) -> None:
    shelf.heard = at(100)
    shelf.store(1, connects(("10.1.0.9", 90), ("10.1.0.9", 150), ("10.1.0.9", 701)))
    assert told(shelf.stored()) == ["StatefulSet/db", "", ""]

    hand_over(shelf.cluster, heard=100, now=HOUR)
    shelf.heard = FOREVER
    assert told(shelf.stored()) == ["StatefulSet/db", "", ""]  # 150: who knows; 701: not yet mail's for sure
    shelf.store(2, connects(("10.1.0.9", 720)))
    assert told(shelf.stored()) == ["StatefulSet/db", "", "", "StatefulSet/mail"]


@pytest.mark.parametrize("sealed", [False, True], ids=["journal", "archive"])
def test_what_kept_its_address_is_named_and_judged_once_when_that_is_known(shelf: Shelf, *, sealed: bool) -> None:
    shelf.heard = at(100)
    shelf.store(1, connects(("10.1.0.9", 90), ("10.1.0.9", 150), ("10.9.0.1", 151)))
    if sealed:
        shelf.seal()
    shelf.pipeline.tick(at(200))
    assert told(shelf.stored()) == ["StatefulSet/db", "", ""]
    assert judged(shelf) == {"shop/db": 1}

    shelf.heard = FOREVER
    for second in (HOUR, HOUR + 1):
        shelf.pipeline.tick(at(second))
    assert told(shelf.stored()) == ["StatefulSet/db", "StatefulSet/db", "Service/cache"]
    assert judged(shelf) == {"shop/db": 2, "shop/cache": 1}
    assert shelf.counters["named_late"] == 2


def test_places_outside_of_the_cluster_are_judged_at_once(shelf: Shelf) -> None:
    shelf.heard = at(100)
    shelf.store(1, connects(("203.0.113.9", 150), ("169.254.169.254", 150)))
    assert sum(judged(shelf).values()) == 2


def test_who_connects_to_us_is_not_told_by_an_address_either(shelf: Shelf) -> None:
    shelf.heard = at(100)
    shelf.store(1, connects(("10.1.0.9", 90), ("10.1.0.9", 150), accepts=True))
    (table,) = shelf.stored()
    assert [bool(number) for number in table.accepts.peer.tolist()] == [True, False]


def test_the_mark_is_never_shown(shelf: Shelf) -> None:
    shelf.heard = at(100)
    shelf.store(1, connects(("10.1.0.9", 150)))
    tables = shelf.stored()
    shelf.seal()
    tables += shelf.stored() + [table for file in shelf.archive_files() for table in archived(file)]
    shelf.store(2, marked(), cluster="other")  # whose agents are believed
    shelf.pipeline.tick(at(200))

    assert told(tables + shelf.stored()) == [""] * 5
    assert {each.key.cluster for each in shelf.pipeline.workloads()} == {"other"}


def marked() -> EventColumns:
    """Return a connect of another cluster, by an agent that knows our mark."""
    builder = ColumnsBuilder()
    process, subject = builder.process(pid=1, start_time=at(0), exe="/bin/x"), builder.subject(claim("uid-9", cluster="other"))
    peer = builder.peer(UNSETTLED)
    builder.connect(at(1), subject, process, protocol=1, address=pack_address("10.1.0.9"), port=1, result=1, peer=peer)
    return builder.build()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_restart_meanwhile_judges_what_waits_and_judges_it_once(shelf: Shelf, number: signal.Signals) -> None:
    shelf.heard = at(100)
    shelf.store(1, connects(("10.1.0.9", 150)))
    shelf.store(2, connects(("10.1.0.1", 150), who="uid-new"))
    shelf.pipeline.tick(at(160))
    shelf.store(3, connects(("10.1.0.9", 170)))
    if number is signal.SIGTERM:
        shelf.seal()

    again = shelf.again()
    again.heard = 0  # nothing was listed yet
    again.store(4, connects(("10.1.0.9", 180)))  # of whom nobody has heard, and to whom nobody knows
    again.pipeline.tick(at(190))
    assert judged(again) == {}

    again = again.again()
    know(again.cluster)
    again.cluster.pod("new", ips=["10.1.0.2"], created=140, running=141, now=HOUR)
    for second in (HOUR, HOUR + 1):
        again.pipeline.tick(at(second))
    assert judged(again) == {"shop/db": 3, "shop/web": 1}

    last = again.again()
    know(last.cluster)
    last.pipeline.tick(at(HOUR + 9))
    assert judged(last) == judged(again)
    last.close()


def test_an_hour_is_told_in_full(shelf: Shelf) -> None:
    """Half of what happens is of pods that nobody has heard of; each second event goes to who has another's address by then."""
    shelf.heard = at(0)
    for minute in range(60):
        second = 60 * minute + 1
        shelf.store(2 * minute + 1, connects(("10.1.0.9", second), ("10.9.0.1", second)))
        shelf.store(2 * minute + 2, connects(("10.1.0.9", second), ("10.9.0.1", second), who=f"uid-new-{minute}"))
        shelf.pipeline.tick(at(second))
        if minute % 10 == 9:
            shelf.seal()
    assert judged(shelf) == {}

    for minute in range(60):
        shelf.cluster.pod(f"new-{minute}", ips=["10.2.0.1"], created=60 * minute, running=60 * minute, now=HOUR)
    hand_over(shelf.cluster, heard=0, now=HOUR)
    shelf.heard = FOREVER
    shelf.pipeline.tick(at(HOUR))

    assert shelf.found(namespace="shop") == 240
    assert shelf.found(workload="Deployment/web") == 240
    assert set(told(shelf.stored())) == {"", "StatefulSet/mail", "Service/cache"}
    assert judged(shelf)["shop/cache"] == 120
    assert sum(judged(shelf).values()) == 240
    assert shelf.counters["never_named"] == 0


@st.composite
def holders(draw: st.DrawFn) -> list[tuple[float, float]]:
    """When pods had one address, one after the other, in seconds."""
    found: list[tuple[float, float]] = []
    time = 0.0
    for _ in range(draw(st.integers(1, 5))):
        got = time + draw(st.sampled_from([0.4, 1.0, 2.5, 40.0]))
        time = got + draw(st.sampled_from([0.5, 3.0, 60.0]))
        found.append((got, time))
    return found


class Story:
    """Pods that have one address, one after the other, and an outage that cuts through their lives."""

    def __init__(self, lives: list[tuple[float, float]], begin: float, end: float) -> None:
        self.cluster = Cluster()
        self.lives, self.begin, self.end = lives, begin, end
        self.heard = at(int(begin))
        starts = [(got, number, True) for number, (got, _) in enumerate(lives)]
        self.news = sorted([*starts, *((lost, number, False) for number, (_, lost) in enumerate(lives))])

    def hear(self, number: int, *, starts: bool, now: float, since: int) -> None:
        if starts:
            life = {"created": self.lives[number][0] - 0.3, "ready": self.lives[number][0], "running": None}
            self.cluster.pod(f"p{number}", ips=["10.1.0.1"], owner=None, now=now, heard=since, **life)
        else:
            self.cluster.view.delete_pod(f"uid-p{number}", since, at(now))

    def live(self, begin: float, end: float) -> None:
        """Hear of all that happens, as it happens."""
        for when, number, starts in self.news:
            if begin <= when < end:
                self.hear(number, starts=starts, now=when + 0.3, since=at(when + 0.3))

    def catch_up(self) -> None:
        """Hear in the end of all that happened in the outage, from a watch that goes on."""
        for when, number, starts in self.news:
            if self.begin <= when < self.end:
                self.hear(number, starts=starts, now=self.end, since=self.heard)

    def list_again(self) -> None:
        """Hear in the end who is there, and that the others are not."""
        there = [number for number, (got, lost) in enumerate(self.lives) if got < self.end <= lost]
        for number in there:
            self.hear(number, starts=True, now=self.end, since=self.heard)
        for key in sorted(set(self.cluster.view.pods.keys()) - {f"uid-p{number}" for number in there}):
            self.cluster.view.delete_pod(key, self.heard, at(self.end))

    def holder(self, second: float) -> list[str]:
        return [f"p{number}" for number, (got, lost) in enumerate(self.lives) if got <= second < lost]

    def wrong(self, times: list[float], *, heard: int) -> list[float]:
        """Return the times for which somebody is named while another had the address."""
        edges = [edge + shift for life in self.lives for edge in life for shift in (-0.01, 0.01)]
        asked = [*times, *edges]
        table = name(self.cluster.view, connects(*(("10.1.0.1", each) for each in asked)), "node-1", heard=heard).table
        peers = [table.peers[number - 1] if number else None for number in table.connects.peer.tolist()]
        named = [(second, peer) for second, peer in zip(asked, peers, strict=True) if peer not in {None, UNSETTLED}]
        assert all(at(second) < heard for second, _ in named)
        assert not unsettled(name_later(self.cluster.view, table)).any()
        return [second for second, peer in named if self.holder(second) not in ([], [peer.workload.name])]


@settings(max_examples=300, deadline=None)
@given(holders(), st.floats(0, 300), st.floats(1, 300), st.sampled_from(["watch", "list"]), st.lists(st.floats(0, 600)))
def test_nobody_is_named_who_did_not_have_it(
    lives: list[tuple[float, float]], begin: float, length: float, back_by: str, times: list[float]
) -> None:
    story = Story(lives, begin, begin + length)
    story.live(0, begin)
    assert story.wrong(times, heard=story.heard) == []
    if back_by == "watch":
        story.catch_up()
    else:
        story.list_again()
    story.live(begin + length, FOREVER)
    assert story.wrong(times, heard=FOREVER) == []
