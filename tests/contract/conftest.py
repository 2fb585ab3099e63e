import ipaddress

import pytest
from peerwatch.columns import ColumnsBuilder, ConnectResult, EventColumns, Peer, Protocol
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
    process = builder.process(pid=4242, start_time=5, exe="/usr/bin/pg_dump", args=["pg_dump", "-h", "db"], flags=1 << 1)
    builder.exec(1, subject, process)
    builder.connect(
        2,
        subject,
        process,
        protocol=Protocol.TCP,
        address=bytes(10) + b"\xff\xff" + ipaddress.ip_address("10.4.7.3").packed,
        port=5432,
        result=ConnectResult.OK,
        peer=builder.peer(Peer("shop", Workload("StatefulSet", "db"))),
    )
    builder.loss(3, subject, reason="RING_FULL", count=17, begin=1, end=3)
    return builder.build()
