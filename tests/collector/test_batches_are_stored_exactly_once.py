import json
import signal
from collections.abc import Callable

import pytest
from collector_harness import Command, Daemon, Events


def exes(peerwatch: Command, server: str) -> dict[str, int]:
    """How often each executable is in the archive."""
    done = peerwatch("replay", "--output", "json", server=server)
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    counts = {}
    for event in found:
        if "exec" in event:
            counts[event["process"]["exe"]] = counts.get(event["process"]["exe"], 0) + 1
    return counts


def test_a_resent_batch_is_acknowledged_and_not_stored_again(daemon: Daemon, events: Events, peerwatch: Command) -> None:
    agent = daemon.agent()
    for sequence in (1, 2, 3):
        agent.store(sequence, events.table(exe=f"/bin/{sequence}"))
    agent.close()

    again = daemon.agent()
    assert again.acknowledged == 3
    again.batch(2, events.table(exe="/bin/2"))
    again.batch(3, events.table(exe="/bin/3"))
    again.store(4, events.table(exe="/bin/4"))

    assert exes(peerwatch, daemon.address) == {f"/bin/{sequence}": 5 for sequence in (1, 2, 3, 4)}
    assert daemon.status().refused["duplicate_batch"] == 2


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_collector_that_ends_in_any_way_keeps_each_acknowledged_batch_once(
    daemons: Callable[[], Daemon], events: Events, peerwatch: Command, number: int
) -> None:
    daemon = daemons()
    expected = {}
    for run in range(3):
        agent = daemon.agent()
        last = agent.acknowledged
        assert last == run * 7
        for sequence in range(last + 1, last + 8):
            agent.store(sequence, events.table(exe=f"/bin/{sequence}"))
            expected[f"/bin/{sequence}"] = 5
        assert daemon.end(number) == (0 if number == signal.SIGTERM else -signal.SIGKILL)
        daemon = daemons()
    assert exes(peerwatch, daemon.address) == expected

    answer = daemon.status()
    assert answer.events == 21 * events.of_a_table
    assert answer.agents[0].lost["RING_FULL"] == 21 * 17


def test_each_session_counts_for_itself(daemon: Daemon, events: Events, peerwatch: Command) -> None:
    daemon.agent(session="one").store(1, events.table(exe="/bin/one"))
    daemon.agent(session="two").store(1, events.table(exe="/bin/two"))
    assert exes(peerwatch, daemon.address) == {"/bin/one": 5, "/bin/two": 5}


def test_a_gap_in_the_sequence_is_counted(daemon: Daemon, events: Events) -> None:
    agent = daemon.agent()
    agent.store(1, events.table())
    agent.store(5, events.table())
    assert daemon.status().refused["sequence_gap"] == 3


def test_a_graceful_end_seals_the_journal(daemon: Daemon, events: Events) -> None:
    daemon.agent().store(1, events.table())
    assert daemon.end(signal.SIGTERM) == 0
    assert list((daemon.data / "journal").iterdir()) == []
    assert len(list((daemon.data / "archive").rglob("*.parquet"))) >= 1
