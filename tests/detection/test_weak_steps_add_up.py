"""Steps of one cause that are nothing by themselves are told together; what has no common cause is not added up."""

import pytest
from detection.cluster import BEGIN, SECOND, Cluster, Replica, alerts, analyse, latest
from detection.execs import INJECTED
from peerwatch.columns import ProcessFlag

from collector.analysis import Analysis, chains, judging
from collector.analysis.behaviours import restored
from collector.analysis.chains import SIBLINGS
from collector.analysis.groups import Groups
from collector.analysis.settings import Settings
from collector.detect.decision import Sign
from collector.detect.tools import Level
from collector.records import BehaviourType, Severity


def varied(cluster: Cluster) -> list[Replica]:
    """Return three replicas of a service that starts a new helper now and then, so that little is odd in it."""
    pods = cluster.pods(3)
    cluster.normal(pods, 0, 900, every=15)
    for number in range(9):
        cluster.exec(
            60.5 + 70 * number, pods[number % 3], f"/usr/lib/app/helper-{'abcdefghi'[number]}x", parent="/usr/bin/server"
        )
    return pods


def test_decoding_and_changing_rights_by_one_process_is_told_where_neither_is(cluster: Cluster) -> None:
    pods = varied(cluster)
    parent = cluster.exec(700.5, pods[1], "/usr/lib/app/worker")
    cluster.exec(700.6, pods[1], "/usr/bin/base64", parent="/usr/lib/app/worker", parent_pid=parent)
    cluster.exec(700.7, pods[1], "/usr/bin/chmod", parent="/usr/lib/app/worker", parent_pid=parent)
    cluster.exec(700.8, pods[1], "/usr/bin/killall", parent="/usr/lib/app/worker", parent_pid=parent)

    (alert,) = alerts(analyse(cluster, until=1000))

    assert [each.pod for each in alert.replicas] == [pods[1].name]
    assert {"T1140", "T1222.002", "T1489"} <= set(alert.techniques)


def test_the_same_steps_on_different_replicas_or_far_apart_are_not_added_up(cluster: Cluster) -> None:
    pods = varied(cluster)
    for number, tool in enumerate(("base64", "chmod", "killall")):
        parent = cluster.exec(600.5 + 80 * number, pods[number], "/usr/lib/app/worker")
        cluster.exec(600.6 + 80 * number, pods[number], f"/usr/bin/{tool}", parent="/usr/lib/app/worker", parent_pid=parent)

    assert alerts(analyse(cluster, until=1000)) == []


def test_what_a_service_did_itself_is_no_step_of_all_that_it_starts_later(cluster: Cluster) -> None:
    pods = varied(cluster)
    for number in range(9):
        cluster.connect(65.5 + 30 * number, pods[number % 3], "/usr/bin/server", (f"10.0.{number}.9", 5432 + number), pid=1)
    cluster.connect(350.5, pods[1], "/usr/bin/server", ("10.0.0.9", 22), pid=1)
    for number, tool in enumerate(("base64", "chmod", "killall")):
        cluster.exec(400.5 + (SIBLINGS // SECOND + 10) * number, pods[1], f"/usr/bin/{tool}", parent_pid=1)

    assert alerts(analyse(cluster, until=1400)) == []


def test_what_a_service_starts_within_minutes_is_somebody_s_who_sends_it_commands(cluster: Cluster) -> None:
    pods = varied(cluster)
    for number, tool in enumerate(("base64", "chmod", "killall")):
        cluster.exec(300.5 + 80 * number, pods[1], f"/usr/bin/{tool}", parent_pid=1)

    (alert,) = alerts(analyse(cluster, until=1000))

    assert [each.pod for each in alert.replicas] == [pods[1].name]
    assert {"T1140", "T1222.002", "T1489"} <= set(alert.techniques)


@pytest.mark.parametrize("apart", [4, 17])
def test_an_exploit_that_a_load_balancer_brings_to_all_replicas_is_one_incident_that_names_all(
    cluster: Cluster, apart: int
) -> None:
    pods = cluster.pods(8)
    cluster.normal(pods, 0, 900)
    for number, pod in enumerate(pods):
        cluster.exec(700.5 + apart * number, pod, "/usr/bin/nc", args=("nc", "-e", "/bin/sh"))

    (alert,) = alerts(analyse(cluster, until=1000))

    assert {each.pod for each in alert.replicas} == {each.name for each in pods}


def test_what_goes_on_for_hours_is_told_ever_less_often(cluster: Cluster) -> None:
    pods = cluster.pods(3)
    cluster.normal(pods, 0, 7200, every=10)
    for minute in range(12, 120, 4):
        cluster.exec(60 * minute + 0.5, pods[0], "/usr/bin/bash", flags=(ProcessFlag.STDIO_SOCKET,))
    analysis, many = Analysis(), len(cluster.events)

    told = [each for begin in range(0, many, 50) for each in analysis.observe(cluster.table(begin, begin + 50))]

    first, again, later = [(each.time - BEGIN) // (60 * SECOND) for each in alerts(latest(told))]
    assert (first, again) == (12, 28)
    assert 88 <= later < 96


def test_the_replicas_whose_steps_are_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch, cluster: Cluster) -> None:
    monkeypatch.setattr(chains, "MOST_REPLICAS", 2)
    table, remembered = Groups(Settings()), chains.Chains()
    for pod in cluster.pods(5):
        behaviour = restored(BehaviourType.EXEC, "/usr/bin/chmod <- /usr/bin/server", ("chmod",), "/usr/bin/server")
        row, _ = table.see(pod.subject, behaviour, BEGIN)
        group = table.table.group[row]
        assert group is not None
        question = judging.Question(group, row, behaviour, BEGIN, held=True, startup=0)
        finding = judging.judge(question, table.table, Settings().limits).finding
        step = chains.Step(chains.Watched(row, behaviour), finding, sign=Sign(0.5, Level.SUSPICIOUS, ("T1222.002",)))
        assert remembered.extend(step) == [step]

    assert len(remembered) == 2


def test_what_a_service_does_after_a_person_changed_it_is_more_than_low_where_only_one_other_runs(cluster: Cluster) -> None:
    pods = cluster.pods(2)
    cluster.normal(pods, 0, 900)
    words = ("sh", "-c", "cp /srv/app.conf /srv/old; sed -i s/db/203.0.113.9/ /srv/app.conf; kill 1")
    shell = cluster.exec(700.5, pods[1], "/usr/bin/dash", parent="", args=words, flags=INJECTED)
    copy = ("cp", "/srv/app.conf", "/srv/old")
    cluster.exec(700.6, pods[1], "/usr/bin/cp", parent="/usr/bin/dash", args=copy, flags=INJECTED, parent_pid=shell)
    cluster.connect(701.5, pods[1], "/usr/bin/server", ("203.0.113.9", 8080))

    (alert,) = alerts(analyse(cluster, until=1000))

    assert alert.severity is Severity.MEDIUM
    assert "connected from /usr/bin/server to public 203.0.0.0/16:8080/tcp and did 2 more unusual things" in alert.reason
    assert {each.key for each in alert.behaviours} >= {
        "/usr/bin/dash (injected)",
        "/usr/bin/server -> public 203.0.0.0/16:8080/tcp",
    }


def test_an_incident_is_told_by_the_step_that_the_others_follow_from(cluster: Cluster) -> None:
    pods = cluster.pods(4)
    cluster.normal(pods, 0, 900)
    for number in range(40):
        for place, pod in enumerate(pods):
            words = ("sh", "-c", f"convert /srv/{number}.png /srv/out.png")
            cluster.exec(20.3 + 20 * number + place / 10, pod, "/usr/bin/dash", args=words)
    words = ("sh", "-c", "mkdir -p /etc/cron.d; echo '* * * * * root /srv/x' > /etc/cron.d/x")
    shell = cluster.exec(700.5, pods[0], "/usr/bin/dash", args=words)
    cluster.exec(
        700.7, pods[0], "/usr/bin/mkdir", parent="/usr/bin/dash", args=("mkdir", "-p", "/etc/cron.d"), parent_pid=shell
    )

    (alert,) = alerts(analyse(cluster, until=1000))

    assert "ran /usr/bin/dash with other arguments than usual from /usr/bin/server and did 1 more" in alert.reason
    assert "touches the job tables" in alert.reason


def test_who_looks_a_name_up_is_told_by_where_it_goes(cluster: Cluster) -> None:
    pods = cluster.pods(4)
    cluster.normal(pods, 0, 3000, every=5)
    for number in range(300):
        for place, pod in enumerate(pods):
            cluster.connect(8.3 + 9 * number + place / 10, pod, "/usr/bin/psql", ("10.0.1.9", 5432))
    cluster.connect(2700.5, pods[0], "/usr/bin/wget", ("10.96.0.10", 53))
    cluster.connect(2700.6, pods[0], "/usr/bin/wget", ("10.0.4.9", 3306))

    (alert,) = alerts(analyse(cluster, until=3100))

    assert "connected from /usr/bin/wget to private 10.0.4.0/24:3306" in alert.reason
