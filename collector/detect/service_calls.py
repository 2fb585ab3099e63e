"""What services tell tools of their own accord: how large the machine is, whether another answers, how data is handed on.

Software sizes its pools by the processors, picks a library by the system's name, waits for its peers and hands its data to a
new replica, often for the first time hours after its start. A person who asks the same looks around.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise

from collector.detect.everyday_calls import (
    asks_certificate,
    asks_what_is_there,
    asks_where,
    is_own_data,
    is_plain,
    sets_right,
)
from collector.detect.named_hosts import LOCAL, is_service, outside
from collector.detect.shell_commands import calls
from collector.detect.tools import Level, base_name, is_interpreter, tool

__all__ = ["is_ordinary", "of_image"]

_IMAGE = re.compile(r"/(?:usr|opt|etc|s?bin|lib(?:32|64|exec)?|scripts?)/[^\s.](?:(?!/\.)\S)*|/[\w-][\w.-]*")
"""A file of the folders that images bring programs and scripts in, or right under the root: services write to none …"""
_PAGE = re.compile(r"/(?:cgi-bin|www|html|htdocs|webapps)/|\.(?:php\d?|phtml|jspx?|aspx?|cgi)$")
"""… and no page: intruders put these where a web server runs them."""
_VERSION = re.compile(r"--?version|-[vV]|version|--client|--short")
_SHORT = 256
"""Characters of a command string at most in which versions are looked for: who asks for one says little else."""
_MEASURE = re.compile(r"-\S+|\d+")
_SYSTEM_NAME = re.compile(r"-[smpi]{1,2}")
"""The system's, the machine's or the processor's name, as for the right library; intruders ask for the kernel's release."""
_HOST_NAME = re.compile(r"-[fsdiI]|--(?:fqdn|short|domain|ip-address|all-ip-addresses)")
_DEFAULT_ROUTE = re.compile(r"(?:-[46jo] )*route (?:(?:show|list|get) )?default")
_PROCESS = frozenset({"-p", "-q", "--pid", "--ppid"})
_NAMED_PROCESS = re.compile(r"(?!-[a-zA-Z]*[lau])(?!--list).*")
"""Whether one runs, and no list of whose and with what words."""
_ONE_SOCKET = re.compile(r" -\w*i ?(?:TCP|UDP)?:\d+(?= |$)| -\w*p ?\d+(?= |$)|\bsport = :\d+|^ -s$")
"""Who listens on one port, what one process has open, or how many there are in all."""
_STATE = re.compile(
    r"/proc/(?:cpuinfo|meminfo|stat|loadavg|uptime|diskstats|net/(?:dev|sockstat6?|snmp)|\d+/statm?|self/(?:statm?|cgroup))|"
    r"/sys/(?:class|fs/cgroup|devices)/(?!dmi)[\w.:/-]+|/etc/(?:debian_version|machine-id)|"
    r"/var/lib/dbus/machine-id"
)
"""Files that say how large and how busy the machine is; not which system this is, with all that is known of it."""
_FILTERS = {"grep": 1, "egrep": 1, "fgrep": 1, "head": 0, "tail": 0}
"""What is put after a pipe, and how many words are no option: what is looked for."""
_FILTER_OPTION = re.compile(r"-[^rRf]*|\d+")
_LISTS_RULES = re.compile(r"-\w*[LSVC]|--(?:list|list-rules|check|version)")
_CHANGES_RULES = re.compile(r"-\w*[ADIRFXPNZE]|--(?:append|delete|insert|replace|flush|policy|new|zero|delete-chain|rename).*")
_GIT = re.compile(r"(?:git[ -](?:upload-pack|receive-pack|upload-archive)|git-lfs-\w+) .*")
"""What git has the other side of its connection run."""
_COMMANDS = re.compile(r"proxycommand|localcommand|knownhostscommand", re.IGNORECASE)
_PIPES = frozenset({"stdio", "-", "STDIO"})
_STREAM = re.compile(r"(?:tcp|openssl)[46]?(?:-connect|-listen)?:[^:!|]{1,96}(?::\d{1,5})?(?:,.*)?|.*\.sock", re.IGNORECASE)
_STARTS = re.compile(r"\b(?:exec|system|shell|pty|fork)\b", re.IGNORECASE)
_SOURCE = re.compile(r".*\.(?:c|cc|cpp|cxx|s|S|o|a|so|rs|go)")
_WAITS = re.compile(r"-[znvNqw]+\d*")
_EVERY = re.compile(r"any\b|.*\*|.*\.any\.")


def of_image(path: str) -> bool:
    """Return whether a file's path is one where images bring programs and scripts, and services do not write."""
    return _IMAGE.fullmatch(path) is not None and _PAGE.search(path) is None


def _all(pattern: re.Pattern[str]) -> Callable[[Sequence[str]], bool]:
    return lambda call: all(map(pattern.fullmatch, call[1:]))


def _asks_version(call: Sequence[str]) -> bool:
    return 1 < len(call) <= 4 and all(map(_VERSION.fullmatch, call[1:]))


def _looks_for_helper(call: Sequence[str]) -> bool:
    """Return whether a program is looked for that is no tool: services ask so whether their helpers are there."""
    asked = [base_name(word) for word in call[1:] if not word.startswith("-")]
    return bool(asked) and not any(tool(each) is not None or is_interpreter(each) for each in asked)


def _filters(most: int, call: Sequence[str]) -> bool:
    words = [word for word in call[1:] if not _FILTER_OPTION.fullmatch(word)]
    words = [word for word in words if not _STATE.fullmatch(word)]
    return len(words) <= most and not any(word.startswith(("-", ">")) for word in words)


def _about_one_process(call: Sequence[str]) -> bool:
    return any(option in _PROCESS and value.isdigit() for option, value in pairwise(call))


def _about_one_socket(call: Sequence[str]) -> bool:
    return _ONE_SOCKET.search(" " + " ".join(call[1:])) is not None


def _hands_on(call: Sequence[str]) -> bool:
    """Return whether one side is its own pipe and the other a stream inside of the cluster, as a new replica gets data."""
    ends = [word for word in call[1:] if word not in {"-u", "-U", "-d"}]
    pipes = [word for word in ends if word in _PIPES]
    streams = [word for word in ends if _STREAM.fullmatch(word) and not _STARTS.search(word)]
    one_way = "-u" in call or "-U" in call or any(word.endswith(".sock") for word in streams)
    return one_way and len(ends) == 2 and len(pipes) == len(streams) == 1 and not _reaches_outside(streams[0])


def _reaches_outside(stream: str) -> bool:
    host = stream.split(":")[1] if ":" in stream else ""
    return outside(f"tcp://{host}")


def _asks_itself(call: Sequence[str]) -> bool:
    """Return whether the container's own port is talked to, as to have a store say how it does."""
    words = [word for word in call[1:] if not word.startswith("-")]
    ports = [word for word in words if word.isdigit()]
    options = [word for word in call[1:] if word.startswith("-")]
    return any(map(LOCAL.fullmatch, words)) and len(words) - len(ports) == 1 and all(map(_WAITS.fullmatch, options))


def _asks_names(call: Sequence[str]) -> bool:
    """Return whether one of the cluster's services is looked up by its name."""
    words = [word for word in call[1:] if not word.startswith(("+", "-"))]
    return len(words) == 1 and is_service(words[0]) and not _EVERY.match(words[0])


def _only_lists_rules(call: Sequence[str]) -> bool:
    return any(map(_LISTS_RULES.fullmatch, call)) and not any(map(_CHANGES_RULES.fullmatch, call[1:]))


def _speaks_git(call: Sequence[str]) -> bool:
    return _GIT.fullmatch(call[-1]) is not None and not any(map(_COMMANDS.search, call))


def _finds_library(call: Sequence[str]) -> bool:
    """Return whether a compiler is only asked where a library is: what it would link, of no source."""
    return not {"-Wl,-t", "-t"}.isdisjoint(call) and not any(map(_SOURCE.fullmatch, call[1:])) and "-shared" not in call


_ORDINARY_IF: Mapping[str, Callable[[Sequence[str]], bool]] = {
    # how large and how busy the machine is, and what it is called
    **dict.fromkeys(("nproc", "lscpu", "free", "uptime", "locale"), _all(_MEASURE)),
    "uname": _all(_SYSTEM_NAME),
    "hostname": _all(_HOST_NAME),
    "lsb_release": _all(_MEASURE),
    "id": lambda call: list(call[1:]) in (["-u"], ["-g"]),
    "ip": lambda call: _DEFAULT_ROUTE.fullmatch(" ".join(call[1:])) is not None,
    "journalctl": lambda call: not {"-f", "--follow"}.isdisjoint(call),
    "cat": lambda call: len(call) > 1 and all(map(_STATE.fullmatch, call[1:])),
    **{name: partial(_filters, most) for name, most in _FILTERS.items()},
    "which": _looks_for_helper,
    # its own processes, sockets and files
    "ps": _about_one_process,
    "pidof": lambda call: len(call) > 1,
    "pgrep": lambda call: len(call) > 1 and _all(_NAMED_PROCESS)(call),
    **dict.fromkeys(("lsof", "ss", "netstat"), _about_one_socket),
    **dict.fromkeys(("cp", "ln", "du"), lambda call: is_own_data(call[1:])),
    **{name: partial(sets_right, name) for name in ("chown", "chmod", "find")},
    # others, by their names
    **{name: partial(asks_where, name) for name in ("curl", "wget")},
    **dict.fromkeys(("dig", "nslookup", "host"), _asks_names),
    "openssl": asks_certificate,
    "socat": _hands_on,
    **dict.fromkeys(("nc", "ncat", "netcat"), _asks_itself),
    "ssh": _speaks_git,
    "sshd": lambda call: "-R" in call,  # how it starts itself again for each connection
    # what there is
    **{name: partial(asks_what_is_there, name) for name in ("dpkg", "rpm", "apk", "pip", "pip3", "npm", "gem")},
    **dict.fromkeys(("iptables", "ip6tables"), _only_lists_rules),
    "iptables-save": lambda call: not any(word.startswith("-f") for word in call),
    "crontab": lambda call: list(call[1:]) == ["-l"],
    **dict.fromkeys(("gcc", "cc", "ld"), _finds_library),
}
"""Tools that look, reach out or can do much, and when a call of one is what software makes by itself."""


def is_ordinary(name: str, arguments: tuple[str, ...], script: str | None = None, *, person: bool = False) -> bool:
    """Return whether a tool is told what services tell it, in each of its calls if a command string is given.

    Args:
        name: the tool's base name.
        arguments: with argv[0], of the tool or of the shell that is given the command string.
        script: the command string.
        person: somebody came from outside of the container, who looks where a service asks.
    """
    if is_plain(name, arguments, script):
        return True
    ordinary, known = _ORDINARY_IF.get(name), tool(name)
    weak = known is None or known.level < Level.STRONG  # the version of what changes the user is asked for its flaws
    if person or (ordinary is None and not (weak and len(script or "") <= _SHORT)):
        return False
    told = (arguments,) if script is None else calls(script, name)
    if not told or not all(told):  # nor when it was executed without any words, not even its name
        return False
    return all((weak and _asks_version(call)) or (ordinary is not None and ordinary(call)) for call in told)
