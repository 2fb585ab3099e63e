"""One event at a time, as a timeline or a process tree shows it. For people's screens, not for paths that must be fast."""

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass

from peerwatch.columns import ConnectResult, EventColumns, EventKind, ProcessFlag, Protocol
from peerwatch.subjects import Subject

__all__ = ["EventRow", "rows"]


@dataclass(frozen=True, slots=True)
class EventRow:
    """One event with its process; a loss has none."""

    time: int
    kind: EventKind
    subject: Subject
    pid: int = 0
    start_time: int = 0
    exe: str = ""
    args: tuple[str, ...] = ()
    parent_pid: int = 0
    parent_start_time: int = 0
    parent_exe: str = ""
    flags: tuple[ProcessFlag, ...] = ()
    detail: str = ""
    """Of a connect: where to and how it ended; of a loss: what was lost."""
    good: bool = True
    """False for what failed or is missing."""


def rows(table: EventColumns) -> Iterator[EventRow]:
    """Yield the events of a table in its order."""
    connect = loss = 0
    processes = table.processes
    for time, number, subject, process in zip(
        table.time.tolist(), table.kind.tolist(), table.subject.tolist(), table.process.tolist(), strict=True
    ):
        kind, whose = EventKind(number), table.subjects[subject]
        if kind is EventKind.LOSS:
            reason = table.strings[table.losses.reason[loss]]
            yield EventRow(time, kind, whose, detail=f"{table.losses.count[loss]} events lost: {reason}", good=False)
            loss += 1
            continue
        detail, good = "", True
        if kind is EventKind.CONNECT:
            detail, good = _connect(table, connect)
            connect += 1
        flags = int(processes.flags[process])
        yield EventRow(
            time,
            kind,
            whose,
            pid=int(processes.pid[process]),
            start_time=int(processes.start_time[process]),
            exe=table.strings[processes.exe[process]],
            args=tuple(table.string_list(int(processes.args[process]))),
            parent_pid=int(processes.parent_pid[process]),
            parent_start_time=int(processes.parent_start_time[process]),
            parent_exe=table.strings[processes.parent_exe[process]],
            flags=tuple(flag for flag in ProcessFlag if flags >> flag & 1),
            detail=detail,
            good=good,
        )


def _connect(table: EventColumns, row: int) -> tuple[str, bool]:
    columns = table.connects
    packed = ipaddress.IPv6Address(columns.address[row].tobytes())
    address = str(packed.ipv4_mapped) if packed.ipv4_mapped else f"[{packed}]"
    protocol = Protocol(int(columns.protocol[row]))
    result = ConnectResult(int(columns.result[row]))
    text = f"{protocol.name.lower() if protocol else 'ip'} {address}:{columns.port[row]}"
    if columns.peer[row]:
        peer = table.peers[int(columns.peer[row]) - 1]
        name = "/".join(filter(None, (peer.namespace, peer.workload.kind, peer.workload.name)))
        text += f" ({name})"
    if result not in {ConnectResult.UNSPECIFIED, ConnectResult.OK}:
        text += f" {result.name}"
    if columns.count[row] > 1:
        text += f" x{columns.count[row]}"
    return text, result in {ConnectResult.UNSPECIFIED, ConnectResult.OK, ConnectResult.IN_PROGRESS}
