"""One node for all tests here, with one agent that watches it and one collector; a namespace for each test."""

import contextlib
import http.client
import itertools
import os
import select
import signal
from collections.abc import Iterator
from pathlib import Path

import helm
import pytest
from harness.agents import Agent, Collector
from helm.images import NEXT, TAG
from helm.release import Release, load

from agent.capture.probes import Probes, uninstall
from agent.errors import UnsupportedError
from cluster import binary, images
from cluster.api import Api, ApiError
from cluster.configuration import NODE
from cluster.faults import Proxy
from cluster.node import Node, sweep
from cluster.pki import kubeconfig
from cluster.scene import Scene

CLUSTER = f"node-{os.getpid()}"
PINS = Path(f"/sys/fs/bpf/peerwatch-cluster-{os.getpid()}")
RIGHTS = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]}]
"""All that an agent may do."""

_numbers = itertools.count()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == Path(__file__).parent and "node" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.kernel)


def _end(pid: int) -> None:
    """Kill a process of others and wait for its end: before it, its locks are held."""
    process = os.pidfd_open(pid)
    try:
        signal.pidfd_send_signal(process, signal.SIGKILL)
        select.select([process], [], [], 30)
    finally:
        os.close(process)


def _sweep_agents() -> None:
    """End agents whose pytest was killed, and take their probes away."""
    for folder in PINS.parent.glob("peerwatch-cluster-*"):
        owner = folder.name.rpartition("-")[2]
        if not owner.isdigit() or Path(f"/proc/{owner}").exists():
            continue
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # it has ended meanwhile
                if str(folder).encode() in (process / "cmdline").read_bytes():
                    _end(int(process.name))
        uninstall(folder)


@pytest.fixture(scope="session")
def node() -> Iterator[Node]:
    reason = binary.missing()
    if reason:
        pytest.skip(reason)
    try:
        binary.build()
    except binary.BuildError as error:
        pytest.skip(str(error))
    sweep()
    main = Node()
    # Somebody's, by `make cluster`: it stays. Of several processes, each needs its own: there are tests that kill a server.
    if main.running and "PYTEST_XDIST_WORKER" not in os.environ:
        yield main
        return
    with Node.started(f"tests-{os.getpid()}") as own:
        yield own


@pytest.fixture(scope="session")
def work(node: Node) -> None:
    """The images that pods of tests are made of."""
    for tag in ("1", "2"):
        node.load(images.work(tag))


@pytest.fixture(scope="session")
def product(node: Node) -> None:
    """The images of the product, and Helm to install it with."""
    try:
        helm.program()
        load(node, TAG, NEXT)
    except (helm.Missing, RuntimeError) as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def place(node: Node, work: None, product: None) -> Iterator[Release]:  # noqa: ARG001 — the node has the images
    """Where the chart is installed, and what is left of it removed."""
    with Release(node) as place:
        yield place


@pytest.fixture(scope="module")
def release(place: Release) -> Release:
    """The chart, installed: by this file or, if it was not removed, by the one before."""
    place.install()
    return place


@pytest.fixture(scope="session")
def token(node: Node) -> str:
    """A service account's token that lets an agent see pods and nothing else."""
    return agent_token(node.api)


def agent_token(api: Api) -> str:
    for path, body in (
        ("api/v1/namespaces", {"metadata": {"name": "peerwatch-test"}}),
        ("api/v1/namespaces/peerwatch-test/serviceaccounts", {"metadata": {"name": "agent"}}),
        ("apis/rbac.authorization.k8s.io/v1/clusterroles", {"metadata": {"name": "peerwatch-test"}, "rules": RIGHTS}),
        (
            "apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
            {
                "metadata": {"name": "peerwatch-test"},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "peerwatch-test"},
                "subjects": [{"kind": "ServiceAccount", "name": "agent", "namespace": "peerwatch-test"}],
            },
        ),
    ):
        try:
            api.post(f"/{path}", body)
        except ApiError as error:
            if error.status != http.client.CONFLICT:  # it is there, from an earlier run on the same node
                raise
    asked = api.post("/api/v1/namespaces/peerwatch-test/serviceaccounts/agent/token", {"spec": {"expirationSeconds": 86400}})
    return str(asked["status"]["token"])


@pytest.fixture(scope="session")
def way(node: Node) -> Iterator[Proxy]:
    """The way from the host's network to the API server; nobody breaks this one."""
    with Proxy(node.api, node.folder / "pki") as proxy:
        yield proxy


@pytest.fixture(scope="session")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    with Collector(tmp_path_factory.mktemp("collector") / "data").start() as collector:
        yield collector


@pytest.fixture(scope="session")
def agent(
    node: Node,
    way: Proxy,
    token: str,
    work: None,  # noqa: ARG001 — pods can only be made of images that are there
    collector: Collector,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Agent]:
    """The agent of the node: a process of this host, whose API server is at the other end of `way`."""
    folder = tmp_path_factory.mktemp("agent")
    (folder / "kubeconfig").write_text(kubeconfig(way.url, node.folder / "pki/ca.crt", {"token": token}))
    _sweep_agents()
    try:
        with Probes(PINS):
            pass
    except UnsupportedError as error:
        pytest.skip(str(error))
    options = {
        "--collector": collector.address,
        "--kubeconfig": str(folder / "kubeconfig"),
        "--node": NODE,
        "--cluster": CLUSTER,
        "--pin-dir": str(PINS),
        "--spool": str(folder / "spool"),
        "--canary": "0",
    }
    try:
        with Agent([word for pair in options.items() for word in pair]) as agent:
            agent.until("capturing on node")
            yield agent
    finally:
        uninstall(PINS)


@pytest.fixture
def scene(node: Node, agent: Agent, collector: Collector) -> Iterator[Scene]:
    """A namespace of this test's own, watched by the agent."""
    assert agent.process.poll() is None
    with Scene(node, collector, cluster=CLUSTER, namespace=f"test-{next(_numbers)}-{os.getpid()}") as scene:
        yield scene
