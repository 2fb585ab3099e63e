"""Kubernetes objects as API servers send them, and as nobody should."""

import copy
from typing import Any

import pytest
from hypothesis import given, strategies as st
from peerwatch.columns import NANOSECONDS
from peerwatch.kubernetes.fields import MAX_VALUE, MalformedError
from peerwatch.kubernetes.pods import MAX_ANNOTATIONS, MAX_LABELS, parse_pod
from peerwatch.subjects import Container, ContainerKind, Workload
from peerwatch.times import parse_time

UID = "7e0c9f52-3b1d-4c57-9a40-0d1f6b7c8e9a"
A, B, C, D, E = (digit * 64 for digit in "abcde")
DIGEST = f"sha256:{'9' * 64}"
STARTED = "2026-11-21T09:12:03Z"

CART: dict[str, Any] = {
    "metadata": {
        "namespace": "shop",
        "name": "cart-5d9c8f7b6-x2x9q",
        "uid": UID,
        "resourceVersion": "17",
        "creationTimestamp": "2026-11-21T09:12:00Z",
        "labels": {"app": "cart", "pod-template-hash": "5d9c8f7b6"},
        "annotations": {"peerwatch.dev/owner": "team-cart@example.com", "kubectl.kubernetes.io/restartedAt": "x"},
        "ownerReferences": [
            {"kind": "Backup", "name": "nightly", "uid": "1"},
            {"kind": "ReplicaSet", "name": "cart-5d9c8f7b6", "uid": "2", "controller": True},
        ],
    },
    "spec": {
        "serviceAccountName": "cart",
        "containers": [{"name": "app", "image": "shop/cart:1.4.2"}],
        "initContainers": [
            {"name": "migrate", "image": "shop/migrate:1"},
            {"name": "proxy", "image": "mesh/proxy:2", "restartPolicy": "Always"},
        ],
        "ephemeralContainers": [{"name": "debug", "image": "busybox"}],
    },
    "status": {
        "podIP": "10.4.2.17",
        "containerStatuses": [
            {
                "name": "app",
                "containerID": f"containerd://{A}",
                "image": "docker.io/shop/cart:1.4.2",
                "imageID": f"docker.io/shop/cart@{DIGEST}",
                "state": {"running": {"startedAt": STARTED}},
                "lastState": {"terminated": {"containerID": f"containerd://{B}", "startedAt": "2026-11-21T09:12:01Z"}},
            }
        ],
        "initContainerStatuses": [
            {
                "name": "migrate",
                "containerID": f"cri-o://{C}",
                "imageID": "9" * 64,
                "state": {"terminated": {"containerID": f"cri-o://{C}", "startedAt": STARTED}},
            },
            {"name": "proxy", "containerID": f"docker://{D}", "imageID": f"docker-pullable://mesh/proxy@{DIGEST}"},
        ],
        "ephemeralContainerStatuses": [{"name": "debug", "containerID": f"containerd://{E}", "imageID": DIGEST}],
    },
}


def pod(**metadata: object) -> dict[str, Any]:
    raw = copy.deepcopy(CART)
    raw["metadata"] |= metadata
    return raw


def owned_by(kind: str, name: str, **labels: str) -> dict[str, Any]:
    return pod(ownerReferences=[{"kind": kind, "name": name, "controller": True}], labels=labels)


def test_a_pod_of_a_deployment() -> None:
    record = parse_pod(CART)

    assert record.key == record.pod.uid == UID
    assert (record.pod.namespace, record.pod.name, record.pod.ip) == ("shop", "cart-5d9c8f7b6-x2x9q", "10.4.2.17")
    assert record.pod.workload == Workload("Deployment", "cart")
    assert record.pod.revision == "5d9c8f7b6"
    assert record.pod.created_at == parse_time("2026-11-21T09:12:00Z")
    assert record.pod.service_account == "cart"
    assert record.pod.labels == (("app", "cart"), ("pod-template-hash", "5d9c8f7b6"))
    assert record.pod.annotations == (("peerwatch.dev/owner", "team-cart@example.com"),)


def test_each_container_has_its_role_and_the_instance_before_a_restart_is_kept() -> None:
    started = parse_time(STARTED)

    assert parse_pod(CART).containers == (
        Container("app", ContainerKind.APP, B, "shop/cart:1.4.2", "", started - 2 * NANOSECONDS),
        Container("app", ContainerKind.APP, A, "shop/cart:1.4.2", DIGEST, started),
        Container("migrate", ContainerKind.INIT, C, "shop/migrate:1", DIGEST, started),
        Container("proxy", ContainerKind.SIDECAR, D, "mesh/proxy:2", DIGEST, 0),
        Container("debug", ContainerKind.EPHEMERAL, E, "busybox", DIGEST, 0),
    )


MINUTE = parse_time("2026-11-21T09:12:00Z") // (60 * NANOSECONDS)


@pytest.mark.parametrize(
    ("raw", "workload"),
    [
        (owned_by("ReplicaSet", "cart-abc", **{"pod-template-hash": "abc"}), Workload("Deployment", "cart")),
        (owned_by("ReplicaSet", "cart-abc", **{"rollouts-pod-template-hash": "abc"}), Workload("Rollout", "cart")),
        (owned_by("ReplicaSet", "cart-abc", **{"pod-template-hash": "bc"}), Workload("ReplicaSet", "cart-abc")),
        (owned_by("ReplicaSet", "cart-abc"), Workload("ReplicaSet", "cart-abc")),
        (owned_by("ReplicaSet", "-abc", **{"pod-template-hash": "abc"}), Workload("ReplicaSet", "-abc")),
        (owned_by("StatefulSet", "db"), Workload("StatefulSet", "db")),
        (owned_by("DaemonSet", "log"), Workload("DaemonSet", "log")),
        (owned_by("CloneSet", "game"), Workload("CloneSet", "game")),
        (owned_by("Job", f"tick-{MINUTE}"), Workload("CronJob", "tick")),
        (owned_by("Job", f"tick-{MINUTE - 90}"), Workload("CronJob", "tick")),
        (owned_by("Job", "backup-20261121"), Workload("Job", "backup-20261121")),
        (owned_by("Job", f"tick-{MINUTE + 60}"), Workload("Job", f"tick-{MINUTE + 60}")),
        (owned_by("Job", "import"), Workload("Job", "import")),
        (owned_by("", "x"), Workload("Pod", "cart-5d9c8f7b6-x2x9q")),
        (pod(ownerReferences=[]), Workload("Pod", "cart-5d9c8f7b6-x2x9q")),
        (pod(ownerReferences=[{"kind": "Backup", "name": "x"}]), Workload("Pod", "cart-5d9c8f7b6-x2x9q")),
    ],
)
def test_the_workload_is_what_a_person_would_name(raw: dict[str, Any], workload: Workload) -> None:
    assert parse_pod(raw).pod.workload == workload


@pytest.mark.parametrize(
    ("labels", "revision"),
    [
        ({"pod-template-hash": "1"}, "1"),
        ({"rollouts-pod-template-hash": "2"}, "2"),
        ({"controller-revision-hash": "db-3"}, "db-3"),
        ({"app": "x"}, ""),
    ],
)
def test_the_revision_is_the_hash_of_the_template(labels: dict[str, str], revision: str) -> None:
    assert parse_pod(pod(labels=labels)).pod.revision == revision


STATIC = "c15976de9cc8d08010626b9f769af448"
NODE = [{"kind": "Node", "name": "node-1", "controller": True}]
MIRROR = {"kubernetes.io/config.mirror": STATIC, "kubernetes.io/config.hash": STATIC}


def test_the_mirror_of_a_static_pod_is_the_static_pod() -> None:
    record = parse_pod(pod(name="etcd-node-1", ownerReferences=NODE, annotations=MIRROR))

    assert (record.key, record.pod.uid) == (UID, STATIC)
    assert record.pod.workload == Workload("Pod", "etcd-node-1")


@pytest.mark.parametrize(
    "metadata",
    [
        {"annotations": MIRROR},
        {"annotations": {"kubernetes.io/config.hash": STATIC}, "ownerReferences": NODE},
        {"annotations": dict.fromkeys(MIRROR, "11111111-2222-3333-4444-555555555555"), "ownerReferences": NODE},
    ],
    ids=["not a node's", "no mirror", "an ordinary pod's uid"],
)
def test_no_annotation_makes_a_pod_another(metadata: dict[str, object]) -> None:
    assert parse_pod(pod(**metadata)).pod.uid == UID


def test_labels_and_annotations_are_cut_to_a_sensible_size() -> None:
    labels = {f"l{number:04}": "x" * 100_000 for number in range(1000)} | {"y" * 400: "too long a name"}
    annotations = {f"peerwatch.dev/{number:04}": "x" * 100_000 for number in range(1000)}
    record = parse_pod(pod(labels=labels, annotations=annotations))

    assert [name for name, _ in record.pod.labels] == [f"l{number:04}" for number in range(MAX_LABELS)]
    assert len(record.pod.annotations) == MAX_ANNOTATIONS
    assert {len(value) for _, value in record.pod.labels + record.pod.annotations} == {MAX_VALUE}


def test_text_that_utf8_cannot_write_is_replaced() -> None:
    record = parse_pod(pod(labels={"a\ud800": "b\udfff"}))

    assert record.pod.labels == (("a?", "b?"),)


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (None, "a pod must be an object"),
        ({}, "metadata.name is missing"),
        ({"metadata": {"name": "x"}}, "metadata.uid is missing"),
        ({"metadata": []}, "metadata must be an object"),
        (pod(name=7), "name must be a string"),
        (pod(name="x" * 254), "name is longer than 253 characters"),
        (pod(labels={"a": 1}), "a must be a string"),
        (pod(creationTimestamp="yesterday"), "creationTimestamp: not an RFC 3339 time"),
        (pod(creationTimestamp="9999-01-01T00:00:00Z"), "creationTimestamp is out of range"),
        (pod(ownerReferences="x"), "ownerReferences must be a list of objects"),
        (CART | {"status": {"containerStatuses": [3]}}, "containerStatuses must be a list of objects"),
        (CART | {"spec": {"containers": [{"name": []}]}}, "name must be a string"),
    ],
)
def test_a_malformed_pod_is_refused_with_a_reason(raw: object, why: str) -> None:
    with pytest.raises(MalformedError) as caught:
        parse_pod(raw)

    assert str(caught.value).startswith(why)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=8,
)


def paths(value: object, path: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, each in inner for found in paths(each, (*path, key)))]


@given(st.sampled_from(paths(CART)[1:]), JSON)
def test_any_value_at_any_place_is_taken_or_refused(path: tuple[Any, ...], value: object) -> None:
    raw = copy.deepcopy(CART)
    holder: Any = raw
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = value

    try:
        record = parse_pod(raw)
    except MalformedError:
        return

    assert record.key
    hash(record)
