"""On the real node, with the chart's rights: who can be reached and from whom much can be reached, its incidents say."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from collector_harness import eventually
from peerwatch.kubernetes.connection import from_kubeconfig

from cluster import images
from cluster.faults import Proxy
from cluster.manifests import DEPLOYMENT, Object, container, controller, pod
from cluster.node import Node
from cluster.pki import kubeconfig
from collector.cluster.view import ClusterView
from collector.cluster.watching import ClusterWatch
from collector.records import Incident, IncidentKind, ReplicaRef, Severity, WorkloadKey
from collector.risk import CONTEXT_POINTS, rank_of

NAMESPACE = f"stake-{os.getpid()}"
RBAC = "rbac.authorization.k8s.io"


def _chart_rules() -> list[Object]:
    manifests = yaml.safe_load_all((Path(__file__).parents[2] / "daemonset/install.yaml").read_text())
    (role,) = (
        each for each in manifests if each["kind"] == "ClusterRole" and each["metadata"]["name"] == "peerwatch-collector"
    )
    rules: list[Object] = role["rules"]
    return rules


def _grant(node: Node, account: str, rules: list[Object], *, everywhere: bool) -> None:
    kind, where = ("ClusterRole", "") if everywhere else ("Role", f"namespaces/{NAMESPACE}/")
    name = f"{NAMESPACE}-{account}"
    path = f"/apis/{RBAC}/v1/{where}{kind.lower()}"
    subjects = [{"kind": "ServiceAccount", "name": account, "namespace": NAMESPACE}]
    reference = {"apiGroup": RBAC, "kind": kind, "name": name}
    node.api.post(f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts", {"metadata": {"name": account}})
    node.api.post(f"{path}s", {"metadata": {"name": name}, "rules": rules})
    node.api.post(f"{path}bindings", {"metadata": {"name": name}, "roleRef": reference, "subjects": subjects})


@pytest.fixture(scope="module")
def watch(node: Node, way: Proxy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterWatch]:
    """A view of a privileged deployment that an ingress leads to and that may read secrets, and of one that may nothing."""
    node.load(images.work())
    api, path = node.api, f"/api/v1/namespaces/{NAMESPACE}"
    api.make_namespace(NAMESPACE, {"environment": "production"})
    watch = None
    try:
        _grant(node, "collector", _chart_rules(), everywhere=True)
        _grant(node, "reader", [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["list"]}], everywhere=False)
        work = container("app", execs=1, connects=0, securityContext={"privileged": True})
        risky = pod("risky", work, serviceAccountName="reader", automountServiceAccountToken=True, hostPID=True)
        plain = pod("plain", container("app", execs=1, connects=0), automountServiceAccountToken=True)
        for each in (risky, plain):
            api.post(f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments", controller(DEPLOYMENT, each))
        spec: dict[str, Any] = {"selector": {"app": "risky"}, "ports": [{"port": 80}]}
        api.post(f"{path}/services", {"metadata": {"name": "front"}, "spec": spec})
        backend = {"service": {"name": "front", "port": {"number": 80}}}
        rule = {"http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}
        ingress = {"metadata": {"name": "door"}, "spec": {"rules": [rule]}}
        api.post(f"/apis/networking.k8s.io/v1/namespaces/{NAMESPACE}/ingresses", ingress)
        token = api.post(f"{path}/serviceaccounts/collector/token", {"spec": {}})["status"]["token"]
        file = tmp_path_factory.mktemp("stake") / "kubeconfig"
        file.write_text(kubeconfig(way.url, node.folder / "pki/ca.crt", {"token": token}))
        watch = ClusterWatch(ClusterView("c"), from_kubeconfig(str(file)))
        watch.start()
        yield watch
    finally:
        if watch is not None:
            watch.stop()
        api.delete(f"/api/v1/namespaces/{NAMESPACE}")
        for plural in ("clusterroles", "clusterrolebindings"):
            api.delete(f"/apis/{RBAC}/v1/{plural}/{NAMESPACE}-collector")


def _incident(node: Node, name: str) -> Incident:
    pods = node.api.get(f"/api/v1/namespaces/{NAMESPACE}/pods")["items"]
    (mine,) = (each["metadata"] for each in pods if each["metadata"]["name"].startswith(name))
    return Incident(
        id=name,
        revision=1,
        time=1,
        first_event=1,
        severity=Severity.MEDIUM,
        score=0.9,
        kind=IncidentKind.PEER_DEVIATION,
        workload=WorkloadKey("c", NAMESPACE, "Deployment", name),
        replicas=(ReplicaRef(mine["name"], mine["uid"], "app"),),
        compared=0,
        sharing=0,
        behaviours=(),
        evidence=(),
        techniques=(),
        reason="",
        loss_in_window=0,
    )


def _reasons(watch: ClusterWatch, incident: Incident) -> tuple[str, ...]:
    risk, complete = watch.risk(incident)
    return risk.reasons if risk is not None and complete else ()


def test_who_can_be_reached_and_may_much_ranks_above_a_graver_deed_elsewhere(node: Node, watch: ClusterWatch) -> None:
    eventually(lambda: len(node.api.get(f"/api/v1/namespaces/{NAMESPACE}/pods")["items"]) == 2, 30)
    incident = _incident(node, "risky")
    expected = (
        "privileged",
        "shares its node's processes",
        "reachable from outside (ingress door)",
        "its service account may read its namespace's secrets",
        "in production",
    )
    eventually(lambda: _reasons(watch, incident) == expected, 60)  # the slice names the pod once it has an address
    risk, _ = watch.risk(incident)
    assert risk is not None
    assert risk.rank == rank_of(Severity.MEDIUM) + CONTEXT_POINTS > rank_of(Severity.HIGH)


def test_who_holds_a_token_that_may_nothing_is_only_where_it_is(node: Node, watch: ClusterWatch) -> None:
    eventually(lambda: len(node.api.get(f"/api/v1/namespaces/{NAMESPACE}/pods")["items"]) == 2, 30)
    incident = _incident(node, "plain")
    eventually(lambda: _reasons(watch, incident) == ("in production",), 60)
