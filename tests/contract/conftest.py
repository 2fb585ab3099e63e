import ipaddress

import pytest
from peerwatch.columns import ColumnsBuilder, ConnectResult, EventColumns, Peer, ProcessFlag, Protocol
from peerwatch.subjects import Container, ContainerKind, Pod, Subject, Workload


@pytest.fixture
def example() -> EventColumns:
    """One event of each kind."""
    builder = ColumnsBuilder()
    subject = builder.subject(
        Subject(
            "prod-eu",
            "node-3",
            Pod("shop", "cart-x2x9q", "7e0c", workload=Workload("Deployment", "cart")),
            Container("app", ContainerKind.APP),
        )
    )
    process = builder.process(
        pid=4242,
        start_time=5,
        exe="/usr/bin/python3.13",
        args=["python3", "/app/dump.py", "-h", "db"],
        uid=1000,
        gid=1000,
        effective_uid=0,
        capabilities=0x3000,
        gained_capabilities=0x2000,
        script="/app/dump.py",
        parent_pid=1,
        ancestors=["/sbin/tini"],
        ancestor_ids=[(1, 3)],
        flags=1 << ProcessFlag.UPPER_LAYER,
    )
    address = bytes(10) + b"\xff\xff" + ipaddress.ip_address("10.4.7.3").packed
    peer = builder.peer(Peer("shop", Workload("StatefulSet", "db")))
    builder.exec(1, subject, process, count=17, last_time=9)
    builder.connect(2, subject, process, protocol=Protocol.TCP, address=address, port=5432, result=ConnectResult.OK, peer=peer)
    builder.loss(3, subject, reason="RING_FULL", count=17, begin=1, end=3)
    builder.exit(4, subject, process, code=0, signal=9, lifetime=1_500_000_000, count=5, last_time=8)
    builder.listen(5, subject, process, protocol=Protocol.TCP, address=bytes(16), port=8080)
    builder.accept(6, subject, process, protocol=Protocol.TCP, address=address, port=8080, count=3, last_time=7, peer=peer)
    return builder.build()
