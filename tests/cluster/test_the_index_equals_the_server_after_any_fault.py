"""A real API server behind a proxy that breaks its answers: the agent's index becomes equal to the server's state again, and no
lookup on the way names the wrong pod."""

import itertools
import os
import random
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import pytest
from peerwatch.kubernetes import reflector
from peerwatch.kubernetes.connection import from_pod
from peerwatch.kubernetes.pods import parse_pod
from peerwatch.kubernetes.reflector import Reflector, Resource

from agent.identity.cgroups import ContainerRef
from agent.identity.index import PodIndex
from agent.identity.kubernetes import KubernetesPods
from cluster.api import Api
from cluster.faults import CUT, EXPIRED, STALL, Proxy, status
from cluster.node import Node
from cluster.paper import Paper
from cluster.pki import kubeconfig

INACTIVITY_S = 1.5
"""Instead of more than a minute: a watch that is silent so long is taken for dead."""

_numbers = itertools.count()


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have it try again sooner, with the same logic."""
    for name, value in {"INACTIVITY_S": INACTIVITY_S, "RETRY_FIRST_S": 0.05, "RETRY_CAP_S": 0.4, "STEADY_S": 0.2}.items():
        assert hasattr(reflector, name)
        monkeypatch.setattr(reflector, name, value)


@pytest.fixture
def proxy(node: Node) -> Iterator[Proxy]:
    with Proxy(node.api, node.folder / "pki") as proxy:
        yield proxy


@pytest.fixture
def paper(node: Node) -> Iterator[Paper]:
    name = f"paper-{next(_numbers)}-{os.getpid()}"
    paper = Paper(node.api, namespace=name, node=name)
    paper.begin()
    yield paper
    paper.end()


class Follower:
    """An index that follows the server through the proxy, and a thread that looks names up all the time."""

    def __init__(self, paper: Paper, proxy: Proxy) -> None:
        self.index = PodIndex("cluster", paper.node)
        self.wrong: list[str] = []
        self.lookups = 0
        self._paper, self._proxy = paper, proxy
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look_up)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def until_equal(self, timeout_s: float = 20) -> None:
        """Wait until the index is what the server says, and assert it."""
        deadline = time.monotonic() + timeout_s
        while (difference := self._difference()) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert difference == ""

    def knows(self, name: str) -> bool:
        uid, *ids = self._paper.alive[name]
        return self.index.lookup(ContainerRef(ids[-1], uid)) is not None

    def _difference(self) -> str:
        listed = self._paper.listed()
        if len(self.index) != len(listed):
            return f"{len(self.index)} pods instead of {len(listed)}"
        for uid, ids in listed.items():
            for container_id in ids:
                subject = self.index.lookup(ContainerRef(container_id, uid))
                if subject is None or subject.pod.uid != uid:
                    return f"{container_id} is {subject}"
        return ""

    def _look_up(self) -> None:
        chance = random.Random(0)  # noqa: S311 — nothing is kept secret
        while not self._stop.is_set():
            for container_id, (uid, name) in list(self._paper.owners.items()):
                subject = self.index.lookup(ContainerRef(container_id, uid), final=chance.random() < 0.5)
                self.lookups += 1
                told = subject and (subject.pod.uid, subject.pod.name, subject.container.id)
                if told not in {None, (uid, name, container_id)}:
                    self.wrong.append(f"{container_id} of {name} ({uid}) is {subject}")
            time.sleep(0.0005)


@pytest.fixture
def follower(node: Node, paper: Paper, proxy: Proxy, token: str, tmp_path: Path) -> Iterator[Follower]:
    file = tmp_path / "kubeconfig"
    file.write_text(kubeconfig(proxy.url, node.folder / "pki/ca.crt", {"token": token}))
    with Follower(paper, proxy) as follower:
        pods = KubernetesPods(follower.index, paper.node, kubeconfig=str(file))
        pods.start()
        _until(lambda: pods.synced.is_set() and proxy.watched)
        try:
            yield follower
        finally:
            proxy.heal()
            pods.stop()
    assert follower.wrong == []


def _until(condition: Callable[[], object], timeout_s: float = 20) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("after", [0, 1, 300, 1500, 4000])
def test_an_object_that_is_cut_in_the_middle_comes_with_the_next_watch(
    follower: Follower, paper: Paper, proxy: Proxy, after: int
) -> None:
    proxy.plan.append(CUT(after))
    proxy.break_off()
    for number in range(3):
        paper.create(f"db-{number}")  # an object of a status has some 1,500 bytes
    follower.until_equal()
    assert proxy.met == [CUT(after).name]


@pytest.mark.parametrize("after", [0, 700])
def test_a_watch_that_falls_silent_is_given_up(follower: Follower, paper: Paper, proxy: Proxy, after: int) -> None:
    proxy.plan.append(STALL(after))
    proxy.break_off()
    _until(lambda: proxy.met)
    paper.create("db-0")
    begin = time.monotonic()
    assert not follower.knows("db-0")
    follower.until_equal()
    assert time.monotonic() - begin < 10 * INACTIVITY_S


def test_a_server_that_asks_for_time_gets_it(follower: Follower, paper: Paper, proxy: Proxy) -> None:
    before = len(proxy.asked)
    proxy.plan.append(status(429, retry_after="2"))
    proxy.break_off()
    paper.create("db-0")
    follower.until_equal()
    refused, next_one = (at for at, _ in proxy.asked[before : before + 2])
    assert 2 <= next_one - refused < 8


def test_a_server_with_errors_is_asked_again_and_not_hammered(follower: Follower, paper: Paper, proxy: Proxy) -> None:
    before = len(proxy.asked)
    proxy.plan.extend(status(code) for code in (500, 502, 503, 504, 500, 500, 503))
    proxy.break_off()
    paper.create("db-0")
    follower.until_equal()
    times = [at for at, _ in proxy.asked[before:]]
    assert len(times) == 8
    # The pause doubles from `RETRY_FIRST_S` to `RETRY_CAP_S`, each shortened by chance to not less than half.
    assert times[-1] - times[0] > (0.05 + 0.1 + 0.2 + 4 * 0.4) / 2


def test_a_version_that_is_too_old_leads_to_one_new_list(follower: Follower, paper: Paper, proxy: Proxy) -> None:
    paper.create("db-0")
    paper.create("db-1")
    follower.until_equal()
    before = proxy.lists
    proxy.plan.extend([status(503)] * 3 + [EXPIRED])
    proxy.break_off()
    paper.delete("db-0")
    paper.create("db-0")
    follower.until_equal()
    _until(lambda: not proxy.plan)
    follower.until_equal()
    assert proxy.lists == before + 1


@pytest.mark.parametrize("changes", [0, 60])
def test_renewing_a_watch_is_one_request_and_no_list_however_much_happens(
    follower: Follower, paper: Paper, proxy: Proxy, monkeypatch: pytest.MonkeyPatch, changes: int
) -> None:
    chance = random.Random(changes)  # noqa: S311 — nothing is kept secret
    monkeypatch.setattr(reflector, "WATCH_S", (1, 1))  # instead of four to eight minutes
    before = len(proxy.asked)
    proxy.break_off()
    done = 0
    while done < changes or len(proxy.asked) < before + 5:
        if done < changes:
            paper.change(chance)
            done += 1
        else:
            time.sleep(0.01)
    follower.until_equal()
    asked = proxy.asked[before : before + 5]

    assert all("watch=true" in path for _, path in asked)
    # Each lasts as long as was asked for, whatever it has to say.
    assert all(later - earlier > 0.99 for (earlier, _), (later, _) in itertools.pairwise(asked))


def test_a_token_that_is_refused_is_read_again(node: Node, paper: Paper, proxy: Proxy, token: str, tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_bytes((node.folder / "pki/ca.crt").read_bytes())
    (tmp_path / "token").write_text(token)
    where = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": proxy.url.rpartition(":")[2]}
    mine = Resource("/api/v1/pods", "pods", {"fieldSelector": f"spec.nodeName={paper.node}"}, from_cache=True)
    with Follower(paper, proxy) as follower:
        pods = Reflector(from_pod(where, tmp_path), mine, follower.index, parse_pod)
        pods.start()
        _until(lambda: pods.watching)
        (tmp_path / "token").write_text(_outdated(node.api, paper.namespace))
        before = len(proxy.asked)
        proxy.break_off()
        paper.create("db-0")
        _until(lambda: len(proxy.asked) >= before + 3)
        assert not follower.knows("db-0")
        (tmp_path / "token").write_text(token)  # as the kubelet renews it
        follower.until_equal()
        pods.stop()
    assert follower.wrong == []


def _outdated(api: Api, namespace: str) -> str:
    """Return a token that was valid."""
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts"
    api.post(path, {"metadata": {"name": "gone"}})
    made = api.post(f"{path}/gone/token", {"spec": {"expirationSeconds": 600}})
    api.delete(f"{path}/gone")
    return str(made["status"]["token"])


@pytest.fixture(params=range(3))
def chance() -> random.Random:
    seed = secrets.randbelow(1 << 16)
    print(f"random seed {seed}")  # noqa: T201 — pytest shows it when the test fails, which it can repeat
    return random.Random(seed)  # noqa: S311 — it keeps no secret


def test_after_any_sequence_of_changes_and_faults_the_index_is_right(
    follower: Follower, paper: Paper, proxy: Proxy, chance: random.Random
) -> None:
    kinds = (
        lambda: CUT(chance.randrange(6000)),
        lambda: STALL(chance.randrange(3000)),
        lambda: status(429, retry_after="1"),
        lambda: status(chance.choice((401, 500, 502, 503, 504))),
        lambda: EXPIRED,
        lambda: EXPIRED,
    )
    for _ in range(60):
        if chance.random() < 0.75:
            paper.change(chance)
        else:
            proxy.plan.extend(chance.choice(kinds)() for _ in range(chance.randrange(4)))
            proxy.break_off()
    proxy.heal()
    follower.until_equal()
    for _ in range(10):  # no list hides now what a watch gets wrong
        paper.change(chance)
    follower.until_equal()
    assert follower.lookups > 1000
