"""Kubernetes at scale, against a real API server with etcd: what the collector's view and the agents take of 20,000 pods.

The pods are on paper (see fleet.py); API server, etcd, collector and agents are real processes, and all is asked of them from
outside. A goal that the machine cannot reach, because the API server is busy, is told as what was reached.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from agents import FEW, MANY, Pair
from agreement import differences, truth
from capture import NotHereError
from cluster import binary
from cluster.configuration import ADDRESS, API_PORT, AUDIT
from cluster.node import Node
from figures import Figure, judge
from fleet import Fleet, PaperPod, Writer
from measure import cpu_ns, memory
from peerwatch.kubernetes.reflector import WATCH_S

__all__ = ["Bench", "main", "options"]

PARTS = ("view", "agent", "requests")
WATCHER = Path(__file__).with_name("watcher.py")
RULES = (
    ("", ["pods", "services", "nodes", "namespaces"]),
    ("discovery.k8s.io", ["endpointslices"]),
    ("apps", ["replicasets"]),
    ("batch", ["jobs"]),
    ("networking.k8s.io", ["ingresses"]),
)
"""What the chart allows the collector; an agent uses the pods of it."""

POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["ResponseStarted", "ResponseComplete", "Panic"],
    "rules": [{"level": "Metadata", "userGroups": ["system:serviceaccounts"]}, {"level": "None"}],
}
"""Each request of a service account is one line of the API server's log, when it is received."""

BYTES_PER_POD = 1536
LIST_S = 30
UPDATES_PER_S = 2000
AGENT_MB = 10
"""What 500 pods may take."""
SETTLE_S = 3
PATIENCE_S = 300

IN_POD = """
mount -t tmpfs none /run
mkdir -p /run/secrets/kubernetes.io
cp -r "$1" /run/secrets/kubernetes.io/serviceaccount
shift
exec "$@"
"""
"""Gives a program the service account that a pod would have. /var/run is /run."""


class Bench:
    """A node of the benchmark's own, of which only API server and etcd run, and a fleet in it."""

    def __init__(self, node: Node, folder: Path) -> None:
        self.node, self.folder = node, folder
        self.writer = Writer(node.api)
        self.fleet = Fleet(self.writer)
        self.figures: list[Figure] = []

    @classmethod
    @contextlib.contextmanager
    def started(cls) -> Iterator["Bench"]:
        """Start it.

        Raises:
            NotHereError: no node can run here.
        """
        if reason := binary.missing():
            raise NotHereError(reason)
        with contextlib.ExitStack() as stack:
            folder = Path(tempfile.mkdtemp(prefix="peerwatch-scale-", dir="/var/tmp"))  # a disk, not memory
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            node = stack.enter_context(Node.started(f"bench-{os.getpid()}"))
            for component in ("controller-manager", "scheduler", "kubelet", "proxy"):
                node.kill(component)
            (node.folder / AUDIT).write_text(json.dumps(POLICY))
            node.kill("apiserver")
            node.start("apiserver")
            node.wait_ready()
            bench = cls(node, folder)
            stack.callback(bench.writer.close)
            yield bench

    def account(self, name: str) -> Path:
        """Return the folder of a service account that may list and watch, as a kubelet would mount it into a pod."""
        path, rbac = "/api/v1/namespaces/default/serviceaccounts", "/apis/rbac.authorization.k8s.io/v1"
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name}
        subjects = [{"kind": "ServiceAccount", "name": name, "namespace": "default"}]
        rules = [{"apiGroups": [group], "resources": resources, "verbs": ["list", "watch"]} for group, resources in RULES]
        self.node.api.post(path, {"metadata": {"name": name}})
        self.node.api.post(f"{rbac}/clusterroles", {"metadata": {"name": name}, "rules": rules})
        self.node.api.post(f"{rbac}/clusterrolebindings", {"metadata": {"name": name}, "roleRef": role, "subjects": subjects})
        token = self.node.api.post(f"{path}/{name}/token", {"spec": {"expirationSeconds": 86400}})["status"]["token"]
        folder = self.folder / f"account-{name}"
        folder.mkdir()
        (folder / "token").write_text(token)
        shutil.copy(self.node.folder / "pki/ca.crt", folder)
        return folder

    def in_pod(self, account: Path, *argv: str) -> list[str]:
        """Return what runs a program in the node's network, with a service account."""
        inside = ["unshare", "--mount", "--propagation", "private", "sh", "-ec", IN_POD, "sh", str(account), *argv]
        address = [f"KUBERNETES_SERVICE_HOST={ADDRESS}", f"KUBERNETES_SERVICE_PORT={API_PORT}"]
        return self.node.enter("env", "-u", "KUBECONFIG", *address, *inside)

    def figure(self, name: str, unit: str, *values: float, most: float | None = None, least: float | None = None) -> None:
        """Note a figure, and say it."""
        figure = Figure(f"kubernetes: {name}", unit, values, most=most, least=least)
        self.figures.append(figure)
        _say(f"{name}: {statistics.median(values):,.4g} {unit}")


class Watching:
    """A collector that watches the cluster, and answers for its view."""

    def __init__(self, bench: Bench, account: Path) -> None:
        data = Path(tempfile.mkdtemp(prefix="collector-", dir=bench.folder))
        self.log = (data / "log").open("w+")
        options = ["collector", "--listen", "127.0.0.1:0", "--data", str(data / "data"), "--cluster-view", "bench"]
        self.process = subprocess.Popen(
            bench.in_pod(account, sys.executable, str(WATCHER), *options),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True,
        )  # fmt: skip
        self.synced = self._until("synced_s")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.communicate()
        self.log.close()

    def ask(self, word: str) -> Any:  # noqa: ANN401 — whatever it answers
        """Ask, and return the answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()
        return self._until("answer")["answer"]

    def until_version(self, least: int) -> None:
        """Wait until the view has heard of so many changes."""
        deadline = time.monotonic() + PATIENCE_S
        while self.ask("how")["version"] < least:
            assert time.monotonic() < deadline, "the view does not follow"
            time.sleep(0.02)

    def _until(self, key: str) -> dict[str, Any]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("{") and key in (said := json.loads(line)):
                return said
        self.log.seek(0)
        raise RuntimeError(f"the collector has ended: {self.log.read()[-500:]}")


def _say(text: str) -> None:
    print(f"kubernetes: {text}", file=sys.stderr, flush=True)


def measure_view(bench: Bench, asked: argparse.Namespace) -> None:
    """Weigh the collector without pods, make them, weigh it again, and let things change."""
    account = bench.account("collector")
    with Watching(bench, account) as empty:
        time.sleep(SETTLE_S)
        before = memory(empty.process.pid).resident
    _say(f"making {asked.pods} pods")
    begin = time.monotonic()
    bench.fleet.grow(asked.pods)
    bench.figure("pods made by the API server", "pods/s", asked.pods / (time.monotonic() - begin))
    _follow(bench, account, before, asked.updates)


def _follow(bench: Bench, account: Path, before: int, updates: int) -> None:
    with Watching(bench, account) as watching:
        time.sleep(SETTLE_S)
        now, pods = memory(watching.process.pid), len(bench.fleet.pods)
        bench.figure(f"view: list of {pods:,} pods and what belongs to them", "s", watching.synced["synced_s"], most=LIST_S)
        bench.figure("view: the same, CPU of the collector with its start", "s", watching.synced["cpu_s"])
        bench.figure("view: resident memory", "bytes/pod", (now.resident - before) / pods, most=BYTES_PER_POD)
        bench.figure("view: most resident memory meanwhile", "MB more than without pods", (now.peak - before) / 1e6)
        _updates(bench, watching, updates)
        _backlog(bench, watching, updates)
        _churn(bench, updates // 20)
        time.sleep(SETTLE_S)
        grown = memory(watching.process.pid).resident  # before all of the view is copied to be compared
        _compare(bench, watching)
        bench.figure("view: resident memory, growth by all these changes", "MB", (grown - now.resident) / 1e6)


def _updates(bench: Bench, watching: Watching, count: int) -> None:
    """Restart containers as fast as the API server takes it, and see how late the view is."""
    watching.ask("mark")
    version, spent = watching.ask("how")["version"], cpu_ns(watching.process.pid)
    done: dict[str, int] = {}

    def change(pod: PaperPod) -> None:
        bench.writer.ask(bench.fleet.restart(pod))
        done[pod.ids["app"]] = time.time_ns()

    begin = time.monotonic()
    bench.writer.each(change, _round(bench.fleet.pods, count))
    bench.figure("view: updates that the API server made", "updates/s", count / (time.monotonic() - begin))
    watching.until_version(version + count)
    spent = cpu_ns(watching.process.pid) - spent
    known = watching.ask("marks")
    lags = sorted((known[each] - at) / 1e6 for each, at in done.items())
    assert len(lags) == count
    # Below 0: the view knew before the API server's answer had come back.
    bench.figure("view: known after the API server's answer, median", "ms", lags[len(lags) // 2])
    bench.figure("view: the same, 99th percentile", "ms", lags[len(lags) * 99 // 100])
    bench.figure("view: the same, last", "ms", lags[-1])
    bench.figure("view: CPU of the collector for an update, one by one", "µs", spent / 1e3 / count)


def _backlog(bench: Bench, watching: Watching, count: int) -> None:
    """Stop the collector while the same happens, and let it catch up: what it takes when the API server is not the limit."""
    version = watching.ask("how")["version"]
    watching.process.send_signal(signal.SIGSTOP)
    bench.writer.all(bench.fleet.restart(pod) for pod in _round(bench.fleet.pods, count))
    begin, spent = time.monotonic(), cpu_ns(watching.process.pid)
    watching.process.send_signal(signal.SIGCONT)
    watching.until_version(version + count)
    elapsed, spent = time.monotonic() - begin, cpu_ns(watching.process.pid) - spent
    bench.figure(f"view: {count:,} updates that waited, taken in", "updates/s", count / elapsed)
    bench.figure("view: the same for each second of CPU", "updates/s", count / (spent / 1e9), least=UPDATES_PER_S)


def _churn(bench: Bench, count: int) -> None:
    for begin in range(0, count, 100):
        bench.fleet.replaced(bench.fleet.pods[begin : begin + 100])


def _compare(bench: Bench, watching: Watching) -> None:
    """Hold all that the view knows against what the API server says; all of it must agree, within a while."""
    wanted = truth(bench.node.api)
    deadline = time.monotonic() + 60
    while (found := differences(watching.ask("what"), wanted)) and time.monotonic() < deadline:
        time.sleep(0.5)
    for each in found[:5]:
        _say(f"the view differs: {each}")
    compared = sum(map(len, wanted.values()))
    bench.figure(f"view: objects that differ from the server's, of {compared:,}", "objects", len(found), most=0)


def measure_agents(bench: Bench, pair: Pair, rounds: int) -> None:
    """Weigh agents that know few pods and many, when they have started and when all of the many have changed often."""
    found: dict[str, list[float]] = {"few": [], "many": [], "more": [], "changed": []}
    for _ in range(rounds):
        with pair.running() as first:
            pair.restart(2)
            pair.replace(len(pair.pods["many"]) // 2)
            time.sleep(SETTLE_S)
            then = pair.weigh()
        found["few"].append(first["few"].resident / 1e6)
        found["many"].append(first["many"].resident / 1e6)
        found["more"].append((first["many"].resident - first["few"].resident) / 1e6)
        found["changed"].append((then["many"].resident - then["few"].resident) / 1e6)
    bench.figure(f"agent: resident memory, {FEW} pods", "MB", *found["few"])
    bench.figure(f"agent: resident memory, {MANY} pods", "MB", *found["many"])
    bench.figure(f"agent: {MANY} pods against {FEW}", "MB more", *found["more"], most=AGENT_MB)
    bench.figure(
        "agent: the same, after each restarted twice and half were replaced", "MB more", *found["changed"], most=AGENT_MB
    )


def measure_requests(bench: Bench, pair: Pair, seconds: float) -> None:
    """Count what both agents ask the API server for, in real time, while the pods of one come and go and the other's do not."""
    since = time.time()
    with pair.running():
        changes = 0
        while time.time() - since < seconds:
            pair.replace(10)
            pair.restart(1)
            changes += len(pair.pods["many"]) + 20
            time.sleep(min(20, seconds / 10))
        asked = pair.asked(since)
    watches = seconds / statistics.mean(WATCH_S)
    _say(f"{changes:,} changes on one node, none on the other; {watches:.1f} renewals are due in {seconds:.0f} s")
    for name, counts in asked.items():
        which = f"agent with {len(pair.pods[name])} pods, {seconds / 60:.0f} minutes"
        bench.figure(f"{which}: lists", "requests", counts.pop("list pods", 0), most=1, least=1)
        most = 1 + -(-seconds // WATCH_S[0])
        bench.figure(f"{which}: watches", "requests", counts.pop("watch pods", 0), most=most)
        bench.figure(f"{which}: anything else", "requests", counts.total(), most=0)


def _round(pods: list[PaperPod], count: int) -> list[PaperPod]:
    """Return so many pods, none twice in a short time."""
    return [pods[number * 7919 % len(pods)] for number in range(count)]


def options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--only", default=",".join(PARTS), metavar="PART,…", help=f"of: {', '.join(PARTS)}")
    parser.add_argument("--pods", type=int, default=20_000, metavar="N", help="in the API server (default 20,000)")
    parser.add_argument("--updates", type=int, default=10_000, metavar="N", help="restarts of containers (default 10,000)")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="how often both agents are weighed (default 3)")
    parser.add_argument("--seconds", type=float, default=600, metavar="S", help="over which requests are counted (default 600)")


def main(asked: argparse.Namespace, results: Path) -> int:
    """Measure, print and keep the figures; 1: a goal is missed."""
    with Bench.started() as bench:
        if "view" in asked.only:
            measure_view(bench, asked)
        pair = Pair(bench)
        if "agent" in asked.only:
            measure_agents(bench, pair, asked.rounds)
        if "requests" in asked.only:
            measure_requests(bench, pair, asked.seconds)
        figures = bench.figures
    with results.open("a") as file:
        for each in figures:
            file.write(json.dumps({"bench": "kubernetes"} | each.line(), ensure_ascii=False) + "\n")
    print("\n".join(judge(figures)))
    return 0
