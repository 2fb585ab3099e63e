"""Sorted arrays answer as a dictionary would, whatever was merged when, and torn out notes are not found again."""

import numpy as np
import pytest
from detection.cluster import BEGIN
from hypothesis import given, strategies as st
from peerwatch.subjects import ContainerKind

from collector.analysis import index
from collector.analysis.index import Index
from collector.analysis.notes import Notes
from collector.analysis.sightings import Group, SightingTable
from collector.records import WorkloadKey

KEYS = st.integers(-7, 17) | st.integers(-(2**63), 2**63 - 1)
STEPS = st.lists(st.tuples(KEYS, st.none() | st.integers(0, 2**62)) | st.just("all"), max_size=60)
PAIRS = np.arange(40, dtype=np.int64) << 32 | 3


def group(name: str) -> Group:
    return Group(SightingTable(), WorkloadKey("c", "shop", "Deployment", name), "app", ContainerKind.APP, BEGIN)


@pytest.mark.parametrize("most_new", [0, 5, 4096])
@given(steps=STEPS)
def test_it_answers_like_a_dictionary(steps: list[tuple[int, int | None] | str], most_new: int) -> None:
    known: dict[int, int] = {}
    numbers = Index()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index, "MOST_NEW", most_new)
        for step in steps:
            if isinstance(step, str):  # many at once
                keys = [*known, 5, -5]
                assert numbers.find(np.array(keys, np.int64)).tolist() == [known.get(key, -1) for key in keys]
            elif step[1] is None:
                assert numbers.get(step[0]) == known.get(step[0], -1)
            else:
                known[step[0]] = step[1]
                numbers.add(*step)

    assert sorted(numbers.numbers().tolist()) == sorted(known.values())
    assert len(numbers) == len(known)


def test_it_begins_with_what_it_is_given() -> None:
    keys = np.array([7, 3, 5])

    numbers = Index(keys, np.arange(3))

    assert numbers.find(np.array([3, 4, 5, 7])).tolist() == [1, -1, 2, 0]


def test_only_one_groups_notes_are_torn_out() -> None:
    notes, cart, order = Notes(), group("cart"), group("order")
    for pair in PAIRS.tolist():
        notes.add(pair, pair >> 32, cart if pair >> 32 < 10 else order)

    notes.tear_out(cart)

    assert notes.find(PAIRS).tolist() == [-1] * 10 + list(range(10, 40))


def test_what_is_noted_after_the_others_were_torn_out_is_found() -> None:
    notes, cart = Notes(), group("cart")
    notes.add(1, 11, cart)
    notes.add(2, 12, cart)
    notes.tear_out(cart)
    notes.add(2, 13, cart)

    assert notes.find(np.array([1, 2])).tolist() == [-1, 13]


def test_torn_out_notes_give_their_room_back() -> None:
    notes, cart, order = Notes(), group("cart"), group("order")
    notes.add(0, 99, order)
    for round_ in range(50):
        for pair in PAIRS.tolist():
            notes.add(pair, round_, cart)
        assert notes.find(PAIRS).tolist() == [round_] * 40
        notes.tear_out(cart)

    assert notes.find(np.array([0])).tolist() == [99]
    assert len(notes) <= 1 + 40
    assert order.page != cart.page
