"""What goes on in real clusters without any attack: each kind of noise alone, amid five settled replicas, raises nothing."""

import zlib
from collections.abc import Callable, Sequence

import pytest
from detection.cluster import Cluster, Replica, alerts, analyse
from detection.execs import INJECTED
from peerwatch.columns import Peer, ProcessFlag
from peerwatch.subjects import ContainerKind, Workload

SH = "/usr/bin/dash"
Noise = Callable[[Cluster, Sequence[Replica]], None]
NOISE: list[Noise] = []


def noise(function: Noise) -> Noise:
    NOISE.append(function)
    return function


def drawn(*what: object) -> int:
    """Return a number that looks drawn and is the same in every run."""
    return zlib.crc32(repr(what).encode())


def every(begin: float, end: float, step: float, pods: Sequence[Replica]) -> list[tuple[float, int, Replica]]:
    """Return times at which something happens on each pod, a little apart from each other."""
    times = []
    at, turn = begin, 0
    while at < end:
        times += [(at + 0.37 * number, turn, pod) for number, pod in enumerate(pods)]
        at += step
        turn += 1
    return times


def shell(cluster: Cluster, at: float, pod: Replica, text: str, *tools: tuple[str, ...], **options: object) -> None:
    """Let a server run `sh -c` and the shell its tools."""
    pid = cluster.exec(at, pod, SH, args=("sh", "-c", text), **options)
    flags = options.get("flags", ())
    for number, (tool, *arguments) in enumerate(tools):
        cluster.exec(
            at + 0.01 * (number + 1),
            pod,
            f"/usr/bin/{tool}",
            args=(tool, *arguments),
            parent=SH,
            parent_pid=pid,
            flags=flags,
        )


@noise
def row_01_exec_probes(cluster: Cluster, pods: Sequence[Replica]) -> None:
    for at, _, pod in every(1, 900, 10, pods):
        shell(cluster, at, pod, "pg_isready -U app -d app", ("pg_isready", "-U", "app", "-d", "app"), parent="", flags=INJECTED)


@noise
def row_02_probes_over_the_network(cluster: Cluster, pods: Sequence[Replica]) -> None:
    for at, _, pod in every(1, 900, 10, pods):
        cluster.exec(at, pod, "/usr/bin/curl", parent="", args=("curl", "-sf", "http://127.0.0.1/healthz"), flags=INJECTED)
        cluster.connect(at + 0.01, pod, "/usr/bin/curl", ("127.0.0.1", 80))


@noise
def row_03_own_pod_names_in_arguments(cluster: Cluster, pods: Sequence[Replica]) -> None:
    for at, _, pod in every(1, 900, 30, pods):
        cluster.exec(at, pod, "/usr/bin/df", args=("df", "-kP", f"/var/lib/mnesia/rabbit@{pod.name}"))


@noise
def row_04_constant_short_execs_with_varying_arguments(cluster: Cluster, pods: Sequence[Replica]) -> None:
    for at, turn, pod in every(1, 900, 5, pods):
        chain = f"KUBE-SVC-{drawn(turn, pod.name) % 10**16:016X}"
        cluster.exec(at, pod, "/usr/sbin/iptables", args=("iptables", "-w", "5", "-N", chain, "-t", "nat"))


@noise
def row_05_a_shell_in_a_daemon(cluster: Cluster, pods: Sequence[Replica]) -> None:
    for at, _, pod in every(5, 900, 60, pods):
        shell(cluster, at, pod, "df -P /host", ("df", "-P", "/host"))


@noise
def row_06_cron_in_the_container(cluster: Cluster, pods: Sequence[Replica]) -> None:
    for at, _, pod in every(600, 700, 900, pods):
        pid = cluster.exec(at, pod, SH, parent="/usr/sbin/crond", args=("sh", "-c", "run-parts /etc/periodic/15min"))
        cluster.exec(at + 0.1, pod, "/usr/bin/run-parts", parent=SH, args=("run-parts", "/etc/periodic/15min"), parent_pid=pid)
        cluster.exec(at + 0.2, pod, "/etc/periodic/15min/clean", parent="/usr/bin/run-parts")
        cluster.exec(at + 0.3, pod, "/usr/bin/find", parent="/etc/periodic/15min/clean", args=("find", "/tmp", "-mtime", "+1"))


@noise
def row_07_a_rare_job_of_the_image(cluster: Cluster, pods: Sequence[Replica]) -> None:
    for at, _, pod in every(800, 810, 900, pods):
        cluster.exec(at, pod, "/usr/bin/certbot", args=("certbot", "renew", "-q"))
        cluster.exec(at + 0.5, pod, "/usr/bin/openssl", parent="/usr/bin/certbot", args=("openssl", "x509", "-noout"))


@noise
def row_08_log_rotation(cluster: Cluster, pods: Sequence[Replica]) -> None:
    for at, turn, pod in every(300, 900, 120, pods):
        cluster.exec(at, pod, "/usr/sbin/logrotate", parent="/usr/sbin/crond", args=("logrotate", "/etc/logrotate.conf"))
        name = f"/var/log/app.log-2026-11-{turn + 10}"
        cluster.exec(at + 0.1, pod, "/usr/bin/gzip", parent="/usr/sbin/logrotate", args=("gzip", name))


@noise
def row_09_an_administrator_looks_around(cluster: Cluster, pods: Sequence[Replica]) -> None:
    flags = (ProcessFlag.INJECTED, ProcessFlag.TTY)
    bash = cluster.exec(500, pods[2], "/usr/bin/bash", parent="", flags=flags)
    for number, tool in enumerate(("ps", "ls", "top", "df")):
        cluster.exec(505 + 4 * number, pods[2], f"/usr/bin/{tool}", parent="/usr/bin/bash", flags=flags, parent_pid=bash)


@noise
def row_10_an_ephemeral_debug_container(cluster: Cluster, _: Sequence[Replica]) -> None:
    (debug,) = cluster.pods(1, kind=ContainerKind.EPHEMERAL, container="debugger-x7k2p")
    for at, applet in ((500, "sh"), (510, "ps"), (520, "netstat"), (530, "cat")):
        cluster.exec(at, debug, "/bin/busybox", parent="/bin/busybox" if at > 500 else "", args=(applet,))
    cluster.exec(540, debug, "/sbin/apk", parent="/bin/busybox", args=("apk", "add", "--no-cache", "bind-tools"))
    cluster.connect(540.1, debug, "/sbin/apk", ("203.0.113.4", 443))
    cluster.exec(545, debug, "/usr/bin/dig", parent="/bin/busybox", args=("dig", "api.shop"), flags=(ProcessFlag.UPPER_LAYER,))


@noise
def row_11_kubectl_cp(cluster: Cluster, pods: Sequence[Replica]) -> None:
    cluster.exec(500, pods[1], "/usr/bin/tar", parent="", args=("tar", "xmf", "-", "-C", "/tmp"), flags=INJECTED)


@noise
def row_12_init_containers(cluster: Cluster, _: Sequence[Replica]) -> None:
    for number, pod in enumerate(cluster.pods(5, kind=ContainerKind.INIT, container="wait")):
        for second in range(number + 1):
            cluster.exec(second + 0.2, pod, "/usr/bin/nc", parent=SH, args=("nc", "-z", "db", "5432"))
        cluster.exec(number + 2, pod, "/usr/bin/chown", parent=SH, args=("chown", "-R", "app", "/data"))


@noise
def row_13_hooks_at_start_and_stop(cluster: Cluster, pods: Sequence[Replica]) -> None:
    old = cluster.pods(2, workload="cart", first=5)
    cluster.normal(old, 0, 600)
    for pod in pods:
        cluster.exec(0.5, pod, SH, parent="", args=("sh", "-c", "cp /config/* /etc/app"), flags=INJECTED)
    for number, pod in enumerate(old):
        cluster.exec(595 + number, pod, SH, parent="", args=("sh", "-c", "sleep 15; nginx -s quit"), flags=INJECTED)
        cluster.exec(595.1 + number, pod, "/usr/bin/sleep", parent=SH, args=("sleep", "15"), flags=INJECTED)


@noise
def row_14_entrypoint_chains(cluster: Cluster, pods: Sequence[Replica]) -> None:
    for pod in [*pods, *late(cluster, 3, 400)]:
        born = 400 if "-9" in pod.name or pod not in pods else 0
        for number, tool in enumerate(("envsubst", "sed", "chmod", "gosu", "id")):
            cluster.exec(born + 0.1 * (number + 1), pod, f"/usr/bin/{tool}", parent=SH)


def late(cluster: Cluster, count: int, at: float, revision: str = "r1") -> list[Replica]:
    pods = cluster.pods(count, revision=revision, at=at, first=90)
    cluster.normal(pods, at, 900)
    return pods


@noise
def row_15_a_rollout_changes_everything(cluster: Cluster, _: Sequence[Replica]) -> None:
    for number in range(5):
        (pod,) = cluster.pods(1, revision="r2", at=300 + 12 * number, first=number)
        for second in range(300 + 12 * number, 900, 3):
            cluster.exec(second, pod, "/opt/v2/server", parent="") if second < 301 + 12 * number else None
            cluster.exec(second + 0.5, pod, "/opt/v2/render", parent="/opt/v2/server", args=("render", "--fast"))


@noise
def row_16_a_merged_usr(cluster: Cluster, pods: Sequence[Replica]) -> None:
    for at, _, pod in every(1, 900, 10, pods):
        cluster.exec(at, pod, "/usr/bin/date" if at > 450 else "/bin/date", args=("date", "+%s"))


@noise
def row_17_a_canary_for_the_rest_of_the_time(cluster: Cluster, _: Sequence[Replica]) -> None:
    (canary,) = cluster.pods(1, revision="r2", at=300, first=7)
    cluster.normal([canary], 300, 900)
    for second in range(303, 900, 7):
        cluster.exec(second, canary, "/usr/bin/newtool", args=("newtool", "--v2"))


@noise
def row_18_a_feature_on_a_subset(cluster: Cluster, pods: Sequence[Replica]) -> None:
    for at, _, pod in every(400, 900, 20, pods[:2]):
        cluster.exec(at, pod, "/usr/bin/resize", args=("resize", "--webp"))


@noise
def row_19_only_the_leader_works(cluster: Cluster, pods: Sequence[Replica]) -> None:
    for at, _, pod in every(3, 900, 5, pods[:1]):
        cluster.exec(at, pod, "/usr/bin/reconcile", args=("reconcile", "--all"))


@noise
def row_20_the_leader_changes(cluster: Cluster, pods: Sequence[Replica]) -> None:
    for at, _, pod in every(3, 450, 5, pods[:1]):
        cluster.exec(at, pod, "/usr/bin/reconcile", args=("reconcile", "--all"))
    for at, _, pod in every(455, 900, 5, pods[3:4]):
        cluster.exec(at, pod, "/usr/bin/reconcile", args=("reconcile", "--all"))


@noise
def row_21_shards_by_ordinal(cluster: Cluster, pods: Sequence[Replica]) -> None:
    for number, pod in enumerate(pods):
        for second in range(1, 900, 10):
            cluster.exec(
                second + number / 7, pod, "/usr/bin/compact", args=("compact", f"--shard={number}", f"/data/{pod.name}")
            )


@noise
def row_22_members_talk_to_the_others(cluster: Cluster, pods: Sequence[Replica]) -> None:
    me = Peer("shop", Workload("StatefulSet", "cart"))
    for at, turn, pod in every(1, 900, 10, pods):
        cluster.connect(at, pod, "/usr/bin/server", (f"10.4.{turn % 5}.7", 2380), peer=me)


@noise
def row_23_consistent_hashing(cluster: Cluster, pods: Sequence[Replica]) -> None:
    for number, pod in enumerate(pods):
        for second in range(1, 900, 5):
            peer = Peer("shop", Workload("Deployment", "backend"))
            cluster.connect(second, pod, "/usr/bin/server", (f"10.4.{number}.{second % 9}", 8080), peer=peer)


@noise
def row_24_a_new_replica_warms_up(cluster: Cluster, pods: Sequence[Replica]) -> None:
    (fresh,) = late(cluster, 1, 500)
    for second in range(100):
        cluster.exec(500.3 + second / 10, fresh, "/usr/bin/convert")
    for pod in pods:
        cluster.exec(0.5, pod, "/usr/bin/java", args=("java", "-Xshare:dump"))
    cluster.exec(500.5, fresh, "/usr/bin/java", args=("java", "-Xshare:dump"))


@noise
def row_25_a_replica_drains(cluster: Cluster, _: Sequence[Replica]) -> None:
    (short,) = cluster.pods(1, first=8)
    cluster.normal([short], 0, 400)


@noise
def row_26_one_replica_takes_nearly_all_traffic(cluster: Cluster, pods: Sequence[Replica]) -> None:
    for tenth in range(3000):
        cluster.exec(10 + tenth / 10, pods[0], "/usr/bin/convert", args=("convert", f"/tmp/in-{tenth}.png", "out.png"))
    for at, turn, pod in every(10, 900, 90, pods[1:]):
        cluster.exec(at, pod, "/usr/bin/convert", args=("convert", f"/tmp/in-{turn}.png", "out.png"))


@noise
def row_27_an_idle_replica(cluster: Cluster, _: Sequence[Replica]) -> None:
    (idle,) = cluster.pods(1, first=8)
    cluster.exec(0.1, idle, "/usr/bin/server", parent="")


@noise
def row_28_random_temporary_names(cluster: Cluster, pods: Sequence[Replica]) -> None:
    for at, turn, pod in every(5, 900, 40, pods):
        name = f"/tmp/jna{drawn(turn, pod.name) % 10**12}.tmp"
        cluster.exec(at, pod, "/usr/bin/ldd", args=("ldd", name))


@noise
def row_29_worker_forks(cluster: Cluster, pods: Sequence[Replica]) -> None:
    for at, _, pod in every(5, 900, 30, pods):
        cluster.exec(at, pod, "/usr/bin/server", args=("server", "--worker"))


@noise
def row_30_helpers_that_depend_on_the_input(cluster: Cluster, pods: Sequence[Replica]) -> None:
    helpers = ("ffmpeg", "gs", "exiftool", "git", "pdftk", "tesseract", "inkscape", "sox")
    for turn in range(60):
        helper = helpers[(turn * turn + 3 * turn) % 8]
        name = f"/uploads/{drawn(turn) * 7919 % 99991}.bin"
        cluster.exec(7 + turn * 13.7, pods[turn * 3 % 5], f"/usr/bin/{helper}", args=(helper, "-i", name))


@noise
def row_31_random_arguments(cluster: Cluster, pods: Sequence[Replica]) -> None:
    words = ("alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi", "ivan", "judy", "mallory", "niaj")
    for at, turn, pod in every(2, 900, 6, pods):
        number = int(at * 1000) * 2654435761 % 2**32
        cluster.exec(
            at,
            pod,
            "/usr/bin/report",
            args=(
                "report",
                f"--user={words[number % 12]}{words[number // 13 % 12]}",
                f"{number:08x}",
                f"2026-11-22T10:{turn % 60:02}:00Z",
            ),
        )


@noise
def row_32_own_identity_in_arguments(cluster: Cluster, pods: Sequence[Replica]) -> None:
    for at, _, pod in every(2, 900, 20, pods):
        node = pod.subject.node
        cluster.exec(
            at, pod, "/usr/bin/register", args=("register", f"--name={pod.name}", f"--node={node}", f"http://{pod.name}:80")
        )


@noise
def row_33_addresses_of_headless_services(cluster: Cluster, pods: Sequence[Replica]) -> None:
    peer = Peer("shop", Workload("StatefulSet", "db"))
    for at, turn, pod in every(2, 900, 20, pods):
        cluster.connect(at, pod, "/usr/bin/server", (f"10.4.{turn % 50}.9", 5432), peer=peer)


@noise
def row_34_backends_that_move(cluster: Cluster, pods: Sequence[Replica]) -> None:
    for at, turn, pod in every(2, 900, 20, pods):
        cluster.connect(at, pod, "/usr/bin/server", (f"10.4.7.{turn % 200 + 1}", 8080))


@noise
def row_35_service_and_pod_address_of_one_edge(cluster: Cluster, pods: Sequence[Replica]) -> None:
    for at, turn, pod in every(2, 900, 20, pods):
        kind = "Service" if turn < 20 else "Deployment"
        cluster.connect(at, pod, "/usr/bin/server", ("10.96.3.4", 80), peer=Peer("shop", Workload(kind, "api")))


@noise
def row_36_dns_caches_on_nodes(cluster: Cluster, pods: Sequence[Replica]) -> None:
    for at, turn, pod in every(2, 900, 10, pods):
        cluster.connect(at, pod, "/usr/bin/server", ("169.254.20.10" if turn % 9 else "10.96.0.10", 53))


@noise
def row_37_sidecars_and_loopback(cluster: Cluster, pods: Sequence[Replica]) -> None:
    for at, turn, pod in every(2, 900, 10, pods):
        cluster.connect(at, pod, "/usr/bin/server", ("127.0.0.1", (15001, 15006, 15020)[turn % 3]))


@noise
def row_38_suppliers_whose_addresses_rotate(cluster: Cluster, pods: Sequence[Replica]) -> None:
    for number in range(200):
        pod = pods[number * 7 % 5]
        cluster.connect(3 + number * 4.4, pod, "/usr/bin/server", (f"{13 + number * 31 % 40}.{number * 57 % 250}.3.4", 443))


@noise
def row_39_rare_telemetry(cluster: Cluster, pods: Sequence[Replica]) -> None:
    for at, _, pod in every(700, 710, 900, pods):
        cluster.connect(at, pod, "/usr/bin/server", ("91.189.94.4", 123))


@noise
def row_40_both_families(cluster: Cluster, pods: Sequence[Replica]) -> None:
    for at, turn, pod in every(2, 900, 10, pods):
        cluster.connect(at, pod, "/usr/bin/server", ("fd00:4::7" if turn % 2 else "10.4.7.3", 5432))


@noise
def row_41_ephemeral_destination_ports(cluster: Cluster, pods: Sequence[Replica]) -> None:
    for at, turn, pod in every(2, 900, 20, pods):
        cluster.connect(at, pod, "/usr/bin/server", ("10.4.7.3", 33000 + drawn(turn) * 97 % 20000))


@noise
def row_42_a_reload_that_reaches_one_replica_first(cluster: Cluster, pods: Sequence[Replica]) -> None:
    for number, pod in enumerate(pods):
        cluster.exec(500 + 5 * number, pod, "/usr/sbin/nginx", args=("nginx", "-s", "reload"))


@noise
def row_44_crash_loops(cluster: Cluster, pods: Sequence[Replica]) -> None:
    for at, _, pod in every(200, 900, 60, pods[:1]):
        cluster.exec(at, pod, "/usr/bin/server", parent="")
        cluster.exec(at + 0.2, pod, "/usr/bin/psql")


@noise
def row_45_a_scanner_enters_all_pods(cluster: Cluster, pods: Sequence[Replica]) -> None:
    for at, _, pod in every(600, 605, 900, pods):
        for number, tool in enumerate(("cat", "stat", "find", "ps")):
            cluster.exec(at + number / 10, pod, f"/usr/bin/{tool}", parent="", flags=INJECTED, args=(tool, "/etc"))


@noise
def row_46_a_build_runner(cluster: Cluster, pods: Sequence[Replica]) -> None:
    for turn in range(160):
        tool = f"step{chr(97 + turn % 26)}{chr(97 + turn // 26)}"
        shell(cluster, 3 + turn * 5.5, pods[turn * 7 % 5], f"{tool} && make {tool}", (tool,), ("make", tool))


@noise
def row_47_a_peak_of_traffic(cluster: Cluster, pods: Sequence[Replica]) -> None:
    for at, _, pod in every(400, 460, 0.5, pods):
        cluster.exec(at, pod, "/usr/bin/convert")


@noise
def row_48_losses(cluster: Cluster, _: Sequence[Replica]) -> None:
    for second in range(300, 400, 10):
        cluster.loss(second, "node-1", 5000)


@pytest.mark.parametrize("kind", NOISE, ids=lambda each: each.__name__)
def test_it_raises_nothing(cluster: Cluster, kind: Noise) -> None:
    pods = cluster.pods(5)
    cluster.normal(pods, 0, 900)
    kind(cluster, pods)

    told = alerts(analyse(cluster, until=1100))

    assert [(each.severity.name, each.reason, [shown.key for shown in each.behaviours]) for each in told] == []


def test_row_43_a_backup_that_one_replica_makes_is_told_once(cluster: Cluster) -> None:
    pods = cluster.pods(5)
    cluster.normal(pods, 0, 2400)
    for second in range(60, 2400, 120):
        shell(cluster, second, pods[4], f"pg_dump app | gzip > /backup/{second}.gz", ("pg_dump", "app"), ("gzip",))

    told = alerts(analyse(cluster, until=2500))

    assert len(told) <= 1
