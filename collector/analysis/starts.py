"""What only starts had a program run: the licence of the words that were said then, at any time, and of no others.

Entrypoints and first runs start shells that a service never needs again, and all replicas do so. If that made the shell usual,
nobody would hear of the first one that a request starts. So where arguments are new after a replica's start, their program is
in question again, as if it were new, unless it was run with accepted arguments in between. A container that starts again says
what its first start said.
"""

from collector.analysis.behaviours import context_of
from collector.analysis.questions import Question
from collector.analysis.sightings import Entry, SightingTable, Standing
from collector.detect.tools import Level
from collector.records import BehaviourType

__all__ = ["program_in_question"]

_ACCEPTED = int(Standing.ACCEPTED)
"""A plain number: asked of many rows in a loop."""


def program_in_question(question: Question, table: SightingTable) -> Entry | None:
    """Return the program of new arguments if with them it is hardly ever normal and only starts had it run until now.

    What is known to be bad is told whenever it is first done, and persons have no starts.
    """
    behaviour, group = question.behaviour, question.group
    program = group.find(BehaviourType.EXEC, behaviour.base) if behaviour.base else None
    row = None if program is None else program.rows.get(int(table.replica[question.row]))
    if (
        row is None
        or behaviour.injected
        or context_of(behaviour).level is not Level.STRONG
        or _in_start(question, table, question.row, int(table.first[question.row]))
        or not _in_start(question, table, row, int(table.first[row]))
    ):
        return None
    said = group.arguments_of(behaviour.base)
    usual = any(
        each.past_replicas
        or any(
            table.standing.item(at) == _ACCEPTED and not _in_start(question, table, at, table.last.item(at))
            for at in each.rows.values()
        )
        for each in said
    )
    return None if usual else program


def _in_start(question: Question, table: SightingTable, row: int, time: int) -> bool:
    replica = question.group.replicas[int(table.replica[row])]
    return replica.start_seen and time - replica.first < question.startup
