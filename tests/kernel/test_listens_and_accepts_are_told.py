"""Who waits for connections, and from where they come: each peer once, repeats counted."""

import pytest
from harness.capture import Capture
from harness.containers import Container
from harness.world import World
from kernel.workload import PYTHON, PYTHON_EXE
from peerwatch.columns import EventKind, Protocol

from harness.capture import Seen

pytestmark = pytest.mark.kernel

SERVE = """
import ctypes, os, socket, sys
libc = ctypes.CDLL(None)
def serve(address, port, number, accept=None, **options):
    family = socket.AF_INET6 if ':' in address else socket.AF_INET
    with socket.create_server((address, port), family=family, backlog=1000, **options) as server:
        print('ready', flush=True)
        for _ in range(number):
            if accept: os.close(libc.accept(server.fileno(), None, None))
            else: server.accept()[0].close()
"""


@pytest.mark.parametrize("address", ["0.0.0.0", "127.0.0.1", "::", "::1"])
def test_a_listen_names_address_and_port(capture: Capture, containers: list[Container], address: str) -> None:
    containers[0].exec(PYTHON, "-c", SERVE + f"serve({address!r}, 7701, 0)")

    seen = capture.until(lambda seen: bool(_listens(seen, 7701)), ask=False)

    told = {"0.0.0.0": "0.0.0.0"}.get(address, address)  # noqa: S104 — what it says, nobody listens
    assert _listens(seen, 7701) == [told]
