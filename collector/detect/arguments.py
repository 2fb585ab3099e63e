"""What a program was told to do: argument lists as templates, without their accidents.

A word becomes its type where a machine usually writes it (numbers, ids, dates, addresses, random names), a shell's command
string becomes the sequence of its commands. Which positions vary freely is not guessed but learned, see `forms`.
"""

import re
from collections.abc import Sequence
from functools import lru_cache

from collector.detect.addresses import class_of
from collector.detect.forms import may_vary
from collector.detect.shell_commands import MOST_CHARACTERS, command_string, commands
from collector.detect.tools import TEMPORARY

__all__ = ["template", "text_of", "typed", "words_of"]

MOST_WORDS = 48
"""Words of a template; what is longer ends in `…`: a script of that length differs in its beginning or in what it starts."""

LONGEST_WORD = 96
"""Characters of a word: longer ones are texts, which differ in their beginning or in numbers."""

_MARKED = str.maketrans("\x02\x03", "<>")
"""Placeholders that are put in before typing stand between these characters, which words do not keep."""

_NO_MARKS = str.maketrans("\0\x02\x03", "   ")

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{1,15})://(?:[^\s/@'\"]*@)?(\[[0-9A-Fa-f:.]+\]|[^\s/:?#'\"<>]+)(:\d+)?[^\s'\",;]*")
_IPV4 = re.compile(r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d.])")
_DATE = re.compile(r"(?<!\d)\d{4}-\d\d-\d\d(?:[T_ ]\d\d:?\d\d(?::?\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?(?!\d)")
_TIME = re.compile(r"(?<![\d:])\d{1,2}:\d\d(?::\d\d)?(?![\d:])")
_UUID = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")
_TOKEN = re.compile(r"(?<![\w-])eyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?|(?<=Bearer )[\w.~+/-]{12,}=*")
"""A JSON web token, whose beginning is that of any JSON object in base64, or what stands for a bearer: each pod has its own."""
_POD = re.compile(r"(?:-[bcdfghjklmnpqrstvwxz0-9]{8,10})?-[bcdfghjklmnpqrstvwxz2456789]{5}(?![0-9A-Za-z])")
"""How Kubernetes ends generated names: an alphabet without vowels, so that no words come of it."""
_SPACE = re.compile(r"\s")
_RUN = re.compile(r"[0-9A-Za-z]+")
_HEX = re.compile(r"[0-9a-f]{8,}|[0-9A-F]{8,}")
_NUMBER = re.compile(r"\d+(?:\.\d+)*")
_MODE = re.compile(r"[0-7]{3,4}")
_PARTS = re.compile(r"[0-9]+|[a-z]+|[A-Z]+")
_WORD = re.compile(r'"[^"]*"|\S+')
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")


def _random(run: str) -> bool:
    """Return whether a run of letters and digits looks drawn: it changes its kind of character every other one."""
    return len(run) >= 6 and (parts := len(_PARTS.findall(run))) >= 4 and len(run) <= 2 * parts


def _run(match: re.Match[str]) -> str:
    run = match[0]
    if run.isdigit():
        return "<n>" if len(run) < 8 else "<id>"
    if _HEX.fullmatch(run) or _random(run):
        return "<id>"
    if run[-1].isdigit() or run[0].isdigit():  # job12, 10s
        return re.sub(r"^\d+|\d+$", "<n>", run)
    return run


def _host(name: str) -> str:
    where = class_of(name)
    if where is None:
        return _RUN.sub(_run, _POD.sub("-<id>", name.lower()))
    return where.replace(" ", ":") if where.startswith("public") else where.partition(" ")[0]


def _url(match: re.Match[str]) -> str:
    scheme, host, port = match[1].lower(), match[2], match[3] or ""
    return f"<{scheme}:{_host(host)}{port}>"


@lru_cache(maxsize=65_536)
def typed(word: str) -> str:
    """Return a word with what machines write replaced by its type."""
    word = word[:MOST_CHARACTERS].replace("\0", " ").replace("<", "\u2039")  # no word may look like a placeholder
    if _SPACE.search(word):  # a text, code or a query: what it quotes is data
        word = _QUOTED.sub("<text>", word)
    kept: list[str] = []

    def keep(text: str) -> str:
        kept.append(text)
        return f"\0{len(kept) - 1}\0"

    word = _TOKEN.sub(lambda _: keep("<token>"), word)
    if "://" in word:
        word = _URL.sub(lambda match: keep(_url(match)), word)
    word = _IPV4.sub(lambda match: keep(f"<{_host(match[0])}>" if _is_address(match[0]) else "<n>"), word)
    word = _UUID.sub(lambda _: keep("<id>"), word)
    word = _DATE.sub(lambda _: keep("<date>"), word)
    word = _TIME.sub(lambda _: keep("<time>"), word)
    word = _POD.sub(lambda _: keep("-<id>"), word)
    pieces = word.split("\0")
    pieces[::2] = [_NUMBER.sub("<n>", each) if _NUMBER.fullmatch(each) else _RUN.sub(_run, each) for each in pieces[::2]]
    pieces[1::2] = [kept[int(each)] if each.isdigit() and int(each) < len(kept) else "" for each in pieces[1::2]]
    return _on_one_line("".join(pieces).translate(_MARKED))


def _is_address(text: str) -> bool:
    return all(int(each) < 256 for each in text.split("."))


def _on_one_line(word: str) -> str:
    if not word.isprintable():
        word = "".join(each if each.isprintable() else " " for each in word)
    if len(word) > LONGEST_WORD:
        word = word[: LONGEST_WORD - 1] + "…"
    if not word or _SPACE.search(word) or word.startswith('"'):
        return '"' + " ".join(word.replace('"', "'").split()) + '"'
    return word


def template(name: str, arguments: Sequence[str], own: Sequence[tuple[str, str]] = ()) -> tuple[str, ...]:
    """Return the template of an argument list: its words, typed.

    Args:
        name: base name of the program.
        arguments: without argv[0].
        own: what the replica itself is called, each with what it is: of every replica the same.
    """
    together = "".join(arguments)
    if own or "\x02" in together or "\x03" in together:
        arguments = [_marked(word, own) for word in arguments]
    return _template(name, tuple(arguments))


def _marked(word: str, own: Sequence[tuple[str, str]]) -> str:
    word = _without_marks(word)
    for text, placeholder in own:
        if text not in word:  # most words are not: a name's pattern is used once
            continue
        word = re.sub(rf"(?<![0-9A-Za-z]){re.escape(text)}(?![0-9A-Za-z])", f"\x02{placeholder}\x03", word)
    return word


def _without_marks(word: str) -> str:
    return word.translate(_NO_MARKS)


@lru_cache(maxsize=16_384)
def _template(name: str, arguments: tuple[str, ...]) -> tuple[str, ...]:
    script = command_string(name, arguments)
    words: list[str] = []
    for word in arguments[: MOST_WORDS + 1]:
        if script is not None and word[:MOST_CHARACTERS] == script:
            words += [_command(each) if command else typed(each) for each, command in commands(script)]
            script = None
        else:
            words.append(word if name == "chmod" and _MODE.fullmatch(word) else typed(word))  # a mode is no amount
    short = [word for index, word in enumerate(words) if not index or word != words[index - 1] or not may_vary(word)]
    return tuple(short[:MOST_WORDS]) + (("…",) if len(short) > MOST_WORDS else ())


def _command(word: str) -> str:
    """Return a command's word: names keep their digits (`sha256sum`), random ones and those of temporary files do not."""
    if word.startswith(TEMPORARY):
        return typed(word)
    word = word.replace("<", "\u2039").translate(_MARKED)
    return _on_one_line(_RUN.sub(lambda run: "<id>" if _HEX.fullmatch(run[0]) or _random(run[0]) else run[0], word))


def text_of(words: Sequence[str]) -> str:
    """Return a template on one line, as people see it."""
    return " ".join(words)


def words_of(text: str) -> tuple[str, ...]:
    """Return the words of a template's line."""
    return tuple(_WORD.findall(text))
