"""The chart: Helm finds nothing wrong with it, it refuses what makes no sense, and every switch gives valid manifests."""

import json
import subprocess
from pathlib import Path
from typing import Any

import helm
import kubernetes_validate
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
NEWEST = kubernetes_validate.latest_version().rpartition(".")[0]
OTHERS = {"PodMonitor", "SecurityContextConstraints"}
"""Kinds that Kubernetes itself does not know."""


@pytest.fixture(scope="module", autouse=True)
def _helm_is_here() -> None:
    try:
        helm.program()
    except helm.Missing as missing:
        pytest.skip(str(missing))


def _render(*values: str) -> subprocess.CompletedProcess[str]:
    sets = [word for value in values for word in ("--set-json", value)]
    return helm.call("template", "peerwatch", helm.CHART, "--namespace", "peerwatch", *sets)


def _resources(*values: str) -> dict[tuple[str, str], dict[str, Any]]:
    result = _render(*values)
    assert result.returncode == 0, result.stderr
    resources = [resource for resource in yaml.safe_load_all(result.stdout) if resource]
    return {(resource["kind"], resource["metadata"]["name"]): resource for resource in resources}


def _pod(resource: dict[str, Any]) -> dict[str, Any]:
    pod: dict[str, Any] = resource["spec"]["template"]["spec"]
    return pod


def test_helm_finds_nothing_wrong() -> None:
    result = helm.call("lint", "--strict", helm.CHART)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.timeout(600)  # it builds helm where that is not yet done
def test_install_yaml_is_what_the_chart_says() -> None:
    result = subprocess.run([ROOT / "daemonset/install.sh", "--check"], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")


def _paths(tree: object, at: str = "") -> set[str]:
    if not isinstance(tree, dict):
        return {at}
    return {at}.union(*(_paths(value, f"{at}.{name}") for name, value in tree.items()))


def _schema_paths(schema: dict[str, Any], definitions: dict[str, Any], at: str = "") -> set[str]:
    if "$ref" in schema:
        schema = definitions[schema["$ref"].rpartition("/")[2]]
    below = [_schema_paths(each, definitions, f"{at}.{name}") for name, each in schema.get("properties", {}).items()]
    return {at}.union(*below)


def test_the_schema_knows_every_value_and_no_other() -> None:
    schema = json.loads((helm.CHART / "values.schema.json").read_text())
    known = _schema_paths(schema, schema["definitions"])
    free = (".agent.seLinuxOptions.",)  # what a pod may say there; the default says nothing
    values = _paths(yaml.safe_load((helm.CHART / "values.yaml").read_text()))
    quantities = {path for path in values if ".requests." in path or ".limits." in path}
    assert values - known - quantities == set()
    assert {path for path in known - values if not path.startswith(free)} == {".global"}


@pytest.mark.parametrize(
    "nonsense",
    [
        'agnet={"image":{}}',
        'agent.resource={"limits":{}}',
        "agent.maxUnavailable=0",
        'agent.maxUnavailable="0%"',
        'agent.maxUnavailable="all"',
        'agent.spoolPath="/"',
        'agent.spoolPath="/var/lib/../../etc"',
        'agent.spoolPath="var/lib/x"',
        'agent.pinPath="/sys/fs/bpf"',
        'agent.pinPath="/sys/fs/bpf/../../../etc"',
        "agent.privileged=true",
        'agent.resources.limits={"memory":null}',
        'agent.resources.requests.memory="much"',
        'agent.image.digest="latest"',
        'agent.collector="collector.example"',
        'image.pullPolicy="Sometimes"',
        'image.registry="registry.example.com/"',
        "collector.maxUnavailable=2",
        'collector.persistence.whenDeleted="Forget"',
        'collector.persistence.enabled="false"',
        'networkPolicy.apiServer.ports=["https"]',
        'networkPolicy.apiServer.networks=["10.0.0.1"]',
        "networkPolicy.clients=[{}]",
        'cluster=""',
        'monitoring.podMonitor.interval="often"',
        'uninstall="yes"',
    ],
)
def test_nonsense_is_refused_by_name(nonsense: str) -> None:
    result = _render(nonsense)
    assert result.returncode != 0
    assert "values don't meet the specifications of the schema" in result.stderr
    assert nonsense.partition("=")[0].partition(".")[0] in result.stderr


VARIANTS = [
    ('image.pullSecrets=["mine"]', 'agent.image.tag="1.2.3"', "namespace.create=true"),
    ("uninstall=true",),
    ("collector.persistence.enabled=false", 'collector.persistence.size="1Gi"'),
    ('collector.persistence.storageClass="fast"', 'collector.persistence.whenDeleted="Delete"'),
    ('collector.settings="[verdict]\\nfloor = 3\\n"', 'collector.extraArgs=["--budget","0.05"]'),
    ('collector.tlsNames=["peerwatch.example.com"]', 'collector.service.clusterIP="10.0.0.10"', "collector.maxUnavailable=0"),
    ("networkPolicy.enabled=false",),
    ('networkPolicy.clients=[{"namespaceSelector":{}}]', 'networkPolicy.metrics=[{"podSelector":{}}]'),
    ('networkPolicy.apiServer={"ports":[6443],"networks":["10.0.0.0/24","fd00::/8"]}',),
    ("monitoring.podMonitor.enabled=true", 'monitoring.podMonitor.labels={"release":"prometheus"}'),
    ("openshift.enabled=true", 'agent.seLinuxOptions={"type":"spc_t"}'),
    ('agent.hostAliases=[{"ip":"10.0.0.10","hostnames":["a"]}]', "agent.tolerations=[]", 'agent.nodeSelector={"a":"b"}'),
    ('agent.extraArgs=["--spool-size","512"]', "agent.maxUnavailable=3", 'agent.collector="peerwatch.example.com:443"'),
]


@pytest.mark.parametrize("values", VARIANTS, ids=" ".join)
def test_whatever_is_set_the_manifests_are_valid(values: tuple[str, ...]) -> None:
    defaults, changed = _resources(), _resources(*values)
    assert changed != defaults
    for (kind, _), resource in changed.items():
        if kind not in OTHERS:
            kubernetes_validate.validate(resource, NEWEST, strict=True)


def test_a_digest_goes_before_a_tag() -> None:
    digest = f"sha256:{'0123456789abcdef' * 4}"
    resources = _resources(f'agent.image.digest="{digest}"', 'agent.image.tag="1"', 'image.registry="localhost:5000/x"')
    [container] = _pod(resources["DaemonSet", "peerwatch-agent"])["containers"]
    assert container["image"] == f"localhost:5000/x/peerwatch-agent@{digest}"


def test_other_settings_make_another_pod_and_the_same_settings_do_not() -> None:
    templates = [
        _resources(f'collector.settings="budget = {number}"')["StatefulSet", "peerwatch-collector"]["spec"]["template"]
        for number in (1, 2, 1)
    ]
    assert templates[0] == templates[2] != templates[1]


def test_to_uninstall_is_to_run_it_on_every_node_at_once_with_the_agent_s_rights_before_a_pod_that_can_do_nothing() -> None:
    before, after = (_resources(f"uninstall={value}")["DaemonSet", "peerwatch-agent"] for value in ("false", "true"))
    assert after["spec"]["updateStrategy"]["rollingUpdate"] == {"maxUnavailable": "100%"}
    assert before["spec"]["selector"] == after["spec"]["selector"]
    [agent], [uninstall] = _pod(before)["containers"], _pod(after)["initContainers"]
    assert uninstall["args"][0] == "uninstall"
    assert (uninstall["image"], uninstall["securityContext"]) == (agent["image"], agent["securityContext"])
    [rest] = _pod(after)["containers"]
    assert rest["securityContext"]["runAsNonRoot"] is True
    assert rest["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert "volumeMounts" not in rest
    assert _pod(after)["automountServiceAccountToken"] is False


def test_uninstall_removes_what_run_was_told_to_make() -> None:
    values = ('agent.spoolPath="/srv/peerwatch/spool"', 'agent.pinPath="/sys/fs/bpf/other"')
    before, after = (_resources(f"uninstall={value}", *values)["DaemonSet", "peerwatch-agent"] for value in ("false", "true"))
    [agent], [uninstall] = _pod(before)["containers"], _pod(after)["initContainers"]
    [parent] = [each["hostPath"]["path"] for each in _pod(after)["volumes"] if each["name"] == "folder-of-spool"]
    [mount] = [each["mountPath"] for each in uninstall["volumeMounts"] if each["name"] == "folder-of-spool"]

    def after_option(container: dict[str, Any], option: str) -> str:
        words: list[str] = container["args"]
        return words[words.index(option) + 1]

    on_node = after_option(uninstall, "--spool").replace(mount, parent)
    assert on_node == after_option(agent, "--spool") == "/srv/peerwatch/spool"
    assert after_option(uninstall, "--pin-dir") == after_option(agent, "--pin-dir") == "/sys/fs/bpf/other"
    caches = [{each["name"]: each.get("value") for each in pod["env"]}["PEERWATCH_CACHE"] for pod in (agent, uninstall)]
    assert caches[1].replace(mount, parent) == caches[0]


def test_openshift_s_constraints_allow_what_the_agent_s_pod_asks_for_and_no_more() -> None:
    resources = _resources("openshift.enabled=true")
    constraints = resources["SecurityContextConstraints", "peerwatch-agent"]
    agent = _pod(resources["DaemonSet", "peerwatch-agent"])
    [container] = agent["containers"]
    assert constraints["allowedCapabilities"] == container["securityContext"]["capabilities"]["add"]
    assert constraints["requiredDropCapabilities"] == container["securityContext"]["capabilities"]["drop"]
    assert [name for name, value in constraints.items() if name.startswith("allow") and value is True] == [
        "allowHostDirVolumePlugin"
    ]
    used = {kind for volume in agent["volumes"] for kind in volume if kind != "name"}
    # The token of the service account is a projected volume that admission adds.
    assert set(constraints["volumes"]) == used
    assert constraints["users"] == ["system:serviceaccount:peerwatch:peerwatch-agent"]
