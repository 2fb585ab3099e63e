"""What a behaviour means on any Linux system: it makes a novelty weigh more or less and names the technique.

It never decides alone, save for what no normal program does (KNOWN_BAD). Of a program that is what it is for, what it is told,
who started it and where its file came from; of a connect who goes where.
"""

import dataclasses
import re
from collections.abc import Sequence
from functools import lru_cache

from collector.detect.argument_context import (
    acts,
    is_everyday,
    of_person,
    only_wraps,
    runs_script_of_image,
    traits,
)
from collector.detect.everyday_calls import is_plain, manages
from collector.detect.named_hosts import is_inside
from collector.detect.service_calls import is_ordinary
from collector.detect.shell_commands import runs_script
from collector.detect.tools import (
    CLIENTS,
    HELPERS,
    JOBS,
    SHELLS,
    TEMPORARY,
    Context,
    Level,
    base_name,
    is_interpreter,
    tool,
    without_version,
)

__all__ = ["SHELL_STARTED", "Context", "Level", "calls_out", "is_outside", "kind_of_place", "of_connect", "of_exec"]

SHELL_STARTED = "a shell started by "
"""How the sentence begins that is about nothing but who started a shell."""
_NODE_PORTS = frozenset({"2375", "2376", "2379", "2380", "10250", "10255", "10256"})
"""Docker, etcd and kubelet: a node's own services."""

_WEB_PORTS = frozenset({"80", "443"})
"""Where services ask for licences and updates and send reports, one replica once a day, and each workload some: that one is met
says nothing. What is more than that stays, and is told by how often (`analysis.excess`)."""
_POOL_PORTS = frozenset({"3333", "4444", "5555", "7777", "14433", "14444", "45560", "45700", "1337", "31337"})
"""Where mining pools listen by custom, and the handlers of remote shells by default."""

_SOCKETS_FOR_PIPES = frozenset(
    {"node", "nodejs", "sshd", "sshd-session", "dropbear", "inetd", "xinetd", "tcpserver", "php-cgi"}
)
"""Give what they start pairs of local sockets where others give pipes (libuv's `uv_spawn`, OpenSSH without a terminal), each
client's connection, as they are told, or the socket on which they wait for the web server (FastCGI's is descriptor 0)."""

_POOLS = re.compile(
    r"(?:^|[.-])(?:xmr\w*|monero\w*|minexmr|nanopool|supportxmr|hashvault|nicehash|2miners|f2pool|ethermine|unmineable|minergate|c3pool|"
    r"herominers|zpool|prohashing|randomx)(?:[.-])",
    re.IGNORECASE,
)
"""Names of mining pools, and of what leads to them."""

_ASK_STORES = CLIENTS | {"pg_dump", "pg_dumpall", "pg_restore", "mysqldump", "mariadb-dump", "mongodump"}
"""Are there to connect to a store, and told which."""

_FETCHES = re.compile(r"(?:/usr)?/s?bin/(?:apk|(?:micro)?dnf(?:-\d)?|yum)|/usr/lib/apt/methods/https?")
"""What package managers fetch with, where it came with the image."""

_FILES = frozenset({"tar", "zip", "xz", "bzip2", "zstd", "7z", "7za", "gpg", "uname", "cp", "ln"})
"""Tools that services call for files that they make or take."""

WELL_KNOWN = 1024
"""Ports below are the system's own services."""


@lru_cache(maxsize=16_384)  # asked of each sighting up to six times: when it is met, judged, told and held against others
def of_exec(
    *,
    program: str,
    parent: str,
    arguments: tuple[str, ...],
    upper_layer: bool,
    memory_file: bool,
    stdio_socket: bool,
    injected: bool,
) -> Context:
    """Return the context of an exec.

    Args:
        program: key form of the program.
        parent: key form of its parent, empty when that is outside of the container.
        arguments: the example's argument list.
        upper_layer: the file was written after the container's start.
        memory_file: there is no file.
        stdio_socket: standard input or output is a socket.
        injected: it came from outside of the container.
    """
    name, by = base_name(program), base_name(parent)
    shell = name in SHELLS
    if memory_file:
        return Context(Level.KNOWN_BAD, ("T1620",), "a program without a file")
    if shell and stdio_socket and not (runs_script(arguments[1:]) or without_version(by) in _SOCKETS_FOR_PIPES):
        return Context(Level.KNOWN_BAD, ("T1059.004",), "a shell whose input is a socket")
    if not upper_layer and (by in JOBS or (not injected and _is_expected(program, parent, arguments))):
        return Context(Level.ROUTINE)
    found = _file(program, upper_layer=upper_layer, injected=injected)
    found += _told(program, arguments, shell=shell, injected=injected)
    if shell and by:
        found += _shell_of(program, by, arguments, injected=injected)
    known = _tool(name, by, arguments, injected=injected)
    if known is not None:
        found.append(known)
    # What a person tells it to do is told by its arguments.
    if by in SHELLS and is_interpreter(name) and not injected and not runs_script_of_image(program, arguments):
        found.append(Context(Level.SUSPICIOUS, ("T1059",), "an interpreter started by a shell"))
    if not found:
        return Context()
    best = max(found, key=lambda each: each.level)
    techniques = tuple(dict.fromkeys(each for context in found for each in context.techniques))
    return Context(best.level, techniques, best.why, all(each.inspection for each in found))


def _file(program: str, *, upper_layer: bool, injected: bool) -> list[Context]:
    """Return what a program's file says."""
    if upper_layer:
        return [Context(Level.STRONG, ("T1105",), "a file written after the container's start")]
    if program.startswith(TEMPORARY):
        return [Context(Level.STRONG, ("T1036.005",), "a program in a temporary folder")]
    if injected and program == "/proc/self/exe":
        return [Context(Level.STRONG, ("T1611",), "what enters the container starts itself")]
    return []


def _tool(name: str, by: str, arguments: tuple[str, ...], *, injected: bool) -> Context | None:
    """Return what a tool is for, None if it is none or is used as services use it."""
    known = tool(name)
    if known is not None and injected:
        return _tool_of_person(known, name, arguments)
    if known is None or _is_ordinary(name, arguments):
        return None
    if known.level < Level.STRONG and (doer := tool(by)) is not None and doer.techniques == known.techniques:
        return None  # a compiler starts the assembler: what it is for was said of its parent
    if name in _FILES and by and by not in SHELLS:
        return None  # a service's own program packs, signs or unpacks without a shell
    return known


def _tool_of_person(known: Context, name: str, arguments: tuple[str, ...]) -> Context | None:
    """Return what a tool is for that somebody uses from outside of the container, None if all services use it so."""
    if is_plain(name, arguments) and not known.inspection:  # what services look at every day, persons do look at
        return None
    looks = (known.inspection and not acts(arguments)) or manages(name, arguments)
    return dataclasses.replace(known, inspection=looks)


def _is_ordinary(name: str, arguments: tuple[str, ...]) -> bool:
    """Return whether a service tells a tool what all services do, and nothing else in the words is odd."""
    return is_plain(name, arguments) or (is_ordinary(name, arguments) and not traits(name, arguments))


def _is_expected(program: str, parent: str, arguments: tuple[str, ...]) -> bool:
    """Return whether an exec is of a service's everyday life, however rare: a helper, or itself once more, as for a reload."""
    name = base_name(program)
    again = program == parent and name not in SHELLS and not is_interpreter(name) and tool(name) is None
    return (again or name in HELPERS) and not program.startswith(TEMPORARY) and not traits(program, arguments)


def _told(program: str, arguments: tuple[str, ...], *, shell: bool, injected: bool) -> Sequence[Context]:
    """Return what arguments say: of shells and of who comes from outside and knows a service's tools, all that they do.

    Of what a service itself starts, only what is hardly ever normal: the rest is judged with its arguments, against its others.
    """
    name = base_name(program)
    if injected:
        return of_person(name, arguments, traits(program, arguments, person=True))
    if shell or name in JOBS:
        return traits(program, arguments)
    return [each for each in traits(program, arguments) if each.level >= Level.STRONG]


def _shell_of(program: str, by: str, arguments: tuple[str, ...], *, injected: bool) -> list[Context]:
    """Return what it means that a shell was started by a program inside of the container."""
    why = f"{SHELL_STARTED}{by}"
    if injected:  # a tool that starts a shell: what the person at the keyboard starts, starts from a shell
        return [Context(Level.SUSPICIOUS, ("T1059.004",), why)] if tool(by) is not None else []
    if by in SHELLS:
        return []
    if only_wraps(program, arguments, by):  # what it runs is what is new, the shell adds nothing
        return [Context(Level.NEUTRAL, ("T1059.004",), why)]
    return [Context(Level.SUSPICIOUS if is_everyday(program, arguments) else Level.STRONG, ("T1059.004",), why)]


def is_outside(target: str) -> bool:
    """Return whether a destination in its key form lies outside of the cluster, as far as its name or address tells."""
    where = target.rpartition(":")[0]
    return where.startswith("public ") or not ("/" in where or is_inside(where))


def calls_out(program: str, target: str) -> bool:
    """Return whether a shell itself connects to the outside, and not to the web as recorders say it of a shell's children."""
    port = target.rpartition(":")[2].partition("/")[0]
    return base_name(program) in SHELLS and port not in _WEB_PORTS and is_outside(target)


def kind_of_place(target: str) -> str:
    """Return a destination without saying which of its kind: `private *:5432/tcp`.

    Outside of the cluster the well-known ports are one: who meets web servers meets their time servers and mail hosts.
    """
    where, _, port = target.rpartition(":")
    if where.startswith("public "):
        well_known = port.partition("/")[0].isdigit() and int(port.partition("/")[0]) < WELL_KNOWN
        return "public *:well-known" if well_known else f"public *:{port}"
    if where.startswith("private "):
        where = "private *"
    elif "/" in where:
        where = "service *"
    elif "." in where:
        where = "name *"
    return f"{where}:{port}"


def _is_needed(program: str, where: str, rest: str) -> bool:
    """Return whether each service connects there, or each program of its kind: what those were told is judged.

    That is to the machine itself, for names and the time; a store's client to one; and a package manager to where packages are.
    """
    name = base_name(program)
    if where == "loopback":
        return True
    if _FETCHES.fullmatch(program) and rest.partition("/")[0] in _WEB_PORTS and where != "metadata-service":
        return True
    if name in _ASK_STORES and "/" in where and not where.startswith(("private ", "public ")):
        return True  # which one it was told, and that is judged
    return (where == "dns" or rest == "123/udp") and tool(name) is None


def _level_outside(name: str, port: str, *, first_outside: bool, stays: bool, usual: bool, injected: bool) -> Level:
    """Return how telling a new destination outside is.

    A service's own program meets new addresses of its suppliers all day, if it has any; a tool that was started does so for a
    reason, which is news unless it goes there as a matter of course.
    """
    known = tool(name)
    if usual and known is not None and not injected:
        return Level.NEUTRAL
    if known is not None and known.level >= Level.STRONG:
        return Level.STRONG
    if known is not None or (first_outside and (stays or port not in _WEB_PORTS)) or injected:
        return Level.SUSPICIOUS
    return Level.ROUTINE if usual or (port in _WEB_PORTS and not first_outside) else Level.NEUTRAL


@lru_cache(maxsize=16_384)  # as above
def of_connect(
    *,
    program: str,
    target: str,
    first_outside: bool = False,
    stays: bool = False,
    usual: bool = False,
    injected: bool = False,
) -> Context:
    """Return the context of a connect to a destination.

    Args:
        program: key form of the program.
        target: key form of the destination (`metadata-service:80/tcp`).
        first_outside: nothing of this workload is known to go outside of the cluster.
        stays: … and this came back soon.
        usual: the program goes to this port at other places outside.
        injected: the program came from outside of the container: it is nobody's supplier that it reaches.
    """
    name = base_name(program)
    where, _, rest = target.rpartition(":")
    port = rest.partition("/")[0]
    found = Context()
    if _POOLS.search(where):
        found = Context(Level.KNOWN_BAD, ("T1496.001",), "a mining pool")
    elif _is_needed(program, where, rest):
        found = Context(Level.ROUTINE)
    elif where == "metadata-service":
        found = Context(Level.STRONG, ("T1552.005",), "asks for the instance's credentials")
    elif port in _NODE_PORTS and (where == "node" or where.startswith("private ")):
        found = Context(Level.STRONG, ("T1613", "T1609"), "reaches a node's own services")
    elif name in SHELLS and where != "dns":
        found = Context(Level.STRONG, ("T1059.004",), "a shell that opens a connection")
    elif where == "apiserver" or (port == "6443" and (where == "node" or where.startswith("private "))):
        found = Context(Level.SUSPICIOUS, ("T1613",), "a first contact with the API server")
    elif is_outside(target) and port in _POOL_PORTS:
        found = Context(Level.STRONG, ("T1571",), "a port where mining pools and remote shells are awaited")
    elif is_outside(target):
        level = _level_outside(name, port, first_outside=first_outside, stays=stays, usual=usual, injected=injected)
        found = Context(level, ("T1071.001",), "a new destination outside of the cluster")
    elif port == "22":
        found = Context(Level.SUSPICIOUS, ("T1021.004",), "a remote shell")
    return found
