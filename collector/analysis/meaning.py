"""What a behaviour means in one workload: what its arguments say that the usual ones do not, and where nobody went before."""

import numpy as np
from peerwatch.columns import NANOSECONDS

from collector.analysis.behaviours import Behaviour, context_of
from collector.analysis.learning import is_accepted
from collector.analysis.questions import Question
from collector.analysis.sightings import Entry, Group, SightingTable, Standing
from collector.detect import argument_context, context, software
from collector.detect.tools import SHELLS, TEMPORARY, base_name, tool
from collector.records import BehaviourType

__all__ = ["NO_JOB", "meaning", "said"]

_ACCEPTED = int(Standing.ACCEPTED)

_SHELL = "T1059.004"

_CARRIES = frozenset({"T1048", "T1105", "T1567.002"})
"""What brings something in or out: a shell that is hardly ever normal is no part of the business of who does that, too."""

VARIETY = 32
"""Different programs that one doer starts on a workload, beyond its replicas' starts, for it to run whatever it is given. Real
services have up to 19 within an hour, and more in a month; build runners, most of which are known by name, 18 to 25."""

NO_JOB = (
    *("T1003", "T1014", "T1046", "T1053", "T1136", "T1496", "T1547", "T1552", "T1562", "T1571", "T1574"),
    *("T1110", "T1556", "T1611", "T1613"),
)
"""Techniques that no build needs, no probe and no hook: credentials, other hosts, accounts, kernels, miners, the way out."""

YOUNG = 900 * NANOSECONDS
"""Nanoseconds from a workload's first event until some replicas' counts tell whether a new place outside stays (`excess`) …"""
COMES_BACK = 3
"""… and connections to it that tell so before: who asks once does so over both families of addresses at most."""


def meaning(question: Question, table: SightingTable) -> context.Context:
    """Return what the behaviour in question means for its workload.

    Where users run what they like (builds, tasks), a tool that is odd in a service is one more that somebody needs.
    """
    behaviour = question.behaviour
    about = _context(question, table)
    if about.level >= context.Level.KNOWN_BAD:
        return about
    if not _is_brought(behaviour.exe):
        if behaviour.type is BehaviourType.CONNECT and _is_expected(question):
            return context.Context(context.Level.ROUTINE)
        does = _does(behaviour, about)
        if does and _business(question) >= does:
            return context.Context(context.Level.ROUTINE)
    odd = about.level >= context.Level.SUSPICIOUS and not behaviour.injected
    calls_out = behaviour.type is BehaviourType.CONNECT and context.calls_out(behaviour.exe, behaviour.target)
    no_job = calls_out or any(each.startswith(NO_JOB) for each in about.techniques)
    return context.Context() if odd and not no_job and _runs_anything(question, table) else about


def _does(behaviour: Behaviour, about: context.Context) -> set[str]:
    """Return the techniques that have to be the workload's business for this to be it, none if it is nobody's.

    Where it is a tool's business to leave the cluster, so is where it leads.
    """
    leaves = behaviour.type is BehaviourType.CONNECT and context.is_outside(behaviour.target)
    known = tool(base_name(behaviour.exe)) if leaves else None
    does = set(about.techniques if known is None else known.techniques)
    if about.level < context.Level.STRONG:
        return does - {_SHELL} or does  # that is told what services tell theirs: what it runs is what counts
    if _SHELL not in does:
        return does
    only_shell = about.why.startswith(context.SHELL_STARTED) and _CARRIES.isdisjoint(does)
    return does - {_SHELL} if only_shell else set()


def _is_expected(question: Question) -> bool:
    """Return whether a replica's own program reaches for its peers (a new leader's), or for a service as it does for all."""
    behaviour, own = question.behaviour, question.group.workload
    name, target = base_name(behaviour.exe), behaviour.target
    if name in SHELLS or tool(name) is not None or target.startswith("private ") or context.is_outside(target):
        return False
    peers = target.startswith(f"{own.namespace}/{own.name}:")
    return peers or any(map(software.reaches_everything, (name, *question.group.names)))


def _is_brought(program: str) -> bool:
    """Return whether a program did not come with the image: nothing is its business."""
    return program.startswith(TEMPORARY) or "(" in program


def _business(question: Question) -> frozenset[str]:
    """Return the techniques that are what this image, or the program that does it here, is there for."""
    behaviour = question.behaviour
    doer = behaviour.exe if behaviour.type is BehaviourType.CONNECT else behaviour.parent
    name = base_name(doer)
    own = frozenset[str]() if _is_brought(doer) or tool(name) is not None else software.business(name)
    return own.union(*map(software.business, question.group.names))


def _runs_anything(question: Question, table: SightingTable) -> bool:
    """Return whether some program of the workload starts so many different ones that they are its users' business.

    Where there are other replicas these have to: what one of them does alone says nothing of the workload.
    """
    group = question.group
    if group.runs_anything or any(map(software.runs_anything, group.names)):
        return True
    if any(_is_others(entry, question, table) for entry in group.runs_scripts):
        return True
    if _is_brought(question.behaviour.exe):
        return False  # that it starts many programs of its image does not say that it is given others
    rows = group.rows_of(int(BehaviourType.EXEC))
    if len(question.group.replicas) > 1:
        rows = rows[table.slot[rows] != table.slot[question.row]]
    late = table.first[rows] - table.lives.first[table.slot[rows]] >= question.startup
    rows = rows[late & (table.standing[rows] == _ACCEPTED)]
    if len(rows) < VARIETY:
        return False  # as nearly always: to tell programs apart would cost most of a judgement
    started = np.unique(np.stack((table.source[rows], table.behaviour[rows].astype(np.int64))), axis=1)
    _, programs = np.unique(started[0], return_counts=True)
    return bool(programs.max(initial=0) >= VARIETY)


def _is_others(entry: Entry, question: Question, table: SightingTable) -> bool:
    """Return whether a replica was accepted with it: another one, if there are any."""
    own = -1 if len(question.group.replicas) == 1 else int(table.replica[question.row])
    return any(replica != own and table.standing.item(row) == _ACCEPTED for replica, row in entry.rows.items())


def _context(question: Question, table: SightingTable) -> context.Context:
    """Return what a behaviour means here: of arguments, what they say that the accepted ones of their program do not.

    A workload that was never seen to go outside of the cluster does not begin with it on one replica.
    """
    behaviour, group = question.behaviour, question.group
    if behaviour.type is BehaviourType.CONNECT:
        outside = context.is_outside(behaviour.target)
        places = _outside(group, table) if outside else []
        port = behaviour.target.rpartition(":")[2]
        return context.of_connect(
            program=behaviour.exe,
            target=behaviour.target,
            first_outside=outside and not places,
            usual=any(each.key.startswith(f"{behaviour.exe} -> ") and each.key.endswith(f":{port}") for each in places),
            stays=question.now - group.first < YOUNG and table.count.item(question.row) >= COMES_BACK,
            injected=behaviour.injected,
        )
    if not behaviour.base:
        return context_of(behaviour)
    known = {trait.why for trait in _accepted_traits(behaviour, group, table)}
    return argument_context.of_arguments(
        program=behaviour.exe,
        parent=behaviour.parent,
        arguments=behaviour.example,
        known=known,
        injected=behaviour.injected,
    )


def _accepted_traits(behaviour: Behaviour, group: Group, table: SightingTable) -> list[context.Context]:
    return [
        trait
        for entry in group.arguments_of(behaviour.base)
        if is_accepted(entry, table)
        for trait in argument_context.traits(behaviour.exe, entry.example, person=behaviour.injected)
    ]


def said(question: Question, level: context.Level, table: SightingTable) -> int:
    """Return how many different things as telling as this level a program's accepted arguments say."""
    traits = _accepted_traits(question.behaviour, question.group, table)
    return len({trait.why for trait in traits if trait.level >= level})


def _outside(group: Group, table: SightingTable) -> list[Entry]:
    """Return the places outside of the cluster where somebody of the workload goes as a matter of course."""
    rows = group.rows_of(int(BehaviourType.CONNECT))
    accepted = rows[table.standing[rows] == _ACCEPTED]
    entries = (group.entries[behaviour] for behaviour in set(table.behaviour[accepted].tolist()))
    return [entry for entry in entries if entry.outside]
