"""Clocks of nodes, or the collector's, that are minutes off: what an address was is said rightly or not at all."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cluster_objects import SECOND, Cluster, at
from collector_shelf import Shelf, claim
from hypothesis import given, strategies as st
from peerwatch import wire
from peerwatch.addresses import pack_address
from peerwatch.columns import ColumnsBuilder
from peerwatch.kubernetes.connection import ApiServer
from peerwatch.subjects import Subject
from peerwatch.v1 import ingest_pb2

from collector.cluster.clocks import CERTAIN, REMEMBERED_NS, Clocks, Doubt
from collector.cluster.naming import name
from collector.cluster.watching import ClusterWatch
from collector.ingest.pipeline import Received

OFF = [0, 0, 3, -3, 600, -600, 3000, -3000]
"""Seconds. Up to two are not told from the time that a batch takes."""

ADDRESS = "10.1.0.1"


def named(cluster: Cluster, node: str, *seconds: float) -> list[str]:
    """Return what an address is called at these times of a node's clock."""
    builder = ColumnsBuilder()
    subject = builder.subject(Subject("test", node))
    process = builder.process(pid=1, start_time=1, exe="/x")
    for second in seconds:
        builder.connect(at(second), subject, process, protocol=1, address=pack_address(ADDRESS), port=1, result=1)
    table = name(cluster.view, builder.build(), node).table
    return [table.peers[number - 1].workload.name if number else "" for number in table.connects.peer.tolist()]


@dataclass(frozen=True)
class Life:
    """When a pod of a node really had the address, and when the view hears of that, in true seconds."""

    node: str
    got: float
    lost: float
    heard: float
    gone: float
    tells_end: bool

    @property
    def running(self) -> float:
        """When its first container began."""
        return min(self.got + 0.3, self.lost)


@st.composite
def lives(draw: st.DrawFn) -> list[Life]:
    found: list[Life] = []
    time = 0.0
    gaps = st.sampled_from([0.001, 0.4, 1.0, 1.5, 30.0, 400.0, 2000.0])
    for _ in range(draw(st.integers(1, 5))):
        got = time + draw(gaps)
        lost = got + draw(gaps)
        node = draw(st.sampled_from(["a", "b", "c"]))
        found.append(Life(node, got, lost, got + 0.3 + draw(gaps), lost + 0.3 + draw(gaps), draw(st.booleans())))
        time = lost
    return found


@given(
    all_lives=lives(),
    off=st.fixed_dictionaries({each: st.sampled_from(OFF) for each in ("a", "b", "c", "seer")}),
    collector=st.sampled_from([0, 0, 600, -600]),
    times=st.lists(st.floats(0, 6000), max_size=30),
    data=st.data(),
)
def test_no_lookup_names_who_did_not_have_the_address(
    all_lives: list[Life], off: dict[str, float], collector: float, times: list[float], data: st.DataObject
) -> None:
    """Each node stamps events and its pods' states by its own clock; agents say what that shows, sooner or later."""
    cluster = Cluster()
    news = [(life.heard, number, "begin") for number, life in enumerate(all_lives)]
    news += [(max(life.heard, life.lost) + 0.001, number, "end") for number, life in enumerate(all_lives) if life.tells_end]
    news += [(max(life.heard, life.gone) + 0.002, number, "delete") for number, life in enumerate(all_lives)]
    news += [(data.draw(st.floats(0, 6000)), number, "clock") for number in range(len(all_lives))]
    for when, number, what in sorted(news):
        life, now = all_lives[number], when + collector
        skew = off[life.node]
        if what == "clock":
            cluster.view.hear_clock(life.node, at(when + skew), at(now + 0.02))
        elif what == "delete":
            cluster.view.delete_pod(f"uid-p{number}", at(now), at(now))
        else:
            status = data.draw(st.sampled_from(["network", "containers"]))
            cluster.pod(
                f"p{number}",
                ips=[ADDRESS],
                node=life.node,
                owner=None,
                created=life.got - 5,
                started=life.got - 4 + skew,
                ready=life.got + skew if status == "network" else None,
                running=life.running + skew if status == "containers" or what == "end" else None,
                ended=life.lost + skew if what == "end" else None,
                now=now,
            )
    for node in ("a", "b", "c", "seer"):
        cluster.view.hear_clock(node, at(9000 + off[node]), at(9000.02 + collector))

    edges = [edge for life in all_lives for edge in (life.got, life.lost, life.got + 0.5, life.lost - 0.0005, life.lost - 650)]
    asked = [each for each in (*times, *edges) if each >= 0]
    found = named(cluster, "seer", *(second + off["seer"] for second in asked))
    for second, who in zip(asked, found, strict=True):
        if who:
            holder = [f"p{number}" for number, life in enumerate(all_lives) if life.got <= second < life.lost]
            assert holder in ([], [who])  # nobody had it: one who is about to, or was not heard of since


def rolled(cluster: Cluster) -> None:
    """Let an address pass from one pod to another: at second 1,000, as all who know the time say."""
    cluster.pod("old", ips=[ADDRESS], owner=None, ready=0, now=1)
    cluster.pod("old", ips=[ADDRESS], owner=None, ready=0, ended=998, now=999)
    cluster.pod("new", ips=[ADDRESS], owner=None, created=999, ready=1000, now=1001)


def test_an_event_of_a_clock_that_is_off_is_named_only_where_that_makes_no_difference() -> None:
    cluster = Cluster()
    rolled(cluster)
    assert named(cluster, "seer", 900, 1900, 3000) == ["old", "new", "new"]  # nobody has said what its clock shows

    cluster.view.hear_clock("seer", at(3000 - 600), at(3000))
    assert named(cluster, "seer", 900 - 600, 1100 - 600, 3000 - 600) == ["", "", "new"]
    cluster.view.hear_clock("seer", at(3000 + 600), at(3001))
    assert named(cluster, "seer", 1100 + 600, 900 + 600, 3000) == ["", "", "new"]
    assert named(cluster, "other", 900, 1900) == ["old", "new"]


@pytest.mark.parametrize("first", [True, False])
def test_what_a_kubelet_says_by_a_clock_that_is_off_is_doubted_whenever_that_is_found_out(first: bool) -> None:  # noqa: FBT001 — a case
    """Its node's clock is ten minutes behind: the new pod says that it began, and the old one that it ended, too early."""
    cluster = Cluster()
    if first:
        cluster.view.hear_clock("node-1", at(-600), at(0))
    old = {"ips": [ADDRESS], "owner": None, "created": -5400, "started": -6000, "ready": -6000}
    cluster.pod("old", **old, now=1)
    cluster.pod("old", **old, ended=398, now=999)
    cluster.pod("new", ips=[ADDRESS], owner=None, created=999, started=399, ready=400, now=1001)
    if not first:
        assert named(cluster, "other", 700) == ["new"]
        cluster.view.hear_clock("node-1", at(1002 - 600), at(1002))

    assert named(cluster, "other", 300, 700, 990, 1500) == ["old", "", "", "new"]


def test_who_had_it_before_may_have_been_forgotten_when_the_clock_s_pod_is_told() -> None:
    cluster = Cluster()
    cluster.pod("old", ips=[ADDRESS], owner=None, ready=0, now=1)
    cluster.view.delete_pod("uid-old", at(5000), at(5000))
    cluster.view.hear_clock("node-1", at(8000 + 4500), at(8000))
    cluster.pod("new", ips=[ADDRESS], owner=None, created=8602, started=8602 + 4500, ready=8603 + 4500, now=8604)

    assert named(cluster, "other", 4500, 9000) == ["", "new"]


def test_of_two_that_had_it_within_a_second_the_one_forgotten_first_need_not_have_been_first() -> None:
    cluster = Cluster()
    cluster.pod("stays", ips=[ADDRESS], owner=None, running=None, ready=0, now=0.1)
    cluster.pod("went", ips=[ADDRESS], owner=None, running=None, ready=0, now=0.7)
    cluster.view.delete_pod("uid-went", at(0.8), at(0.8))
    cluster.pod("next", ips=[ADDRESS], owner=None, running=None, ready=2000, now=2000.3)
    cluster.view.delete_pod("uid-next", at(2000.4), at(2000.4))
    cluster.view.delete_pod("uid-stays", at(4000), at(4000))  # "went" is forgotten now

    assert named(cluster, "other", 1000, 2000.1, 2000.35) == ["stays", "", "next"]


def test_a_small_difference_costs_no_name() -> None:
    cluster = Cluster()
    rolled(cluster)
    cluster.view.hear_clock("seer", at(3000 - 1.5), at(3000))
    assert named(cluster, "seer", 997, 1001) == ["old", "new"]


def test_whose_an_event_is_does_not_depend_on_any_clock() -> None:
    cluster = Cluster()
    cluster.pod("web-1")
    cluster.view.hear_clock("node-1", at(-600), at(0))
    subject = cluster.view.subject("node-1", "uid-web-1", "", final=True)
    assert isinstance(subject, Subject)
    assert subject.pod.name == "web-1"


def test_a_clock_seems_behind_only_when_the_fastest_of_its_batches_is_late() -> None:
    clocks = Clocks()
    clocks.heard("a", at(0), at(0.02))
    for second in range(1, 200):
        clocks.heard("a", at(second), at(second + (0.1 if second % 50 == 0 else 40)))
        assert clocks.of("a") == CERTAIN
    for second in range(200, 400):
        clocks.heard("a", at(second), at(second + 40))
    assert clocks.of("a").least == 0
    assert 40 * SECOND <= clocks.of("a").most <= 80 * SECOND


def test_a_clock_is_ahead_as_soon_as_one_batch_comes_before_it_was_sent() -> None:
    clocks = Clocks()
    assert clocks.heard("a", at(600), at(0)) == CERTAIN
    assert -1200 * SECOND <= clocks.of("a").least <= -600 * SECOND
    assert clocks.of("b") == CERTAIN


def test_a_clock_that_was_set_is_doubted_as_long_as_events_from_before_may_come() -> None:
    clocks = Clocks()
    clocks.heard("a", at(-600), at(0))
    wrong = clocks.of("a")
    for second in range(60, 3500, 60):
        clocks.heard("a", at(second), at(second))
    assert clocks.of("a") == wrong
    clocks.heard("a", at(3601), at(0) + REMEMBERED_NS + SECOND)
    assert clocks.of("a") == CERTAIN


@pytest.mark.parametrize("sent", [0, 1, -1, -(2**63), 2**63 - 1])
def test_what_a_node_says_of_its_clock_breaks_nothing(sent: int) -> None:
    cluster = Cluster()
    rolled(cluster)
    cluster.view.hear_clock("node-1", sent, at(2000))
    cluster.view.hear_clock("seer", sent, at(2000))

    assert named(cluster, "other", 3000) == ["new"]
    assert named(cluster, "seer", 3000) == ["" if sent > 1 else "new"]


@given(st.lists(st.integers(-(2**62), 2**62), max_size=200))
def test_a_node_that_lies_about_its_clock_makes_little_work(said: list[int]) -> None:
    clocks = Clocks()
    doubts = set()
    for number, each in enumerate(said):
        clocks.heard("liar", each, at(number))
        doubts.add(clocks.of("liar"))
    assert len(doubts) < 130
    assert all(each.least <= 0 <= each.most for each in doubts)


def test_the_log_names_the_node_and_how_far_it_is_off_once(caplog: pytest.LogCaptureFixture) -> None:
    cluster = Cluster()
    watch = ClusterWatch(cluster.view, ApiServer("http://127.0.0.1:1", None, dict))
    with caplog.at_level(logging.WARNING):
        found = [watch.hear_clock("node-7", at(second - 600), at(second)) for second in range(5)]
        watch.hear_clock("node-8", at(1), at(1))

    assert found == [True] * 5
    (record,) = caplog.records
    assert record.getMessage().startswith("the clock of node 'node-7' is off: up to 1099 s behind; ")


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    shelf = Shelf(tmp_path)
    yield shelf
    shelf.close()


@pytest.mark.parametrize("off", [-600, 600])
def test_an_agent_whose_clock_is_off_is_told_of_and_its_events_get_no_wrong_name(
    shelf: Shelf, caplog: pytest.LogCaptureFixture, off: int
) -> None:
    """From the batch to the archive: one address that changed hands 100 seconds ago, and one that did not."""
    shelf.know()
    cluster = shelf.cluster
    for pod, since in (("old", 0), ("new", 1900)):
        cluster.pod(pod, ips=["10.1.0.7"], node="node-2", owner=None, created=since, ready=since, now=since + 1)
        if pod == "old":
            cluster.view.delete_pod("uid-old", at(1899), at(1899))
    builder = ColumnsBuilder()
    mine, process = builder.subject(claim("uid-web-1")), builder.process(pid=1, start_time=1, exe="/app")
    for address in ("10.1.0.7", "10.9.0.1"):
        where = {"protocol": 1, "address": pack_address(address), "port": 80}
        builder.connect(at(2000 + off), mine, process, result=1, **where)
    columns = wire.encode(builder.build())
    hello = ingest_pb2.Hello(cluster="test", node="node-1", session="s")
    for sequence, sent_at in ((1, at(2000 + off)), (2, 0)):  # an older agent does not say it, and is the same node's
        batch = ingest_pb2.EventBatch(sequence=sequence, columns=columns, sent_at=sent_at)
        shelf.pipeline.store([Received(at(2000.1), hello, batch)])

    (stored,) = shelf.stored()
    found = [stored.peers[number - 1].workload.name if number else "" for number in stored.connects.peer.tolist()]
    assert found == ["", "front", "", "front"]
    assert shelf.counters["clock_off"] == 4
    (told,) = [text for text in caplog.messages if "the clock of node 'node-1' is off" in text]
    assert ("behind" if off < 0 else "ahead") in told


def test_doubt_is_true_where_there_is_any() -> None:
    assert not CERTAIN
    assert Doubt(-1, 0)
    assert Doubt(0, 1)
