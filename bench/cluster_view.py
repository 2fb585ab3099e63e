"""What the collector's view of a cluster weighs and how fast it is, at 150,000 pods that are generated as JSON.

The pods come as the API server's bytes, page by page, so that nothing is shared that would not be in life. A process of its own
is weighed, before and after.
"""

import argparse
import gc
import json
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "proto")]

import numpy as np  # noqa: E402 — found by the line above, as all that follow
import orjson  # noqa: E402 — as above
from peerwatch.addresses import pack_address  # noqa: E402 — as above
from peerwatch.columns import ColumnsBuilder  # noqa: E402 — as above
from peerwatch.subjects import Container, Pod, Subject  # noqa: E402 — as above

from collector.cluster.naming import name  # noqa: E402 — as above
from collector.cluster.objects import (  # noqa: E402 — as above
    parse_node,
    parse_owned,
    parse_pod_of_cluster,
    parse_service,
    parse_slice,
)
from collector.cluster.view import ClusterView  # noqa: E402 — as above

__all__ = ["main", "options"]

PAGE = 500
BYTES_PER_POD = 1536
"""The goal."""
UPDATES_PER_S = 2000
"""The goal."""

REPLICAS = 30
"""Pods of a workload; 5,000 workloads at full size."""
PER_NODE = 110
ROWS = 500
"""Of a batch, as agents send them."""

CREATED = "2026-11-21T10:00:00Z"


def _ip(number: int) -> str:
    return f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


def _at(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(1_795_000_000 + second))


def _uid(number: int, kind: int = 0) -> str:
    return f"{number:08x}-{kind:04x}-4000-8000-{number * 2654435761 % (1 << 48):012x}"


def _pod(number: int, restarts: int = 0) -> dict[str, object]:
    """Return a pod; every third has a sidecar, every fifth is a StatefulSet's, with labels of its own."""
    workload, namespace = number // REPLICAS, f"team-{number // REPLICAS // 20}"
    stateful = workload % 5 == 0
    service = f"service-{workload}"
    pod_name = f"{service}-{number % REPLICAS}" if stateful else f"{service}-{workload * 7919:09x}-{number:05x}"
    labels = {
        "app.kubernetes.io/name": service,
        "app.kubernetes.io/instance": f"{service}-prod",
        "app.kubernetes.io/part-of": namespace,
        "app.kubernetes.io/version": f"1.{workload % 40}.{workload % 7}",
        "team": namespace,
    }
    if stateful:
        labels |= {"controller-revision-hash": f"{service}-{workload:09x}", "statefulset.kubernetes.io/pod-name": pod_name}
        labels |= {"apps.kubernetes.io/pod-index": str(number % REPLICAS)}
        owner = {"kind": "StatefulSet", "name": service, "controller": True}
    else:
        labels["pod-template-hash"] = f"{workload * 7919:09x}"
        owner = {"kind": "ReplicaSet", "name": f"{service}-{workload * 7919:09x}", "controller": True}
    containers = ["app", "proxy"] if workload % 3 == 0 else ["app"]
    return {
        "metadata": {
            "name": pod_name,
            "namespace": namespace,
            "uid": _uid(number),
            "creationTimestamp": _at(number),
            "labels": labels,
            "annotations": {"peerwatch.dev/owner": f"{namespace}@example.com"},
            "ownerReferences": [owner],
        },
        "spec": {
            "nodeName": f"node-{number // PER_NODE}.example.com",
            "serviceAccountName": service,
            "containers": [
                {"name": each, "image": f"registry.example.com/{namespace}/{service}/{each}:1.{workload % 40}"}
                for each in containers
            ],
        },
        "status": {
            "phase": "Running",
            "podIP": _ip(number),
            "podIPs": [{"ip": _ip(number)}],
            "hostIP": _ip((11 << 16) + number // PER_NODE),
            "conditions": [{"type": "PodReadyToStartContainers", "status": "True", "lastTransitionTime": _at(number + 2)}],
            "containerStatuses": [
                {
                    "name": each,
                    "containerID": f"containerd://{number:032x}{place:016x}{restarts:016x}",
                    "image": f"registry.example.com/{namespace}/{service}/{each}:1.{workload % 40}",
                    "imageID": f"registry.example.com/{namespace}/{service}/{each}@sha256:{workload:064x}",
                    "state": {"running": {"startedAt": _at(number + 3 + place)}},
                }
                for place, each in enumerate(containers)
            ],
        },
    }


def _resident() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def _fill(view: ClusterView, pods: int, now: int) -> float:
    """Take in all that is not a pod and then the pods, page by page; return seconds of CPU for the pods."""
    workloads = -(-pods // REPLICAS)  # the last one may have fewer
    for number in range(pods // PER_NODE + 1):
        address = [{"address": _ip((11 << 16) + number)}]
        metadata = {"uid": _uid(number, 4), "name": f"node-{number}.example.com", "creationTimestamp": CREATED}
        view.apply_node(parse_node({"metadata": metadata, "status": {"addresses": address}}), now)
    spent = 0.0
    for begin in range(0, pods, PAGE):
        page = orjson.dumps([_pod(number) for number in range(begin, min(begin + PAGE, pods))])
        clock = time.process_time()
        for each in orjson.loads(page):
            view.apply_pod(parse_pod_of_cluster(each), now)
        spent += time.process_time() - clock
    for number in range(workloads):
        names = {"namespace": f"team-{number // 20}", "creationTimestamp": CREATED}
        service = {"metadata": {**names, "uid": _uid(number, 1), "name": f"service-{number}"}}
        service |= {"spec": {"clusterIP": _ip((12 << 16) + number), "ports": [{"port": 80}]}}
        view.apply_service(parse_service(orjson.loads(orjson.dumps(service))), now)
        behind = range(number * REPLICAS, min((number + 1) * REPLICAS, pods))
        members = [{"targetRef": {"kind": "Pod", "uid": _uid(each)}} for each in behind]
        labels = {"kubernetes.io/service-name": f"service-{number}"}
        endpoints = {"metadata": {**names, "uid": _uid(number, 2), "labels": labels}, "endpoints": members}
        view.slices.apply(parse_slice(orjson.loads(orjson.dumps(endpoints | {"ports": [{"port": 8080}]}))), now)
        if number % 5:
            owners = [{"kind": "Deployment", "name": f"service-{number}", "controller": True}]
            replica_set = {**names, "uid": _uid(number, 3), "name": f"service-{number}-{number * 7919:09x}"}
            replica_set["ownerReferences"] = owners
            view.apply_owned("ReplicaSet", parse_owned(orjson.loads(orjson.dumps({"metadata": replica_set}))))
    return spent


def _updates(view: ClusterView, pods: int, now: int) -> float:
    """Let containers restart; return updates for each second of CPU."""
    chosen = np.random.default_rng(1).integers(0, pods, 10_000).tolist()
    lines = [orjson.dumps(_pod(number, restarts=1 + turn)) for turn, number in enumerate(chosen)]
    clock = time.process_time()
    for line in lines:
        view.apply_pod(parse_pod_of_cluster(orjson.loads(line)), now)
    return len(lines) / (time.process_time() - clock)


def _naming(view: ClusterView, pods: int, now: int) -> float:
    """Name batches of connects to many addresses; return microseconds of CPU a row."""
    chance = np.random.default_rng(2)
    node = f"node-{pods // PER_NODE // 2}.example.com"
    first = pods // PER_NODE // 2 * PER_NODE
    tables = []
    for _ in range(50):
        builder = ColumnsBuilder()
        places = chance.integers(0, pods, ROWS).tolist()
        for row, place in enumerate(places):
            mine = first + row % min(20, pods - first)
            subject = builder.subject(Subject("c", node, Pod(uid=_uid(mine)), Container(id=f"{mine:032x}{0:032x}")))
            process = builder.process(pid=row, start_time=now, exe="/app")
            address = pack_address(_ip(place if row % 2 else (12 << 16) + place // REPLICAS))
            builder.connect(now, subject, process, protocol=1, address=address, port=8080 if row % 2 else 80, result=1)
        tables.append(builder.build())
    clock = time.process_time()
    named = [name(view, table, node) for table in tables]
    spent = time.process_time() - clock
    assert all(not each.foreign and each.table.connects.peer.all() for each in named)
    return spent * 1e6 / len(tables) / ROWS


def _measure(pods: int) -> dict[str, float]:
    view = ClusterView("c")
    now = time.time_ns()
    before = _resident()
    list_s = _fill(view, pods, now)
    resident = _resident() - before
    found = {"pods": pods, "bytes_per_pod": resident / pods, "list_s": list_s}
    found["naming_us_per_row"] = _naming(view, pods, now)
    found["updates_per_s"] = _updates(view, pods, now)
    return found


def options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--pods", type=int, default=150_000, help="how many; 150,000 is what Kubernetes supports")


def main(asked: argparse.Namespace, results: Path) -> int:
    """Measure in a process of its own, print and keep the figures; 1: a goal is missed."""
    done = subprocess.run([sys.executable, __file__, str(asked.pods)], check=True, capture_output=True, text=True)
    found = json.loads(done.stdout)
    with results.open("a") as file:
        file.write(json.dumps({"bench": "cluster-view"} | found) + "\n")
    for key, value in found.items():
        print(f"cluster view: {key}: {value:,.1f}")
    missed = found["bytes_per_pod"] > BYTES_PER_POD or found["updates_per_s"] < UPDATES_PER_S
    return int(missed)


if __name__ == "__main__":
    print(json.dumps(_measure(int(sys.argv[1]))))
