"""Events as JSON Lines, the form in which recordings, imports and exports speak (proto3 JSON of `Event`).

`read` turns lines into columns; what it accepts is what proto3 JSON accepts, plus fields and event kinds it does not know,
which it leaves out. `write` turns columns into lines. Both cost a few microseconds an event: what repeats (subjects, processes,
whole seconds) is worked out once.
"""

from peerwatch.jsonlines.reading import MAX_LINE, BadLineError, Reader, lines, read
from peerwatch.jsonlines.writing import write

__all__ = [
    "MAX_LINE",
    "BadLineError",
    "Reader",
    "lines",
    "read",
    "write",
]
