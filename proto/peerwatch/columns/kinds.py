"""The words of event tables: kinds, flags and other enums, and the types of arrays."""

import enum
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from peerwatch.subjects import NO_WORKLOAD, Workload
from peerwatch.times import NANOSECONDS

__all__ = [
    "ARGS_TRUNCATED",
    "I64",
    "NANOSECONDS",
    "NOT_RECORDED",
    "U8",
    "U16",
    "U32",
    "U64",
    "ConnectResult",
    "EventKind",
    "Peer",
    "ProcessFlag",
    "Protocol",
]

U8 = npt.NDArray[np.uint8]
U16 = npt.NDArray[np.uint16]
U32 = npt.NDArray[np.uint32]
U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]

ARGS_TRUNCATED = np.uint32(1 << 31)
"""Bit of `Processes.flags`: the argument list was longer than what a record carries."""

NOT_RECORDED = 2**64 - 1
"""`Processes.capabilities` of a recording or agent that does not know them: no kernel has 64 capabilities."""


class EventKind(enum.IntEnum):
    """What happened; numbers as in `peerwatch.v1.EventKind`."""

    EXEC = 1
    CONNECT = 2
    LOSS = 3
    EXIT = 4
    LISTEN = 5
    ACCEPT = 6


class Protocol(enum.IntEnum):
    """Transport protocol of a socket; numbers as in `peerwatch.v1.Connect.Protocol`."""

    UNSPECIFIED = 0
    TCP = 1
    UDP = 2


class ConnectResult(enum.IntEnum):
    """How a connect ended; numbers as in `peerwatch.v1.Connect.Result`."""

    UNSPECIFIED = 0
    OK = 1
    IN_PROGRESS = 2
    REFUSED = 3
    TIMEOUT = 4
    UNREACHABLE = 5
    ERROR = 6


class ProcessFlag(enum.IntEnum):
    """Bit numbers in `Processes.flags`; numbers as in `peerwatch.v1.Process.Flag`."""

    UPPER_LAYER = 1
    MEMFD = 2
    STDIO_SOCKET = 3
    TTY = 4
    INJECTED = 5
    HOST_NAMESPACE = 6
    CANARY = 7


@dataclass(frozen=True, slots=True)
class Peer:
    """What an address was: namespace, kind and name."""

    namespace: str = ""
    workload: Workload = NO_WORKLOAD
