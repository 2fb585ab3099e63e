"""The manifests are valid Kubernetes, for the oldest and the newest version that can be checked offline, and ask for no more
rights than their comments explain.
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

ROOT = Path(__file__).resolve().parents[2]
MANIFESTS = ROOT / "daemonset"
NEWEST = ".".join(kubernetes_validate.latest_version().split(".")[:2])
SCHEMAS = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema"
OLDEST = min((folder.name for folder in SCHEMAS.glob("v*-local-strict")), key=lambda name: int(name.split(".")[1]))
OLDEST = OLDEST.removeprefix("v").rpartition(".")[0]


def _resources() -> list[dict[str, Any]]:
    files = sorted(path for path in MANIFESTS.glob("*.yaml") if path.name != "kustomization.yaml")
    return [resource for path in files for resource in yaml.safe_load_all(path.read_text())]


RESOURCES = _resources()
WORKLOADS = [resource for resource in RESOURCES if "template" in resource.get("spec", {})]


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


def _identity(resource: dict[str, Any]) -> str:
    return f"{resource['kind']}/{resource['metadata']['name']}"


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
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
        kubernetes_validate.validate(service, NEWEST, strict=True)


def test_kustomization_names_every_manifest_and_every_image() -> None:
    kustomization = yaml.safe_load((MANIFESTS / "kustomization.yaml").read_text())
    files = {path.name for path in MANIFESTS.glob("*.yaml")} - {"kustomization.yaml"}
    assert set(kustomization["resources"]) == files
    images = {container["image"] for workload in WORKLOADS for container in _containers(workload)}
    assert {image["name"] for image in kustomization["images"]} == images


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
        # A throttled agent loses events, so there is no CPU limit; agent.yaml says so.
        assert set(container["resources"]["limits"]) == {"memory"}
    unbounded = [volume["name"] for volume in _pod(workload)["volumes"] if volume.get("emptyDir", {"sizeLimit": 1}) == {}]
    assert unbounded == []


def test_the_agent_has_two_capabilities_each_with_its_reason() -> None:
    [container] = AGENT["containers"]
    assert container["securityContext"]["capabilities"]["add"] == ["BPF", "PERFMON"]
    text = (MANIFESTS / "agent.yaml").read_text()
    for capability in ("BPF", "PERFMON"):
        assert re.search(rf"^ +- {capability} # \w+", text, re.MULTILINE)


def _host_folders() -> dict[str, tuple[str, bool]]:
    """Return what of the node's the agent sees: path to type and whether it may only read."""
    folders = {volume["name"]: volume["hostPath"] for volume in AGENT["volumes"] if "hostPath" in volume}
    [container] = AGENT["containers"]
    mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
    assert folders.keys() == mounts.keys()
    for name, folder in folders.items():
        assert mounts[name]["mountPath"] == folder["path"]
    return {folder["path"]: (folder["type"], mounts[name].get("readOnly", False)) for name, folder in folders.items()}


def test_the_agent_mounts_three_folders_of_the_node_and_writes_to_two() -> None:
    assert _host_folders() == {
        "/sys/kernel/tracing": ("Directory", True),
        "/sys/fs/bpf": ("Directory", False),
        "/var/lib/peerwatch-agent": ("DirectoryOrCreate", False),
    }


def _argument(container: dict[str, Any], option: str) -> str:
    value: str = container["args"][container["args"].index(option) + 1]
    return value


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


def test_the_uninstall_command_of_the_readme_changes_fields_that_exist() -> None:
    [patch] = re.findall(r"patch daemonset peerwatch-agent --patch '(.*)'", (MANIFESTS / "README.md").read_text())
    wanted = yaml.safe_load(patch)["spec"]
    spec = _named("DaemonSet", "peerwatch-agent")["spec"]
    assert wanted["updateStrategy"]["rollingUpdate"].keys() == spec["updateStrategy"]["rollingUpdate"].keys()
    [container] = wanted["template"]["spec"]["containers"]
    assert container == {"name": AGENT["containers"][0]["name"], "args": ["uninstall"]}


def test_the_agent_runs_on_every_node() -> None:
    assert AGENT["tolerations"] == [{"operator": "Exists"}]
    assert AGENT["priorityClassName"] == _named("PriorityClass", "peerwatch-agent")["metadata"]["name"]
    assert AGENT["nodeSelector"] == {"kubernetes.io/os": "linux"}


def test_the_agent_may_read_pods_and_nothing_else() -> None:
    roles = [resource for resource in RESOURCES if resource["kind"] in {"Role", "ClusterRole"}]
    assert [role["rules"] for role in roles] == [
        [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}]
    ]
    bindings = [resource for resource in RESOURCES if resource["kind"] in {"RoleBinding", "ClusterRoleBinding"}]
    assert [binding["subjects"] for binding in bindings] == [
        [{"kind": "ServiceAccount", "name": "peerwatch-agent", "namespace": "peerwatch"}]
    ]


def test_the_collector_meets_the_restricted_level_and_holds_no_token() -> None:
    assert COLLECTOR["securityContext"]["runAsNonRoot"] is True
    assert COLLECTOR["securityContext"]["runAsUser"] > 0
    assert COLLECTOR["automountServiceAccountToken"] is False
    [container] = COLLECTOR["containers"]
    assert "add" not in container["securityContext"]["capabilities"]
    assert [volume for volume in COLLECTOR["volumes"] if "hostPath" in volume] == []


def test_only_agents_and_labelled_pods_reach_the_collector() -> None:
    policy = _named("NetworkPolicy", "peerwatch-collector")["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    [rule] = policy["ingress"]
    # Without a namespaceSelector these are pods of the policy's own namespace.
    assert [set(source) for source in rule["from"]] == [{"podSelector"}, {"podSelector"}]
    assert rule["ports"] == [{"protocol": "TCP", "port": "grpc"}]
    assert policy["egress"] == []


def test_agents_call_the_address_that_the_service_has() -> None:
    [agent] = AGENT["containers"]
    address = _argument(agent, "--collector")
    service = _named("Service", "peerwatch-collector")
    assert (
        address == f"{service['metadata']['name']}.{service['metadata']['namespace']}.svc:{service['spec']['ports'][0]['port']}"
    )
    assert (
        service["spec"]["selector"].items()
        <= _named("StatefulSet", "peerwatch-collector")["spec"]["template"]["metadata"]["labels"].items()
    )


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
