"""What a behaviour means in one workload: what its arguments say that the usual ones do not, and where nobody went before."""

from peerwatch.columns import ProcessFlag

from collector.analysis.behaviours import Behaviour, context_of
from collector.analysis.learning import is_accepted
from collector.analysis.questions import Question
from collector.analysis.sightings import Group, SightingTable, Standing
from collector.detect import argument_context, context
from collector.records import BehaviourType

__all__ = ["context_in", "said"]


def context_in(behaviour: Behaviour, group: Group, table: SightingTable) -> context.Context:
    """Return what a behaviour means here: of arguments, what they say that the accepted ones of their program do not.

    A workload that was never seen to go outside of the cluster does not begin with it on one replica.
    """
    if behaviour.type is BehaviourType.CONNECT:
        outside = context.is_outside(behaviour.target) and not _goes_outside(group, table)
        injected = bool(behaviour.flags >> ProcessFlag.INJECTED & 1)
        return context.of_connect(program=behaviour.exe, target=behaviour.target, first_outside=outside, injected=injected)
    if not behaviour.base:
        return context_of(behaviour)
    known = {trait.why for trait in _accepted_traits(behaviour, group, table)}
    return argument_context.of_arguments(
        program=behaviour.exe,
        parent=behaviour.parent,
        arguments=behaviour.example,
        known=known,
        injected=bool(behaviour.flags >> ProcessFlag.INJECTED & 1),
    )


def _accepted_traits(behaviour: Behaviour, group: Group, table: SightingTable) -> list[context.Context]:
    return [
        trait
        for entry in group.arguments_of(behaviour.base)
        if is_accepted(entry, table)
        for trait in argument_context.traits(behaviour.exe, entry.example)
    ]


def said(question: Question, level: context.Level, table: SightingTable) -> int:
    """Return how many different things as telling as this level a program's accepted arguments say."""
    traits = _accepted_traits(question.behaviour, question.group, table)
    return len({trait.why for trait in traits if trait.level >= level})


def _goes_outside(group: Group, table: SightingTable) -> bool:
    rows = group.rows_of(int(BehaviourType.CONNECT))
    accepted = rows[table.standing[rows] == Standing.ACCEPTED]
    return any(group.entries[behaviour].outside for behaviour in set(table.behaviour[accepted].tolist()))
