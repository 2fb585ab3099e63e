"""peerwatch on a node of `cluster`, installed as an operator does it: with Helm, from images that the node has."""

import contextlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cluster.configuration import DNS_SERVICE
from cluster.node import Node
from cluster.scene import is_ready

import helm
from agent.capture.probes import uninstall
from agent.errors import AgentError
from helm import images

__all__ = ["NAMESPACE", "Release", "load"]

NAMESPACE = "peerwatch"
NAME = "peerwatch"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
ADDRESS = f"{DNS_SERVICE.rpartition('.')[0]}.53"
"""The collector's: no DNS server runs on such a node, so agents are told."""

VOLUME = "peerwatch-test"
PINS = "peerwatch-chart"
COLLECTOR, AGENT = "statefulset/peerwatch-collector", "daemonset/peerwatch-agent"
LABEL = "peerwatch-test=release"
"""What is made beside the release carries it, so that it can be found and removed."""

LIMIT_S = 120


def load(node: Node, *tags: str) -> None:
    """Give a node both images, under each of the tags."""
    file = node.folder / "product.tar"
    try:
        images.write(file, *tags)
        node.load(file)
    finally:
        file.unlink(missing_ok=True)


class Release:
    """One installation, from its namespace's beginning to its end. The volume is a folder of the node's."""

    def __init__(self, node: Node, *, cluster: str = "test", tag: str = images.TAG) -> None:
        self.node = node
        self.kubeconfig = node.folder / "admin.kubeconfig"
        self.spool = node.folder / "agent" / "spool"
        self.pins = Path(f"/sys/fs/bpf/{PINS}-{os.getpid()}")
        self.ready_after_s = 0.0
        """How long it took the first time."""
        self._volume = node.folder / "volume"
        self._values = node.folder / "values.json"
        self._settings = {
            "cluster": cluster,
            "image": {"registry": "localhost", "pullPolicy": "Never"},
            "agent": {
                "image": {"tag": tag},
                "spoolPath": str(self.spool),
                "pinPath": str(self.pins),
                "hostAliases": [{"ip": ADDRESS, "hostnames": [f"peerwatch-collector.{NAMESPACE}.svc"]}],
            },
            "collector": {
                "image": {"tag": tag},
                "service": {"clusterIP": ADDRESS},
                "persistence": {"size": "1Gi"},
                "tlsNames": ["localhost"],  # for who calls from the collector's own pod, but not through its socket
                "resources": {"requests": {"memory": "128Mi"}},
            },
        }

    def __enter__(self) -> Self:
        """Make what there must be before Helm: the namespace with its label, and a volume, since nothing here makes any."""
        self._remove()  # what somebody left who was killed
        self._volume.mkdir(mode=0o700)
        os.chown(self._volume, 65532, 65532)
        self._values.write_text(json.dumps(self._settings))
        label = {"pod-security.kubernetes.io/enforce": "privileged"}
        self.node.api.make_namespace(NAMESPACE, label)
        volume = {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "hostPath": {"path": str(self._volume), "type": "Directory"},
            "claimRef": {"namespace": NAMESPACE, "name": "data-peerwatch-collector-0"},
        }
        self.node.api.post("/api/v1/persistentvolumes", {"metadata": {"name": VOLUME}, "spec": volume})
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        """Remove it in whatever state it is; harmless after `uninstall`."""
        self._remove()

    def _remove(self) -> None:
        kubectl, limit = self.node.kubectl, f"--timeout={LIMIT_S}s"
        if self._helm("status", NAME, check=False).returncode == 0:
            self._uninstall()  # what agents leave on the node goes below
        kubectl("delete", "clusterrole,clusterrolebinding", f"--selector={LABEL}", "--ignore-not-found")
        kubectl("delete", "namespace", NAMESPACE, limit, "--ignore-not-found")
        kubectl("delete", "persistentvolume", VOLUME, "--ignore-not-found")
        shutil.rmtree(self._volume, ignore_errors=True)
        shutil.rmtree(self.spool.parent, ignore_errors=True)  # tests have pods of their own with spools in it
        for pins in Path("/sys/fs/bpf").glob(f"{PINS}-*"):
            owner = pins.name.removeprefix(f"{PINS}-").partition("-")[0]
            if owner == str(os.getpid()) or not Path(f"/proc/{owner}").exists():
                with contextlib.suppress(AgentError):  # an agent uses them, on a node that is not this one
                    uninstall(pins)

    def install(self) -> None:
        """Install it, if it is not, and wait until it is ready."""
        if not self.pods():
            begin = time.monotonic()
            self._helm("install", NAME, helm.CHART, "--values", self._values)
            self.until_ready()
            self.ready_after_s = self.ready_after_s or time.monotonic() - begin

    def upgrade(self, **values: object) -> None:
        """Upgrade it with these values over what it has: `agent__image__tag="2"`. Does not wait."""
        sets = [f"--set-json={name.replace('__', '.')}={json.dumps(value)}" for name, value in values.items()]
        self._helm("upgrade", NAME, helm.CHART, "--reuse-values", *sets)

    def rollback(self, revision: int) -> None:
        """Go back to a revision. Does not wait."""
        self._helm("rollback", NAME, str(revision))

    def clean_node(self) -> None:
        """Have every node cleaned, and wait for it."""
        self.upgrade(uninstall=True)
        self.rolled_out()

    def uninstall(self) -> None:
        """Remove it as the documents say: nodes first, then what is in the cluster."""
        self.clean_node()
        self._uninstall()

    def account(self, name: str, *, role: str = "", rules: Sequence[Mapping[str, Sequence[str]]] = ()) -> None:
        """Make a service account with a ClusterRole that there is, or with one of its own, or with none."""
        api, (key, _, value) = self.node.api, LABEL.partition("=")
        metadata = {"name": name, "labels": {key: value}}
        api.post(f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts", {"metadata": metadata})
        if rules:
            api.post(f"{RBAC}/clusterroles", {"metadata": metadata, "rules": list(rules)})
        if role or rules:
            reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role or name}
            subjects = [{"kind": "ServiceAccount", "name": name, "namespace": NAMESPACE}]
            body = {"metadata": metadata, "roleRef": reference, "subjects": subjects}
            api.post(f"{RBAC}/clusterrolebindings", body)

    def until_ready(self, timeout_s: float = LIMIT_S) -> None:
        """Wait until the collector's pod and one agent's are ready.

        Raises:
            TimeoutError: they are not; the text holds what they say.
        """
        deadline = time.monotonic() + timeout_s
        while not ((pods := self.pods()) and len(pods) == 2 and all(is_ready(pod) for pod in pods)):
            if time.monotonic() > deadline:
                raise TimeoutError(f"not ready after {timeout_s} s: {self.words()}")
            time.sleep(0.2)

    def rolled_out(self) -> None:
        """Wait until the newest pods of all are available, as an operator does."""
        self.kubectl("rollout", "status", f"--timeout={LIMIT_S}s", COLLECTOR, AGENT)

    def replaced(self) -> None:
        """Wait until the newest pods of all are ready: available is what is ready, after ten seconds more."""
        self.kubectl("rollout", "status", f"--timeout={LIMIT_S}s", COLLECTOR)
        deadline = time.monotonic() + LIMIT_S
        while not self._has_newest_agents():
            if time.monotonic() > deadline:
                raise TimeoutError(f"no new agents after {LIMIT_S} s: {self.words()}")
            time.sleep(0.2)

    def _has_newest_agents(self) -> bool:
        agents = self.node.api.get(f"/apis/apps/v1/namespaces/{NAMESPACE}/daemonsets/peerwatch-agent")
        status, seen = agents["status"], agents["status"].get("observedGeneration")
        counts = {status.get(name, 0) for name in ("desiredNumberScheduled", "updatedNumberScheduled", "numberReady")}
        return seen == agents["metadata"]["generation"] and len(counts) == 1

    def pods(self) -> list[Any]:
        """Return the pods of the namespace."""
        found: list[Any] = self.node.api.get(f"/api/v1/namespaces/{NAMESPACE}/pods")["items"]
        return found

    def words(self) -> str:
        """Return what the pods say, for who has to find out why something does not work."""
        lines = [self.kubectl("get", "pods", check=False)]
        lines += [
            self.kubectl("logs", pod["metadata"]["name"], "--all-containers", "--prefix", check=False) for pod in self.pods()
        ]
        return "\n".join(lines)

    def kubectl(self, *words: str, check: bool = True, text: str | None = None) -> str:
        """Run kubectl in the namespace."""
        return self.node.kubectl(f"--namespace={NAMESPACE}", *words, check=check, text=text)

    def peerwatch(self, *words: str) -> str:
        """Run a command in the collector's pod, as the documents say."""
        return self.kubectl("exec", "peerwatch-collector-0", "--", "/opt/peerwatch/bin/peerwatch", *words)

    def lines(self, *words: str) -> Iterator[Any]:
        """Run a command in the collector's pod and yield its lines, which are JSON."""
        for line in self.peerwatch(*words, "--output", "json").splitlines():
            yield json.loads(line)

    def _uninstall(self) -> None:
        self._helm("uninstall", NAME, "--wait", "--cascade=foreground")

    def _helm(self, *words: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        arguments = (*words, "--namespace", NAMESPACE)
        result = helm.call(*arguments, kubeconfig=self.kubeconfig, inside=tuple(self.node.enter()))
        if check and result.returncode:
            raise RuntimeError(f"helm {' '.join(map(str, words))}: {result.stderr.strip()}")
        return result
