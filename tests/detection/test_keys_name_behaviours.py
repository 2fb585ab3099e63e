"""A key is an event without its accidents: readable, stable, one line, and never so general that two programs become one."""

import ipaddress
from collections.abc import Sequence

import numpy as np
import pytest
from detection.cluster import Cluster
from peerwatch.columns import Peer, ProcessFlag
from peerwatch.subjects import Workload

from collector.analysis import behaviour_keys, behaviours


def keys(cluster: Cluster) -> list[str]:
    seen = behaviours.observe(cluster.table())
    return [seen.behaviours[index].key for index in seen.behaviour if not seen.behaviours[index].base]


@pytest.mark.parametrize(
    ("exe", "key"),
    [
        ("/usr/bin/nc", "/usr/bin/nc"),
        ("/usr/bin/python3.11", "/usr/bin/python3.11"),
        ("/usr/lib/postgresql/15/bin/psql", "/usr/lib/postgresql/<n>/bin/psql"),
        ("/opt/app-1.2.3/bin/run", "/opt/app-1.2.3/bin/run"),
        ("/opt/1.2.3-rc1/bin/run", "/opt/<n>/bin/run"),
        ("/proc/4242/exe", "/proc/<n>/exe"),
        ("/proc/self/fd/7", "/proc/self/fd/<n>"),
        ("/run/app/worker-20417", "/run/app/worker-<n>"),
        ("/var/lib/x/7e0c1c1e-1111-4222-8333-abcdefabcdef/run", "/var/lib/x/<uuid>/run"),
        ("/opt/decade/face", "/opt/decade/face"),
        ("", ""),
    ],
)
def test_paths_lose_what_machines_number(exe: str, key: str) -> None:
    assert behaviour_keys.path(exe) == key


@pytest.mark.parametrize(
    ("exe", "key"),
    [
        ("/srv/jobs/lint-6f197c", "/srv/jobs/lint-<hex> (upper layer)"),
        ("/srv/jobs/lint-619970", "/srv/jobs/lint-<hex> (upper layer)"),
        ("/srv/619970/lint-6f197c", "/srv/<hex>/<file> (upper layer)"),
        ("/srv/jobs/lint-0f19ac77b2", "/srv/jobs/lint-<hex> (upper layer)"),
        ("/srv/jobs/lint", "/srv/jobs/lint (upper layer)"),
        ("/srv/jobs/decade", "/srv/jobs/decade (upper layer)"),
    ],
)
def test_random_words_in_the_names_of_written_files_are_one_whatever_their_digits(exe: str, key: str) -> None:
    assert behaviour_keys.program(exe, "", "", 1 << ProcessFlag.UPPER_LAYER) == key


@pytest.mark.parametrize("folder", ["/tmp", "/var/tmp", "/dev/shm", "/tmp/tmp.Xa81kQ", "/tmp/go-build4020256713/b001/exe"])
@pytest.mark.parametrize("name", ["9m9p09", "tmpa8x_d0qz", "jna12345678.so", "nginx", "backup"])
def test_what_lies_in_a_folder_for_temporary_files_is_one_whatever_it_is_called(folder: str, name: str) -> None:
    root = next(each for each in ("/var/tmp", "/tmp", "/dev/shm") if folder.startswith(each))

    assert behaviour_keys.path(f"{folder}/{name}") == f"{root}/<file>"


@pytest.mark.parametrize("name", ["xmrig", "kubectl", "bash", "python3.11"])
def test_a_tool_in_a_folder_for_temporary_files_keeps_its_name(name: str) -> None:
    assert behaviour_keys.path(f"/tmp/{name}").endswith(f"/{name}")


@pytest.mark.parametrize(
    ("exe", "arguments", "key"),
    [
        ("/bin/busybox", ("busybox", "wget", "-q", "x"), "/bin/busybox[wget] <- /bin/sh : -q x"),
        ("/bin/busybox", ("/bin/busybox", "nc", "-l"), "/bin/busybox[nc] <- /bin/sh : -l"),
        ("/bin/busybox", ("busybox", "--list"), "/bin/busybox[busybox] <- /bin/sh : --list"),
        ("/bin/busybox", ("busybox", "sh", "-c", "id | wc"), "/bin/busybox[sh] <- /bin/sh : -c id | wc"),
        ("/usr/bin/coreutils", ("coreutils", "--coreutils-prog=ls", "-l"), "/usr/bin/coreutils[ls] <- /bin/sh : -l"),
        (
            "/usr/bin/coreutils",
            ("/usr/bin/coreutils", "--coreutils-prog-shebang=ls", "/usr/bin/ls", "-l"),
            "/usr/bin/coreutils[ls] <- /bin/sh : -l",
        ),
        ("/usr/bin/bash", ("busybox", "wget"), "/usr/bin/bash <- /bin/sh : wget"),
    ],
)
def test_an_applet_is_named_however_it_is_called(cluster: Cluster, exe: str, arguments: Sequence[str], key: str) -> None:
    (pod,) = cluster.pods(1)
    cluster.exec(1, pod, exe, parent="/bin/sh", args=arguments)

    assert [each.key for each in behaviours.observe(cluster.table()).behaviours.values()][-1] == key


def test_an_exec_names_program_and_parent(cluster: Cluster) -> None:
    (pod,) = cluster.pods(1)
    cluster.exec(1, pod, "/usr/bin/nc", parent="/bin/sh")
    cluster.exec(2, pod, "/bin/busybox", parent="/bin/busybox", args=("wget", "-q", "http://x"))
    cluster.exec(3, pod, "/usr/bin/bash", parent="", flags=(ProcessFlag.INJECTED,))
    cluster.exec(4, pod, "/opt/x", parent="/bin/sh", flags=(ProcessFlag.UPPER_LAYER, ProcessFlag.STDIO_SOCKET))
    cluster.exec(5, pod, "/proc/self/exe", parent="/usr/bin/node")

    assert keys(cluster) == [
        "/usr/bin/nc <- /bin/sh",
        "/bin/busybox[wget] <- /bin/busybox",
        "/usr/bin/bash (injected)",
        "/opt/x (upper layer, stdio socket) <- /bin/sh",
        "/usr/bin/node <- /usr/bin/node",
    ]


@pytest.mark.parametrize(
    ("address", "port", "peer", "key"),
    [
        ("127.0.0.1", 6379, None, "loopback:6379/tcp"),
        ("::1", 6379, None, "loopback:6379/tcp"),
        ("10.4.7.3", 5432, Peer("shop", Workload("StatefulSet", "db")), "shop/db:5432/tcp"),
        ("10.4.7.3", 5432, Peer("shop", Workload("Service", "db")), "shop/db:5432/tcp"),
        ("10.4.7.3", 5432, None, "private 10.4.7.0/24:5432/tcp"),
        ("10.96.0.1", 443, Peer("default", Workload("apiserver", "kubernetes")), "apiserver:443/tcp"),
        ("52.1.2.3", 443, None, "public 52.1.0.0/16:443/tcp"),
        ("52.1.2.3", 443, Peer("", Workload("DNS", "api.example.com")), "api.example.com:443/tcp"),
        ("52.1.2.3", 51413, None, "public 52.1.0.0/16:high/tcp"),
        ("2a00:1450:4001::1", 443, None, "public 2a00:1450::/32:443/tcp"),
        ("169.254.169.254", 80, None, "metadata-service:80/tcp"),
        ("169.254.20.10", 53, None, "dns:53/tcp"),
        ("10.0.0.9", 10250, Peer("", Workload("Node", "node-3")), "node:10250/tcp"),
    ],
)
def test_a_connect_names_where_it_goes(address: str, port: int, peer: Peer | None, key: str) -> None:
    packed = ipaddress.ip_address(address).packed
    packed = packed if len(packed) == 16 else bytes(10) + b"\xff\xff" + packed

    assert behaviour_keys.destination(packed, port, 1, peer) == key


PEERS = [
    Peer("shop", Workload("Deployment", "cart")),
    Peer("", Workload("DNS", "api.example.com")),
    Peer("", Workload("Node", "node-3")),
    Peer("default", Workload("apiserver", "kubernetes")),
    Peer("shop", Workload("", "")),
]


@pytest.mark.parametrize("port", [0, 1, 53, 8080, 32_767, 32_768, 32_769, 50_874, 65_535])
@pytest.mark.parametrize("peer", [None, *PEERS])
def test_ports_are_taken_for_one_only_where_a_destination_says_the_same(port: int, peer: Peer | None) -> None:
    packed = bytes(10) + b"\xff\xff\x0a\x04\x07\x03"
    told = int(behaviour_keys.told_ports(np.array([port], np.uint16))[0])

    assert behaviour_keys.destination(packed, told, 2, peer) == behaviour_keys.destination(packed, port, 2, peer)
    assert (told == port) == (port <= 32_768)


@pytest.mark.parametrize("port", [53, 443, 50_874])
def test_addresses_are_left_out_only_where_a_destination_says_the_same(port: int) -> None:
    addresses = [bytes(16), bytes(10) + b"\xff\xff\x0a\x04\x07\x03", bytes(10) + b"\xff\xff\x34\x01\x02\x03"]
    left_out = behaviour_keys.told_by_peer(PEERS).tolist()

    assert left_out == [False, True, True, True, True, False]
    for peer, told in zip([None, *PEERS], left_out, strict=True):
        assert not told or len({behaviour_keys.destination(address, port, 2, peer) for address in addresses}) == 1


def test_a_server_that_answers_at_many_ports_shows_one_behaviour(cluster: Cluster) -> None:
    (pod,) = cluster.pods(1, workload="dns")
    for number in range(97):
        cluster.connect(number, pod, "/dnsd", (f"10.4.7.{number}", 40_000 + number), peer=PEERS[0])

    seen = behaviours.observe(cluster.table())

    assert len(seen.behaviour) == 97
    assert [each.key for each in seen.behaviours.values()] == ["/dnsd -> shop/cart:high/tcp"]


def test_a_merged_usr_changes_no_behaviour() -> None:
    assert behaviour_keys.merged("/usr/bin/nc <- /usr/bin/dash") == behaviour_keys.merged("/bin/nc <- /bin/sh")
    assert behaviour_keys.merged("/usr/local/bin/nc") != behaviour_keys.merged("/bin/nc")
    assert behaviour_keys.merged("/home/usr/bin/nc") == "/home/usr/bin/nc"


@pytest.mark.parametrize("name", ["/tmp/a\nb", "/tmp/\x1b[31m", "/tmp/" + "x" * 5000, "/tmp/\u202egpj.exe", "/tmp/\udcff"])
def test_hostile_names_stay_on_one_bounded_line(cluster: Cluster, name: str) -> None:
    (pod,) = cluster.pods(1)
    cluster.exec(1, pod, name, parent=name)

    (key,) = keys(cluster)

    assert key.isprintable()
    assert len(key) < 1100


def test_names_that_differ_beyond_the_limit_stay_different() -> None:
    assert behaviour_keys.path("/" + "x" * 5000) != behaviour_keys.path("/" + "x" * 5001)
