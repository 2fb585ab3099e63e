import pytest
from harness.capture import Capture
from harness.containers import Container

pytestmark = pytest.mark.kernel

# Nobody accepts on the first port, so connects to it stay under way until they are closed. What is accepted on the second port
# gets their sockets' memory.
LOAD = """
import socket, sys
full, open_ = socket.create_server(("127.0.0.1", 7201), backlog=0), socket.create_server(("127.0.0.1", 7202))
first = socket.create_connection(("127.0.0.1", 7201))
clients = [socket.socket() for _ in range(97)]
for client in clients:
    client.setblocking(False)
    client.connect_ex(("127.0.0.1", 7201))
for client in clients: client.close()
for _ in range(199):
    with socket.create_connection(("127.0.0.1", 7202)), open_.accept()[0]: pass
"""


def test_a_connect_that_was_closed_under_way_did_not_succeed(capture: Capture, containers: list[Container]) -> None:
    containers[0].exec("/usr/bin/python3", "-c", LOAD)

    seen = capture.until(lambda seen: len(seen.connects(7201)) >= 98 and len(seen.connects(7202)) >= 199)

    results = [result for _, _, result in seen.connects(7201)]
    assert [results.count("IN_PROGRESS"), results.count("OK"), len(results)] == [97, 1, 98]
    assert {result for _, _, result in seen.connects(7202)} == {"OK"}
    assert len(seen.connects(7202)) == 199
