"""What is installed: install.yaml, which is the chart with its defaults, is valid in every version that the chart allows, and
asks for no more rights than its comments explain.
"""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from collector.access.rules import RULES

ROOT = Path(__file__).resolve().parents[2]
INSTALL = ROOT / "daemonset/install.yaml"
SCHEMAS = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema"
OLDEST = 30
"""The chart's kubeVersion."""

MINORS = sorted(int(folder.name.split(".")[1]) for folder in SCHEMAS.glob("v1.*-local-strict"))
VERSIONS = [f"1.{minor}" for minor in (OLDEST, *MINORS[-4:])]

RESOURCES: list[dict[str, Any]] = [resource for resource in yaml.safe_load_all(INSTALL.read_text()) if resource]
WORKLOADS = [resource for resource in RESOURCES if resource["kind"] in {"DaemonSet", "StatefulSet"}]


def _named(kind: str, name: str) -> dict[str, Any]:
    [found] = [resource for resource in RESOURCES if (resource["kind"], resource["metadata"]["name"]) == (kind, name)]
    return found


def _pod(workload: dict[str, Any]) -> dict[str, Any]:
    pod: dict[str, Any] = workload["spec"]["template"]["spec"]
    return pod


def _containers(workload: dict[str, Any]) -> list[dict[str, Any]]:
    pod = _pod(workload)
    return [*pod.get("initContainers", []), *pod["containers"]]


AGENT = _pod(_named("DaemonSet", "peerwatch-agent"))
COLLECTOR = _pod(_named("StatefulSet", "peerwatch-collector"))


def _labels(kind: str, name: str) -> dict[str, str]:
    labels: dict[str, str] = _named(kind, name)["spec"]["template"]["metadata"]["labels"]
    return labels


def _argument(container: dict[str, Any], option: str) -> str:
    value: str = container["args"][container["args"].index(option) + 1]
    return value


def _identity(resource: dict[str, Any]) -> str:
    return f"{resource['kind']}/{resource['metadata']['name']}"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("resource", RESOURCES, ids=_identity)
def test_is_valid(resource: dict[str, Any], version: str) -> None:
    kubernetes_validate.validate(resource, version, strict=True)


def test_validation_is_strict_enough_to_catch_a_misspelt_field() -> None:
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "x"},
        "spec": {"ports": [{"port": 1}], "selektor": {}},
    }
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(service, VERSIONS[-1], strict=True)


def test_the_oldest_version_is_the_one_that_the_chart_asks_for() -> None:
    chart = yaml.safe_load((ROOT / "daemonset/chart/Chart.yaml").read_text())
    assert chart["kubeVersion"] == f">=1.{OLDEST}.0-0"


def test_nothing_stands_twice() -> None:
    names = [(resource["kind"], resource["metadata"]["name"]) for resource in RESOURCES]
    assert len(set(names)) == len(names) > 15


def test_everything_that_has_a_namespace_is_in_ours() -> None:
    cluster_wide = {"Namespace", "ClusterRole", "ClusterRoleBinding", "PriorityClass"}
    inside = [resource for resource in RESOURCES if resource["kind"] not in cluster_wide]
    assert {resource["metadata"]["namespace"] for resource in inside} == {"peerwatch"}


@pytest.mark.parametrize("workload", WORKLOADS, ids=_identity)
def test_containers_are_confined(workload: dict[str, Any]) -> None:
    for container in _containers(workload):
        security = container["securityContext"]
        assert security["privileged"] is False
        assert security["allowPrivilegeEscalation"] is False
        assert security["readOnlyRootFilesystem"] is True
        assert security["capabilities"]["drop"] == ["ALL"]
        assert "seccompProfile" not in security
    assert _pod(workload)["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostIPC", "hostPID", "shareProcessNamespace"} & set(_pod(workload))


@pytest.mark.parametrize("workload", WORKLOADS, ids=_identity)
def test_containers_say_what_they_need_and_are_bounded(workload: dict[str, Any]) -> None:
    for container in _containers(workload):
        assert set(container["resources"]["requests"]) == {"cpu", "memory"}
        # A throttled agent loses events, so there is no CPU limit; values.yaml says so.
        assert set(container["resources"]["limits"]) == {"memory"}
    unbounded = [volume["name"] for volume in _pod(workload)["volumes"] if volume.get("emptyDir", {"sizeLimit": 1}) == {}]
    assert unbounded == []


def test_the_agent_has_two_capabilities_each_with_its_reason() -> None:
    [container] = AGENT["containers"]
    assert container["securityContext"]["capabilities"]["add"] == ["BPF", "PERFMON"]
    text = INSTALL.read_text()
    for capability in ("BPF", "PERFMON"):
        assert re.search(rf"^ +- {capability} # \w+", text, re.MULTILINE)


def _host_folders() -> dict[str, tuple[str, bool]]:
    """Return what of the node's the agent sees: path to type and whether it may only read."""
    folders = {volume["name"]: volume["hostPath"] for volume in AGENT["volumes"] if "hostPath" in volume}
    [container] = AGENT["containers"]
    mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
    assert {volume["name"] for volume in AGENT["volumes"]} == mounts.keys()
    for name, folder in folders.items():
        assert mounts[name]["mountPath"] == folder["path"]
    return {folder["path"]: (folder["type"], mounts[name].get("readOnly", False)) for name, folder in folders.items()}


def test_the_agent_mounts_three_folders_of_the_node_and_writes_to_two() -> None:
    assert _host_folders() == {
        "/sys/kernel/tracing": ("Directory", True),
        "/sys/fs/bpf": ("Directory", False),
        "/var/lib/peerwatch-agent": ("DirectoryOrCreate", False),
    }


def test_the_spool_is_on_the_node_and_so_outlives_the_pod() -> None:
    [container] = AGENT["containers"]
    assert _argument(container, "--spool") in _host_folders()


def test_the_agent_serves_metrics_on_its_pod_s_address_only_and_is_ready_once_it_does() -> None:
    [container] = AGENT["containers"]
    [port] = container["ports"]
    assert _argument(container, "--metrics") == f"$(POD_IP):{port['containerPort']}"
    [address] = [each for each in container["env"] if each["name"] == "POD_IP"]
    assert address["valueFrom"] == {"fieldRef": {"fieldPath": "status.podIP"}}
    assert container["readinessProbe"]["httpGet"] == {"path": "/healthz", "port": port["name"]}
    annotations = _named("DaemonSet", "peerwatch-agent")["spec"]["template"]["metadata"]["annotations"]
    assert annotations == {"prometheus.io/scrape": "true", "prometheus.io/port": str(port["containerPort"])}


def test_nobody_can_have_the_agent_killed_through_its_port() -> None:
    """A probe whose failure restarts the agent would let whoever floods the port blind the node."""
    [container] = AGENT["containers"]
    assert container.keys().isdisjoint({"livenessProbe", "startupProbe"})


def test_an_agent_counts_as_available_only_after_it_could_have_failed() -> None:
    """A pod that fails after it was ready lets a rollout of a version that cannot work go through to the end."""
    assert _named("DaemonSet", "peerwatch-agent")["spec"]["minReadySeconds"] == 10


def test_the_agent_runs_on_every_node() -> None:
    assert AGENT["tolerations"] == [{"operator": "Exists"}]
    assert AGENT["priorityClassName"] == _named("PriorityClass", "peerwatch-agent")["metadata"]["name"]
    assert AGENT["nodeSelector"] == {"kubernetes.io/os": "linux"}


RIGHTS = {
    ("ClusterRole", "peerwatch-agent"): {("", "pods"): {"list", "watch"}},
    ("ClusterRole", "peerwatch-collector"): {
        ("authentication.k8s.io", "tokenreviews"): {"create"},
        ("authorization.k8s.io", "subjectaccessreviews"): {"create"},
        ("", "pods"): {"list", "watch"},
        ("", "services"): {"list", "watch"},
        ("", "nodes"): {"list", "watch"},
        ("", "namespaces"): {"list", "watch"},
        ("networking.k8s.io", "ingresses"): {"list", "watch"},
        ("discovery.k8s.io", "endpointslices"): {"list", "watch"},
        ("apps", "replicasets"): {"list", "watch"},
        ("batch", "jobs"): {"list", "watch"},
    },
    ("Role", "peerwatch-collector"): {("", "configmaps"): {"get", "update"}},
}
"""All that our two service accounts may do, verb by verb."""


def _rights(role: dict[str, Any]) -> dict[tuple[str, str], set[str]]:
    rights: dict[tuple[str, str], set[str]] = {}
    for rule in role["rules"]:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                rights.setdefault((group, resource), set()).update(rule["verbs"])
    return rights


def test_our_accounts_may_do_exactly_this() -> None:
    roles = {(role["kind"], role["metadata"]["name"]): role for role in RESOURCES if role["kind"] in {"Role", "ClusterRole"}}
    people = {("ClusterRole", "peerwatch-viewer"), ("ClusterRole", "peerwatch-editor")}
    assert {name: _rights(role) for name, role in roles.items() if name not in people} == RIGHTS
    for name in people:
        assert {group for group, _ in _rights(roles[name])} == {"peerwatch.dev"}


def test_people_s_roles_are_what_the_collector_asks_about() -> None:
    asked = {(rule.verb, rule.resource) for rule in RULES.values()}
    granted = {
        name: {(verb, resource) for (_, resource), verbs in _rights(_named("ClusterRole", name)).items() for verb in verbs}
        for name in ("peerwatch-viewer", "peerwatch-editor")
    }
    assert granted["peerwatch-editor"] == asked
    assert granted["peerwatch-viewer"] == {(verb, resource) for verb, resource in asked if verb != "update"}


def test_a_role_is_bound_to_the_account_of_its_name_only_and_people_s_to_nobody() -> None:
    bindings = [resource for resource in RESOURCES if resource["kind"] in {"RoleBinding", "ClusterRoleBinding"}]
    bound = [(each["roleRef"]["kind"], each["roleRef"]["name"]) for each in bindings]
    assert sorted(bound) == sorted(RIGHTS)
    for binding in bindings:
        account = {"kind": "ServiceAccount", "name": binding["roleRef"]["name"], "namespace": "peerwatch"}
        assert binding["subjects"] == [account]


def test_no_right_is_a_wildcard_or_reaches_secrets_or_changes_rights() -> None:
    roles = [resource for resource in RESOURCES if resource["kind"] in {"Role", "ClusterRole"}]
    words = {word for role in roles for rule in role["rules"] for values in rule.values() for word in values}
    assert not {word for word in words if "*" in word}
    assert words.isdisjoint({"secrets", "pods/exec", "pods/attach", "nodes/proxy", "serviceaccounts/token"})
    assert words.isdisjoint({"escalate", "bind", "impersonate", "deletecollection", "delete"})


def test_the_one_configmap_that_the_collector_may_write_is_named_and_the_chart_leaves_its_data_alone() -> None:
    [rule] = _named("Role", "peerwatch-collector")["rules"]
    assert rule["resourceNames"] == ["peerwatch-ca"]
    assert _named("ConfigMap", "peerwatch-ca").keys() == {"apiVersion", "kind", "metadata"}
    [collector] = COLLECTOR["containers"]
    assert _argument(collector, "--publish-ca") == "peerwatch/peerwatch-ca"


def test_the_agent_s_token_is_for_the_collector_alone_and_does_not_last() -> None:
    [source] = [volume["projected"]["sources"] for volume in AGENT["volumes"] if volume["name"] == "token"]
    token = {"audience": "peerwatch-collector", "expirationSeconds": 3600, "path": "token"}
    assert source == [{"serviceAccountToken": token}]
    [agent] = AGENT["containers"]
    mounts = {mount["name"]: mount for mount in agent["volumeMounts"]}
    assert _argument(agent, "--token") == f"{mounts['token']['mountPath']}/token"
    assert _argument(agent, "--ca") == f"{mounts['ca']['mountPath']}/ca.crt"
    assert mounts["token"]["readOnly"] is mounts["ca"]["readOnly"] is True


def test_the_collector_believes_the_agents_account_and_the_cluster_s_users_only() -> None:
    [collector] = COLLECTOR["containers"]
    assert _argument(collector, "--agents") == "kubernetes:peerwatch/peerwatch-agent"
    assert _argument(collector, "--users") == "kubernetes"
    assert not {"--insecure", "anyone"} & {*collector["args"], *AGENT["containers"][0]["args"]}


def test_commands_in_the_collector_s_pod_find_its_socket() -> None:
    [collector] = COLLECTOR["containers"]
    socket = _argument(collector, "--socket")
    assert collector["env"] == [{"name": "PEERWATCH_SERVER", "value": f"unix:{socket}"}]
    assert str(Path(socket).parent) in {mount["mountPath"] for mount in collector["volumeMounts"]}


def test_the_collector_meets_the_restricted_level() -> None:
    assert COLLECTOR["securityContext"]["runAsNonRoot"] is True
    assert COLLECTOR["securityContext"]["runAsUser"] > 0
    [container] = COLLECTOR["containers"]
    assert "add" not in container["securityContext"]["capabilities"]
    assert [volume for volume in COLLECTOR["volumes"] if "hostPath" in volume] == []


def test_a_drain_is_not_held_up_by_the_one_collector() -> None:
    budget = _named("PodDisruptionBudget", "peerwatch-collector")["spec"]
    assert budget["maxUnavailable"] == 1
    assert budget["selector"]["matchLabels"].items() <= _labels("StatefulSet", "peerwatch-collector").items()


def test_only_agents_and_labelled_pods_reach_the_collector_and_it_calls_dns_and_the_api_server_only() -> None:
    policy = _named("NetworkPolicy", "peerwatch-collector")["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    [rule] = policy["ingress"]
    # Without a namespaceSelector these are pods of the policy's own namespace.
    assert [set(source) for source in rule["from"]] == [{"podSelector"}, {"podSelector"}]
    assert rule["from"][0]["podSelector"]["matchLabels"].items() <= _labels("DaemonSet", "peerwatch-agent").items()
    assert rule["ports"] == [{"protocol": "TCP", "port": "grpc"}]
    assert [[port["port"] for port in rule["ports"]] for rule in policy["egress"]] == [[53, 53], [443, 6443]]


def test_agents_are_reached_for_metrics_only_and_call_the_collector_dns_and_the_api_server_only() -> None:
    policy = _named("NetworkPolicy", "peerwatch-agent")["spec"]
    assert policy["podSelector"]["matchLabels"].items() <= _labels("DaemonSet", "peerwatch-agent").items()
    assert [rule["ports"] for rule in policy["ingress"]] == [[{"protocol": "TCP", "port": "metrics"}]]
    collector, *others = policy["egress"]
    [to] = collector["to"]
    assert to["podSelector"]["matchLabels"].items() <= _labels("StatefulSet", "peerwatch-collector").items()
    assert [[port["port"] for port in rule["ports"]] for rule in [collector, *others]] == [[7443], [53, 53], [443, 6443]]


def test_agents_call_the_address_that_the_service_has() -> None:
    [agent] = AGENT["containers"]
    address = _argument(agent, "--collector")
    service = _named("Service", "peerwatch-collector")
    [collector] = COLLECTOR["containers"]
    assert address.rpartition(":")[0] == _argument(collector, "--tls-name")
    assert (
        address == f"{service['metadata']['name']}.{service['metadata']['namespace']}.svc:{service['spec']['ports'][0]['port']}"
    )
    assert service["spec"]["selector"].items() <= _labels("StatefulSet", "peerwatch-collector").items()


@pytest.mark.parametrize(("program", "pod"), [("peerwatch-agent", AGENT), ("peerwatch", COLLECTOR)], ids=["agent", "collector"])
def test_containers_are_started_with_options_that_exist(program: str, pod: dict[str, Any]) -> None:
    [container] = pod["containers"]
    command, *arguments = container["args"]
    environment = {**os.environ, "COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}
    call = [Path(sys.executable).parent / program, command, "--help"]
    result = subprocess.run(call, capture_output=True, text=True, check=False, env=environment)
    assert result.returncode == 0, result.stderr
    options = [argument for argument in arguments if argument.startswith("--")]
    assert [option for option in options if not re.search(rf"{option}\b", result.stdout)] == []
