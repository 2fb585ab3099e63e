"""The demo's stage on a real Kubernetes node: peerwatch from its chart, a shop of Deployments, the attack through its Service.

The attacker knows the Service's address only, so which replica it hits is kube-proxy's choice. The demo looks on as a person
would who may: over TLS, with a token, and the role `peerwatch-viewer`.
"""

import contextlib
import os
import random
import socket
import subprocess
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Self

import grpc
import helm
from cluster import binary
from cluster.archives import add_file, write_archive
from cluster.configuration import DNS_SERVICE
from cluster.confinement import inside_network
from cluster.node import Node
from cluster.scene import is_ready
from helm.images import TAG, add_packages
from helm.release import ADDRESS as COLLECTOR, NAMESPACE as OURS, Release, load

from demo.attack import attack
from demo.daemons import CLUSTER, DaemonError
from demo.shop import CART_PORT, NAMESPACE, SERVICES, get

__all__ = ["KubernetesStage", "no_node"]

IMAGE = "localhost/shop:1.4.2"
TOOLS = ("python3-minimal", "libpython3-stdlib", "bash", "dash", "coreutils", "findutils", "gzip", "libc-bin")
"""What an image of a small Python service on Debian holds."""

_SERVICES = DNS_SERVICE.rpartition(".")[0]
CART, DB = f"{_SERVICES}.80", f"{_SERVICES}.81"
DB_PORT = 5432
START_LIMIT_S = 90
PEOPLE = "demo"


def no_node() -> str:
    """Return why no node can run here or nothing can be installed on it, or nothing."""
    if why := binary.missing():
        return why
    try:
        helm.program()
    except helm.Missing as missing:
        return str(missing)
    return ""


class NodeNetwork:
    """The node's network, as a stranger in it."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def connect(self, address: str, port: int, timeout: float = 5) -> socket.socket:
        """Return a connection to an address of a pod or a Service."""
        with inside_network(self._node.network):
            return socket.create_connection((address, port), timeout)

    @contextlib.contextmanager
    def listen(self, address: str, port: int) -> Iterator[socket.socket]:
        """Wait for connections under an address that the node has for so long."""
        subprocess.run(self._node.enter("ip", "address", "add", f"{address}/32", "dev", "lo"), check=True)
        try:
            with inside_network(self._node.network):
                listener = socket.create_server((address, port))
            with listener:
                yield listener
        finally:
            subprocess.run(self._node.enter("ip", "address", "del", f"{address}/32", "dev", "lo"), check=True)


class KubernetesStage:
    """A node, the chart, and a shop of two Deployments behind Services."""

    limit_s = 6.0
    """A second, and the five for which a batch may wait for the view of the cluster to hear of its pods."""

    def __init__(self, say: Callable[[str], None], *, replicas: int, normal_life_s: float) -> None:
        self.replicas = replicas
        self.attacked = ""  # known when it has happened
        self._say = say
        self._normal_life_s = normal_life_s
        self._stack = contextlib.ExitStack()
        self._closed = threading.Event()

    def __enter__(self) -> Self:
        """Start everything; whatever fails, what was started is removed."""
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        """Uninstall, and end the node."""
        self._say("uninstalling: probes and spool on the node, then the release, then the node")
        self._stack.__exit__(kind, error, traceback)

    def _start(self) -> None:
        begin = time.monotonic()
        self._node = self._stack.enter_context(Node.started(f"demo-{os.getpid()}"))
        self._network = NodeNetwork(self._node)
        self._say(f"node: Kubernetes {binary.version()}, ready after {time.monotonic() - begin:.0f} s; loading images")
        load(self._node, TAG)
        _load_shop(self._node)
        begin = time.monotonic()
        self._release = self._stack.enter_context(Release(self._node, cluster=CLUSTER))
        try:
            self._release.install()
        except TimeoutError as error:
            raise DaemonError(str(error)) from None
        self._say(f"helm install peerwatch: agent and collector ready after {time.monotonic() - begin:.0f} s")
        begin = time.monotonic()
        self._deploy()
        self._say(
            f"deployment shop/cart with {self.replicas} replicas behind Service {CART}, in {time.monotonic() - begin:.0f} s"
        )
        self._look_on()
        crowd = threading.Thread(target=self._shopping, name="customers", daemon=True)
        crowd.start()
        self._stack.callback(crowd.join, 10)
        self._stack.callback(self._closed.set)
        self._attack_at = time.monotonic() + self._normal_life_s

    def _deploy(self) -> None:
        api = self._node.api
        api.make_namespace(NAMESPACE)
        for name, address, port, replicas in (("db", DB, DB_PORT, 2), ("cart", CART, CART_PORT, self.replicas)):
            service = {"clusterIP": address, "selector": {"app": name}, "ports": [{"port": port}]}
            api.post(f"/api/v1/namespaces/{NAMESPACE}/services", {"metadata": {"name": name}, "spec": service})
            container = {
                "name": name,
                "image": IMAGE,
                "imagePullPolicy": "Never",
                "command": ["/usr/bin/python3", f"/app/{name}.py"],
                "env": [{"name": "DATABASES", "value": "db-0"}],
                "readinessProbe": {"tcpSocket": {"port": port}, "periodSeconds": 2},
            }
            spec = {
                "containers": [container],
                "hostAliases": [{"ip": DB, "hostnames": ["db-0"]}],  # no DNS server runs on this node
                "automountServiceAccountToken": False,
                "terminationGracePeriodSeconds": 1,
            }
            template = {"metadata": {"labels": {"app": name}}, "spec": spec}
            deployment = {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template}
            api.post(f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments", {"metadata": {"name": name}, "spec": deployment})
        deadline = time.monotonic() + START_LIMIT_S
        while sum(is_ready(pod) for pod in self._pods()) < self.replicas + 2:
            if time.monotonic() > deadline:
                raise DaemonError(f"the shop does not open: {self._node.kubectl('get', 'pods', f'--namespace={NAMESPACE}')}")
            time.sleep(0.2)

    def _pods(self) -> list[Any]:
        pods: list[Any] = self._node.api.get(f"/api/v1/namespaces/{NAMESPACE}/pods")["items"]
        return pods

    def _look_on(self) -> None:
        release = self._release
        release.account(PEOPLE, role="peerwatch-viewer")
        self._token = release.kubectl("create", "token", PEOPLE).strip()
        configuration = self._node.api.get(f"/api/v1/namespaces/{OURS}/configmaps/peerwatch-ca")
        self._authority = configuration["data"]["ca.crt"].encode()
        self._door = self._stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        threading.Thread(target=self._forward, name="forward", daemon=True).start()

    def _forward(self) -> None:
        """Carry connections from the host to the collector's Service, as `kubectl port-forward` does."""
        while True:
            try:
                here, _ = self._door.accept()
                there = self._network.connect(COLLECTOR, 7443)
            except OSError:
                if self._door.fileno() < 0:
                    return
                continue
            there.settimeout(None)
            for source, target in ((here, there), (there, here)):
                threading.Thread(target=_carry, args=(source, target), daemon=True).start()

    def channel(self) -> grpc.Channel:
        """Return a way to ask the collector: encrypted, with a person's token."""
        credentials = grpc.composite_channel_credentials(
            grpc.ssl_channel_credentials(self._authority), grpc.access_token_call_credentials(self._token)
        )
        return grpc.secure_channel(f"localhost:{self._door.getsockname()[1]}", credentials)

    def _shopping(self) -> None:
        while not self._closed.wait(random.uniform(0.1, 0.5)):  # noqa: S311 — customers, not keys
            with contextlib.suppress(OSError):
                get(self._network, CART, "/cart")

    def check(self) -> None:
        """Raise DaemonError if a pod of ours was started again."""
        for pod in self._release.pods():
            if any(status["restartCount"] for status in pod["status"].get("containerStatuses", ())):
                raise DaemonError(f"{pod['metadata']['name']} ended: {self._release.words()}")

    def normal_life_left(self) -> float:
        """Return the seconds until the attack."""
        return self._attack_at - time.monotonic()

    def attack(self, tell: Callable[[str], None]) -> None:
        """Break into whichever replica the Service chooses."""
        # Before: the finding may be judged as soon as this returns.
        names = {pod["status"]["podIP"]: pod["metadata"]["name"] for pod in self._pods()}
        self.attacked = attack(self._network, CART, names, tell)

    def instructions(self) -> list[str]:
        """Return what a person can do while it is left running."""
        kubectl = " ".join(self._node.kubectl_command())
        peerwatch = f"{kubectl} --namespace={OURS} exec peerwatch-collector-0 -- /opt/peerwatch/bin/peerwatch"
        return [
            f"{kubectl} get pods --all-namespaces",
            f"{peerwatch} status",
            f"{peerwatch} alerts",
            f"break in again: {' '.join(self._node.enter('curl'))} 'http://{CART}:{CART_PORT}/debug/lookup?name=db-0;id'",
        ]


def _carry(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    for each in (source, target):
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


def _load_shop(node: Node) -> None:
    """Give the node the shop's image: Python, a shell and its tools, and the two services."""

    def fill(archive: tarfile.TarFile) -> None:
        add_packages(archive, *TOOLS)
        for path in SERVICES.glob("*.py"):
            add_file(archive, f"app/{path.name}", path.read_bytes())
        add_file(archive, "etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n")
        add_file(archive, "etc/group", b"root:x:0:\n")
        add_file(archive, "etc/nsswitch.conf", b"hosts: files dns\n")  # without it, glibc asks DNS first, which is not there

    file = node.folder / "shop.tar"
    try:
        write_archive(file, fill, {(IMAGE,): {"Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONDONTWRITEBYTECODE=1"]}})
        node.load(file)
    finally:
        file.unlink(missing_ok=True)
