"""What somebody did, whatever they called their files: the same deed on several replicas has one cause.

A key says too much and too little for that: a dropped file has another name on each replica, and the key of a shell does not
say what it was told.
"""

from typing import TypeAlias

from peerwatch.columns import ProcessFlag

from collector.analysis.behaviours import Behaviour, context_of, words_of
from collector.detect.shell_commands import command_string, commands
from collector.detect.tools import COMMON, SHELLS, TEMPORARY, Level, base_name, tool

__all__ = ["Deed", "deed"]

Deed: TypeAlias = tuple[str, ...]

MOST_WORDS = 16
"""Words that tell a deed apart from others."""

_DROPPED = 1 << ProcessFlag.UPPER_LAYER | 1 << ProcessFlag.MEMFD


def deed(behaviour: Behaviour) -> Deed | None:
    """Return what was done; None for what is not odd anywhere or is done by every script."""
    about, name = context_of(behaviour), base_name(behaviour.exe)
    if about.level < Level.SUSPICIOUS or (about.level < Level.STRONG and name in COMMON):
        return None
    if behaviour.target:
        return (behaviour.key,) if about.level >= Level.STRONG else None
    if behaviour.flags & _DROPPED or behaviour.exe.startswith(TEMPORARY):
        return ("a dropped file",)
    if about.level < Level.STRONG:
        words = words_of(behaviour)
    else:
        script = command_string(name, behaviour.example[1:])
        words = () if script is None else tuple(_command(word) for word, is_command in commands(script) if is_command)
    return "sh" if name in SHELLS else name, *words[:MOST_WORDS], *about.techniques


def _command(word: str) -> str:
    """Return a command's name; a file of which nothing is known may be called anything."""
    name = base_name(word)
    return name if "/" not in word or name in SHELLS or tool(name) is not None else "a file"
