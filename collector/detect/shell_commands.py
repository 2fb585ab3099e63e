"""A shell's command string as a sequence of commands: which programs it runs, joined by what, on what.

No shell: quoting is undone only as far as it takes to find the commands, nothing is expanded, and what makes no sense is words.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import takewhile

__all__ = ["OPERATORS", "calls", "command_positions", "command_string", "command_words", "commands", "programs", "runs_script"]

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
_WRAPPERS = {
    **dict.fromkeys(
        (  # noqa: SIM905 — a list of words reads best as one
            "exec command nohup env sudo doas xargs nice ionice setsid setpriv stdbuf watch busybox toybox builtin torsocks "
            "proxychains proxychains4 unbuffer"
        ).split(),
        0,
    ),
    **dict.fromkeys(("timeout", "flock", "chroot", "gosu", "su-exec", "taskset", "chrt"), 1),
}
"""Commands whose argument is a command, and how many words of their own come before it: how long, which lock, whose."""
_STARTS = frozenset({"-exec", "-execdir", "-ok", "-okdir"})
"""Options of `find` that are followed by a command."""
_NAMED = frozenset({"-u", "-g", "-U", "--user", "--group", "-a", "-I", "-C"})
"""Options of wrappers that are followed by a name: whose, or which."""
_AMOUNT = re.compile(r"[\d.]+[smhd]?|<n>[smhd]?")
"""The value of a wrapper's option: how nice, how many, how often."""
_SUBSTITUTION = re.compile(r"\$\((?!\()([^()]{1,512})\)|`([^`]{1,512})`")
"""A command whose output is part of a word."""
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
            _, is_path, name = word.rpartition("/")
            return bool(is_path) and not word.startswith(("/dev/", "/proc/")) and name not in _TAKE_COMMANDS
        elif not word.startswith("--") and ("c" in word or "s" in word):
            return False  # `-s` reads from the input, whatever follows
    return False


class _Expectation:
    """Whether a command comes next, from word to word."""

    def __init__(self, *, expected: bool) -> None:
        self.expected = expected
        self._before, self._last = 0, ""

    def operator(self, which: str) -> None:
        self.expected, self._before, self._last = which != ")", 0, ""

    def names_command(self, word: str) -> bool:
        """Take the next word and return whether it is a command's name."""
        after, self._last = self._last, word
        if word in _STARTS:
            self.expected, self._before = True, 0
            return False
        if not self.expected or _ASSIGNMENT.match(word) or word.startswith(("-", ">")) or after in _NAMED:
            return False
        if after and _AMOUNT.fullmatch(word):
            self._before = 0
            return False
        if self._before:
            self._before -= 1
            return False
        name = word.rpartition("/")[2]
        self.expected, self._before = word in _KEYWORDS or name in _WRAPPERS, _WRAPPERS.get(name, 0)
        return True


@lru_cache(maxsize=16_384)
def commands(text: str) -> tuple[tuple[str, bool], ...]:
    """Return the words of a shell's command string, each with whether it names a command; operators are words, too."""
    words: list[tuple[str, bool]] = []
    next_word, target = _Expectation(expected=True), False
    for match in _SHELL_TOKEN.finditer(text[:MOST_CHARACTERS]):
        kind, piece = match.lastgroup, match[0].strip(" \t\r")
        if kind == "operator":
            operator = ";" if piece in {"\n", ";;"} else "$(" if piece == "`" else piece
            if operator == ";" and (not words or words[-1][0] == ";"):
                continue
            words.append((operator, False))
            next_word.operator(operator)
            target = False
        elif kind == "redirection":
            target = True
        elif kind == "word":
            word = _unquoted(piece) if not target else piece.strip("'\"")
            if target:
                target = False
                if word not in {"/dev/null", "1", "2", "&1", "&2"}:
                    words.append((">" + word, False))
                continue
            words.append((word, next_word.names_command(word)))
    while words and words[-1][0] == ";":
        words.pop()
    return tuple(words)


def _unquoted(piece: str) -> str:
    word = piece.replace("'", "").replace('"', "")
    return _ESCAPED.sub(r"\1", word) if "\\" in word else word


@lru_cache(maxsize=16_384)
def programs(text: str, depth: int = 3) -> tuple[str, ...]:
    """Return the programs that a command string runs, as it names them, without what is the shell's own.

    Args:
        text: the command string.
        depth: how many command strings within (`sh -c "bash -c '…'"`) are read as well.
    """
    words = commands(text)
    found: list[str] = []
    for index, (word, command) in enumerate(words):
        name = word.rpartition("/")[2]
        if command and name and name not in _BUILTINS:
            found.append(word)
        for within in _within(words, index) if depth else ():
            found += programs(within, depth - 1)
    return tuple(dict.fromkeys(found))


def command_words(text: str) -> tuple[str, ...]:
    """Return the base names of the programs that a command string runs."""
    return tuple(dict.fromkeys(word.rpartition("/")[2] for word in programs(text)))


def _within(words: Sequence[tuple[str, bool]], index: int) -> list[str]:
    """Return the command strings within one: what a shell in it is told, what stands in a word for its output."""
    word, command = words[index]
    found = [inner or ticked for inner, ticked in _SUBSTITUTION.findall(word)] if "`" in word or "$(" in word else []
    name = word.rpartition("/")[2]
    if command and name in _TAKE_COMMANDS:
        told = command_string(name, [each for each, _ in words[index + 1 : index + 6]])
        found += [told] if told else []
    return found


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
        for within in _within(words, index) if depth else ():
            found += calls(within, name, depth - 1)
    return tuple(found)


def command_positions(name: str, words: Sequence[str]) -> frozenset[int]:
    """Return the positions of a template that name a command: which program runs is never left open."""
    if name not in _TAKE_COMMANDS:
        return frozenset()
    found: set[int] = set()
    next_word = _Expectation(expected=False)
    for index, word in enumerate(words):
        if word in OPERATORS or (not found and _COMMAND_OPTION.fullmatch(word)):
            next_word.operator(word)
        elif next_word.names_command(word):
            found.add(index)
    return frozenset(found)
