"""Events as columns, the form in which both sides hold them between the wire and the disk.

A table holds each distinct string, subject and process once and refers to them by index, so that work
on a batch is a few array operations. `ColumnsBuilder` makes a table from parts; `peerwatch.wire` has its wire form.

    kinds ──▶ parts ──▶ table ──▶ builder        each knows those before it; this module is the door
"""

from peerwatch.columns.builder import ColumnsBuilder, rows_of
from peerwatch.columns.kinds import (
    ARGS_TRUNCATED,
    I64,
    NANOSECONDS,
    NOT_RECORDED,
    U8,
    U16,
    U32,
    U64,
    ConnectResult,
    EventKind,
    Peer,
    ProcessFlag,
    Protocol,
)
from peerwatch.columns.parts import (
    PARTS,
    Accepts,
    AncestorIds,
    Column,
    Connects,
    Execs,
    Exits,
    Listens,
    Losses,
    Part,
    Processes,
    Refers,
    StringLists,
    columns_of,
)
from peerwatch.columns.table import EventColumns

__all__ = [
    "ARGS_TRUNCATED",
    "I64",
    "NANOSECONDS",
    "NOT_RECORDED",
    "PARTS",
    "U8",
    "U16",
    "U32",
    "U64",
    "Accepts",
    "AncestorIds",
    "Column",
    "ColumnsBuilder",
    "ConnectResult",
    "Connects",
    "EventColumns",
    "EventKind",
    "Execs",
    "Exits",
    "Listens",
    "Losses",
    "Part",
    "Peer",
    "ProcessFlag",
    "Processes",
    "Protocol",
    "Refers",
    "StringLists",
    "columns_of",
    "rows_of",
]
