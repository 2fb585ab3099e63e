"""The text of a behaviour: an event without its accidents, readable and stable.

An exec is `/usr/bin/nc <- /bin/sh`, with its arguments `/usr/bin/nc <- /bin/sh : -l -p <n>`, a connect
`/usr/bin/curl -> shop/cart:8080/tcp`. What changes from run to run without meaning (versions, process ids, random names, single
addresses of a network) is replaced by a named placeholder, never deleted: `/proc/self/fd/<n>` is still no `/proc/self/exe`.
Generalisation is conservative, because an attacker chooses names: a name is only replaced where a machine usually writes it.
"""

import hashlib
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from peerwatch.columns import Peer, ProcessFlag, Protocol

from collector.detect.addresses import address_class
from collector.detect.tools import SHELLS, TEMPORARY, is_interpreter, tool

__all__ = [
    "ARGUMENTS",
    "MARKS",
    "MULTI_CALL",
    "as_called",
    "destination",
    "file_of",
    "is_key",
    "merged",
    "names_applet",
    "path",
    "printable",
    "program",
    "told_by_peer",
    "told_ports",
]

MULTI_CALL = frozenset({"busybox", "busybox.static", "toybox", "coreutils", "toolbox"})
"""Programs that are many: which one is said by argv[0] (busybox, toybox, GNU and uutils coreutils built as one binary), or by
the next word where argv[0] is the file itself (`busybox wget …`)."""

_APPLET = re.compile(r"(?:--coreutils-prog(?:-shebang)?=)?[^-].*", re.DOTALL)
"""How the word after a multi-call binary's own name says the applet."""
_SCRIPT = "--coreutils-prog-shebang="
"""How the link `/usr/bin/ls` says it where it is a script of one line (`coreutils-single` of Red Hat's minimal images); the
script's own path follows."""

MAX_KEY = 512
"""Longest text of one part, characters; what is longer keeps its beginning and gets a digest, so that it stays distinct."""

ARGUMENTS = " : "
"""Between an exec and its arguments; no program's name contains it."""

HIGH_PORT = 32_768
"""Linux hands out ports from here (ip_local_port_range); a destination port above is usually negotiated (FTP, RTP, NFS)."""

MARKS = (
    (ProcessFlag.UPPER_LAYER, "upper layer"),
    (ProcessFlag.MEMFD, "memory file"),
    (ProcessFlag.STDIO_SOCKET, "stdio socket"),
    (ProcessFlag.HOST_NAMESPACE, "host namespace"),
)
"""What is odd about a process, as it is written after its program."""

_UUID = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")
_HEX = re.compile(r"(?<![0-9A-Za-z])(?=[0-9a-f]*[0-9])(?=[0-9a-f]*[a-f])[0-9a-f]{8,}(?![0-9A-Za-z])")
_WRITTEN = re.compile(r"(?<![0-9A-Za-z])(?=[0-9a-f]*[0-9])[0-9a-f]{6,}(?![0-9A-Za-z])")
_LONG_NUMBER = re.compile(r"\d{4,}")
_VERSION_FOLDER = re.compile(r"v?\d+(?:[._]\d+)*(?:[-_+~.][0-9A-Za-z]{1,12})?")
_EMPTY_AT_START = (*TEMPORARY, "/run/")
_FILE = re.compile(r"/|memfd:")
_DESTINATION = re.compile(rf".+:(?:\d{{1,5}}|high)/(?:ip|{'|'.join(each.name.lower() for each in Protocol)})")
_SH = re.compile(r"(?<![^ ])/bin/dash(?![^ ])")
_USR_MERGE = re.compile(r"(?<![^ ])/usr/(bin|sbin|lib|lib64)/")


def printable(text: str, limit: int = MAX_KEY) -> str:
    """Return `text` safe to show on one line: control characters escaped, at most about `limit` characters."""
    if not text.isprintable():
        text = "".join(each if each.isprintable() else each.encode("unicode_escape", "replace").decode() for each in text)
    if len(text) > limit:
        digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()
        text = f"{text[: limit - 10]}…{digest}"
    return text


@lru_cache(maxsize=65_536)
def path(exe: str, *, written: bool = False) -> str:
    """Return an executable's path with versions, numbers and random names replaced where machines write them.

    What lies in a folder for temporary files, or was written into a folder with a random name, is called as whoever wrote it
    likes: a build runs another such file each time, and so does an intruder. So they are one file, but for the names of tools.
    """
    text = printable(exe).replace(ARGUMENTS, " :")
    written |= text.startswith(_EMPTY_AT_START)
    if not any(map(str.isdigit, text)) and not written:
        return text
    text = _UUID.sub("<uuid>", text)
    folder, slash, name = text.rpartition("/")
    if written:
        folder = _WRITTEN.sub("<hex>", folder)
    parts = [
        "<n>" if _VERSION_FOLDER.fullmatch(part) else _LONG_NUMBER.sub("<n>", _HEX.sub("<hex>", part))
        for part in folder.split("/")
    ]
    folder = "/".join(parts)
    if folder.startswith("/proc/"):
        name = "<n>" if name.isdigit() else name
    if written and not _says_something(name):
        root = next((each for each in TEMPORARY if text.startswith(each)), "")
        if root or "<" in folder:
            return f"{root or folder + slash}<file>"
        name = _LONG_NUMBER.sub("<n>", _WRITTEN.sub("<hex>", name))
    return f"{folder}{slash}{name}"


def _says_something(name: str) -> bool:
    """Return whether a name that anybody may have given to a file tells what it is."""
    return tool(name) is not None or name in SHELLS or is_interpreter(name)


def names_applet(word: str) -> bool:
    """Return whether a word after a multi-call binary's own name says which of its programs runs."""
    return _APPLET.fullmatch(word) is not None


def as_called(program: str, arguments: tuple[str, ...]) -> tuple[str, ...]:
    """Return the argument list of a program in its key form with its own name first: `busybox wget x` is called as `wget x`."""
    if len(arguments) < 2 or not program.partition(" (")[0].endswith("]"):
        return arguments
    if arguments[0].rpartition("/")[2] not in MULTI_CALL or not names_applet(arguments[1]):
        return arguments
    return arguments[2 if arguments[1].startswith(_SCRIPT) else 1 :]


def program(exe: str, called: str, parent: str, flags: int) -> str:
    """Return how a process is named: its path, the applet of a multi-call binary, and what is odd about it.

    Args:
        exe: the file that the kernel executed; `/proc/self/exe` is the parent's file.
        called: what argv[0] calls it, or the next word (`names_applet`); used for multi-call binaries only.
        parent: the parent's file, empty when it is outside of the container.
        flags: bits of `Processes.flags`.
    """
    if exe == "/proc/self/exe" and parent:
        exe = parent
    text = path(exe, written=bool(flags >> ProcessFlag.UPPER_LAYER & 1))
    if exe.rpartition("/")[2] in MULTI_CALL and called:
        applet = called.rpartition("=" if called.startswith("--") else "/")[2].lstrip("-")
        text += f"[{printable(applet, 64).replace(ARGUMENTS, ' :')}]"
    marks = [mark for flag, mark in MARKS if flags >> flag & 1]
    return f"{text} ({', '.join(marks)})" if marks else text


@lru_cache(maxsize=65_536)
def file_of(key: str) -> str:
    """Return the file of an exec's key, without applet and marks: as it is called where it is a parent."""
    return key.partition(" <- ")[0].partition(" (")[0].partition("[")[0]


def is_key(key: str, *, connect: bool) -> bool:
    """Return whether a text can be a behaviour's: it names a file and, of a connect, place, port and protocol."""
    exe, _, where = key.partition(ARGUMENTS)[0].partition(" -> ")
    return _FILE.match(exe) is not None and (_DESTINATION.fullmatch(where) is not None if connect else not where)


@lru_cache(maxsize=65_536)
def merged(key: str) -> str:
    """Return the form in which keys are compared: `/usr/bin/x` and `/bin/x` are one file on a merged distribution.

    A base image that moves from one layout to the other changes no behaviour. And `sh` is `dash` on Debian and its kin: a
    recorder that could not follow the link before the process was gone names the link.
    """
    return _SH.sub("/bin/sh", _USR_MERGE.sub(r"/\1/", key))


def destination(packed: bytes, port: int, protocol: int, peer: Peer | None) -> str:
    """Return where a connect goes: a workload, service or DNS name when known, else the class of its address.

    A service and the workload of the same name are one destination: which of both an event names depends on where the
    address translation was seen.
    """
    place = "high" if port >= HIGH_PORT else str(port)
    name = Protocol(protocol).name.lower() if protocol else "ip"
    if peer is None or not _is_known(peer):
        where = address_class(packed)
    elif peer.workload.kind in {"apiserver", "metadata-service"}:
        where = peer.workload.kind
    elif peer.workload.kind == "Node":
        where = "node"
    elif peer.workload.kind == "DNS":
        where = printable(peer.workload.name, 128)
    else:
        where = printable(f"{peer.namespace}/{peer.workload.name}", 160)
    if port == 53:  # resolving names is one behaviour, whatever answers: cluster DNS, a node's cache, its address
        where = "dns" if peer is not None or not where.startswith("public") else where
    return f"{where}:{place}/{name}"


def told_ports(ports: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return one port for all of which a destination says the same."""
    told: npt.NDArray[Any] = np.minimum(ports, HIGH_PORT)
    return told


def told_by_peer(peers: Sequence[Peer]) -> npt.NDArray[np.bool_]:
    """Return per peer, as events refer to them (0 is nobody), whether a destination does not depend on its address."""
    return np.array([False, *map(_is_known, peers)])


def _is_known(peer: Peer) -> bool:
    return bool(peer.workload.kind)
