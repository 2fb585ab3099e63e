from random import Random

import numpy as np
from hypothesis import given, strategies as st
from peerwatch.columns import ConnectResult

from agent.capture.records import OUTCOME, SMALL_EVENT, Kind
from agent.outcomes import FORGET_NS, HOLD_NS, MOST_WAITING, Outcomes

NONE = np.empty(0, OUTCOME)
NOTHING = np.empty(0, SMALL_EVENT)


def connects(*attempts: tuple[int, int]) -> np.ndarray:
    """Begun TCP connects, as (socket, time)."""
    events = np.zeros(len(attempts), SMALL_EVENT)
    events["kind"] = Kind.CONNECT
    events["socket"], events["time"] = np.array(attempts, np.uint64).reshape(-1, 2).T
    return events


def outcomes(*ends: tuple[int, int, int]) -> np.ndarray:
    """Outcomes, as (socket, attempt, result); they come 1 ns after the attempt."""
    array = np.zeros(len(ends), OUTCOME)
    array["socket"], array["attempt"], array["result"] = np.array(ends, np.uint64).reshape(-1, 3).T
    array["time"] = array["attempt"] + np.uint64(1)
    return array


def test_an_outcome_read_later_completes_its_connect() -> None:
    joined = Outcomes()

    assert len(joined.join(connects((7, 100)), NONE, 200)) == 0
    done = joined.join(NOTHING, outcomes((7, 100, ConnectResult.REFUSED)), 300)

    assert done["result"].tolist() == [ConnectResult.REFUSED]
    assert len(joined) == 0


def test_an_outcome_read_before_its_connect_waits_for_it() -> None:
    joined = Outcomes()

    joined.join(NOTHING, outcomes((7, 100, ConnectResult.OK)), 200)

    assert joined.join(connects((7, 100)), NONE, 300)["result"].tolist() == [ConnectResult.OK]


def test_a_socket_that_is_used_again_keeps_its_attempts_apart() -> None:
    ends = outcomes((7, 300, ConnectResult.REFUSED), (7, 100, ConnectResult.OK))

    done = Outcomes().join(connects((7, 100), (7, 300)), ends, 400)

    assert done["result"].tolist() == [ConnectResult.OK, ConnectResult.REFUSED]


def test_a_connect_without_outcome_goes_out_in_progress_and_once() -> None:
    joined = Outcomes()
    joined.join(connects((7, 100)), NONE, 100)

    late = joined.join(NOTHING, NONE, 101 + HOLD_NS)
    after = joined.join(NOTHING, outcomes((7, 100, ConnectResult.TIMEOUT)), 102 + HOLD_NS)

    assert late["result"].tolist() == [ConnectResult.IN_PROGRESS]
    assert len(after) == 0


def test_what_needs_no_outcome_does_not_wait() -> None:
    events = connects((0, 5), (0, 3))
    events["result"] = ConnectResult.OK

    assert Outcomes().join(events, NONE, 10)["time"].tolist() == [3, 5]


def test_memory_is_bounded() -> None:
    joined = Outcomes()
    many = connects(*((number, number + 1) for number in range(MOST_WAITING + 10)))

    out = joined.join(many, NONE, 10)
    joined.join(NOTHING, outcomes(*((number, 1, 1) for number in range(100))), 2 + FORGET_NS)

    assert out["socket"].tolist() == list(range(10))
    assert len(joined) == 0 or len(joined) <= MOST_WAITING


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5)), unique=True), st.randoms(use_true_random=False))
def test_every_connect_goes_out_once_in_any_order_of_reading(attempts: list[tuple[int, int]], chance: Random) -> None:
    joined = Outcomes()
    reads = [(connects(each), NONE) for each in attempts] + [
        (NOTHING, outcomes((*each, ConnectResult.OK))) for each in attempts if chance.random() < 0.7
    ]
    chance.shuffle(reads)
    out = [tuple(row) for events, ends in reads for row in joined.join(events, ends, 10)[["socket", "time"]]]

    out += [tuple(row) for row in joined.join(NOTHING, NONE, 10 + 2 * HOLD_NS)[["socket", "time"]]]

    assert sorted(out) == sorted(attempts)
