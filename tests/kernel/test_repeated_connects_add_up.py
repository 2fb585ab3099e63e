"""The first connect of its kind goes out at once, repeats are counted, and nothing that differs is counted together."""

import subprocess

import pytest
from harness.capture import Capture
from harness.containers import Container
from kernel.workload import PYTHON
from peerwatch.columns import EventKind

pytestmark = pytest.mark.kernel

NUMBER = 997

CONNECT = """
import os, socket
def connect(number, address='127.0.0.1', port=7301, kind=socket.SOCK_STREAM):
    for _ in range(number):
        with socket.socket(socket.AF_INET6 if ':' in address else socket.AF_INET, kind) as client:
            client.connect_ex((address, port))
"""


@pytest.mark.parametrize(("kind", "protocol"), [("SOCK_STREAM", "TCP"), ("SOCK_DGRAM", "UDP")])
def test_the_first_is_told_at_once_and_the_rest_add_up(
    capture: Capture, containers: list[Container], kind: str, protocol: str
) -> None:
    containers[0].exec(PYTHON, "-c", CONNECT + f"connect({NUMBER}, kind=socket.{kind})")

    at_once = capture.until(lambda seen: bool(seen.connects(7301)), ask=False)
    assert at_once.counts(EventKind.CONNECT, port=7301) == [1]
    seen = capture.until(lambda seen: len(seen.connects(7301)) >= NUMBER)

    assert seen.counts(EventKind.CONNECT, port=7301, container=containers[0].id) == [1, NUMBER - 1]
    assert {name for name, _, _ in seen.connects(7301)} == {protocol}


def test_in_full_every_connect_is_a_line(full_capture: Capture, containers: list[Container]) -> None:
    # Read while it runs: without folds a busy host fills the ring.
    with subprocess.Popen(containers[0].exec_command(PYTHON, "-c", CONNECT + f"connect({NUMBER})")):
        seen = full_capture.until(lambda seen: len(seen.connects(7301)) >= NUMBER)

    assert seen.counts(EventKind.CONNECT, port=7301, container=containers[0].id) == [1] * NUMBER


def test_ports_addresses_and_protocols_are_told_apart(capture: Capture, containers: list[Container]) -> None:
    script = """
connect(3); connect(5, port=7302); connect(7, '127.0.0.2'); connect(11, '::1'); connect(13, '::ffff:127.0.0.3')
connect(17, kind=socket.SOCK_DGRAM)
"""
    containers[0].exec(PYTHON, "-c", CONNECT + script)

    seen = capture.until(lambda seen: len(seen.connects(7301)) + len(seen.connects(7302)) >= 56)

    assert sorted(seen.connects(7301)) == sorted(
        [("TCP", "127.0.0.1", "REFUSED")] * 3
        + [("TCP", "127.0.0.2", "REFUSED")] * 7
        + [("TCP", "::1", "REFUSED")] * 11
        + [("TCP", "127.0.0.3", "REFUSED")] * 13
        + [("UDP", "127.0.0.1", "OK")] * 17
    )
    assert seen.connects(7302) == [("TCP", "127.0.0.1", "REFUSED")] * 5


def test_results_are_told_apart(capture: Capture, containers: list[Container]) -> None:
    script = """
connect(3)
with socket.create_server(('127.0.0.1', 7301), backlog=100): connect(5)
connect(7)
"""
    containers[0].exec(PYTHON, "-c", CONNECT + script)

    seen = capture.until(lambda seen: len(seen.connects(7301)) >= 15)

    assert sorted(result for _, _, result in seen.connects(7301)) == ["OK"] * 5 + ["REFUSED"] * 10
    assert sorted(seen.counts(EventKind.CONNECT, port=7301)) == [1, 1, 4, 9]


@pytest.mark.parametrize(
    "differently",
    ["os.setuid(1000); connect(3)", "os.fork() or (connect(3), os._exit(0)); os.wait()", "os.execv(PYTHON, ARGUMENTS)"],
    ids=["user", "process", "image"],
)
def test_who_connects_is_told_apart(capture: Capture, containers: list[Container], differently: str) -> None:
    script = f"PYTHON, ARGUMENTS = {PYTHON!r}, ['python3', '-c', {CONNECT + 'connect(3)'!r}]\nconnect(3)\n{differently}"
    containers[0].exec(PYTHON, "-c", CONNECT + script)

    seen = capture.until(lambda seen: len(seen.connects(7301)) >= 6)

    assert sorted(seen.counts(EventKind.CONNECT, port=7301)) == [1, 1, 2, 2]


def test_the_same_from_two_containers_is_told_apart(capture: Capture, containers: list[Container]) -> None:
    for container, number in zip(containers, (23, 29), strict=True):
        container.exec(PYTHON, "-c", CONNECT + f"connect({number})")

    seen = capture.until(lambda seen: len(seen.connects(7301)) >= 52)

    assert [seen.counts(EventKind.CONNECT, port=7301, container=each.id) for each in containers] == [[1, 22], [1, 28]]
