"""Foreign text and terminals: everything that a pod, a node or a file chose goes through `escape` before a person sees it.

Lists are tables on a terminal and plain aligned text in a pipe, without colours. Rich is given `Text` only, never markup.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from google.protobuf import json_format
from google.protobuf.message import Message
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

__all__ = ["Cell", "Progress", "as_json", "escape", "json_line", "print_line", "print_message", "print_table"]


def escape(text: str) -> str:
    r"""Return text that a terminal shows and does not obey: control characters, bidirectional overrides → `\x1b`, `\u202e`."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _visible(ord(char)) for char in text)


def _visible(code: int) -> str:
    named = {9: r"\t", 10: r"\n", 13: r"\r"}.get(code)
    if named:
        return named
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def json_line(line: str) -> str:
    """Return a line of JSON with the same meaning in which what a terminal would obey stands as an escape of JSON."""
    if line.isprintable():
        return line
    return "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in line)


def as_json(message: Message) -> dict[str, Any]:
    """Return a message as proto3 JSON has it, fields with their default included."""
    fields: dict[str, Any] = json_format.MessageToDict(message, always_print_fields_with_no_presence=True)
    return fields


def print_message(message: Message, **more: object) -> None:
    """Print an answer of the collector as one line of JSON, and beside its fields those in `more` that are there."""
    fields = as_json(message) | {name: value for name, value in more.items() if value is not None}
    sys.stdout.write(json_line(json.dumps(fields, ensure_ascii=False)) + "\n")


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell, or a part of a line: its text, not escaped yet, and how a terminal with colours shows it."""

    text: str
    style: str = ""


class Progress:
    """Says on standard error how long work goes on: on a terminal one line that is written anew, else one line each."""

    def __init__(self) -> None:
        self._lively = sys.stderr.isatty()
        self._shown = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def say(self, text: str) -> None:
        """Say how far it is, instead of what was said before."""
        if self._lively:
            sys.stderr.write(f"\r\x1b[2K\x1b[2m{escape(text)}\x1b[0m")
        else:
            sys.stderr.write(escape(text) + "\n")
        sys.stderr.flush()
        self._shown = self._lively

    def clear(self) -> None:
        """Make room for what is printed on the same terminal."""
        if self._shown and sys.stdout.isatty():
            sys.stderr.write("\r\x1b[2K")
            sys.stderr.flush()
            self._shown = False

    def end(self) -> None:
        """Let the last words stand."""
        if self._shown:
            sys.stderr.write("\n")
            sys.stderr.flush()
            self._shown = False


def _console() -> Console:
    return Console(file=sys.stdout, markup=False, highlight=False, emoji=False)


def print_table(header: Sequence[str], rows: Sequence[Sequence[str | Cell]], *, right: Sequence[str] = ()) -> None:
    """Print rows under a header; the columns named in `right` hold numbers."""
    cells = [[each if isinstance(each, Cell) else Cell(each) for each in row] for row in rows]
    if sys.stdout.isatty():
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
        for name in header:
            table.add_column(name, justify="right" if name in right else "left", overflow="fold")
        for row in cells:
            table.add_row(*(Text(escape(cell.text), style=cell.style) for cell in row))
        _console().print(table)
        return
    texts = [list(header), *([escape(cell.text) for cell in row] for row in cells)]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    for line in texts:
        aligned = [
            text.rjust(width) if name in right else text.ljust(width)
            for name, text, width in zip(header, line, widths, strict=True)
        ]
        sys.stdout.write("  ".join(aligned).rstrip() + "\n")


def print_line(parts: Sequence[str | Cell]) -> None:
    """Print one line of parts, as they are one after the other."""
    cells = [each if isinstance(each, Cell) else Cell(each) for each in parts]
    if sys.stdout.isatty():
        line = Text()
        for cell in cells:
            line.append(escape(cell.text), style=cell.style or None)
        _console().print(line, soft_wrap=True)
    else:
        sys.stdout.write("".join(escape(cell.text) for cell in cells) + "\n")
