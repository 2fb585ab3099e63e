"""Rollouts, their way back, scaling and deletion: whoever replaces whom, every event is told of who caused it."""

from collections import Counter

import pytest

from cluster.images import work
from cluster.manifests import DEPLOYMENT, Object, container, controller, pod
from cluster.scene import Scene
from cluster.truth import Told

pytestmark = pytest.mark.timeout(300)  # two dozen pods, one or two a second

EXECS, CONNECTS = 3, 2


def _revision(each: Object) -> str:
    return str(each["metadata"]["labels"]["pod-template-hash"])


def _all_told(scene: Scene) -> Told:
    """Return what was told once every pod that ever was has told all it did."""

    def is_complete(told: Told) -> bool:
        return told.execs == _expected(scene, EXECS) and told.connects == _expected(scene, CONNECTS)

    return scene.told(is_complete)


def _expected(scene: Scene, each: int) -> Counter[tuple[str, str]]:
    return Counter({(f"{scene.namespace}/{name}", "app"): each for name in scene.pods.by_name()})


def _assert_right(scene: Scene, told: Told) -> None:
    assert told.wrong == []
    assert told.unresolved + told.partial == Counter()
    assert told.execs == _expected(scene, EXECS)
    assert told.connects == _expected(scene, CONNECTS)
    for name, each in scene.pods.by_name().items():
        events = told.events[f"{scene.namespace}/{name}", "app"]
        assert {event.pod.revision for event in events} == {_revision(each)}
        assert {event.container.image for event in events} == {each["spec"]["containers"][0]["image"]}


def test_a_rollout_and_its_undoing_change_the_revision_of_the_right_pods(scene: Scene) -> None:
    scene.create(controller(DEPLOYMENT, pod("cart", container("app", execs=EXECS, connects=CONNECTS)), replicas=5))
    first = {_revision(each) for each in scene.until_ready(5)}
    second = container("app", execs=EXECS, connects=CONNECTS, tag="2")
    scene.api.patch(scene.path(DEPLOYMENT, "cart"), {"spec": {"template": {"spec": {"containers": [second]}}}})
    scene.kubectl("rollout", "status", "deployment/cart", "--timeout=60s")
    between = {_revision(each) for each in scene.until_ready(5)}
    scene.kubectl("rollout", "undo", "deployment/cart")
    scene.kubectl("rollout", "status", "deployment/cart", "--timeout=60s")
    last = {_revision(each) for each in scene.until_ready(5)}

    told = _all_told(scene)

    assert first == last != between
    assert len(scene.pods.objects) == 15
    _assert_right(scene, told)
    images = Counter(event.container.image for events in told.events.values() for event in events if event.HasField("connect"))
    assert set(images) == {work("1").reference, work("2").reference}


def test_replicas_that_come_and_go_are_each_told_by_name(scene: Scene) -> None:
    scene.create(controller(DEPLOYMENT, pod("cart", container("app", execs=EXECS, connects=CONNECTS)), replicas=5))
    scene.until_ready(5)
    for replicas in (20, 3):
        scene.api.patch(scene.path(DEPLOYMENT, "cart"), {"spec": {"replicas": replicas}})
        scene.until_ready(replicas)
    scene.api.delete(scene.path(DEPLOYMENT, "cart"), propagationPolicy="Foreground")
    scene.pods.until(lambda pods: not pods)

    told = _all_told(scene)

    assert len(scene.pods.objects) == 20
    _assert_right(scene, told)


def test_a_pod_of_the_same_name_is_another_pod(scene: Scene) -> None:
    for _ in range(3):  # a StatefulSet's replica comes back under its name, and soon under its address
        scene.create(pod("db-0", container("app", execs=EXECS, connects=CONNECTS)))
        scene.until_ready(1)
        scene.api.delete(scene.path("Pod", "db-0"), gracePeriodSeconds="0")
        scene.pods.until(lambda pods: not pods)

    told = scene.told(lambda told: told.execs.total() == 3 * EXECS and told.connects.total() == 3 * CONNECTS)
    assert told.wrong == []  # the uid in each process's arguments is held against the one that was told
    assert (told.execs.total(), told.connects.total()) == (3 * EXECS, 3 * CONNECTS)
    uids = {event.pod.uid for event in told.events[f"{scene.namespace}/db-0", "app"]}
    assert uids == set(scene.pods.objects)
    assert len(uids) == 3
