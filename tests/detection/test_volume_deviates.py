"""Bursts, scans, beacons and trickles of what a workload does anyway are found, and named with their numbers."""

import numpy as np
from detection.cluster import BEGIN, SECOND, Cluster, Replica, alerts, analyse
from peerwatch.columns import Peer
from peerwatch.subjects import Workload

from collector.analysis import Analysis
from collector.records import Incident, IncidentKind, Severity

BUSY = 1_800
ATTACK = 1_500
DNS = Peer("kube-system", Workload("Service", "kube-dns"))
DATABASE = Peer("shop", Workload("StatefulSet", "db"))


def serve(cluster: Cluster, pods: list[Replica], end: float = BUSY) -> None:
    """Let each replica resolve a name and ask its database every five seconds, not quite in step."""
    random = np.random.default_rng(7)
    cluster.normal(pods, 0, end, every=10)
    for pod in pods:
        for at in np.arange(2, end, 5):
            cluster.connect(at + random.uniform(0, 3), pod, "/usr/bin/server", ("10.96.0.10", 53), peer=DNS)
            cluster.connect(at + random.uniform(0, 3), pod, "/usr/bin/server", ("10.4.7.3", 5432), peer=DATABASE)


def volumes(incidents: list[Incident]) -> list[Incident]:
    return [each for each in alerts(incidents) if each.kind == IncidentKind.VOLUME_DEVIATION]


def test_a_tunnel_through_dns(cluster: Cluster) -> None:
    pods = cluster.pods(4)
    serve(cluster, pods)
    for at in np.arange(ATTACK, ATTACK + 120, 0.1):
        cluster.connect(float(at), pods[1], "/usr/bin/server", ("10.96.0.10", 53), peer=DNS)

    (alert,) = volumes(analyse(cluster))

    assert [each.pod for each in alert.replicas] == [pods[1].name]
    assert alert.time - BEGIN - ATTACK * SECOND < 120 * SECOND
    assert "to kube-system/kube-dns:53/tcp" in alert.reason or "dns" in alert.reason
    assert "times the most that the whole workload ever did" in alert.reason
    assert alert.evidence


def test_the_usual_destination_called_far_too_often_and_looked_up_each_time(cluster: Cluster) -> None:
    pods, random = cluster.pods(4), np.random.default_rng(3)
    for pod in pods:
        calls = [*random.uniform(0, BUSY, 180)]
        if pod is pods[2]:
            calls += [*np.linspace(ATTACK + 5, ATTACK + 55, 170)]
        for at in calls:
            cluster.connect(float(at), pod, "/usr/bin/server", ("10.96.0.10", 53), peer=DNS)
            cluster.connect(float(at) + 0.01, pod, "/usr/bin/server", ("52.1.2.3", 443))

    (alert,) = volumes(analyse(cluster))

    assert [each.pod for each in alert.replicas] == [pods[2].name]
    assert alert.time - BEGIN - ATTACK * SECOND <= 90 * SECOND


def test_a_program_forked_over_and_over(cluster: Cluster) -> None:  # inbound brute force, fork bomb: no new behaviour
    pods = cluster.pods(4)
    serve(cluster, pods)
    for at in np.arange(ATTACK, ATTACK + 120, 0.05):
        cluster.exec(float(at), pods[2], "/usr/bin/psql")

    (alert,) = volumes(analyse(cluster))

    assert [each.pod for each in alert.replicas] == [pods[2].name]
    assert "ran /usr/bin/psql" in alert.reason


def test_a_single_replica_with_history(cluster: Cluster) -> None:
    pods = cluster.pods(1)
    serve(cluster, pods, 4_000)
    for at in np.arange(3_600, 3_720, 0.1):
        cluster.exec(float(at), pods[0], "/usr/bin/psql")

    assert len(volumes(analyse(cluster))) == 1


def test_one_overwhelming_window_is_enough(cluster: Cluster) -> None:
    pods = cluster.pods(4)
    serve(cluster, pods)
    for at in np.linspace(ATTACK + 1, ATTACK + 9, 1_499):
        cluster.connect(float(at), pods[0], "/usr/bin/server", ("10.4.7.3", 5432), peer=DATABASE)

    (alert,) = volumes(analyse(cluster))

    assert alert.time <= BEGIN + (ATTACK + 31) * SECOND


def test_a_sweep_of_ports_by_a_program_that_connects_anyway(cluster: Cluster) -> None:
    pods = cluster.pods(4)
    serve(cluster, pods)
    for number in range(400):
        cluster.connect(ATTACK + number * 0.2, pods[3], "/usr/bin/server", ("10.4.7.9", 1_000 + number))

    found = [each for each in alerts(analyse(cluster)) if "destinations" in each.reason]

    assert [[replica.pod for replica in each.replicas] for each in found] == [[pods[3].name]]
    assert "T1046" in found[0].techniques


def test_a_slow_scan_of_one_destination_in_ten_minutes(cluster: Cluster) -> None:
    pods = cluster.pods(4)
    serve(cluster, pods, 6_600)
    for number in range(8):
        cluster.connect(2_000 + number * 600, pods[3], "/usr/bin/server", (f"10.9.{number}.7", 9_200))

    found = alerts(analyse(cluster))

    # The first one as new, the third or a later one because they come far more often than new destinations do here.
    assert len(found) >= 2
    assert {replica.pod for each in found for replica in each.replicas} == {pods[3].name}
    assert any("T1046" in each.techniques for each in found)


def test_a_beacon_of_the_service_itself(cluster: Cluster) -> None:
    pods = cluster.pods(4)
    serve(cluster, pods, 6_000)
    random = np.random.default_rng(3)
    for number in range(12):
        cluster.connect(1_200 + number * 360 + random.uniform(-36, 36), pods[0], "/usr/bin/server", ("203.0.113.77", 443))

    found = [each for each in alerts(analyse(cluster)) if "like a clock" in each.reason]

    assert [[replica.pod for replica in each.replicas] for each in found] == [[pods[0].name]]
    assert "T1071.001" in found[0].techniques


def test_a_beacon_of_a_service_that_has_run_for_minutes_only(cluster: Cluster) -> None:
    pods = cluster.pods(4)
    serve(cluster, pods)
    for number in range(9):
        cluster.connect(400 + number * 20, pods[2], "/usr/bin/server", ("203.0.113.77", 443))

    found = [each for each in alerts(analyse(cluster)) if "every 20 s like a clock" in each.reason]

    assert [[replica.pod for replica in each.replicas] for each in found] == [[pods[2].name]]


def call(cluster: Cluster, pod: Replica, begin: float, times: int, gap: float) -> None:
    """Let a replica's service contact one public address, at intervals that are chance."""
    for at in begin + np.cumsum(np.random.default_rng(5).uniform(0.2 * gap, 1.8 * gap, times)):
        cluster.connect(float(at), pod, "/usr/bin/server", ("203.0.113.77", 443))


def test_a_new_place_outside_that_one_replica_goes_on_contacting(cluster: Cluster) -> None:
    pods = cluster.pods(4)
    serve(cluster, pods, 2_400)
    call(cluster, pods[2], ATTACK, 12, 60)

    (alert,) = volumes(analyse(cluster))

    assert [each.pod for each in alert.replicas] == [pods[2].name]
    assert alert.severity is Severity.MEDIUM
    assert "T1071.001" in alert.techniques
    assert "times from /usr/bin/server to public 203.0.0.0/16:443/tcp within" in alert.reason
    assert alert.evidence
    assert alert.time - BEGIN - ATTACK * SECOND < 420 * SECOND


def test_a_new_place_that_was_told_of_with_its_tool_is_not_told_of_again(cluster: Cluster) -> None:
    pods = cluster.pods(4)
    serve(cluster, pods, 2_400)
    cluster.exec(ATTACK, pods[2], "/usr/bin/w3m", args=("w3m", "-dump", "http://203.0.113.77/"))
    for number in range(8):
        cluster.connect(ATTACK + 0.1 + 40 * number, pods[2], "/usr/bin/w3m", ("203.0.113.77", 80))

    (alert,) = alerts(analyse(cluster))

    assert {each.key.partition(" ")[0] for each in alert.behaviours} == {"/usr/bin/w3m"}


def test_the_same_of_a_single_replica_with_history(cluster: Cluster) -> None:
    pods = cluster.pods(1)
    serve(cluster, pods, 4_800)
    call(cluster, pods[0], 3_600, 12, 60)

    assert len(volumes(analyse(cluster))) == 1


def test_a_flood_of_a_new_place(cluster: Cluster) -> None:
    pods = cluster.pods(2)
    serve(cluster, pods, 4_000)
    for at in np.arange(3_600, 3_690, 1.0):
        cluster.connect(float(at), pods[1], "/usr/bin/server", ("203.0.113.77", 80))

    (alert,) = volumes(analyse(cluster))

    assert [each.pod for each in alert.replicas] == [pods[1].name]


def test_a_new_place_that_is_used_now_and_then_is_no_alert(cluster: Cluster) -> None:
    pods = cluster.pods(4)
    serve(cluster, pods, 6_000)
    call(cluster, pods[2], ATTACK, 10, 360)

    assert not volumes(analyse(cluster))


def test_a_new_place_that_the_other_replicas_use_as_well_is_no_alert(cluster: Cluster) -> None:
    pods = cluster.pods(4)
    serve(cluster, pods, 2_400)
    for pod in pods:
        call(cluster, pod, ATTACK, 12, 60)

    assert not volumes(analyse(cluster))


def test_a_service_that_meets_new_places_all_day_meets_one_more(cluster: Cluster) -> None:
    pods = cluster.pods(4)
    serve(cluster, pods, 4_800)
    for number in range(38):
        cluster.connect(60 + number * 120, pods[number % 4], "/usr/bin/server", (f"198.{number}.7.7", 443))
    call(cluster, pods[2], 3_600, 12, 60)

    assert not volumes(analyse(cluster))


def test_a_flood_of_a_new_service_by_a_replica_of_a_known_workload(cluster: Cluster) -> None:
    pods = cluster.pods(4)
    serve(cluster, pods)
    api = Peer("shop", Workload("Service", "stock"))
    for at in np.linspace(ATTACK + 1, ATTACK + 28, 900):
        cluster.connect(float(at), pods[3], "/usr/bin/server", ("10.96.7.7", 80), peer=api)

    (alert,) = volumes(analyse(cluster))

    assert [each.pod for each in alert.replicas] == [pods[3].name]
    assert (
        "900 times from /usr/bin/server to shop/stock:80/tcp within 30 s, where none of the workload ever went" in alert.reason
    )


def test_a_new_service_that_one_replica_uses_as_much_as_another_or_that_all_begin_to_use_is_no_alert(cluster: Cluster) -> None:
    pods = cluster.pods(4)
    serve(cluster, pods)
    queue, stock = Peer("shop", Workload("Service", "queue")), Peer("shop", Workload("Service", "stock"))
    for at in np.linspace(1_200, BUSY, 1_200):
        cluster.connect(float(at), pods[0], "/usr/bin/server", ("10.96.7.6", 80), peer=queue)
    for pod in pods:
        for at in np.linspace(ATTACK + 1, ATTACK + 100, 1_500):
            cluster.connect(float(at), pod, "/usr/bin/server", ("10.96.7.7", 80), peer=stock)

    assert volumes(analyse(cluster)) == []


def test_a_place_that_was_known_before_a_restart_is_not_new_after_it(cluster: Cluster) -> None:
    pods = cluster.pods(4)
    serve(cluster, pods, 4_200)
    call(cluster, pods[2], 300, 2, 60)
    call(cluster, pods[2], 3_600, 12, 60)
    restart = next(number for number, event in enumerate(cluster.sorted()) if event[0] >= ATTACK)
    before, after = Analysis(), Analysis()
    incidents = before.observe(cluster.table(0, restart))
    changes = before.take_changes()
    after.restore(changes.replicas, changes.sightings, incidents)

    assert not volumes([*after.observe(cluster.table(restart)), *after.finish()])


def test_a_single_replica_that_meets_one_service_after_the_other(cluster: Cluster) -> None:
    pods = cluster.pods(1)
    serve(cluster, pods, 8_400)
    for number in range(5):
        cluster.connect(5_400 + number * 480, pods[0], "/usr/bin/server", (f"10.9.{number}.7", 9_200))

    (alert,) = [each for each in alerts(analyse(cluster)) if "destinations" in each.reason]

    assert "T1046" in alert.techniques
    assert "10.9." in alert.behaviours[0].key


def test_a_single_replica_that_delivers_mail_to_one_host_after_the_other(cluster: Cluster) -> None:
    pods = cluster.pods(1)
    serve(cluster, pods, 8_400)
    for number in range(30):
        cluster.connect(5_400 + number * 80, pods[0], "/usr/bin/server", (f"198.{number}.7.7", 25))

    assert not volumes(analyse(cluster))


def test_relays_that_call_whoever_calls_them_are_never_equally_busy(cluster: Cluster) -> None:
    pods = cluster.pods(4)
    serve(cluster, pods, 4_800)
    for place, pod in enumerate(pods):
        for number in range(48 if place == 2 else 24):
            client = (f"10.80.{number % 4}.{place}", 20_000 + 100 * place + number)
            cluster.connect(400 + number * (90 if place == 2 else 180), pod, "/usr/bin/server", client)

    assert not volumes(analyse(cluster))


def test_the_same_excess_is_told_once_while_it_lasts(cluster: Cluster) -> None:
    pods = cluster.pods(4)
    serve(cluster, pods, 4_500)
    for at in np.arange(ATTACK, 4_400, 0.25):
        cluster.connect(float(at), pods[1], "/usr/bin/server", ("10.96.0.10", 53), peer=DNS)

    assert len(volumes(analyse(cluster))) == 1
