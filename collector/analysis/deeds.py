"""What somebody did, whatever they called their files: the same deed on several replicas has one cause.

A key says too much and too little for that: a dropped file has another name on each replica, and the key of a shell does not
say what it was told. Said in the very same words it has one cause for longer than when it is only of one kind.
"""

from typing import NamedTuple

from peerwatch.columns import ProcessFlag

from collector.analysis.behaviours import Behaviour, context_of, words_of
from collector.detect.shell_commands import command_string, commands
from collector.detect.tools import COMMON, SHELLS, TEMPORARY, Level, base_name, tool

__all__ = ["Deed", "deeds"]

MOST_WORDS = 16
"""Words that tell a deed apart from others."""

_DROPPED = 1 << ProcessFlag.UPPER_LAYER | 1 << ProcessFlag.MEMFD


class Deed(NamedTuple):
    """What was done."""

    what: tuple[str, ...]
    literal: bool
    """It was done in these very words or to this very place, not only something of this kind."""


def deeds(behaviour: Behaviour) -> tuple[Deed, ...]:
    """Return what was done, in its own words and as a kind; nothing for what is not odd anywhere or is done by every script."""
    about, name = context_of(behaviour), base_name(behaviour.exe)
    if about.level < Level.SUSPICIOUS or (about.level < Level.STRONG and name in COMMON):
        return ()
    if behaviour.target:
        return (Deed((behaviour.key,), literal=True),) if about.level >= Level.STRONG else ()
    if behaviour.flags & _DROPPED or behaviour.exe.startswith(TEMPORARY):
        return (Deed(("a dropped file",), literal=False),)
    called = "sh" if name in SHELLS else name
    if about.level < Level.STRONG:
        return (Deed((called, *words_of(behaviour)[:MOST_WORDS], *about.techniques), literal=False),)
    said = behaviour.example[1:]
    script = command_string(name, said)
    names = () if script is None else tuple(_command(word) for word, is_command in commands(script) if is_command)
    kind = Deed((called, *names[:MOST_WORDS], *about.techniques), literal=False)
    return (kind, Deed((called, *said[:MOST_WORDS]), literal=True)) if said else (kind,)


def _command(word: str) -> str:
    """Return a command's name; a file of which nothing is known may be called anything."""
    name = base_name(word)
    return name if "/" not in word or name in SHELLS or tool(name) is not None else "a file"
