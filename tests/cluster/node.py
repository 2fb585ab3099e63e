"""One Kubernetes node from its start to its end, and what can be done with it meanwhile."""

import contextlib
import http.client
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cluster import binary, configuration, images
from cluster.api import Api, ApiError
from cluster.confinement import Confinement, inside_network

__all__ = ["FOLDER", "Node", "make_folder", "sweep"]

FOLDER = Path("/var/tmp/peerwatch-cluster")
"""On a disk, where there is room for images; each node's folder is readable by root only."""
START_S = 120
"""How long a component may take to be ready: the first start of all on a loaded machine."""


def make_folder(folder: Path) -> None:
    """Make a node's folder; the last node to end takes away the one around it, maybe at this moment."""
    while True:
        with contextlib.suppress(FileExistsError):  # or existed: `exist_ok` fails when it is gone a moment later
            folder.parent.mkdir(parents=True)
        try:
            folder.mkdir(mode=0o700)
        except FileNotFoundError:
            continue
        return


class Node:
    """A node that runs, or one that does not; its state is in files, so that any process can go on with it."""

    def __init__(self, name: str = "main") -> None:
        """Two nodes have two names; nothing is done yet."""
        self.name = name
        self.folder = FOLDER / name
        self._confinement = Confinement(name, self.folder)

    @classmethod
    @contextlib.contextmanager
    def started(cls, name: str) -> Iterator["Node"]:
        """Start a node that ends with this process, however that ends: who comes next sweeps."""
        node = cls(name)
        try:
            node.up(owner=os.getpid())
            yield node
        finally:
            node.down()

    @property
    def running(self) -> bool:
        """Whether it was started and its API server answers."""
        return self._confinement.alive and self._ready()

    @property
    def api(self) -> Api:
        """The API server, asked as cluster administrator."""
        return Api(lambda: self._confinement.network, self.folder / "pki")

    @property
    def network(self) -> Path:
        """Its network namespace, for `inside_network`."""
        return self._confinement.network

    @property
    def cgroup_root(self) -> str:
        """Below this are the cgroups of its pods."""
        return self._confinement.root

    @property
    def manifests(self) -> Path:
        """What is put here becomes a static pod."""
        return self.folder / "manifests"

    def up(self, *, owner: int = 0) -> None:
        """Start everything; returns when the node is ready. `owner`: the process that it must not outlive, 0 for none.

        Raises:
            BuildError: there is no program, and it cannot be built.
            RuntimeError: a component does not become ready.
        """
        binary.build()
        sweep()
        if self.running:
            return
        self.down()
        make_folder(self.folder)
        (self.folder / "owner").write_text(f"{owner} {_start_time(owner)}" if owner else "")
        self._confinement.create(f"{configuration.ADDRESS}/24")
        configuration.write(self.folder, cgroup_root=self._confinement.root)
        for component in ("etcd", "apiserver", "containerd"):
            self.start(component)
        self._until(self._has_containerd, "containerd")
        for image in (images.pause(), images.busybox()):
            self.load(image)
        self._until(self._ready, "apiserver")
        for component in ("controller-manager", "scheduler", "kubelet", "proxy"):
            self.start(component)
        self._until(self._node_ready, "kubelet")
        self._until(self._has_service_accounts, "controller-manager")

    def down(self) -> None:
        """End everything and remove all that it made; harmless if there is nothing."""
        self._confinement.remove()
        shutil.rmtree(self.folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # another node's, or none
            FOLDER.rmdir()

    def start(self, component: str) -> None:
        """Start a component; does not wait for it."""
        command = configuration.arguments(component, self.folder, binary.build())
        pid = self._confinement.spawn(self.folder / "log" / component, *command)
        (self.folder / f"{component}.pid").write_text(str(pid))

    def kill(self, component: str) -> None:
        """Kill a component and wait until it is gone.

        Raises:
            RuntimeError: it does not run.
        """
        file = self.folder / f"{component}.pid"
        pid = int(file.read_text()) if file.exists() else 0
        if not pid or not self._confinement.has(pid):
            raise RuntimeError(f"{component} does not run on node {self.name}")
        os.kill(pid, signal.SIGKILL)
        while self._confinement.has(pid):
            time.sleep(0.01)

    def compact(self) -> None:
        """Make etcd forget everything but the present: who asks for changes since an older version hears that it is gone."""
        with inside_network(self.network):
            connection = http.client.HTTPConnection(configuration.ETCD.removeprefix("http://"), timeout=10)
            connection.connect()
        with contextlib.closing(connection):
            answer: dict[str, Any] = {}
            for path, body in (("range", {"key": "AA=="}), ("compaction", {"revision": ""})):
                content = json.dumps(body | ({"revision": answer["header"]["revision"]} if answer else {}))
                connection.request("POST", f"/v3/kv/{path}", content)
                answer = json.loads(connection.getresponse().read())
                assert "header" in answer, answer

    def wait_ready(self) -> None:
        """Wait until the API server answers."""
        self._until(self._ready, "apiserver")

    def load(self, image: images.Image | Path) -> None:
        """Import an image, our own or an archive; pods that use it say `imagePullPolicy: Never`.

        Raises:
            RuntimeError: it cannot be imported.
        """
        file = self.folder / "image.tar" if isinstance(image, images.Image) else image
        if isinstance(image, images.Image):
            image.write(file)
        done = subprocess.run(self._ctr("images", "import", str(file)), capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{file} cannot be imported: {done.stderr.strip()}")
        if isinstance(image, images.Image):
            file.unlink()

    def kubectl_command(self, *words: str) -> list[str]:
        """Return kubectl as cluster administrator."""
        return self.enter(str(binary.build()), "kubectl", f"--kubeconfig={self.folder}/admin.kubeconfig", *words)

    def kubectl(self, *words: str, text: str | None = None, check: bool = True) -> str:
        """Run kubectl and return what it wrote.

        Raises:
            RuntimeError: it failed and `check` was asked for.
        """
        done = subprocess.run(self.kubectl_command(*words), input=text, capture_output=True, text=True, check=False)
        if check and done.returncode:
            raise RuntimeError(f"kubectl {' '.join(words)}: {done.stderr.strip()}")
        return done.stdout

    def enter(self, *argv: str) -> list[str]:
        """Return what runs a program in the node's network, with the host's files."""
        return self._confinement.enter(*argv)

    def _ctr(self, *words: str) -> list[str]:
        return ["ctr", f"--address={self.folder}/containerd.sock", "--namespace=k8s.io", *words]

    def _until(self, condition: Callable[[], bool], component: str) -> None:
        deadline = time.monotonic() + START_S
        while not condition():
            if time.monotonic() > deadline:
                log = (self.folder / "log" / component).read_text(errors="replace").splitlines()
                raise RuntimeError(f"{component} is not ready after {START_S} s: {' / '.join(log[-3:])}")
            time.sleep(0.05)

    def _has_containerd(self) -> bool:
        return subprocess.run(self._ctr("version"), capture_output=True, check=False).returncode == 0

    def _ready(self) -> bool:
        try:
            with self.api.open("GET", "/readyz"):
                return True
        except (ApiError, OSError):
            return False

    def _node_ready(self) -> bool:
        try:
            status = self.api.get(f"/api/v1/nodes/{configuration.NODE}")["status"]
        except ApiError:
            return False  # not registered yet
        return any(each["type"] == "Ready" and each["status"] == "True" for each in status.get("conditions", ()))

    def _has_service_accounts(self) -> bool:
        accounts = self.api.get("/api/v1/namespaces/default/serviceaccounts")["items"]
        roots = self.api.get("/api/v1/namespaces/default/configmaps")["items"]
        return bool(accounts) and bool(roots)  # without either, pods are refused or cannot be started


def sweep() -> list[str]:
    """Remove nodes whose owner is dead, and return their names."""
    swept = []
    for folder in sorted(FOLDER.glob("*")):
        with contextlib.suppress(OSError):
            owner = (folder / "owner").read_text()
            if owner and _start_time(int(owner.split()[0])) != owner.split()[1]:
                Node(folder.name).down()
                swept.append(folder.name)
    return swept


def _start_time(pid: int) -> str:
    """Return when a process started, in ticks since boot, or `gone`."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return "gone"
    return "gone" if fields[0] in "ZX" else fields[19]
