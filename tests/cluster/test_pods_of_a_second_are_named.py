"""Pods that execute at once and are gone within three seconds, one after the other: each event still finds its pod.

`PEERWATCH_CLUSTER_PODS=300` makes more of them.
"""

import os
import random
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from cluster.manifests import container, pod
from cluster.scene import Scene

PODS = int(os.environ.get("PEERWATCH_CLUSTER_PODS", "60"))
AT_ONCE = 6
"""Pods that are under way at a time: a node makes about one or two a second, whatever is asked of it."""

EXECS, CONNECTS = 3, 2


def _live(scene: Scene, number: int, seconds: int) -> None:
    """Have one pod come and go."""
    begin = time.monotonic()
    name = f"brief-{number}"
    brief = container("app", execs=EXECS, connects=CONNECTS, seconds=seconds)
    scene.create(pod(name, brief, restartPolicy="Never", terminationGracePeriodSeconds=0))
    while (phase := scene.api.get(scene.path("Pod", name))["status"]["phase"]) in {"Pending", "Running"}:
        assert time.monotonic() - begin < 240, phase
        time.sleep(0.15)
    assert phase == "Succeeded"
    scene.api.delete(scene.path("Pod", name), gracePeriodSeconds="0")


@pytest.mark.timeout(120 + 4 * PODS)
def test_every_event_of_a_pod_of_a_second_has_its_container_and_its_pod(
    scene: Scene, record_property: Callable[[str, object], None]
) -> None:
    lives = [random.choice((0, 1, 2)) for _ in range(PODS)]  # noqa: S311 — spreads load, hides nothing
    begin = time.monotonic()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(lambda number: _live(scene, number, lives[number]), range(PODS)))
    took_s = time.monotonic() - begin
    record_property("pods_per_minute", round(60 * PODS / took_s))
    print(f"{PODS} pods in {took_s:.0f} s")  # noqa: T201 — the same for who runs it by hand

    told = scene.told(lambda told: told.execs.total() == EXECS * PODS and told.connects.total() == CONNECTS * PODS)

    events = sum(len(each) for each in told.events.values())
    lacking = (told.unresolved + told.partial).total()
    print(f"{events} events, {lacking} of them without a full name, {len(told.wrong)} under a wrong one")  # noqa: T201 — as above
    whose = [(f"{scene.namespace}/brief-{number}", "app") for number in range(PODS)]
    assert told.wrong == []
    assert told.execs == Counter(dict.fromkeys(whose, EXECS))
    assert told.connects == Counter(dict.fromkeys(whose, CONNECTS))
    assert {who: len(ids) for who, ids in told.ids.items()} == dict.fromkeys(whose, 1)
    ids = {who: next(iter(ids)) for who, ids in told.ids.items()}
    assert {container_id: who for who, container_id in ids.items()}.items() >= scene.pods.ids.items()
    assert len(scene.pods.ids) > 0.9 * PODS  # whose id the API server ever said; the others were gone before
    assert lacking <= 0.001 * events
