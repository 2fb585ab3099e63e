"""With a view of the cluster: an agent says which container did what; whose that is, the API server says."""

import asyncio
import logging
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster_objects import Cluster, container_id
from collector_harness import Command
from collector_shelf import SECOND, START, WEB, Shelf, claim, table
from peerwatch import wire
from peerwatch.columns import ColumnsBuilder, EventColumns, Peer
from peerwatch.subjects import Container, ContainerKind, Pod, Subject, Workload
from peerwatch.v1 import ingest_pb2

from collector.cluster import late
from collector.cluster.late import Late
from collector.cluster.naming import name_later
from collector.ingest import patience
from collector.ingest.patience import Patience


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    shelf = Shelf(tmp_path)
    yield shelf
    shelf.close()


def test_what_a_pod_is_is_what_the_api_server_says(shelf: Shelf) -> None:
    shelf.know()
    shelf.store(1, table(claim("uid-web-1")))

    (found,) = shelf.subjects()
    assert (found.pod.namespace, found.pod.name, found.pod.workload) == ("shop", "web-1", Workload("Deployment", "web"))
    assert (found.pod.revision, found.pod.service_account, found.pod.ip) == ("5d9c", "", "10.1.0.1")
    assert (found.container.name, found.container.kind, found.container.image) == ("app", ContainerKind.APP, "app:1")
    assert shelf.learned() == {WEB: 2}
    (events,) = shelf.stored()
    assert [events.peers[each - 1] for each in events.connects.peer.tolist()] == [Peer("shop", Workload("Service", "front"))]


@pytest.mark.parametrize(
    "lie",
    [
        claim("uid-web-2"),
        claim("uid-web-2", container=""),
        Subject("test", "node-1", Pod(uid="uid-web-1"), Container(id=container_id("uid-web-2app"))),
        Subject("test", "node-1", Pod("shop", "x", "uid-unheard-of"), Container(id=container_id("uid-web-1app"))),
        Subject("test", "node-1", Pod("shop", "x"), Container(id=container_id("uid-web-2app"))),
    ],
    ids=["another node's pod", "its pod alone", "its container", "a container under another pod", "a container alone"],
)
def test_a_node_that_speaks_of_what_is_not_its_own_is_refused_counted_and_told(
    shelf: Shelf, lie: Subject, caplog: pytest.LogCaptureFixture
) -> None:
    shelf.know()
    with caplog.at_level(logging.WARNING):
        shelf.store(1, table(lie, claim("uid-web-1"), lie))
        shelf.store(2, table(lie))

    assert [each.pod.name for each in shelf.subjects()] == ["web-1"]
    assert shelf.counters["foreign_pod"] == 2 * 2 + 2
    assert shelf.learned() == {WEB: 2}
    told = [each.getMessage() for each in caplog.records]
    assert told == ["node 'node-1' spoke of containers that are not on it: 4 events were refused"]  # once a minute


def test_a_story_without_any_id_is_the_node_s_own_and_nobody_else_s(shelf: Shelf) -> None:
    shelf.know()
    shelf.store(
        1, table(Subject("test", "node-1", Pod("shop", "web-9", "", "", Workload("Deployment", "web")), Container("app")))
    )

    assert shelf.subjects() == [Subject("test", "node-1")]
    assert shelf.learned() == {}


def test_whom_nobody_knows_keeps_ids_only_and_teaches_nobody(shelf: Shelf) -> None:
    shelf.store(1, table(claim("uid-web-1")))

    assert shelf.subjects() == [Subject("test", "node-1", Pod(uid="uid-web-1"), Container(id=container_id("uid-web-1app")))]
    assert shelf.learned() == {}
    (events,) = shelf.stored()
    assert events.connects.peer.tolist() == [0]


def test_what_becomes_known_later_is_judged_once_and_shown_with_its_name(shelf: Shelf) -> None:
    shelf.store(1, table(claim("uid-web-1"), claim("uid-web-2"), claim("uid-web-9")))
    shelf.know()
    for _ in range(3):
        shelf.pipeline.tick(START + 3000 * SECOND)

    assert shelf.learned() == {WEB: 2}
    assert shelf.counters["named_late"] == 2
    names = {each.pod.uid: each.pod.name for each in shelf.subjects()}
    assert names == {"uid-web-1": "web-1", "uid-web-2": "", "uid-web-9": ""}  # web-2 is another node's


def test_names_that_came_late_are_in_the_archive(shelf: Shelf) -> None:
    shelf.store(1, table(claim("uid-web-1")))
    shelf.know()
    shelf.seal()

    again = shelf.again()  # which knows nobody
    assert [each.pod.name for each in again.subjects()] == ["web-1"]
    again.close()


def test_a_restart_gives_the_same_names_whatever_the_cluster_is_by_then(shelf: Shelf) -> None:
    shelf.know()
    shelf.store(1, table(claim("uid-web-1"), begin=START))
    shelf.store(2, table(claim("uid-web-1"), begin=START + SECOND))
    before, learned = shelf.subjects(), shelf.learned()

    again = shelf.again()
    again.cluster.pod("other", uid="uid-web-1", owner=("StatefulSet", "other"))
    assert again.subjects() == before
    assert again.learned() == learned == {WEB: 4}
    again.store(2, table(claim("uid-web-1")))  # the agent did not hear of it
    assert again.learned() == learned
    again.close()


def test_a_pod_that_was_deleted_while_the_collector_was_down_keeps_ids_only_from_then_on(shelf: Shelf) -> None:
    shelf.know()
    shelf.store(1, table(claim("uid-web-1")))

    again = shelf.again()
    again.cluster.pod("web-2", ips=["10.1.0.2"], node="node-2")
    again.store(2, table(claim("uid-web-1")))  # its agent has kept this, and knows the name
    again.pipeline.tick(START + 4300 * SECOND)
    assert sorted(each.pod.name for each in again.subjects()) == ["", "web-1"]
    assert again.learned() == {WEB: 2}  # what came before is neither forgotten nor counted again
    assert again.counters["never_named"] == 2
    again.close()


def test_another_cluster_s_agents_are_believed_as_without_a_view(shelf: Shelf) -> None:
    shelf.know()
    shelf.store(1, table(claim("uid-web-2", cluster="other")), cluster="other")

    (found,) = shelf.subjects()
    assert found == claim("uid-web-2", cluster="other")


def test_a_loss_needs_no_pod(shelf: Shelf) -> None:
    builder = ColumnsBuilder()
    builder.loss(START, builder.subject(Subject("test", "node-1")), reason="RING_FULL", count=17, begin=START, end=START)
    shelf.store(1, builder.build())

    assert shelf.pipeline.nodes()[0].lost == {"RING_FULL": 17}
    assert shelf.counters["foreign_pod"] == 0


def test_what_waits_for_a_name_is_bounded_by_number_and_time() -> None:
    waiting = Late(rows_max=10)
    cluster = Cluster()
    bare = [Subject("test", "node-1", Pod(uid=f"uid-{number}")) for number in range(7)]
    for each in bare:
        waiting.put(table(each), now=0)
    assert len(waiting) == 10
    assert waiting.expired == 4

    cluster.pod("a", uid="uid-6")
    assert [each.subjects[0].pod.name for each in waiting.take(lambda each: name_later(cluster.view, each), now=1)] == ["a"]
    assert waiting.take(lambda each: each, now=late.LATE_FOR_NS) == []
    assert len(waiting) == 0
    assert waiting.expired == 12


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ((), "--cluster-view: no service account here: KUBERNETES_SERVICE_HOST is not set"),
        (("--kubeconfig", "/nowhere"), "--cluster-view: --kubeconfig /nowhere: "),
    ],
)
def test_a_view_without_a_server_to_ask_is_refused_in_one_line(
    peerwatch: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], text: str
) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    done = peerwatch("collector", "--data", tmp_path / "data", "--cluster-view", "prod", *options)

    assert done.returncode == 2
    assert done.stderr.startswith(f"peerwatch: {text}")
    assert done.stderr.count("\n") == 1
    assert "give --kubeconfig FILE" in done.stderr


def waited(shelf: Shelf, events: EventColumns, *, synced: bool = True, begun: float | None = None, sent_at: int = 0) -> float:
    """Return how long a batch waits, seconds."""
    for each in shelf.watch.reflectors:
        if synced:
            each.synced.set()
    hello = ingest_pb2.Hello(cluster="test", node="node-1", session="s")
    batch = ingest_pb2.EventBatch(sequence=1, columns=wire.encode(events), sent_at=sent_at)
    begin = time.monotonic()
    asyncio.run(Patience(shelf.watch, begin if begun is None else begun).wait(hello, batch))
    return time.monotonic() - begin


def test_a_batch_waits_until_its_pods_are_known(shelf: Shelf) -> None:
    async def both() -> None:
        hello = ingest_pb2.Hello(cluster="test", node="node-1", session="s")
        events = ingest_pb2.EventBatch(columns=wire.encode(table(claim("uid-web-1"), begin=time.time_ns())))
        waiting = asyncio.create_task(Patience(shelf.watch, 0).wait(hello, events))
        await asyncio.sleep(0.1)
        assert not waiting.done()
        shelf.know()
        await asyncio.wait_for(waiting, 4)

    for each in shelf.watch.reflectors:
        each.synced.set()
    asyncio.run(both())


def test_a_batch_waits_no_longer_than_it_is_young(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "PATIENCE_NS", SECOND // 2)
    assert 0.3 < waited(shelf, table(claim("uid-web-1"), begin=time.time_ns())) < 20

    monkeypatch.setattr(patience, "PATIENCE_NS", 60 * SECOND)
    assert waited(shelf, table(claim("uid-web-1"), begin=time.time_ns() - 61 * SECOND)) < 20


def test_what_was_kept_by_its_agent_does_not_hold_up_what_is_new(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "PATIENCE_NS", 2 * SECOND)
    shelf.know()
    now = time.time_ns()
    stranger = Subject("test", "node-1", container=Container(id=container_id("started by hand")))

    kept = table(stranger, begin=now - 3 * SECOND)
    assert waited(shelf, EventColumns.concatenate([kept, table(claim("uid-web-1"), begin=now)]), sent_at=now) < 1
    assert waited(shelf, EventColumns.concatenate([kept, table(claim("uid-new"), begin=now)]), sent_at=now) > 1


@pytest.mark.parametrize("off", [-600, 600])
def test_how_young_a_batch_is_is_told_by_the_clock_that_its_events_are_told_by(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, off: int
) -> None:
    monkeypatch.setattr(patience, "PATIENCE_NS", SECOND // 2)
    there = time.time_ns() + off * SECOND

    assert 0.3 < waited(shelf, table(claim("uid-web-1"), begin=there), sent_at=there) < 2
    assert waited(shelf, table(claim("uid-web-1"), begin=there - SECOND), sent_at=there) < 0.2


def test_a_batch_waits_for_the_first_lists_and_not_for_ever(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "SYNC_S", 0.3)
    assert 0.2 < waited(shelf, table(claim("uid-web-1")), synced=False) < 20

    monkeypatch.setattr(patience, "SYNC_S", 60)
    assert waited(shelf, table(claim("uid-web-1")), synced=False, begun=time.monotonic() - 61) < 20


@pytest.mark.parametrize("times", [b"", b"odd", b"\xff" * 8, b"\x7f" * 8])
def test_nonsense_does_not_wait_and_is_left_to_the_reader(shelf: Shelf, times: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "PATIENCE_NS", SECOND // 10)
    columns = wire.encode(table(claim("uid-web-1")))
    columns.time = times
    for each in shelf.watch.reflectors:
        each.synced.set()

    batch = ingest_pb2.EventBatch(columns=columns)
    asyncio.run(asyncio.wait_for(Patience(shelf.watch, 0).wait(ingest_pb2.Hello(cluster="test", node="n"), batch), 3))
