"""What is uninstalled is gone: probes, spool and compiled probes on the node, and every object in the cluster."""

import pytest
from helm.release import NAMESPACE, Release

pytestmark = pytest.mark.timeout(600)  # images are written, loaded and installed in the first test's time

KINDS = "all,configmap,serviceaccount,role,rolebinding,networkpolicy,poddisruptionbudget"
CLUSTER_KINDS = "clusterrole,clusterrolebinding,priorityclass"


@pytest.fixture
def release(place: Release) -> Release:
    """Installed, by this test or, if it was not removed, by the one before."""
    place.install()
    return place


def test_uninstall_leaves_nothing_on_the_node_and_nothing_in_the_cluster(release: Release) -> None:
    assert release.pins.is_dir()
    assert list(release.spool.glob("probes/*")) != []
    release.clean_node()
    assert not release.pins.exists()
    assert list(release.spool.parent.rglob("*")) == []  # not even the empty folder
    release.uninstall()
    ours = "--selector=app.kubernetes.io/part-of=peerwatch"
    assert release.kubectl("get", KINDS, ours, "--output=name") == ""
    assert release.node.kubectl("get", CLUSTER_KINDS, ours, "--output=name") == ""
    claims = release.kubectl("get", "persistentvolumeclaim", "--output=name").split()
    assert claims == ["persistentvolumeclaim/data-peerwatch-collector-0"]  # what was learned is the operator's to delete


def test_an_agent_that_was_removed_by_hand_leaves_nothing_that_a_new_installation_stumbles_over(release: Release) -> None:
    release.kubectl("delete", "daemonset", "peerwatch-agent", "--wait", "--cascade=foreground")
    assert release.pins.is_dir()  # probes are made to outlive their agent
    release.upgrade()  # Helm makes what is missing anew
    release.until_ready()
    assert release.node.api.get(f"/api/v1/namespaces/{NAMESPACE}/pods")["items"] != []
