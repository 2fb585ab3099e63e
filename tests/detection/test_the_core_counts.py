"""The detection core on plain numbers."""

import numpy as np
import pytest

from collector.detect import context, decision, peers, support, surprise


def test_the_unseen_mass_falls_with_repetition_and_rises_with_singletons() -> None:
    assert surprise.unseen_mass(0, 0) == 0.5
    assert surprise.unseen_mass(99, 0) == 0.005
    assert surprise.unseen_mass(99, 10) == 0.105


def numbers(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def test_novelty_counts_late_discoveries_that_bursts_would_hide() -> None:
    steady = surprise.novelty(numbers(0, 1), numbers(50, 49), numbers(0, 1), np.ones(2, bool), begin=0, now=100)
    bursts = surprise.novelty(numbers(0, 1), numbers(50, 49), numbers(0, 90), np.ones(2, bool), begin=0, now=100)

    assert (steady.probability, steady.observations) == (0.01, 99)
    assert bursts.probability == 0.03


def test_a_peer_counts_only_if_it_had_the_opportunity() -> None:
    second = 1_000_000_000
    first, last = numbers(0, 0, 95, 0) * second, numbers(100, 100, 100, 10) * second
    alive = peers.running(first, last, numbers(100, 100, 5, 10), 100 * second)
    found = peers.compare(
        replica=0,
        shows=np.array([True, False, False, False]),
        suspected=np.zeros(4, bool),
        comparable=np.ones(4, bool),
        alive=alive,
        first=first,
        age=100 * second,
        now=100 * second,
    )

    assert (found.compared, found.sharing) == (1, 0)


@pytest.mark.parametrize(
    ("supporters", "replicas", "learned"), [(1, 5, False), (2, 5, True), (2, 10, False), (3, 10, True), (3, 500, True)]
)
def test_learning_needs_several_replicas(supporters: int, replicas: int, *, learned: bool) -> None:
    assert support.learned(supporters=supporters, replicas=replicas, revisions=1, count=10**6, span=10**18) is learned


def test_few_replicas_learn_by_time_or_revisions() -> None:
    hour = 3_600 * 1_000_000_000

    assert not support.learned(supporters=1, replicas=1, revisions=1, count=100, span=hour - 1)
    assert support.learned(supporters=1, replicas=1, revisions=1, count=3, span=hour)
    assert support.learned(supporters=1, replicas=2, revisions=2, count=1, span=0)
    assert not support.learned(supporters=0, replicas=1, revisions=3, count=100, span=hour)


STRONG = context.Level.STRONG


def case(**changes: object) -> decision.Case:
    values: dict = {
        "novelty": 0.003,
        "level": context.Level.SUSPICIOUS,
        "compared": 4,
        "sharing": 0,
        "unsuspected": 0,
        "supporters": 0,
        "known": 4,
        "starting": False,
        "person": False,
        "held": False,
    }
    return decision.Case(**(values | changes))


def test_how_odd_something_is_depends_on_what_the_workload_found_before() -> None:
    unknown, plain, odd = (
        decision.weight(case(level=STRONG, discovered=discovered, as_odd=as_odd))
        for discovered, as_odd in ((0, 0), (30, 0), (30, 15))
    )

    assert plain < unknown / 3
    assert odd > 3 * unknown


@pytest.mark.parametrize(
    ("changes", "action"),
    [
        ({}, decision.Action.RAISE),
        ({"novelty": 0.1}, decision.Action.HOLD),
        ({"novelty": 0.1, "held": True}, decision.Action.ACCEPT),
        ({"starting": True}, decision.Action.HOLD),
        ({"level": context.Level.NEUTRAL}, decision.Action.HOLD),
        ({"level": context.Level.NEUTRAL, "held": True}, decision.Action.RAISE),
        ({"held": True, "sharing": 3, "unsuspected": 3}, decision.Action.NOTE),
        ({"held": True, "sharing": 3, "unsuspected": 0}, decision.Action.RAISE),
        ({"supporters": 1, "held": True}, decision.Action.ACCEPT),
        ({"compared": 0}, decision.Action.HOLD),
        ({"compared": 0, "held": True}, decision.Action.RAISE),
        ({"compared": 0, "held": True, "novelty": 0.02}, decision.Action.ACCEPT),
        ({"level": context.Level.KNOWN_BAD, "novelty": 1.0}, decision.Action.RAISE),
        ({"level": context.Level.KNOWN_BAD, "starting": True}, decision.Action.HOLD),
        ({"level": context.Level.KNOWN_BAD, "newcomer": True}, decision.Action.HOLD),
        ({"level": context.Level.KNOWN_BAD, "newcomer": True, "alone": True}, decision.Action.RAISE),
        ({"level": context.Level.KNOWN_BAD, "newcomer": True, "held": True}, decision.Action.RAISE),
        ({"level": context.Level.NEUTRAL, "person": True, "held": True}, decision.Action.NOTE),
        ({"person": True, "held": True, "novelty": 0.9, "compared": 0}, decision.Action.RAISE),
        ({"person": True, "held": True, "novelty": 0.9, "newcomer": True}, decision.Action.RAISE),
        ({"person": True, "held": True, "novelty": 0.9, "newcomer": True, "compared": 1}, decision.Action.NOTE),
        ({"person": True, "held": True, "novelty": 0.9, "newcomer": True, "sharing": 1}, decision.Action.NOTE),
        ({"level": STRONG, "held": True, "novelty": 0.03, "compared": 1}, decision.Action.RAISE),
        (
            {"level": context.Level.STRONG, "held": True, "novelty": 0.03, "compared": 1, "newcomer": True},
            decision.Action.ACCEPT,
        ),
        ({"person": True, "held": True, "novelty": 0.9, "supporters": 2}, decision.Action.NOTE),
        ({"level": context.Level.STRONG, "held": True, "sharing": 4, "unsuspected": 4}, decision.Action.RAISE),
        ({"held": True, "sharing": 1, "unsuspected": 1, "newcomer": True}, decision.Action.ACCEPT),
        ({"held": True, "sharing": 1, "unsuspected": 0, "newcomer": True}, decision.Action.RAISE),
        ({"level": context.Level.STRONG, "held": True, "sharing": 4, "unsuspected": 4, "rollout": True}, decision.Action.NOTE),
    ],
)
def test_verdicts(changes: dict, action: decision.Action) -> None:
    assert decision.decide(case(**changes), decision.Limits()).action == action


@pytest.mark.parametrize(
    ("program", "parent", "arguments", "level", "technique"),
    [
        ("/usr/bin/dash", "/usr/bin/java", ("sh", "-c", "id"), context.Level.STRONG, "T1059.004"),
        ("/usr/bin/dash", "/usr/bin/bash", ("sh", "x.sh"), context.Level.NEUTRAL, None),
        ("/bin/busybox[wget]", "/bin/busybox[sh]", ("wget", "http://x"), context.Level.SUSPICIOUS, "T1105"),
        ("/usr/bin/dash", "/usr/sbin/cron", ("sh", "-c", "x"), context.Level.ROUTINE, None),
        ("/usr/bin/bash", "/usr/bin/dash", ("bash", "-c", "echo x >> /etc/cron.d/y"), context.Level.STRONG, "T1053.003"),
        ("/usr/bin/psql", "/usr/bin/python3", ("psql",), context.Level.NEUTRAL, None),
        ("/opt/app/report", "/usr/bin/python3", ("report",), context.Level.NEUTRAL, None),
        ("/dev/shm/x", "/usr/bin/bash", ("x",), context.Level.STRONG, "T1036.005"),
        ("/usr/bin/run-parts", "/usr/bin/dash", ("run-parts", "/etc/cron.hourly"), context.Level.NEUTRAL, None),
        ("/opt/app/report", "/usr/bin/dash", ("report", "/etc/cron.hourly/x"), context.Level.STRONG, "T1053.003"),
    ],
)
def test_context(program: str, parent: str, arguments: tuple[str, ...], level: context.Level, technique: str | None) -> None:
    found = context.of_exec(
        program=program,
        parent=parent,
        arguments=arguments,
        upper_layer=False,
        memory_file=False,
        stdio_socket=False,
        injected=False,
    )

    assert found.level == level
    assert (technique in found.techniques) if technique else not found.techniques


def test_the_rarest_draws_are_a_known_share_of_all() -> None:
    kinds = {1: 2, 4: 3, 20: 1}  # two names met once, three met four times, one met twenty times: 34 draws

    assert surprise.rarity(kinds, others=0) == 2 / 34
    assert surprise.rarity(kinds, others=3) == 14 / 34
    assert surprise.rarity(kinds, others=19) == 1
    assert surprise.rarity({}, others=0) == 1


def sign(probability: float, level: context.Level, *techniques: str) -> decision.Sign:
    return decision.Sign(probability, level, techniques)


def test_steps_of_one_cause_count_once_for_each_technique() -> None:
    shell = sign(0.02, context.Level.STRONG, "T1059.004")
    lists = sign(0.05, context.Level.SUSPICIOUS, "T1057")
    lists_again = sign(0.03, context.Level.SUSPICIOUS, "T1057")
    helper = sign(0.3, context.Level.NEUTRAL)

    assert decision.joint([shell, lists]) == pytest.approx(0.02 * 0.3**0.5)
    assert decision.joint([shell, lists, lists_again, helper]) == pytest.approx(0.02 * 0.3**0.5)
    assert decision.joint([lists, shell]) == decision.joint([shell, lists])


def test_a_step_that_says_several_things_takes_nothing_from_what_the_others_say() -> None:
    packs = sign(0.0128, context.Level.SUSPICIOUS, "T1560")
    looks = sign(0.02, context.Level.SUSPICIOUS, "T1552")
    told = decision.joint([packs, looks])

    assert decision.joint([packs, looks, sign(0.0105, context.Level.SUSPICIOUS, "T1560", "T1552")]) <= told


def test_what_one_command_says_of_several_kinds_counts_as_several_steps_do() -> None:
    shell = sign(0.0128, context.Level.STRONG, "T1059.004")
    worded = sign(0.0128, context.Level.STRONG, "T1059.004", "T1552.001")
    names = sign(0.02, context.Level.SUSPICIOUS, "T1552.001")

    assert decision.joint([worded, names]) == decision.joint([shell, names])


def test_more_of_the_same_is_no_evidence() -> None:
    lists = sign(0.005, context.Level.SUSPICIOUS, "T1057")

    assert decision.joint([lists]) == 1
    assert decision.joint([lists, sign(0.02, context.Level.SUSPICIOUS, "T1057"), sign(0.02, context.Level.NEUTRAL)]) == 1
