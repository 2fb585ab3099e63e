"""The API server is killed under running pods, and started again: events resolve or go out unresolved, none is wrong."""

import json
from collections import Counter

import pytest
from harness.agents import Agent

from cluster.configuration import NODE
from cluster.faults import Proxy
from cluster.manifests import container, pod
from cluster.scene import Scene


@pytest.mark.timeout(300)  # after that, each component waits up to half a minute before it asks again
def test_what_starts_while_it_is_away_is_not_told_to_be_somebody_else(scene: Scene, agent: Agent, way: Proxy) -> None:
    static = scene.node.manifests / f"{scene.namespace}.json"
    unknown = pod("unknown", container("app", execs=11, connects=5))
    unknown["metadata"]["namespace"] = scene.namespace
    # Ends and is started again: the second container is one that no status named while the server was away.
    again = container("app", execs=7, connects=3, seconds=3)
    scene.create(pod("again", again), pod("known", container("app", execs=5, connects=2)))
    scene.until_ready(2)
    the_unknown, the_again, the_known = ((f"{scene.namespace}/{name}", "app") for name in (f"unknown-{NODE}", "again", "known"))
    lists = way.lists
    for number in range(3):  # the newest version of all is none that the agent has seen
        name = f"{scene.namespace}-{number}"
        scene.api.post(f"/api/v1/namespaces/{scene.namespace}/configmaps", {"metadata": {"name": name}})
    try:
        scene.node.kill("apiserver")
        static.write_text(json.dumps(unknown))
        away = scene.told(
            lambda told: told.execs[the_unknown] == 11 and told.execs[the_again] >= 14 and told.execs[the_known] == 5
        )
    finally:
        static.unlink(missing_ok=True)
        scene.node.compact()  # what the agent has seen last is too old to go on from
        scene.node.start("apiserver")
        scene.node.wait_ready()
    assert away.wrong == []
    assert (away.execs[the_unknown], away.connects[the_unknown]) == (11, 5)
    assert away.unresolved.keys() == {the_unknown}
    assert len(away.ids[the_again]) >= 2
    assert away.partial.keys() <= {the_again}

    # It is back: what comes now is told in full.
    agent.until("the API server is back")
    scene.create(pod("later", container("app", execs=13, connects=7)))
    scene.until_ready(1, prefix="later")
    later = (f"{scene.namespace}/later", "app")
    back = scene.told(lambda told: told.execs[later] == 13 and told.connects[later] == 7)
    assert back.wrong == []
    assert (back.execs[later], back.connects[later]) == (13, 7)
    assert back.unresolved[later] + back.partial[later] == 0
    assert Counter(away.execs) <= Counter(back.execs)
    assert way.lists == lists + 1
