"""Tables of events of every shape, hostile ones too, for properties of what handles them."""

from hypothesis import strategies as st
from peerwatch.columns import ColumnsBuilder, ConnectResult, EventColumns, Peer, Protocol
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
        created_at=TIMES,
        service_account=TEXTS,
        labels=PAIRS,
        annotations=PAIRS,
    ),
    container=st.builds(Container, TEXTS, st.sampled_from(ContainerKind), TEXTS, TEXTS, TEXTS, TIMES),
)
ADDRESSES = st.ip_addresses().map(lambda a: a.packed if a.version == 6 else bytes(10) + b"\xff\xff" + a.packed)


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
            parent_pid=draw(NUMBERS),
            parent_start_time=draw(TIMES),
            parent_exe=draw(TEXTS),
            ancestors=draw(st.lists(TEXTS, max_size=2)),
            flags=draw(st.sets(st.sampled_from([1, 2, 3, 4, 5, 6, 31])).map(lambda bits: sum(1 << bit for bit in bits))),
        )
        for _ in range(draw(st.integers(1, 3)))
    ]
    for kind in draw(st.lists(st.sampled_from(["exec", "connect", "loss"]), max_size=6)):
        time, subject, process = draw(TIMES), draw(st.sampled_from(subjects)), draw(st.sampled_from(processes))
        if kind == "exec":
            builder.exec(time, subject, process)
        elif kind == "connect":
            builder.connect(
                time,
                subject,
                process,
                protocol=draw(st.sampled_from(Protocol)),
                address=draw(ADDRESSES),
                port=draw(st.integers(0, 65_535)),
                result=draw(st.sampled_from(ConnectResult)),
                count=draw(st.integers(1, 2**32 - 1)),
                last_time=draw(TIMES),
                peer=draw(st.one_of(st.just(0), st.builds(Peer, TEXTS.filter(bool), WORKLOADS).map(builder.peer))),
            )
        else:
            builder.loss(time, subject, reason=draw(TEXTS), count=draw(NUMBERS), begin=draw(TIMES), end=draw(TIMES))
    return builder.build()
