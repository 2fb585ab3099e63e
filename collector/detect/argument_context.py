"""What new arguments of a known program mean on any Linux system: what they say that the known ones did not.

Arguments have traits: the places that they name, the tools that a command string runs, code, addresses outside of the cluster.
A trait that the program's usual arguments have as well says nothing, the others set the level.
"""

import dataclasses
import re
from collections.abc import Collection, Sequence
from functools import lru_cache

from collector.detect import sayings
from collector.detect.everyday_calls import ends_its_own, manages
from collector.detect.named_hosts import outside, outside_type
from collector.detect.service_calls import is_ordinary, of_image
from collector.detect.shell_commands import (
    calls,
    command_positions,
    command_string,
    command_words,
    commands,
    programs,
    runs_script,
)
from collector.detect.tools import (
    CLIENTS,
    COMMON,
    HELPERS,
    JOBS,
    SHELLS,
    TEMPORARY,
    Context,
    Level,
    base_name,
    is_interpreter,
    places,
    tool,
    without_version,
)

__all__ = [
    "acts",
    "fixed_words",
    "is_everyday",
    "of_arguments",
    "of_person",
    "only_wraps",
    "runs_script_of_image",
    "traits",
]

_OUTSIDE = "an address outside of the cluster"
_RUNS = "it runs "
"""How the sentence of a trait begins that a tool in a command string is."""

_MOST_TEXT = 8192
"""Characters of arguments that are searched, as for an exec."""

_INTERPRETER = re.compile(
    r"(?:python|perl|ruby|php|lua|node|nodejs|tclsh|expect|erl|elixir|groovy|jjs|jshell|ocaml|Rscript|scala|r?vim?|nvim|view)[\d.]*"
)
_AWKS = frozenset({"awk", "gawk", "mawk", "nawk"})
_AWK_STARTS = re.compile(r"\bsystem\s{0,4}\(|/inet[46]?/(?:tcp|udp)/")
"""Its program is its first argument, whatever the options are; its patterns are words of what it reads."""
_CODE = re.compile(r"-[A-Za-z]*[ce]|-[A-Za-z]{0,3}[cer].*[\s(;].*|--?eval|-r(?:socket)?|-p", re.DOTALL)
"""How an interpreter is given code, as the next word or in the same …"""
_GLUED = re.compile(r"(?<!\S)-[A-Za-z]?[cer]")
"""… whose first word begins after the option."""
_STARTS = re.compile(
    r"\bos:cmd\b|\bSystem\.cmd\b|\.execute\(\)|\)\.exec\(|\bSys\.command\b|\bsys\.process\b|\bspawn /bin/\w*sh\b|"
    r"child_process|subprocess|os\.(?:system|execute|popen|dup2|spawn)|\bsystem\(|\bexec[lv]?[pe]*\(|pty\.spawn|\bpopen|io\.popen|"
    r"\b(?:shell_exec|passthru|proc_open|pcntl_exec|execSync|spawnSync|callCommand)\b|\bspawn\s{0,2}\(?[\"']/?(?:bin/)?(?:ba)?sh\b",
    re.IGNORECASE,
)
_REACHES_OUT = re.compile(
    r"\bsocket\b|/inet/(?:tcp|udp)|\burllib|\brequests\b|http\.client|net\.connect|IO::Socket|fsockopen|TCPSocket|stream_socket_client",
    re.IGNORECASE,
)
_HERE = re.compile(r"localhost|127\.0\.0\.1|\[::1\]")
_ELSEWHERE = re.compile(r"(?<![\d.])(?!127\.)(?:\d{1,3}\.){3}\d{1,3}(?![\d.])|\.svc\b")
"""Where probes written as code ask: the container itself, and nobody else."""
_FROM_ROOT = re.compile(r" /(?!\S)")
_EVERYWHERE = re.compile(
    r"\bfind(?: -[HLP]){0,3} /(?!\S)"
    r"(?!(?: -(?:xdev|mount|type f|x?name \S{1,64})){0,4} -size \+\d{1,9}[MG]"
    r"(?! .{0,256}(?:-(?:delete|f(?:print|ls)|(?:exec|ok)(?:dir)? (?!ls|du|stat))|"
    r"\bxargs (?!(?:-\w{1,8} ){0,4}(?:ls|du|stat)))))|"
    r"\bgrep [^|;&]{0,48}-\w{0,8}[rR]|\bls [^|;&]{0,48}-\w{0,8}R"
)
"""A search, or a listing of a whole tree; with the root, of everything. Who asks which files are large, and what they are,
wants to know what fills a disk."""
_LISTS_ALL = re.compile(
    r"\bls [^|;&]{0,48}-\w{0,8}R[^|;&]{0,16} /(?:root|home|opt|srv|app|mnt|media|etc|var|usr)/?(?!\S)|"
    r"\bdu (?:-\w+ )*-\w*a\w* (?:-\w+ )*/(?!\S)"
)
"""A listing of all that lies in one of the first folders, or of how large each single file of the system is."""
_REMOVES = re.compile(
    r"\brm (?:-\w+ )*-\w*(?:[rR]\w*f|f\w*[rR])\w* (?:[^|;&]* )?"
    r"(?:/(?!tmp|run|dev|var/tmp|var/cache)[^/\s]*(?:/[^/\s]*)?|/var/lib/(?!apt\b)[^/\s]+/?|~/?\*?)(?=\s|$)|"
    r"\bfind /(?!tmp|run|dev|proc|sys|var/(?:tmp|run|cache))[^/\s]{1,64}(?:/[^/\s]{0,64}){0,2}"
    r"(?: -(?:xdev|mindepth \d|type [fdl]|depth)){0,4} (?:-delete|-exec (?:rm|shred|unlink)) ?|"
    r"\s(?:-sdel|--remove-files)\b|\bmv \S{1,64} /dev/null\b|\bchmod (?:-R )?0{1,3} /(?=\s|$)"
)
"""A whole folder near the root is removed without a question, or all that is in it."""
_ACTS = re.compile(r">(?!\s*/dev/null(?:\s|[;|&)]|$)|&\d)|\s-(?:exec|execdir|ok|okdir|delete|fprint\w*|fls)\b")
"""What makes a tool that looks do more: a file that its output is written to, what `find` does with what it found."""
_LISTS = frozenset({"ls", "stat"})
"""Say of a file that it is there, whose it is and what its rights are, as who checks a system's hardening asks …"""
_HARDENED = frozenset({"T1003.008", "T1053.003", "T1546.004", "T1552.004", "T1556.003"})
"""… of the files that these are about: passwords, job tables, shell files, keys, login modules."""
_ERLANG = re.compile(r"(?:exec )?(?:/bin/)?sh -s (?:unix:cmd|disksup)(?: 2>&1)?")
"""How Erlang's `os:cmd` and its watch over disks call a shell, which reads commands from them: what it starts is what tells."""
_HOOK = re.compile(r"(?:\./)?hooks/[\w-]{1,32}")
"""How git runs the hooks of the repository that somebody pushes to."""
_SAYS_NOTHING = frozenset({":", "true", "false", "exit", "echo", "printf", "test", "[", "ulimit", "type", "command"})
"""What shells do themselves and is nobody's business, as long as nothing is written."""
_READS = frozenset({"cat", "grep", "egrep", "fgrep", "head"})
_OF_SYSTEM = frozenset({"T1082", "T1497.001"})
"""What system this is, and where it runs: nothing odd where all that is asked is what services ask."""
_SET_UID = re.compile(r"(?:^|\s)0?[2-7][0-7]{3}(?:\s|$)|[ugo]*\+[rwx]*s")


@lru_cache(maxsize=16_384)
def traits(program: str, arguments: tuple[str, ...], *, person: bool = False) -> tuple[Context, ...]:
    """Return what an argument list says, one context each; the sentence of a context names the trait.

    Args:
        program: the program's key form.
        arguments: with argv[0].
        person: it came from outside of the container: who asks what services ask looks around.
    """
    name, rest = base_name(program), arguments[1:65]
    text = " ".join(rest)[:_MOST_TEXT]
    script = command_string(name, rest)
    names = (name,) if script is None else command_words(script)
    told = text if script is not None else f"{name} {text}"
    ordinary = _ordinary(names, arguments, script, person=person)
    tools = {word: known for word in names if word not in ordinary and (known := tool(word)) is not None}
    found = [] if name in JOBS else places(text)  # job tables are a scheduler's business
    if names and _LISTS.issuperset(names):
        found = [
            dataclasses.replace(each, level=Level.SUSPICIOUS, inspection=True)
            if _HARDENED.issuperset(each.techniques)
            else each
            for each in found
        ]
    if script is not None:
        found += [
            Context(known.level, known.techniques, f"{_RUNS}{word}, {known.why}", known.inspection)
            for word, known in tools.items()
            if word not in COMMON
        ]
    called = [
        (each, call[1:])
        for each in names
        if each in SHELLS or _reads_code(each)
        for call in (((name, *rest),) if script is None else calls(script, each))
    ]
    coded = [(each, told_it) for each, told_it in called if _reads_code(each)]
    found += [known for each, told_it in called for known in _script(each, told_it)]
    if any(_starts_or_reaches(each, told_it) for each, told_it in coded):
        found.append(Context(Level.STRONG, ("T1059",), "code that starts programs or opens connections"))
    dropped = script is not None and any(word.startswith(TEMPORARY) for word in programs(script))
    if dropped:
        found.append(Context(Level.STRONG, ("T1036.005",), "it runs a program of a temporary folder"))
    if outside(text):
        level = Level.SUSPICIOUS if tools else Level.NEUTRAL
        found.append(Context(level, ("T1105",), _OUTSIDE, bool(tools) and all(each.inspection for each in tools.values())))
    found += sayings.known_bad(told)
    if script is None and name == "openssl" and tools:
        found.append(tools[name])
    if (_FROM_ROOT.search(told) and _EVERYWHERE.search(told)) or _LISTS_ALL.search(told):
        found.append(Context(Level.SUSPICIOUS, ("T1083",), "it searches the whole file system"))
    if _REMOVES.search(told):
        found.append(Context(Level.SUSPICIOUS, ("T1485",), "it removes whole folders"))
    if "chmod" in names and _SET_UID.search(text):
        found.append(Context(Level.STRONG, ("T1548.001",), "it makes a file set-uid"))
    found += sayings.said(told, tools=bool(tools))
    reads_state = not (person or ordinary.isdisjoint(_READS)) and all(each in ordinary or _is_helper(each) for each in names)
    return tuple(each for each in found if not (reads_state and _OF_SYSTEM.issuperset(each.techniques)))


def _ordinary(names: Sequence[str], arguments: tuple[str, ...], script: str | None, *, person: bool) -> set[str]:
    """Return which programs are told what services tell them: beside one that is not, only what speaks for nothing anywhere."""
    found = {each for each in names if is_ordinary(each, arguments, script, person=person)}
    if person or all(each in found or _is_helper(each) or is_interpreter(each) for each in names):
        return found
    return {each for each in found if is_ordinary(each, arguments, script, person=True)}


def _script(name: str, arguments: Sequence[str]) -> list[Context]:
    """Return what the script is for that a shell or an interpreter is given, if it is known and hardly ever normal."""
    if command_string(name, arguments) is not None:
        return []
    file = next((word for word in arguments if not word.startswith("-")), "")
    known = tool(base_name(file)) if not {"/", "."}.isdisjoint(file) else None
    return [known] if known is not None and known.level >= Level.STRONG else []


def _reads_code(name: str) -> bool:
    return name in _AWKS or _INTERPRETER.fullmatch(name) is not None


def _starts_or_reaches(name: str, arguments: Sequence[str]) -> bool:
    """Return whether what reads code is given some in its arguments that starts programs or opens connections."""
    text = " ".join(arguments)[:_MOST_TEXT]
    if name in _AWKS:
        return _AWK_STARTS.search(text) is not None
    if not any(map(_CODE.fullmatch, arguments)):
        return False
    text = _GLUED.sub(" ", text)
    probes = _HERE.search(text) is not None and _ELSEWHERE.search(text) is None and not outside(text)
    return _STARTS.search(text) is not None or (_REACHES_OUT.search(text) is not None and not probes)


def acts(arguments: Sequence[str]) -> bool:
    """Return whether a tool that looks is told to do more than that."""
    return _ACTS.search(" ".join(arguments)) is not None


def is_everyday(program: str, arguments: tuple[str, ...]) -> bool:
    """Return whether a shell is told what services tell it: a script's file, or programs and files; nothing looks around."""
    said = traits(program, arguments)
    script = next((word for word in arguments[1:] if not word.startswith("-")), "")
    from_file = "/" in script and " " not in script and not script.startswith(("/dev/", "/proc/", *TEMPORARY))
    return (from_file or command_string(base_name(program), arguments[1:]) is not None) and all(
        each.level < Level.SUSPICIOUS or (each.level < Level.STRONG and not each.inspection and each.why.startswith(_RUNS))
        for each in said
    )


def only_wraps(program: str, arguments: tuple[str, ...], by: str) -> bool:
    """Return whether a shell is told to run programs that are no tools, and nothing else: as services call their helpers.

    Args:
        program: the shell.
        arguments: its own.
        by: base name of what started it: a language's interpreter that runs another script could do so without a shell.
    """
    name, rest = base_name(program), arguments[1:65]
    script = command_string(name, rest)
    if _ERLANG.fullmatch(f"sh {' '.join(rest)}" if script is None else script):
        return True
    if traits(program, arguments):
        return False
    if script is None:
        from_image = runs_script(rest) and of_image(_script_file(rest))
        return from_image or (by == "git" and any(map(_HOOK.fullmatch, rest[:1])))
    names = command_words(script)
    return all(
        is_ordinary(each, arguments, script) or _is_helper(each) or _runs_own_script(each, script, by) for each in names
    ) and (bool(names) or _says_nothing(script))


def _script_file(words: Sequence[str]) -> str:
    """Return the file that a shell or an interpreter is given, which comes after its options."""
    return next((word for word in words if not word.startswith(("-", "+"))), "")


def runs_script_of_image(program: str, arguments: tuple[str, ...]) -> bool:
    """Return whether an interpreter is told to run a script that came with the image, and nothing else is odd about it."""
    told = arguments[1:65]
    return of_image(_script_file(told)) and not any(map(_CODE.fullmatch, told[:3])) and not traits(program, arguments)


def _runs_own_script(name: str, script: str, by: str) -> bool:
    """Return whether an interpreter has a shell run itself with another script."""
    if not is_interpreter(name) or without_version(name) != without_version(by.partition("-")[0]):
        return False
    return all(len(call) > 1 and not any(map(_CODE.fullmatch, call[1:3])) for call in calls(script, name))


def _says_nothing(script: str) -> bool:
    words = commands(script)
    return all(word.rpartition("/")[2] in _SAYS_NOTHING or not command for word, command in words) and not any(
        word.startswith(">") or word in {"eval", "exec", "source", "."} for word, _ in words
    )


def _calls_helpers(program: str, arguments: Sequence[str]) -> bool:
    """Return whether a shell is told to call a service's helpers and nothing else, as for each mail or picture."""
    script = command_string(base_name(program), arguments[1:])
    names = () if script is None else command_words(script)
    return bool(names) and HELPERS.issuperset(names)


def _is_helper(name: str) -> bool:
    known = tool(name)
    if name in SHELLS or name in CLIENTS or is_interpreter(name):
        return False
    return known is None or known.level is Level.NEUTRAL or (name in COMMON and not known.inspection)


@lru_cache(maxsize=16_384)
def fixed_words(program: str, words: tuple[str, ...]) -> frozenset[int]:
    """Return the positions of a template that a free position must not cover: what names a command or has a trait."""
    telling = (index for index, word in enumerate(words) if word.startswith("<public") or outside_type(word) or places(word))
    return command_positions(base_name(program), words) | frozenset(telling)


def of_person(name: str, arguments: Sequence[str], said: Sequence[Context]) -> list[Context]:
    """Return what arguments say when a person stands behind them: tools that only ask are looking.

    An address outside of the cluster is no supplier of the service's, whatever program is told of it.
    """
    script = command_string(name, arguments[1:65])
    made = {} if script is None else {each: calls(script, each) for each in command_words(script)}
    asking = tuple(f"{_RUNS}{each}," for each, all_of in made.items() if all_of and all(manages(each, call) for call in all_of))
    if script is not None and ends_its_own(script):
        asking += (f"{_RUNS}kill,",)
    known = tool(name)
    if known is not None and manages(name, tuple(arguments)):
        asking += (known.why,)
    looks = known is not None and known.inspection and not acts(arguments)
    return [
        dataclasses.replace(each, inspection=True)
        if asking and each.why.startswith(asking)
        else dataclasses.replace(each, level=max(each.level, Level.SUSPICIOUS), inspection=each.inspection or looks)
        if each.why == _OUTSIDE
        else each
        for each in said
    ]


def of_arguments(
    *, program: str, parent: str, arguments: Sequence[str], known: Collection[str], injected: bool = False
) -> Context:
    """Return the context of arguments by what is new in them.

    Args:
        program: the program's key form.
        parent: its parent's, empty when that is outside of the container.
        arguments: the example's, with argv[0].
        known: sentences of the traits that the program's known arguments have.
        injected: it came from outside of the container.
    """
    if base_name(parent) in JOBS:
        return Context(Level.ROUTINE)
    said: Sequence[Context] = traits(program, tuple(arguments), person=injected)
    said = of_person(base_name(program), arguments, said) if injected else said
    # Whatever a program is for: naming an address outside of the cluster for the first time is more than another word.
    found = [dataclasses.replace(each, level=max(each.level, Level.SUSPICIOUS)) for each in said if each.why not in known]
    if not found:
        return Context() if said or not _calls_helpers(program, arguments) else Context(Level.ROUTINE)
    best = max(found, key=lambda each: each.level)
    techniques = tuple(dict.fromkeys(technique for each in found for technique in each.techniques))
    return Context(best.level, techniques, best.why, all(each.inspection for each in found))
