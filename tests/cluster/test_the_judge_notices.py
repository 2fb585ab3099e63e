"""What the tests of names rely on: an event that is told to be somebody else's is noticed, whatever is wrong about it."""

from collections import Counter

import pytest
from peerwatch.v1 import event_pb2

from cluster.truth import NOTHING, Told

ID = "a" * 64
WHO = ("shop/cart-1", "app")


def _event(*, pod: str = "cart-1", namespace: str = "shop", uid: str = "u1", container: str = "app") -> event_pb2.Event:
    """Return an exec of shop/cart-1, uid u1, told as whose it is said to be here."""
    event = event_pb2.Event()
    event.exec.count = 3
    event.pod.namespace, event.pod.name, event.pod.uid = namespace, pod, uid
    event.container.name, event.container.id = container, ID
    event.process.exe = NOTHING
    event.process.args[:] = ["nothing", "u1", "shop/cart-1", "app", "0"]
    return event


def _told(event: event_pb2.Event, owners: dict[str, tuple[str, str]] | None = None) -> Told:
    told = Told()
    told.add(event, owners or {})
    return told


def test_an_event_of_the_right_container_is_counted() -> None:
    told = _told(_event(), {ID: WHO})
    assert told.execs == {WHO: 3}
    assert told.wrong == []
    assert told.unresolved + told.partial == Counter()


@pytest.mark.parametrize("lie", [{"pod": "cart-2"}, {"namespace": "other"}, {"uid": "u2"}, {"container": "beside"}])
def test_an_event_of_another_is_wrong(lie: dict[str, str]) -> None:
    assert len(_told(_event(**lie)).wrong) == 1


def test_a_container_id_that_is_another_s_is_wrong() -> None:
    assert len(_told(_event(), {ID: ("shop/cart-2", "app")}).wrong) == 1


def test_an_event_without_a_pod_or_without_a_container_s_name_is_not_wrong_but_counted() -> None:
    assert _told(_event(pod="", namespace="", container="")).unresolved == {WHO: 1}
    assert _told(_event(container="")).partial == {WHO: 1}
