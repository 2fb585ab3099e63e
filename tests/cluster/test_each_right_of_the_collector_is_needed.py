"""The collector's rights, as the chart gives them, taken away verb by verb: the log names it, and everything else goes on.

How a collector answers that may not ask who calls is told in `test_install`.
"""

import itertools
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from collector_harness import eventually
from peerwatch.kubernetes.connection import from_kubeconfig

from cluster.faults import Proxy
from cluster.manifests import Object
from cluster.node import Node
from cluster.pki import kubeconfig
from collector.access.publishing import Publisher
from collector.cluster.view import ClusterView
from collector.cluster.watching import ClusterWatch

NAMESPACE = f"rights-{os.getpid()}"
ACCOUNT = "peerwatch-collector"
NAMES = {"endpointslices": "endpoint slices", "replicasets": "replica sets"}
"""What is called otherwise in the log."""


class Right(NamedTuple):
    resource: str
    verb: str


def _rules(kind: str) -> list[Object]:
    manifests = yaml.safe_load_all((Path(__file__).parents[2] / "daemonset/install.yaml").read_text())
    (role,) = (each for each in manifests if each["kind"] == kind and each["metadata"]["name"] == ACCOUNT)
    rules: list[Object] = role["rules"]
    return rules


def _rights(kind: str) -> list[Right]:
    return [Right(resource, verb) for rule in _rules(kind) for resource in rule["resources"] for verb in rule["verbs"]]


def _without(kind: str, taken: Right | None) -> list[Object]:
    """Return a role's rules without one right."""
    kept = []
    for rule in _rules(kind):
        for resource in rule["resources"]:
            verbs = [verb for verb in rule["verbs"] if (resource, verb) != taken]
            kept += [{**rule, "resources": [resource], "verbs": verbs}] if verbs else []
    return kept


WATCHED = [right for right in _rights("ClusterRole") if right.verb != "create"]
"""`create` is of reviews, which are another test's."""

PUBLISHED = _rights("Role")


class Place:
    """A namespace with accounts that have some of the rights."""

    def __init__(self, node: Node, way: Proxy, folder: Path) -> None:
        self.api, self._way, self._folder, self._pki = node.api, way, folder, node.folder / "pki"
        self._numbers = itertools.count()

    def account(self, taken: Right | None) -> str:
        """Make an account that has all rights but one; return a kubeconfig for it."""
        name = f"account-{next(self._numbers)}"
        full = f"{NAMESPACE}-{name}"
        self.api.post(f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts", {"metadata": {"name": name}})
        for kind, where in (("ClusterRole", ""), ("Role", f"namespaces/{NAMESPACE}/")):
            group = f"/apis/rbac.authorization.k8s.io/v1/{where}{kind.lower()}"
            reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": full}
            subjects = [{"kind": "ServiceAccount", "name": name, "namespace": NAMESPACE}]
            bodies: dict[str, Any] = {
                "s": {"rules": _without(kind, taken)},
                "bindings": {"roleRef": reference, "subjects": subjects},
            }
            for plural, body in bodies.items():
                self.api.post(f"{group}{plural}", {"metadata": {"name": full}, **body})
        token = self.api.post(f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/{name}/token", {"spec": {}})["status"]["token"]
        path = self._folder / name
        path.write_text(kubeconfig(self._way.url, self._pki / "ca.crt", {"token": token}))
        return str(path)

    def remove(self) -> None:
        for plural in ("clusterroles", "clusterrolebindings"):
            path = f"/apis/rbac.authorization.k8s.io/v1/{plural}"
            for each in self.api.get(path)["items"]:
                if each["metadata"]["name"].startswith(f"{NAMESPACE}-"):
                    self.api.delete(f"{path}/{each['metadata']['name']}")
        self.api.delete(f"/api/v1/namespaces/{NAMESPACE}")


@pytest.fixture(scope="module")
def place(node: Node, way: Proxy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    node.api.make_namespace(NAMESPACE)
    node.api.post(f"/api/v1/namespaces/{NAMESPACE}/configmaps", {"metadata": {"name": "peerwatch-ca"}})
    place = Place(node, way, tmp_path_factory.mktemp("accounts"))
    yield place
    place.remove()


def _watch(place: Place, taken: Right | None) -> ClusterWatch:
    return ClusterWatch(ClusterView("c"), from_kubeconfig(place.account(taken)))


def _publisher(place: Place, taken: Right | None) -> Publisher:
    return Publisher(from_kubeconfig(place.account(taken)), f"{NAMESPACE}/peerwatch-ca", lambda: f"certificate of {taken}")


def test_with_all_of_them_nothing_is_missing(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    watch = _watch(place, None)
    watch.start()
    try:
        eventually(lambda: watch.synced and all(each.watching for each in watch.reflectors), 30)
        assert [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING] == []
    finally:
        watch.stop()


def test_the_authority_is_published_with_what_the_chart_gives(place: Place) -> None:
    assert _publisher(place, None).publish()


@pytest.mark.parametrize("taken", WATCHED, ids=" ".join)
def test_what_may_not_be_watched_is_named_and_everything_else_is_seen(
    place: Place, taken: Right, caplog: pytest.LogCaptureFixture
) -> None:
    watch = _watch(place, taken)
    name = NAMES.get(taken.resource, taken.resource)
    watch.start()
    try:
        eventually(lambda: f"no {name} from" in caplog.text, 30)
        eventually(lambda: sum(each.watching for each in watch.reflectors) == len(watch.reflectors) - 1, 30)
        assert [f'cannot {taken.verb} resource "{taken.resource}"' in each.getMessage() for each in caplog.records] == [True]
    finally:
        watch.stop()


@pytest.mark.parametrize("taken", PUBLISHED, ids=" ".join)
def test_an_authority_that_may_not_be_published_is_named(place: Place, taken: Right, caplog: pytest.LogCaptureFixture) -> None:
    assert not _publisher(place, taken).publish()
    assert f"cannot publish the authority in ConfigMap {NAMESPACE}/peerwatch-ca: HTTP 403" in caplog.text
