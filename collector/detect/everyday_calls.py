"""What tools that can do much are told every day: by services, and by administrators who ask or set right."""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise, takewhile

from collector.detect.named_hosts import LOCAL, is_service, outside, urls
from collector.detect.shell_commands import OPERATORS, calls
from collector.detect.tools import TEMPORARY, base_name

__all__ = [
    "asks_certificate",
    "asks_what_is_there",
    "asks_where",
    "ends_its_own",
    "is_own_data",
    "is_plain",
    "manages",
    "only_asks",
    "sets_right",
]

_KILLS = frozenset({"kill", "pkill", "killall"})
_SIGNALS = frozenset({"HUP", "QUIT", "USR1", "USR2", "WINCH", "CONT", "0", "1", "3", "10", "12", "18", "28"})
"""What a service is told to reload, rotate, dump or go on with: it lives on."""
_RESTARTS = re.compile(r"kill(?: -(?:s )?(?:SIG)?(?:TERM|INT|15|2))? 1(?: *[;|&].*)?", re.DOTALL)
"""How administrators restart a container, which the kubelet then starts anew."""
_ENDS = re.compile(
    r"\bkill -(?:s )?(?:SIG)?(?:TERM|INT|QUIT|15|2|3) [\"']?(?:\$\(|`) ?(?:pidof [\w.-]{1,64}|cat [\w./-]{1,128}\.pid) ?[)`]"
)
"""How hooks before a container's end stop its own program, which is not the first where an init starts it."""
_MODE = re.compile(r"0?[0-7]{2}[0145]|[ug]*[-+=][rwX]+|[ugoa]*[-+=][rX]+")
"""File rights that let nobody else write and make no file set-uid; to make a file a program is none of them in letters."""
_SYSTEM = re.compile(
    r"/(?:s?bin|usr|lib\w*|etc|root|home|boot|proc|sys|dev|run|var/run|var/spool/cron\w*|var/lib/kubelet)(?:/|$)|(?:/.*)?/\."
)
"""The system's own folders and hidden files: all others are a service's own data."""
_TIDIES = frozenset({"find", "du", "ls", "stat"})
_OLDER = re.compile(r" -[acm](?:time \+\d+|min \+(?:[6-9]\d|\d{3,}))(?!\S)")
"""What is an hour old at least: younger is what is in use."""
_WITH_FOUND = re.compile(r"-exec|-ok|-fprint|-fls")
"""What `find` does with what it found, besides removing it."""
_UNLESS = frozenset({"!", "-not", "-o", "-or", ","})
"""With these `find` does it with others, too."""
_UNKNOWN_FOLDER = re.compile(r"(?:^|/)\.\.(?:/|$)|^//")
"""Where a path leads is not what it begins with."""
_ASKS_PORTS = frozenset({"nc", "ncat", "netcat", "nc.openbsd", "nc.traditional"})
_ONE_PORT = re.compile(r"-[nuv46]*z[nuv46]*(?:w\d*)?")
"""Asks only whether a port answers …"""
_ONE_PORT_OR = re.compile(r"-[nuvz46]*(?:w\d*)?")
"""… and is told nothing else but how."""
_COUNTED = re.compile(r"^\d+-\d+$|\$\{?[a-z]|(?<!\$)\{\w")
"""One port after the other, also by a loop: its variables are written small, those that settings fill in are written large."""
_FOREIGN = re.compile(r"(?!127\.)(?:\d{1,3}\.){3}\d{1,3}|.*:.*")
_GETS = {
    "curl": re.compile(
        r"-[sSvkIifLgN46]*(?:[mwH].*)?|--(?:silent|show-error|verbose|insecure|head|include|fail|location|compressed|max-time|"
        r"connect-timeout|write-out|header|retry|cacert)(?:=.*)?"
    ),
    "wget": re.compile(
        r"-[qSd46]*(?:[Tt]\d*)?|--(?:spider|server-response|quiet|no-check-certificate|timeout|tries|header)(?:=.*)?"
    ),
}
"""Options with which a page is only looked at …"""
_NOWHERE = {
    name: re.compile(rf"(?<!\S)(-\w{{0,6}}){option} ?(?:-|/dev/null)(?!\S)") for name, option in (("curl", "o"), ("wget", "O"))
}
"""… and where it may be put, then."""
_SENDS = re.compile(r"^[>@]|\$\(|`|(?<![\w+-])(?!(?:https?|telnet)://)[a-z][a-z0-9+-]*:/", re.IGNORECASE)
"""A file that is written or read, what another program says, and what is no page: some of these write, or read any file."""
_BARE_HOST = re.compile(r"[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}\.?(?::\d+)?(?:/.*)?")
_CONNECTS = re.compile(r"([\w.-]{1,253}):\w+")
_TALKS = re.compile(r"--?(?:quiet|ign_eof|proxy|host|unix|engine|provider|writerand|msgfile|keylogfile|sess_out).*")
"""Who looks at a certificate; these want to talk, go elsewhere, write files or load libraries."""
_SETS = re.compile(r"-\w*[wpf]\w*|--(?:write|load|system).*")
_NUMBERS = re.compile(r"-[ugo]|--(?:uid|gid|non-unique)|[1-9]\d*|<n>|\$.*")
"""What entrypoints change of a service's own user, who is not root: its numbers, and to none but root's."""
_OWN_KEYS = re.compile(r"-A|-l[vf]*|-[FHR]")
"""A server's keys that it has to have, a key's fingerprint, the list of known hosts …"""
_LIBRARY = re.compile(r"-\w*D.*")
"""… and a library that is run for its keys."""
_CODES = re.compile(r"enc|base64|aes.*|des.*|bf.*|rc4.*|camellia.*|chacha.*|smime|cms|rsautl|pkeyutl|s_\w+")
"""What openssl is told where it hides data or reaches out: services check, hash, sign and make certificates."""
_WITH_VALUE = frozenset({"-s", "--shell", "-c", "--command", "-g", "--group", "-G", "-w", "-h", "-p", "-C", "-T"})
"""Options of what changes the user that are followed by a value."""
_COLUMNS = re.compile(r" -\w{0,3}o|--format\b")
_OF_USERS = re.compile(r"user|uid|--sort")
"""Services ask ps for columns, as how much memory a child takes; who asks whose they are or which is the busiest looks."""
_RESOLVES = re.compile(r"a?hosts(?:v[46])?|services|protocols|networks")
"""What getent is asked by scripts that wait for another service: as connecting to it does."""
_QUERIES = {
    name: re.compile(query)
    for names, query in (
        ("dpkg", r"-[lsLSpW]|--(?:list|status|listfiles|get-selections|search|print-\S+|verify)"),
        ("rpm", r"-(?:q\w*|V\w*)|--(?:query|verify)"),
        ("apk", r"info|list|version|policy|audit|stats|verify|update"),
        ("apt", r"list|show|info|policy|search|update"),
        ("apt-get", r"update|check|indextargets"),
        ("yum dnf microdnf", r"list|show|info|repolist|check-update|search|updateinfo|makecache"),
        ("pip pip3 npm gem", r"list|ls|freeze|show|check|outdated|audit|--version|-v|-V"),
    )
    for name in names.split()
}
"""What package managers are asked about what there is, or may be had: their first word that is no option, or an option if there
is none …"""
_ASKED_BY_OPTION = frozenset({"dpkg", "rpm"})
"""… or their first option …"""
_HOOKS = re.compile(r"--(?:pipe|eval|define|load|macros|rcfile|root|option|config\S*)(?:=.*)?|-[oE].*")
"""… and what makes them run others."""
_INSTALLERS = frozenset({"apt", "apt-get", "apk", "yum", "dnf", "microdnf"})
_GETS_NO_MORE = re.compile(r"-[yqf]+|--(?:yes|quiet|no-cache|no-install-recommends|assumeyes|allow-downgrades|update)")
_FOR_A_LOOK = re.compile(
    r"(?:procps(?:-ng)?|psmisc|lsof|strace|h?top|atop|iotop|sysstat|dnsutils|bind-tools|bind9-\w+|bind-utils|iputils(?:-\w+)?|"
    r"iproute2?|net-tools|traceroute|mtr(?:-tiny)?|less|vim(?:-tiny)?|nano|jq|yq|tree|file|man-db|tzdata|ca-certificates|locales|"
    r"postgresql\d*-client(?:-\d+)?|(?:default-|mariadb-|mysql-)\w*-?client|redis-tools)(?:=\S+)?"
)
"""Packages of tools that only look, or edit what is given to them: who fetches one does so to look."""


def is_plain(name: str, arguments: tuple[str, ...], script: str | None = None) -> bool:
    """Return whether a tool is told what every service tells it, in each of its calls if a command string is given."""
    if name in _TIDIES and script is None:
        return _tidies(arguments)
    if name not in _PLAIN_IF:
        return False
    told = (arguments,) if script is None else calls(script, name)
    return bool(told) and all(map(_PLAIN_IF[name], told))


def _signals(call: Sequence[str]) -> bool:
    """Return whether a service is sent a signal on which it lives on."""
    signal = call[2:3] if list(call[1:2]) == ["-s"] else [word for word in call[1:2] if word.startswith("-")]
    return any(word.lstrip("-").removeprefix("SIG") in _SIGNALS for word in signal)


def _asks_one_port(call: Sequence[str]) -> bool:
    words = [word for word in call[1:] if not word.startswith(">")]
    options = [word for word in words if word.startswith("-")]
    waits = sum(word.endswith("w") for word in options)  # followed by how long
    plain = any(map(_ONE_PORT.fullmatch, options)) and all(map(_ONE_PORT_OR.fullmatch, options))
    return plain and len(words) - len(options) - waits == 2 and not any(map(_COUNTED.search, words))


def _waits_for_port(call: Sequence[str]) -> bool:
    """Return whether a service is asked whether it answers yet: by its name, as those of the cluster and the own one have."""
    return _asks_one_port(call) and not any(map(_FOREIGN.fullmatch, call[1:]))


def _gives_rights_up(call: Sequence[str]) -> bool:
    """Return whether a tool that changes the user is told one, and not root: services do so to become less."""
    user, words = "", iter(call[1:])
    for word in words:
        if word in {"-u", "--user"}:
            user = next(words, "")
        elif word in _WITH_VALUE:
            next(words, "")
        elif not word.startswith("-") and base_name(call[0]) != "sudo":
            user = user or word
    return user not in {"", "root", "0", "#0"}


_PLAIN_IF: Mapping[str, Callable[[Sequence[str]], bool]] = {
    **dict.fromkeys(_KILLS, _signals),
    "openssl": lambda call: not any(map(_CODES.fullmatch, call[1:2])),
    **dict.fromkeys(("su", "runuser", "sudo"), _gives_rights_up),
    "ps": lambda call: bool(_COLUMNS.search(" ".join(call))) and not _OF_USERS.search(" ".join(call)),
    "getent": lambda call: any(map(_RESOLVES.fullmatch, call[1:2])),
    **dict.fromkeys(_ASKS_PORTS, _waits_for_port),
    "sysctl": lambda call: not any("=" in word or _SETS.fullmatch(word) for word in call[1:]),
    **dict.fromkeys(
        ("usermod", "groupmod"),
        lambda call: len(call) > 3 and call[-1] != "root" and all(map(_NUMBERS.fullmatch, call[1:-1])),
    ),
    "ssh-keygen": lambda call: any(map(_OWN_KEYS.fullmatch, call[1:2])) and not any(map(_LIBRARY.fullmatch, call[2:])),
}
"""Tools that can do much, and when a call of one is what every service does."""


def _tidies(arguments: tuple[str, ...]) -> bool:
    """Return whether a tool that looks is told of folders for temporary files only: there is nothing to look for."""
    paths = [f"{each}/" for each in arguments[1:] if each.startswith("/")]
    inside = bool(paths) and all(each.startswith(TEMPORARY) and "/../" not in each for each in paths)
    return inside and not any(map(_WITH_FOUND.match, arguments))


def only_asks(name: str, arguments: tuple[str, ...]) -> bool:
    """Return whether a tool that can do much is told to do what administrators do with a service.

    That is to ask the service itself over the loopback address, or another by its name, to signal it, to copy files as
    `kubectl cp` does, or to ask whether a port answers and what is mounted or installed.
    """
    return name in _ASKS_IF and _ASKS_IF[name](arguments)


def asks_where(name: str, arguments: Sequence[str]) -> bool:
    """Return whether pages are asked for of the service itself, in whatever way, or of another one, only to look."""
    words = [word for word in arguments[1:] if not word.startswith("-")]
    hosts = [word for word in words if "://" in word or LOCAL.fullmatch(word)]
    if not hosts or outside(" ".join(arguments[1:])):
        return False
    return all(map(LOCAL.fullmatch, hosts)) or _gets(name, arguments)


def asks_certificate(arguments: Sequence[str]) -> bool:
    """Return whether openssl connects to a service of the cluster to look at its certificate."""
    hosts = [_CONNECTS.fullmatch(where) for option, where in pairwise(arguments) if option.lstrip("-") == "connect"]
    named = [host is not None and is_service(host[1]) for host in hosts]
    return list(arguments[1:2]) == ["s_client"] and bool(named) and all(named) and not any(map(_TALKS.fullmatch, arguments))


def _gets(name: str, arguments: Sequence[str]) -> bool:
    """Return whether a service of the cluster is asked by its name, and nothing is sent or kept."""
    text, nowhere = _NOWHERE[name].subn(r"\1 ", " ".join(arguments[1:]))
    if name == "wget" and not nowhere and "--spider" not in arguments:
        return False  # it keeps what it gets
    other = [word for word in arguments[1:] if "://" not in word]
    options = [word for word in text.split() if word.startswith("-") and word != "-"]
    gets = all(map(_GETS[name].fullmatch, options)) and not any(map(_BARE_HOST.fullmatch, other))
    return gets and not any(map(_SENDS.search, arguments[1:])) and all(map(is_service, urls(text)))


def asks_what_is_there(name: str, arguments: Sequence[str]) -> bool:
    """Return whether a package manager is only asked what is installed."""
    said = arguments[1:]
    verbs = [] if name in _ASKED_BY_OPTION else [word for word in said if not word.startswith("-")]
    first = (verbs or said)[:1]
    return any(map(_QUERIES[name].fullmatch, first)) and not any(map(_HOOKS.fullmatch, said))


def _fetches_to_look(arguments: Sequence[str]) -> bool:
    """Return whether a package manager is told to fetch tools that look, and nothing else."""
    words = [word for word in arguments[1:] if not word.startswith("-")]
    options = [word for word in arguments[1:] if word.startswith("-")]
    return (
        words[:1] in (["install"], ["add"])
        and len(words) > 1
        and all(map(_FOR_A_LOOK.fullmatch, words[1:]))
        and all(map(_GETS_NO_MORE.fullmatch, options))
    )


_ASKS_IF: Mapping[str, Callable[[Sequence[str]], bool]] = {
    **{name: partial(asks_where, name) for name in _GETS},
    "openssl": asks_certificate,
    **dict.fromkeys(_KILLS, _signals),
    "mount": lambda call: len(call) == 1,  # says what is
    **dict.fromkeys(_ASKS_PORTS, _asks_one_port),
    **{name: partial(asks_what_is_there, name) for name in _QUERIES},
    "tar": lambda call: "-" in call[1:4],
}
"""Tools that can do much, and when a call of one is an administrator's question."""


def manages(name: str, arguments: tuple[str, ...]) -> bool:
    """Return whether a tool from outside is told what administrators tell it.

    That is to ask (`only_asks`), to fetch tools for a look, to restart the container, or to set the service's own files right:
    their rights, their owner, a copy beside the file, or that the old ones are removed.
    """
    looks = only_asks(name, arguments) or (name in _INSTALLERS and _fetches_to_look(arguments))
    return looks or _RESTARTS.fullmatch(" ".join(arguments)) is not None or sets_right(name, arguments)


def ends_its_own(script: str) -> bool:
    """Return whether each process that a command string stops is the container's own program, as it is told before the end."""
    stopped = len(calls(script, "kill"))
    return 0 < stopped <= len(_ENDS.findall(script))


def _copies_beside(words: Sequence[str]) -> bool:
    """Return whether a file gets a copy beside it, as before it is edited."""
    paths = [word for word in words if "/" in word]
    if len(paths) != 2:
        return False
    (folder, _, file), (beside, _, copy) = (path.rpartition("/") for path in paths)
    stem = file.partition(".")[0]
    return bool(stem) and folder == beside and stem == copy.partition(".")[0] and not paths[0].startswith(TEMPORARY)


def _removes_old(words: Sequence[str]) -> bool:
    """Return whether `find` removes what is not in use any more, and nothing else happens to it."""
    asked, _, _ = " ".join(words).partition(" -delete")  # whatever comes after it, what it found is gone
    return _OLDER.search(asked) is not None and _UNLESS.isdisjoint(words) and not any(map(_WITH_FOUND.match, words))


def is_own_data(words: Sequence[str]) -> bool:
    """Return whether paths are named, and each is a service's own."""
    paths = [word for word in words if "/" in word]
    foreign = (path.startswith(TEMPORARY) or _SYSTEM.match(path) or _UNKNOWN_FOLDER.search(path) for path in paths)
    return bool(paths) and not any(foreign)


_REPAIRS_IF: Mapping[str, Callable[[Sequence[str]], bool]] = {
    "cp": _copies_beside,
    "chown": is_own_data,
    "chmod": lambda words: is_own_data(words) and any(map(_MODE.fullmatch, words)),
    "find": lambda words: is_own_data(words) and _removes_old(words),
}
"""Tools that can do much, and when the words that one is told set a service's own files right."""


def sets_right(name: str, arguments: Sequence[str]) -> bool:
    """Return whether a service's own files get a copy, rights or an owner, or the old ones of them are removed."""
    words = [word for word in takewhile(lambda word: word not in OPERATORS, arguments[1:]) if not word.startswith("--")]
    return name in _REPAIRS_IF and _REPAIRS_IF[name](words)
