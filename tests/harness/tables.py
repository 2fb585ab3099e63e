"""Tables of events of every shape, hostile ones too, for properties of what handles them."""

from typing import Any

from hypothesis import strategies as st
from peerwatch.columns import (
    NOT_RECORDED,
    ColumnsBuilder,
    ConnectResult,
    EventColumns,
    EventKind,
    Peer,
    ProcessFlag,
    Protocol,
)
from peerwatch.subjects import Container, ContainerKind, Pod, Subject, Workload

__all__ = ["tables"]

TIMES = st.integers(1, 4_000_000_000 * 10**9)
# Whatever UTF-8 can carry: control characters, right-to-left marks, NUL.
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NUMBERS = st.integers(0, 2**32 - 1)
WORKLOADS = st.builds(Workload, TEXTS, TEXTS)
PAIRS = st.dictionaries(TEXTS, TEXTS, max_size=2).map(lambda pairs: tuple(sorted(pairs.items())))
SUBJECTS = st.builds(
    Subject,
    cluster=TEXTS,
    node=TEXTS,
    pod=st.builds(
        Pod,
        TEXTS,
        TEXTS,
        TEXTS,
        TEXTS,
        WORKLOADS,
        TEXTS,
        created_at=st.just(0) | TIMES,
        service_account=TEXTS,
        labels=PAIRS,
        annotations=PAIRS,
    ),
    container=st.builds(Container, TEXTS, st.sampled_from(ContainerKind), TEXTS, TEXTS, TEXTS, st.just(0) | TIMES),
)
ADDRESSES = st.ip_addresses().map(lambda a: a.packed if a.version == 6 else bytes(10) + b"\xff\xff" + a.packed)


FLAGS = st.sets(st.sampled_from([*ProcessFlag, 31])).map(lambda bits: sum(1 << bit for bit in bits))
MASKS = st.integers(0, 2**41 - 1)


@st.composite
def tables(draw: st.DrawFn) -> EventColumns:
    """Draw a table of a few events."""
    builder = ColumnsBuilder()
    subjects = [builder.subject(subject) for subject in draw(st.lists(SUBJECTS, min_size=1, max_size=3))]
    processes = [
        builder.process(
            pid=draw(NUMBERS),
            start_time=draw(TIMES),
            exe=draw(TEXTS),
            args=draw(st.lists(TEXTS, max_size=3)),
            cwd=draw(TEXTS),
            uid=draw(NUMBERS),
            gid=draw(NUMBERS),
            effective_uid=draw(st.none() | NUMBERS),
            effective_gid=draw(st.none() | NUMBERS),
            capabilities=draw(st.just(NOT_RECORDED) | MASKS),
            gained_capabilities=draw(MASKS),
            script=draw(TEXTS),
            parent_pid=draw(NUMBERS),
            parent_start_time=draw(st.just(0) | TIMES),
            parent_exe=draw(TEXTS),
            ancestors=draw(st.lists(TEXTS, max_size=2)),
            ancestor_ids=draw(st.lists(st.tuples(NUMBERS, TIMES), max_size=2)),
            flags=draw(FLAGS),
        )
        for _ in range(draw(st.integers(1, 3)))
    ]
    for kind in draw(st.lists(st.sampled_from(EventKind), max_size=8)):
        time, subject, process = draw(TIMES), draw(st.sampled_from(subjects)), draw(st.sampled_from(processes))
        folded: dict[str, Any] = {"count": draw(st.integers(1, 2**32 - 1)), "last_time": draw(TIMES)}
        socket: dict[str, Any] = {
            "protocol": draw(st.sampled_from(Protocol)),
            "address": draw(ADDRESSES),
            "port": draw(st.integers(0, 65_535)),
        }
        peer = draw(st.one_of(st.just(0), st.builds(Peer, TEXTS.filter(bool), WORKLOADS).map(builder.peer)))
        match kind:
            case EventKind.EXEC:
                builder.exec(time, subject, process, **folded)
            case EventKind.CONNECT:
                result = draw(st.sampled_from(ConnectResult))
                builder.connect(time, subject, process, **socket, **folded, result=result, peer=peer)
            case EventKind.EXIT:
                lifetime = draw(st.integers(-(2**63) + 1, 2**63 - 1))
                builder.exit(time, subject, process, code=draw(NUMBERS), signal=draw(NUMBERS), lifetime=lifetime, **folded)
            case EventKind.LISTEN:
                builder.listen(time, subject, process, **socket)
            case EventKind.ACCEPT:
                builder.accept(time, subject, process, **socket, **folded, peer=peer)
            case EventKind.LOSS:
                builder.loss(time, subject, reason=draw(TEXTS), count=draw(NUMBERS), begin=draw(TIMES), end=draw(TIMES))
    return builder.build()
