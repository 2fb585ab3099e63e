"""The archive's table in Arrow's terms: its columns, and which of them say whose an event was and which process did it.

One row is one event with all of its identity, so that responders can also query the files with any Parquet tool; `subject_id`
and `process_id` number what repeats within a file. A change needs a new column, never a new meaning: old files stay, and what
they do not hold is null, which means the default of the event contract.
"""

from collections.abc import Callable
from typing import Final

import pyarrow as pa
from peerwatch.columns import EventKind
from peerwatch.subjects import Subject

__all__ = [
    "KIND_COLUMNS",
    "PAIRS",
    "PEER",
    "PROCESS_LISTS",
    "PROCESS_MASKS",
    "PROCESS_NUMBERS",
    "PROCESS_TEXTS",
    "PROCESS_TIMES",
    "SCHEMA",
    "SHOWN_ONLY",
    "SUBJECT_PAIRS",
    "SUBJECT_TEXTS",
    "SUBJECT_TIMES",
    "TIME",
]

_TEXT: Final = pa.dictionary(pa.int32(), pa.string())
TIME: Final = pa.timestamp("ns", "UTC")
PAIRS: Final = pa.map_(pa.string(), pa.string())
_TEXTS: Final = pa.list_(pa.string())
_PIDS: Final = pa.list_(pa.uint32())
_TIMES: Final = pa.list_(TIME)

SUBJECT_TEXTS: Final[dict[str, Callable[[Subject], str]]] = {
    "cluster": lambda subject: subject.cluster,
    "node": lambda subject: subject.node,
    "namespace": lambda subject: subject.pod.namespace,
    "workload_kind": lambda subject: subject.pod.workload.kind,
    "workload": lambda subject: subject.pod.workload.name,
    "pod": lambda subject: subject.pod.name,
    "pod_uid": lambda subject: subject.pod.uid,
    "pod_ip": lambda subject: subject.pod.ip,
    "revision": lambda subject: subject.pod.revision,
    "service_account": lambda subject: subject.pod.service_account,
    "container": lambda subject: subject.container.name,
    "container_kind": lambda subject: subject.container.kind.name,
    "container_id": lambda subject: subject.container.id,
    "image": lambda subject: subject.container.image,
    "image_digest": lambda subject: subject.container.image_digest,
}
SUBJECT_TIMES: Final[dict[str, Callable[[Subject], int]]] = {
    "pod_created_at": lambda subject: subject.pod.created_at,
    "container_started_at": lambda subject: subject.container.started_at,
}
SUBJECT_PAIRS: Final[dict[str, Callable[[Subject], tuple[tuple[str, str], ...]]]] = {
    "labels": lambda subject: subject.pod.labels,
    "annotations": lambda subject: subject.pod.annotations,
}
PROCESS_NUMBERS: Final = ("pid", "uid", "parent_pid", "flags", "gid", "effective_uid", "effective_gid")
PROCESS_MASKS: Final = ("capabilities", "gained_capabilities")
"""Bit n is capability n."""
PROCESS_TIMES: Final = ("start_time", "parent_start_time")
PROCESS_TEXTS: Final = ("exe", "cwd", "parent_exe", "script")
PROCESS_LISTS: Final = ("args", "ancestors")

PEER: Final = ("peer_namespace", "peer_kind", "peer")
_SOCKET: Final = {"protocol": "protocol", "address": "address", "port": "port"}
_FOLDED: Final = {"count": "count", "last_time": "last_time"}
KIND_COLUMNS: Final[dict[EventKind, dict[str, str]]] = {
    EventKind.EXEC: _FOLDED,
    EventKind.CONNECT: {**_SOCKET, "result": "result", **_FOLDED, "peer": "peer"},
    EventKind.LOSS: {"reason": "loss_reason", "count": "loss_count", "begin": "loss_from", "end": "loss_to"},
    EventKind.EXIT: {"code": "exit_code", "signal": "exit_signal", "lifetime": "lifetime_ns", **_FOLDED},
    EventKind.LISTEN: _SOCKET,
    EventKind.ACCEPT: {**_SOCKET, **_FOLDED, "peer": "peer"},
}
"""What is special to a kind → the column that holds it; `peer` stands for the three of `PEER`."""

SHOWN_ONLY: Final = frozenset(
    {
        *("service_account", "container_id", "image", "image_digest", *SUBJECT_PAIRS),
        *("uid", "gid", "effective_uid", "effective_gid", *PROCESS_MASKS, "parent_start_time", "cwd", "script"),
        *("ancestor_pids", "ancestor_start_times", "result", "last_time"),
        *("loss_reason", "exit_code", "exit_signal", "lifetime_ns"),
    }
)
"""What people are shown and no verdict rests on: a third of what a file holds, which a backtest need not read."""

SCHEMA: Final = pa.schema(
    [
        ("time", TIME),
        ("kind", _TEXT),
        ("subject_id", pa.uint32()),
        ("process_id", pa.uint32()),
        *((name, _TEXT) for name in SUBJECT_TEXTS),
        *((name, TIME) for name in SUBJECT_TIMES),
        *((name, PAIRS) for name in SUBJECT_PAIRS),
        *((name, pa.uint32()) for name in PROCESS_NUMBERS),
        *((name, pa.uint64()) for name in PROCESS_MASKS),
        *((name, TIME) for name in PROCESS_TIMES),
        *((name, _TEXT) for name in PROCESS_TEXTS),
        *((name, _TEXTS) for name in PROCESS_LISTS),
        # Beside `ancestors`: the i-th of each says who the i-th was.
        ("ancestor_pids", _PIDS),
        ("ancestor_start_times", _TIMES),
        ("protocol", _TEXT),
        ("address", _TEXT),
        ("port", pa.uint16()),
        ("result", _TEXT),
        ("count", pa.uint32()),
        ("last_time", TIME),
        *((name, _TEXT) for name in PEER),
        ("loss_reason", _TEXT),
        ("loss_count", pa.uint32()),
        ("loss_from", TIME),
        ("loss_to", TIME),
        ("exit_code", pa.uint32()),
        ("exit_signal", pa.uint32()),
        ("lifetime_ns", pa.int64()),
    ]
)
"""All columns in their order."""
