"""One event at a time, as a timeline or a process tree shows it. For people's screens, not for paths that must be fast."""

import ipaddress
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from peerwatch.capabilities import capability_names
from peerwatch.columns import (
    NANOSECONDS,
    Accepts,
    ConnectResult,
    Connects,
    EventColumns,
    EventKind,
    Listens,
    ProcessFlag,
    Protocol,
)
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
    """Of an exec: its script, and whose rights it has where that is not plain; of an exit: how it ended; of a connect, listen
    or accept: where and how; of a loss: what was lost."""
    count: int = 1
    """How many events it stands for."""
    good: bool = True
    """False for what failed or is missing."""


def rows(table: EventColumns) -> Iterator[EventRow]:
    """Yield the events of a table in its order."""
    processes = table.processes
    for time, number, subject, process, place, count in zip(
        table.time.tolist(),
        table.kind.tolist(),
        table.subject.tolist(),
        table.process.tolist(),
        table.places().tolist(),
        table.counts().tolist(),
        strict=True,
    ):
        kind, whose = EventKind(number), table.subjects[subject]
        if kind is EventKind.LOSS:
            reason = table.strings[table.losses.reason[place]]
            yield EventRow(time, kind, whose, detail=f"{table.losses.count[place]} events lost: {reason}", good=False)
            continue
        detail, good = (_exec(table, process), True) if kind is EventKind.EXEC else _DETAILS[kind](table, place)
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
            count=count,
            good=good,
        )


def _exec(table: EventColumns, process: int) -> str:
    columns = table.processes
    texts = []
    if columns.script[process]:
        texts.append(f"script {table.strings[columns.script[process]]}")
    for name, own, effective in (
        ("uid", columns.uid[process], columns.effective_uid[process]),
        ("gid", columns.gid[process], columns.effective_gid[process]),
    ):
        if own != effective:
            texts.append(f"{name} {own} as {effective}")
    gained = capability_names(int(columns.gained_capabilities[process]))
    if gained:
        texts.append(f"gained {', '.join(gained)}")
    return "  ".join(texts)


def _connect(table: EventColumns, row: int) -> tuple[str, bool]:
    columns = table.connects
    result = ConnectResult(int(columns.result[row]))
    text = f"{_protocol(columns, row)} {_address(columns, row)}:{columns.port[row]}{_peer(table, columns, row)}"
    if result not in {ConnectResult.UNSPECIFIED, ConnectResult.OK}:
        text += f" {result.name}"
    return text, result in {ConnectResult.UNSPECIFIED, ConnectResult.OK, ConnectResult.IN_PROGRESS}


def _listen(table: EventColumns, row: int) -> tuple[str, bool]:
    columns = table.listens
    return f"{_protocol(columns, row)} {_address(columns, row)}:{columns.port[row]}", True


def _accept(table: EventColumns, row: int) -> tuple[str, bool]:
    columns = table.accepts
    who = f"{_address(columns, row)}{_peer(table, columns, row)}"
    return f"{_protocol(columns, row)} port {columns.port[row]} from {who}", True


def _exit(table: EventColumns, row: int) -> tuple[str, bool]:
    columns = table.exits
    code, number, lifetime = int(columns.code[row]), int(columns.signal[row]), int(columns.lifetime[row])
    text = _SIGNALS.get(number, f"signal {number}") if number else f"code {code}"
    if lifetime:
        text += f" after {lifetime / NANOSECONDS:.3f} s"
    return text, not (code or number)


_SIGNALS = {int(each): each.name for each in signal.Signals}
_DETAILS: dict[EventKind, Callable[[EventColumns, int], tuple[str, bool]]] = {
    EventKind.CONNECT: _connect,
    EventKind.EXIT: _exit,
    EventKind.LISTEN: _listen,
    EventKind.ACCEPT: _accept,
}


def _protocol(columns: Connects | Listens | Accepts, row: int) -> str:
    protocol = Protocol(int(columns.protocol[row]))
    return protocol.name.lower() if protocol else "ip"


def _address(columns: Connects | Listens | Accepts, row: int) -> str:
    packed = ipaddress.IPv6Address(columns.address[row].tobytes())
    return str(packed.ipv4_mapped) if packed.ipv4_mapped else f"[{packed}]"


def _peer(table: EventColumns, columns: Connects | Accepts, row: int) -> str:
    if not columns.peer[row]:
        return ""
    peer = table.peers[int(columns.peer[row]) - 1]
    return f" ({'/'.join(filter(None, (peer.namespace, peer.workload.kind, peer.workload.name)))})"
