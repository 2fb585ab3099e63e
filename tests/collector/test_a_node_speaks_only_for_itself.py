import time
from pathlib import Path

import grpc
import pytest
from collector_harness import Daemon, Events
from peerwatch import wire
from peerwatch.columns import ColumnsBuilder, EventColumns
from peerwatch.v1 import ingest_pb2

from collector.ingest.admission import Bounds, RefusedError, admit
from collector.ingest.counters import Counters
from collector.state import Flush, State
from collector.state.sessions import Sessions

NOW = 1_700_000_000 * 10**9
HELLO = ingest_pb2.Hello(cluster="test", node="node-1", session="s")


def test_events_of_another_node_are_left_out_and_counted(daemon: Daemon, events: Events) -> None:
    mixed = EventColumns.concatenate([events.table(), events.table(node="node-2")])
    daemon.agent().store(1, mixed)

    answer = daemon.status()
    assert answer.events == events.of_a_table
    assert answer.refused["foreign_node"] == events.of_a_table + 1  # and a loss, which is one thing refused
    assert [agent.node for agent in answer.agents] == ["node-1"]


def test_a_batch_that_contradicts_itself_is_acknowledged_and_counted(daemon: Daemon, events: Events) -> None:
    broken = wire.encode(events.table())
    broken.subject = b"\xff" * len(broken.subject)
    agent = daemon.agent()
    agent.store(1, broken)
    agent.store(2, events.table())

    answer = daemon.status()
    assert answer.refused["invalid_columns"] == 1
    assert answer.events == events.of_a_table


@pytest.mark.parametrize(
    "request_",
    [
        ingest_pb2.StreamRequest(),
        ingest_pb2.StreamRequest(batch=ingest_pb2.EventBatch(sequence=1)),
        ingest_pb2.StreamRequest(hello=ingest_pb2.Hello(node="n" * 300, session="s")),
        ingest_pb2.StreamRequest(hello=ingest_pb2.Hello(node="", session="s")),
    ],
)
def test_a_stream_without_a_proper_hello_is_closed_with_a_reason(
    daemon: Daemon, events: Events, request_: ingest_pb2.StreamRequest
) -> None:
    stranger = daemon.agent(hello=False)
    stranger.send(request_)
    with pytest.raises(grpc.RpcError) as raised:
        next(stranger.responses)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "hello" in raised.value.details().lower()
    daemon.agent().store(1, events.table())  # and the collector goes on


def test_a_second_hello_ends_the_stream_and_what_came_before_is_stored(daemon: Daemon, events: Events) -> None:
    agent = daemon.agent()
    agent.store(1, events.table())
    agent.send(ingest_pb2.StreamRequest(hello=HELLO))
    with pytest.raises(grpc.RpcError) as raised:
        next(agent.responses)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert daemon.agent().acknowledged == 1


def test_extreme_sequence_numbers_stop_nothing(daemon: Daemon, events: Events) -> None:
    agent = daemon.agent(session="hostile")
    agent.batch(2**64 - 1, events.table())
    agent.batch(0, events.table())
    agent.store(1, events.table())
    assert daemon.status().refused["bad_sequence"] == 1


def test_a_message_above_the_bound_is_refused(daemon: Daemon, events: Events) -> None:
    agent = daemon.agent()
    agent.batch(1, ingest_pb2.EventColumns(strings=["", "x" * (17 << 20)]))
    with pytest.raises(grpc.RpcError) as raised:
        agent.wait(1)
    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    daemon.agent().store(1, events.table())


def taken(columns: ingest_pb2.EventColumns, counters: Counters | None = None, **bounds: int) -> EventColumns:
    batch = ingest_pb2.EventBatch(sequence=1, columns=columns)
    return admit(batch, HELLO, now=NOW, bounds=Bounds(**bounds), counters=counters or Counters())


@pytest.mark.parametrize(
    "bounds",
    [
        {"rows": 10},
        {"subjects": 5},
        {"strings": 3},
        {"string_length": 5},
        {"processes": 4},
        {"list_length": 2},
        {"list_entries": 20},
        {"counted": 36},  # five execs, five connects that stand for three each, 17 lost
        {"pairs": 2},
        {"subject_size": 20},
    ],
)
def test_a_batch_above_a_bound_is_refused_as_a_whole(events: Events, bounds: dict[str, int]) -> None:
    table = wire.encode(events.table(begin=NOW))
    assert len(taken(table)) == 11
    with pytest.raises(RefusedError) as raised:
        taken(table, **bounds)
    assert raised.value.reason == "too_large"


def test_events_from_the_future_or_before_2000_are_left_out(events: Events) -> None:
    counters = Counters()
    table = EventColumns.concatenate([events.table(begin=begin) for begin in (NOW, NOW + 2 * 3600 * 10**9, 5)])
    assert len(taken(wire.encode(table), counters)) == 11
    assert counters["time_out_of_range"] == 2 * (events.of_a_table + 1)


def test_a_long_list_of_ancestors_is_refused_however_little_of_it_is_sent(events: Events) -> None:
    builder = ColumnsBuilder()
    process = builder.process(pid=7, ancestor_ids=[(number, number) for number in range(1, 12)])
    for number in range(20):
        builder.exec(NOW + number, builder.subject(events.subject()), process)
    columns = wire.encode(builder.build())

    assert len(taken(columns)) == 20
    for bounds in ({"list_length": 10}, {"list_entries": 219}):
        with pytest.raises(RefusedError) as raised:
            taken(columns, **bounds)
        assert raised.value.reason == "too_large"


def test_claims_beyond_64_bits_stay_at_the_most_that_can_be_kept(tmp_path: Path) -> None:
    sessions = Sessions([], nodes_max=1)
    for sequence in (1, 2):
        sessions.stored(
            "test", "node-1", "s", sequence=sequence, version="1", now=NOW, events=2**62 + 1, lost={"RING_FULL": 2**62 + 1}
        )
    state = State.for_file(tmp_path / "state.db")
    state.write(Flush(nodes=sessions.changed()))

    (node,) = state.nodes()
    state.close()
    assert (node.events, node.lost["RING_FULL"]) == (2**63 - 1, 2**63 - 1)


@pytest.mark.parametrize("field", ["rows", "time", "kind", "list_offsets", "process"])
def test_whatever_a_message_holds_it_is_refused_or_taken_and_nothing_else(events: Events, field: str) -> None:
    columns = wire.encode(events.table(begin=NOW))
    setattr(columns, field, 7 if field == "rows" else b"\x01\x02\x03")
    with pytest.raises(RefusedError) as raised:
        taken(columns)
    assert raised.value.reason == "invalid_columns"


def test_an_unknown_kind_of_container_and_a_wild_time_do_no_harm(events: Events) -> None:
    columns = wire.encode(events.table(begin=NOW))
    columns.subjects[0].container.kind = -7
    with pytest.raises(RefusedError):
        taken(columns)
    columns = wire.encode(events.table(begin=NOW))
    columns.subjects[0].pod.created_at.seconds = 2**62
    with pytest.raises(RefusedError):
        taken(columns)


def test_time_goes_on_while_a_stream_is_silent(daemon: Daemon) -> None:
    agent = daemon.agent()
    assert agent.acknowledged == 0
    began = time.monotonic()
    assert daemon.status().events == 0
    assert time.monotonic() - began < 5


def test_a_quiet_node_is_known_before_its_first_event(daemon: Daemon) -> None:
    daemon.agent(node="node-7")

    (agent,) = daemon.status().agents
    assert (agent.node, agent.connected, agent.events) == ("node-7", True, 0)
    assert not agent.HasField("last_batch")
