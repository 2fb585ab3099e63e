"""UDP without connect(): each destination is told, whichever call sends, and what has none is not."""

import json

import pytest
from harness.capture import Capture
from harness.containers import Container
from harness.session import run
from kernel.workload import MESSAGES, PYTHON
from peerwatch.columns import EventKind

from agent.capture.records import Counter

pytestmark = pytest.mark.kernel

NUMBER = 211

SEND = """
import ctypes, errno, json, os, socket, struct
udp, udp6 = socket.socket(type=socket.SOCK_DGRAM), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
def attempt(send, *args):
    try: send(*args)
    except OSError as error: return errno.errorcode[error.errno]
    return 'OK'
"""


@pytest.mark.parametrize(
    ("call", "address"),
    [
        ("udp.sendto(b'', ('127.0.0.1', 7501))", "127.0.0.1"),
        ("udp.sendmsg([b'word'], [], 0, ('127.0.0.2', 7501))", "127.0.0.2"),
        ("udp6.sendto(b'word', ('::1', 7501))", "::1"),
        ("udp6.sendmsg([b'word'], [], 0, ('::1', 7501))", "::1"),
        ("udp6.sendto(b'word', ('::ffff:127.0.0.3', 7501))", "127.0.0.3"),
        ("udp.sendto(b'word', ('10.213.0.1', 7501))", "10.213.0.1"),
    ],
    ids=["sendto", "sendmsg", "sendto v6", "sendmsg v6", "v4-mapped", "another host"],
)
def test_the_first_is_told_at_once_and_the_rest_add_up(
    capture: Capture, containers: list[Container], call: str, address: str
) -> None:
    containers[0].exec(PYTHON, "-c", SEND + f"for _ in range({NUMBER}): {call}")

    at_once = capture.until(lambda seen: bool(seen.connects(7501)), ask=False)
    assert at_once.connects(7501) == [("UDP", address, "OK")]
    seen = capture.until(lambda seen: len(seen.connects(7501)) >= NUMBER)

    assert seen.connects(7501, containers[0].id) == [("UDP", address, "OK")] * NUMBER
    assert seen.counts(EventKind.CONNECT, port=7501) == [1, NUMBER - 1]


def test_each_message_of_one_sendmmsg_is_told(capture: Capture, containers: list[Container]) -> None:
    for _ in range(3):
        containers[0].exec(MESSAGES, "7502", "2", "apart")

    seen = capture.until(lambda seen: len(seen.connects(7502)) >= 6)

    assert sorted(seen.connects(7502)) == [("UDP", "127.0.0.1", "OK")] * 3 + [("UDP", "127.0.0.2", "OK")] * 3


def test_messages_beyond_those_that_are_looked_at_are_counted_as_lost(capture: Capture, containers: list[Container]) -> None:
    before = capture.probes.current.counters()[Counter.SENDS_SKIPPED]
    containers[0].exec(MESSAGES, "7503", "13", "apart")

    seen = capture.until(lambda seen: len(seen.connects(7503)) >= 12)

    assert sorted(address for _, address, _ in seen.connects(7503)) == sorted(f"127.0.0.{number}" for number in range(1, 13))
    assert capture.probes.current.counters()[Counter.SENDS_SKIPPED] - before == 1


@pytest.mark.parametrize(("how", "protocol"), [("connected", "UDP"), ("stream", "TCP")])
def test_messages_without_an_address_are_neither_told_nor_lost(
    capture: Capture, containers: list[Container], how: str, protocol: str
) -> None:
    before = capture.probes.current.counters()[Counter.SENDS_SKIPPED]
    containers[0].exec(MESSAGES, "7504", "31", how)

    seen = capture.until(lambda seen: bool(seen.exits(MESSAGES)))

    assert seen.connects(7504) == [(protocol, "127.0.0.1", "OK")]  # its connect()
    assert capture.probes.current.counters()[Counter.SENDS_SKIPPED] - before == 0


def test_what_a_connected_socket_sends_is_told_only_where_it_names_an_address(
    capture: Capture, containers: list[Container]
) -> None:
    script = """
udp.connect(('127.0.0.1', 7505))
for _ in range(5): attempt(udp.send, b'word'); attempt(udp.sendmsg, [b'word'])
for _ in range(3): attempt(udp.sendto, b'word', ('127.0.0.9', 7505))
udp.sendto(b'', ('127.0.0.1', 7506))
"""
    containers[0].exec(PYTHON, "-c", SEND + script)

    seen = capture.until(lambda seen: bool(seen.connects(7506)) and len(seen.connects(7505)) >= 4)

    assert sorted({address for _, address, _ in seen.connects(7505)}) == ["127.0.0.1", "127.0.0.9"]
    assert len(seen.connects(7505)) == 4


def test_what_is_no_destination_is_not_told(capture: Capture, containers: list[Container]) -> None:
    script = """
libc = ctypes.CDLL(None)
def named(family, port=7507): return struct.pack('=H', family) + struct.pack('>H4s8x', port, bytes([127, 0, 0, 1]))
udp.connect(('127.0.0.1', 0))                                   # asks for a source address only
libc.connect(udp.fileno(), named(socket.AF_UNSPEC), 16)         # dissolves
libc.sendto(udp.fileno(), b'', 0, 0, named(socket.AF_INET, 0), 16)
libc.sendto(udp.fileno(), b'', 0, 0, named(socket.AF_INET)[:8], 8)
libc.sendto(udp.fileno(), b'', 0, 0, named(socket.AF_UNIX), 16)
libc.sendto(udp.fileno(), b'', 0, 0, named(999), 16)
libc.sendto(udp.fileno(), b'', 0, 0, ctypes.c_void_p(8), 16)    # nobody's memory
libc.sendto(999, b'', 0, 0, named(socket.AF_INET), 16)          # no file
libc.sendto(0, b'', 0, 0, named(socket.AF_INET), 16)            # no socket
one, other = socket.socketpair(type=socket.SOCK_DGRAM)
one.send(b'')
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as unix:
    unix.bind(chr(0) + '7507')
    one.close()
    socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b'', chr(0) + '7507')
udp.sendto(b'', ('127.0.0.1', 7508))
"""
    containers[0].exec(PYTHON, "-c", SEND + script)

    seen = capture.until(lambda seen: bool(seen.connects(7508)))

    assert len(seen.rows(EventKind.CONNECT)) == 1


def test_a_message_to_an_address_without_a_family_is_told_because_it_is_sent(
    capture: Capture, containers: list[Container]
) -> None:
    # An IPv4 socket takes AF_UNSPEC for AF_INET (udp_sendmsg() in net/ipv4/udp.c).
    script = """
receiver = socket.socket(type=socket.SOCK_DGRAM)
receiver.bind(('127.0.0.1', 7509))
name = struct.pack('=H', socket.AF_UNSPEC) + struct.pack('>H4s8x', 7509, bytes([127, 0, 0, 1]))
ctypes.CDLL(None).sendto(udp.fileno(), b'word', 4, 0, name, 16)
receiver.settimeout(5)
print(receiver.recv(9))
"""
    assert containers[0].exec(PYTHON, "-c", SEND + script).stdout == "b'word'\n"

    seen = capture.until(lambda seen: bool(seen.exits("/usr/bin/python3.11")))

    assert seen.connects(7509) == [("UDP", "127.0.0.1", "OK")]


def test_results_are_those_that_the_process_got(capture: Capture, containers: list[Container]) -> None:
    # With IP_RECVERR a socket learns of the ICMP answer to the message before.
    inside = f"--net=/proc/{containers[0].pid}/ns/net"
    run("nsenter", inside, "ip", "route", "replace", "unreachable", "198.18.0.0/15")
    script = """
udp.setsockopt(socket.IPPROTO_IP, 11, 1)  # IP_RECVERR
destinations = [('127.0.0.1', 7510)] * 7 + [('198.18.0.1', 7510)] * 5 + [('127.0.0.1', 7510)] * 3
print(json.dumps([[address, attempt(udp.sendto, b'word', (address, port))] for address, port in destinations]))
"""
    results = {"OK": "OK", "ECONNREFUSED": "REFUSED", "EHOSTUNREACH": "UNREACHABLE"}
    sent = json.loads(containers[0].exec(PYTHON, "-c", SEND + script).stdout)

    seen = capture.until(lambda seen: len(seen.connects(7510)) >= len(sent))

    assert {result for _, result in sent} == set(results)
    assert sorted(seen.connects(7510)) == sorted(("UDP", address, results[result]) for address, result in sent)


def test_a_udp_connect_without_a_way_is_told_as_unreachable(capture: Capture, containers: list[Container]) -> None:
    inside = f"--net=/proc/{containers[0].pid}/ns/net"
    run("nsenter", inside, "ip", "route", "replace", "unreachable", "198.18.0.0/15")
    containers[0].exec(PYTHON, "-c", SEND + "for _ in range(7): attempt(udp.connect, ('198.18.0.2', 7511))")

    seen = capture.until(lambda seen: len(seen.connects(7511)) >= 7)

    assert seen.connects(7511) == [("UDP", "198.18.0.2", "UNREACHABLE")] * 7
