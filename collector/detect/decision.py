"""What follows from surprise, peers and context: say it at once, wait whether the peers follow, or let it be."""

import dataclasses
import enum
from collections.abc import Sequence
from dataclasses import dataclass

from collector.detect.tools import Level

__all__ = [
    "DEFAULT_LIMITS",
    "ENOUGH_PEERS",
    "FOLLOWED",
    "Action",
    "Case",
    "Limits",
    "Sign",
    "Verdict",
    "decide",
    "joint",
    "must_wait",
    "nobody_follows",
    "weight",
]

FOLLOWED = 0.5
"""More than this share of the peers must show a behaviour, too, for it to be what the workload does: the majority."""


ENOUGH_PEERS = 2
"""Replicas that had the chance and did not: with one there is no telling who deviates."""


class Action(enum.IntEnum):
    """What to do with a case."""

    ACCEPT = 0
    """Nothing to say; the sighting supports the behaviour."""
    HOLD = 1
    """Say nothing yet: peers may follow."""
    NOTE = 2
    """Worth a line: all do it, or a person did."""
    RAISE = 3
    """An alert."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Where the lines are drawn; all are probabilities of meeting something so odd in normal life."""

    at_once: float = 0.01
    """Odd enough to be said without waiting for peers. Met by a suspicious tool after some 15 executions of a settled
    workload, by a neutral one never: most of what is new and neutral is a job that the peers run seconds later."""
    after_hold: float = 0.01
    """Odd enough after the peers had their time: 50 observations without a singleton."""
    settled: float = 0.02
    """Probability of anything new at all below which a workload counts as settled: nothing but the known bad is said at once
    before. 25 observations without a singleton."""
    alone: float = 0.003
    """The same where there are fewer than two peers: nobody could have followed, so three times the history is asked for."""
    alone_odd: float = 0.02
    """The same for what is hardly ever normal inside of a running service, once its first minutes are over."""
    neutral: float = 0.003
    """The same for what speaks for nothing: helpers that are rarely needed, arguments, destinations outside of the cluster. Of
    these there is no end, and hardly any attack shows by one of them alone. A cluster's own destinations are few."""
    person: float = 0.1
    """What a person does who only looks, and not at how a service does, is told if it is among the rarest tenth of what comes
    from outside of containers, probes and scanners included, of which there are many more than persons."""

    def scaled(self, factor: float) -> "Limits":
        """Return these limits, all multiplied: the one knob for how many alerts there may be.

        False alerts grow about as the factor does (0.3: a third of them, and a twentieth of the finds), so it is the budget
        that is wanted, in alerts per replica and day, divided by the one that there is.
        """
        return Limits(*(min(1.0, each * factor) for each in dataclasses.astuple(self)))


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Case:
    """One behaviour that one replica shows for the first time."""

    novelty: float
    """Probability of something new in the workload (`surprise`)."""
    level: Level
    compared: int
    sharing: int
    """Compared replicas that show it, too."""
    unsuspected: int
    """Those of them that were not reported for it."""
    supporters: int
    """Replicas, past ones included, that showed it and were not suspected."""
    known: int
    """Replicas ever seen, without this one."""
    starting: bool
    """The replica was starting when it showed the behaviour."""
    person: bool
    """It came from outside of the container (kubectl exec, a probe, a hook)."""
    held: bool
    """The hold is over."""
    arguments: bool = False
    """Only the arguments of a known program are new."""
    inside: bool = False
    """It is a destination inside of the cluster."""
    rollout: bool = False
    """The group has several revisions: what its replicas begin together is a change that somebody made."""
    discovered: int = 0
    """Different things of this kind that the workload was found to do, after the starts of its replicas."""
    as_odd: int = 0
    """Those of them that are of this level or above."""
    newcomer: bool = False
    """Replica or workload are known for minutes only: what comes from outside may be their probes and hooks."""
    alone: bool = False
    """No other replica runs: nobody will follow."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do, and how probable such a case is in normal life."""

    action: Action
    probability: float
    followed: bool
    """Most of the peers do it, too."""


_FACTOR = {Level.ROUTINE: 10.0, Level.NEUTRAL: 1.0, Level.SUSPICIOUS: 0.3, Level.STRONG: 0.1, Level.KNOWN_BAD: 1e-4}
"""How much likelier than in an attack each kind of novelty is in normal life, as odds: a new download tool is seen in benign
rollouts, too (some three times as rare), a file executed that was written after the start hardly ever."""


YOUNG = 0.5
"""How much rarer something must be where a workload is known for minutes only: to be told if there are fewer than two peers, to
wake somebody if there are more."""

DISCOVERIES = 10
"""So many of a workload's own are worth as much as what is known of any system."""

_DEPENDENCE = 0.5
"""How far a further step of a chain counts: as a root, since the steps of a job are as little independent as an intruder's."""


def must_wait(level: Level, *, starting: bool, arguments: bool = False) -> bool:
    """Return whether a new case is held whatever its numbers are, so that nobody need work them out."""
    return level < Level.KNOWN_BAD and (starting or level < _first_at_once(arguments=arguments))


def nobody_follows(*, alone: bool, starting: bool, newcomer: bool) -> bool:
    """Return whether waiting brings nothing: no other replica runs that might do it next, and how this one starts is known."""
    return alone and not (starting or newcomer)


def _first_at_once(*, arguments: bool) -> Level:
    return Level.STRONG if arguments else Level.SUSPICIOUS


def weight(case: Case) -> float:
    """Return how probable a case is in normal life: novelty, what the other replicas say, and context, multiplied."""
    probability = case.novelty
    if case.supporters:
        # Rule of succession: the next replica to do it is as likely as the share of those that did.
        probability = max(probability, (case.supporters + 0.5) / (case.known + 1))
    return float(min(1.0, probability * _share(case)))


def _share(case: Case) -> float:
    """Return how probable it is in normal life that something new is so odd.

    A workload that found much that is new and nothing odd in it is more surprising when it does something odd than one that is
    known for little; one whose business is odd is less.
    """
    prior = _FACTOR[case.level]
    if case.level not in (Level.SUSPICIOUS, Level.STRONG):
        return prior
    return (case.as_odd + DISCOVERIES * prior) / (case.discovered + DISCOVERIES)


@dataclass(frozen=True, slots=True)
class Sign:
    """What one step of a chain says."""

    probability: float
    """Of meeting it in normal life (`weight`)."""
    level: Level
    techniques: tuple[str, ...]


def joint(signs: Sequence[Sign]) -> float:
    """Return how probable a chain of steps of one cause is in normal life.

    Something new brings its own helpers, so that steps are not new independently: the rarest counts for all. But normal life
    has no reason to be odd in several ways at once: each further technique counts with what it speaks for an attack, be it
    another step's or one more in the words of the same. Steps without a further technique are one step, which was judged by
    itself: for them it is 1. A rare step that says several things takes nothing from what the others come to without it.
    """
    ordered = sorted(signs, key=lambda each: each.probability)
    return min(_with_further(each, ordered[place:]) for place, each in enumerate(ordered))


def _with_further(first: Sign, signs: Sequence[Sign]) -> float:
    """Return what the rarest of some steps comes to with all further techniques, 1 if there are none."""
    probability, known = first.probability, set(first.techniques)
    if first.level > Level.NEUTRAL:  # what one command's words say beside the worst counts as further steps do
        probability *= _FACTOR[Level.SUSPICIOUS] ** (_DEPENDENCE * max(0, len(known) - 1))
    for sign in sorted(signs, key=lambda each: -each.level):
        if sign.level > Level.NEUTRAL and not known.issuperset(sign.techniques):
            probability *= _FACTOR[sign.level] ** _DEPENDENCE
            known.update(sign.techniques)
    return probability if probability < first.probability else 1.0


def decide(case: Case, limits: Limits) -> Verdict:
    """Return the verdict on a case; the same case is decided again when its hold is over."""
    followed = case.unsuspected > FOLLOWED * case.compared
    if case.level >= Level.STRONG and not (case.starting or case.newcomer or case.rollout or case.supporters):
        followed = False  # what is hardly ever normal and begins everywhere, without a rollout, is not everybody's habit
    probability = weight(case)
    return Verdict(_action(case, limits, probability, followed=followed), probability, followed)


def _action(case: Case, limits: Limits, probability: float, *, followed: bool) -> Action:
    if case.level >= Level.KNOWN_BAD:
        action = Action.NOTE if followed else Action.RAISE
        young = case.starting or (case.newcomer and not case.alone)  # how it works is not known yet, and peers will tell
        return Action.HOLD if young and not case.held else action
    if case.held:
        return _after_hold(case, limits, probability, followed=followed)
    if nobody_follows(alone=case.alone, starting=case.starting, newcomer=case.newcomer) and not case.compared:
        told = _after_hold(case, limits, probability, followed=followed) is Action.RAISE
    else:
        told = (
            case.novelty <= limits.settled
            and not followed
            and case.level >= _first_at_once(arguments=case.arguments)
            and not case.starting
            and case.compared >= ENOUGH_PEERS
            and probability <= limits.at_once
        )
    return Action.RAISE if told else Action.HOLD


def _after_hold(case: Case, limits: Limits, probability: float, *, followed: bool) -> Action:
    if case.person and case.level >= Level.SUSPICIOUS and not case.supporters and not _may_be_a_probe(case):
        return Action.RAISE  # more than looking; how varied a workload's own life is says nothing about persons
    limit = limits.after_hold
    if case.compared < ENOUGH_PEERS:
        limit = limits.alone * YOUNG if case.newcomer else limits.alone_odd if case.level >= Level.STRONG else limits.alone
    if case.level < Level.SUSPICIOUS and not case.inside:
        limit = min(limit, limits.neutral)
    looked = case.person and case.level < Level.SUSPICIOUS
    beginning = case.newcomer and case.unsuspected > 0 and not case.person  # the others are about to show it, too
    if not followed and probability <= limit and not (looked or beginning):
        return Action.RAISE
    return Action.NOTE if followed or (case.person and not case.starting) else Action.ACCEPT


def _may_be_a_probe(case: Case) -> bool:
    """Return whether what comes from outside may be a probe or a hook that is met for the first time.

    Those come in the first minutes, and to all replicas: not to one while others had the chance.
    """
    return case.newcomer and (case.compared < ENOUGH_PEERS or case.sharing > 0)
