"""A shell's command string as a sequence of commands: which programs it runs, joined by what, on what.

No shell: quoting is undone only as far as it takes to find the commands, nothing is expanded, and what makes no sense is words.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import takewhile

__all__ = ["OPERATORS", "calls", "command_positions", "command_string", "command_words", "commands", "runs_script"]

MOST_CHARACTERS = 4096
"""Of a command string that are looked at: the length up to which recorders keep arguments."""

OPERATORS = frozenset({";", "|", "||", "&", "&&", "(", ")", "$("})

_SHELL_TOKEN = re.compile(
    r"""[ \t\r]*(?:
    (?P<comment>(?<![^\s;|&(])\#[^\n]*)
    |(?P<redirection>\d*(?:&>>?|>>|>\||>&|<&|<<<|<<-?|<>|>|<)[ \t]*)
    |(?P<operator>\n|;;?|\|\|?|&&?|\$\((?!\()|`|\(|\))
    |(?P<word>(?:\$\(\([^)]*\)\)|'[^']*'|"(?:\\.|[^"\\])*"|\\.|\$(?!\()|[^\s;|&()`'"\\$<>])+)
    |(?P<other>.))""",
    re.VERBOSE | re.DOTALL,
)
_KEYWORDS = frozenset({"if", "then", "else", "elif", "do", "while", "until", "!", "{", "time"})
"""After these a command follows."""
_WRAPPERS = frozenset(
    {"exec", "command", "nohup", "env", "sudo", "doas", "xargs", "nice", "setsid", "busybox", "toybox", "builtin"}
)
"""Commands whose first argument is a command."""
_ESCAPED = re.compile(r"\\(.)")
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
_BUILTINS = frozenset(
    (  # noqa: SIM905 — a list of words reads best as one
        "if then else elif fi for in do done while until case esac ! { } [ [[ test : . source true false echo printf cd exit "
        "return set unset export local read shift eval exec command builtin trap wait umask ulimit alias type hash getopts "
        "break continue pwd let declare function select time"
    ).split()
)
_COMMAND_OPTION = re.compile(r"-[a-z]*c[a-z]*")
_TAKE_VALUES = frozenset({"-o", "+o", "-O", "+O", "--rcfile", "--init-file"})
"""Options of shells that are followed by their value."""
_TAKE_COMMANDS = frozenset({"sh", "dash", "bash", "ash", "zsh", "ksh", "mksh", "su", "runuser"})


def command_string(name: str, arguments: Sequence[str]) -> str | None:
    """Return the command string of `sh -c '…'`, None where there is none.

    Args:
        name: base name of the program.
        arguments: without argv[0].
    """
    if name not in _TAKE_COMMANDS:
        return None
    for index, word in enumerate(arguments[:-1]):
        if _COMMAND_OPTION.fullmatch(word):
            return arguments[index + 1][:MOST_CHARACTERS]
        if not word.startswith("-") and name not in {"su", "runuser"}:
            break
    return None


def runs_script(arguments: Sequence[str]) -> bool:
    """Return whether a shell runs a script: it is given a file's path, and no command string.

    Its own input has a path, too (`/dev/stdin`), and `busybox sh` is given the name of a shell.

    Args:
        arguments: without argv[0].
    """
    words = iter(arguments)
    for word in words:
        if word in _TAKE_VALUES:
            next(words, None)
        elif not word.startswith(("-", "+")):
            folder, _, name = word.rpartition("/")
            return bool(folder) and not word.startswith(("/dev/", "/proc/")) and name not in _TAKE_COMMANDS
        elif not word.startswith("--") and ("c" in word or "s" in word):
            return False  # `-s` reads from the input, whatever follows
    return False


@lru_cache(maxsize=16_384)
def commands(text: str) -> tuple[tuple[str, bool], ...]:
    """Return the words of a shell's command string, each with whether it names a command; operators are words, too."""
    words: list[tuple[str, bool]] = []
    expected, target = True, False
    for match in _SHELL_TOKEN.finditer(text[:MOST_CHARACTERS]):
        kind, piece = match.lastgroup, match[0].strip(" \t\r")
        if kind == "operator":
            operator = ";" if piece in {"\n", ";;"} else "$(" if piece == "`" else piece
            if operator == ";" and (not words or words[-1][0] == ";"):
                continue
            words.append((operator, False))
            expected, target = operator != ")", False
        elif kind == "redirection":
            target = True
        elif kind == "word":
            word = _unquoted(piece) if not target else piece.strip("'\"")
            if target:
                target = False
                if word not in {"/dev/null", "1", "2", "&1", "&2"}:
                    words.append((">" + word, False))
                continue
            command = expected and not _ASSIGNMENT.match(word) and not word.startswith("-")
            words.append((word, command))
            if command:
                expected = word in _KEYWORDS or word.rpartition("/")[2] in _WRAPPERS
    while words and words[-1][0] == ";":
        words.pop()
    return tuple(words)


def _unquoted(piece: str) -> str:
    word = piece.replace("'", "").replace('"', "")
    return _ESCAPED.sub(r"\1", word) if "\\" in word else word


def command_words(text: str, depth: int = 3) -> tuple[str, ...]:
    """Return the base names of the programs that a command string runs, without what is the shell's own.

    Args:
        text: the command string.
        depth: how many command strings within (`sh -c "bash -c '…'"`) are read as well.
    """
    words = commands(text)
    names: list[str] = []
    for index, (word, command) in enumerate(words):
        name = word.rpartition("/")[2]
        if command and name and name not in _BUILTINS:
            names.append(name)
        if command and name in _TAKE_COMMANDS and depth:
            within = command_string(name, [each for each, _ in words[index + 1 : index + 6]])
            names += command_words(within, depth - 1) if within else ()
    return tuple(dict.fromkeys(names))


def calls(text: str, name: str, depth: int = 3) -> tuple[tuple[str, ...], ...]:
    """Return how a command string calls a program: the words of each call, the program's own first.

    Args:
        text: the command string.
        name: the program's base name.
        depth: how many command strings within are read as well.
    """
    words = commands(text)
    found: list[tuple[str, ...]] = []
    for index, (word, command) in enumerate(words):
        called = word.rpartition("/")[2]
        if command and called == name:
            found.append((word, *(each for each, _ in takewhile(lambda said: said[0] not in OPERATORS, words[index + 1 :]))))
        if command and called in _TAKE_COMMANDS and depth:
            within = command_string(called, [each for each, _ in words[index + 1 : index + 6]])
            found += calls(within, name, depth - 1) if within else ()
    return tuple(found)


def command_positions(name: str, words: Sequence[str]) -> frozenset[int]:
    """Return the positions of a template that name a command: which program runs is never left open."""
    if name not in _TAKE_COMMANDS:
        return frozenset()
    found, expected = set(), False
    for index, word in enumerate(words):
        if expected and not _ASSIGNMENT.match(word) and not word.startswith(("-", ">")):
            found.add(index)
            expected = word in _KEYWORDS or word.rpartition("/")[2] in _WRAPPERS
        elif word in OPERATORS or (not found and _COMMAND_OPTION.fullmatch(word)):
            expected = word != ")"
    return frozenset(found)
