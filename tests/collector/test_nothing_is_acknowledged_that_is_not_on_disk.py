import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from collector_harness import Daemon, Events, eventually
from peerwatch import wire
from peerwatch.v1 import ingest_pb2


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    place = tmp_path / "small"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", place], check=False, capture_output=True).returncode:
        pytest.skip("mounting a small file system needs root")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def incompressible(size: int) -> ingest_pb2.EventColumns:
    return ingest_pb2.EventColumns(strings=["", *(os.urandom(30_000).hex() for _ in range(size // 30_000))])


def test_a_full_disk_is_said_and_the_agent_keeps_its_batch_until_there_is_room(small_disk: Path, events: Events) -> None:
    daemon = Daemon(small_disk / "data").start()
    try:
        agent = daemon.agent()
        agent.store(1, events.table())
        ballast = small_disk / "ballast"
        with pytest.raises(OSError, match="No space left"):
            ballast.write_bytes(bytes(4 << 20))

        agent.batch(2, incompressible(600_000))
        with pytest.raises(grpc.RpcError) as raised:
            agent.wait(2)
        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "No space left on device" in raised.value.details()
        assert daemon.agent().acknowledged == 1

        ballast.unlink()
        again = daemon.agent()
        again.store(2, wire.encode(events.table()))
        eventually(lambda: daemon.status().events == 2 * events.of_a_table)
        assert daemon.status().refused["journal_write_failed"] == 1
    finally:
        assert daemon.end() == 0
