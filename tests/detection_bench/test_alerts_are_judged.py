"""What counts as found and what as false, on alerts made by hand."""

import math
from dataclasses import replace

import pytest
import report
import scoring
from detector import Alert, Severity, WorkloadKey
from labels import Label
from scoring import Verdicts, judge

S = 10**9
CART = WorkloadKey("c", "shop", "Deployment", "cart")
ATTACK = Label(
    id="i0",
    technique="T1059.004",
    row=5,
    visibility="Y",
    namespace="shop",
    workload="cart",
    pods=("cart-1",),
    start=1_000 * S,
    end=1_010 * S,
    template="5.0",
    variant="rce",
    replicas=3,
    events=frozenset({(1_000 * S, "cart-1", 7), (1_010 * S, "cart-1", 8)}),
)
DAYS = {("shop", "cart"): 2.0}


def alert(at: float, *, pods: str = "cart-1", pid: int = 7, event: float = 1_000, severity: Severity = Severity.HIGH) -> Alert:
    names = pods.split(",")
    return Alert(int(at * S), severity, CART, frozenset(names), frozenset({(int(event * S), names[0], pid)}))


def judged(*alerts: Alert, labels: tuple[Label, ...] = (ATTACK,)) -> Verdicts:
    return judge(alerts, labels, days=DAYS)


def test_an_alert_with_an_event_of_the_attack_in_its_time_on_its_pod_is_a_hit() -> None:
    verdicts = judged(alert(1_002))
    assert [(each.found, each.delay, each.right) for each in verdicts.outcomes] == [(True, 2.0, True)]
    assert verdicts.false == []


@pytest.mark.parametrize(
    "other",
    [
        alert(1_002, event=999),  # another event
        alert(1_311, event=1_010, pid=8),  # a second too late
        alert(999),  # before
        replace(alert(1_002), pods=frozenset({"cart-2"})),  # accuses another pod
    ],
)
def test_what_is_not_all_of_that_is_missed_and_false(other: Alert) -> None:
    verdicts = judged(other)
    assert [each.found for each in verdicts.outcomes] == [False]
    assert len(verdicts.false) == 1


def test_five_minutes_after_the_end_is_still_in_time() -> None:
    assert judged(alert(1_310, event=1_010, pid=8)).outcomes[0].found


def test_a_line_in_a_report_is_no_alert() -> None:
    verdicts = judged(alert(1_002, severity=Severity.INFO))
    assert (verdicts.outcomes[0].found, verdicts.false) == (False, [])


def test_an_alert_that_names_a_bystander_too_is_found_but_not_right() -> None:
    outcome = judged(alert(1_002, pods="cart-1,cart-2")).outcomes[0]
    assert (outcome.found, outcome.right) == (True, False)


def test_with_two_replicas_nobody_asks_for_the_right_one() -> None:
    assert judged(alert(1_002), labels=(replace(ATTACK, replicas=2),)).outcomes[0].right is None


def test_a_hit_does_not_excuse_another_alert_nor_does_repetition_count_as_false() -> None:
    verdicts = judged(alert(1_002), alert(1_008, event=1_010, pid=8), alert(1_050, event=1_040))
    assert verdicts.outcomes[0].alerts == 2
    assert len(verdicts.false) == 1


def test_a_false_alert_is_counted_for_the_noise_that_most_of_its_evidence_is_of() -> None:
    events = frozenset({(1 * S, "cart-1", 1), (2 * S, "cart-1", 2), (3 * S, "cart-1", 3)})
    noise = {(1 * S, "cart-1", 1): 9, (2 * S, "cart-1", 2): 30, (3 * S, "cart-1", 3): 30}
    verdicts = judge([Alert(4 * S, Severity.LOW, CART, frozenset({"cart-1"}), events)], [], days=DAYS, noise=noise)
    assert [each.noise for each in verdicts.false] == [30]


def test_a_false_alert_during_a_rollout_is_the_rollouts() -> None:
    rollouts = [("shop", "cart", 10 * S, 20 * S), ("shop", "other", 40 * S, 60 * S)]
    told = [alert(15, event=14), alert(50, event=50)]
    verdicts = judge(told, [], days=DAYS, rollouts=rollouts)
    assert [each.rollout for each in verdicts.false] == [True, False]
    assert scoring.figures(verdicts)["false_per_rollout"] == 0.5


def test_figures_are_shares_and_rates() -> None:
    other = replace(ATTACK, id="i1", technique="T1105", visibility="Y", events=frozenset({(5 * S, "cart-9", 1)}))
    partly = replace(ATTACK, id="i2", visibility="P", events=frozenset({(6 * S, "cart-9", 2)}))
    values = scoring.figures(judged(alert(1_002), alert(2_000, event=1_999), labels=(ATTACK, other, partly)))
    assert (values["recall_Y"], values["recall_P"], values["macro_recall"]) == (0.5, 0.0, 0.5)
    assert values["false_per_replica_day"] == 0.5
    assert values["precision_10"] == pytest.approx(0.5 / 5.5)


def test_each_technique_counts_once_in_the_macro_recall() -> None:
    unseen = replace(ATTACK, technique="T1105", events=frozenset({(5 * S, "cart-9", 1)}))
    others = tuple(replace(unseen, id=f"i{number}") for number in range(3))
    assert scoring.figures(judged(alert(1_002), labels=(ATTACK, *others)))["macro_recall"] == 0.5


def test_intervals_hold_the_value_and_a_clear_win_excludes_zero() -> None:
    labels, alerts = [], []
    for number in range(30):
        name = f"w{number}"
        event = (1_000 * S, f"{name}-1", 7)
        labels.append(replace(ATTACK, id=name, workload=name, pods=(f"{name}-1",), events=frozenset({event})))
        if number % 10:
            key = CART._replace(name=name)
            alerts.append(Alert(1_001 * S, Severity.LOW, key, frozenset({f"{name}-1"}), frozenset({event})))
    days = {("shop", f"w{number}"): 1.0 for number in range(30)}
    ours, theirs = judge(alerts, labels, days=days), judge(alerts[:3], labels, days=days)
    found = scoring.interval(ours, lambda _: True)
    assert found.value == pytest.approx(0.9)
    assert found.low <= found.value <= found.high
    better, fewer = scoring.paired(ours, theirs, lambda _: True)
    assert better.low > 0
    assert (fewer.value, fewer.low, fewer.high) == (0, 0, 0)
    again, _ = scoring.paired(ours, ours, lambda _: True)
    assert (again.low, again.high) == (0, 0)


def test_without_incidents_a_recall_is_no_number_and_tables_say_so() -> None:
    verdicts = judged(labels=())
    assert math.isnan(scoring.figures(verdicts)["recall_Y"])
    assert "| -" in report.headline({"peerwatch": verdicts})


def test_what_was_missed_and_what_was_false_is_named() -> None:
    verdicts = judged(alert(2_000, event=1_999))
    assert "T1059.004" in report.missed(verdicts)
    assert "5.0 rce" in report.missed(verdicts)
    assert "the service's own work" in report.false_alerts(verdicts)


def test_operating_points_count_what_is_left_above_a_severity() -> None:
    verdicts = judged(alert(1_002, severity=Severity.MEDIUM), alert(2_000, event=1_999, severity=Severity.LOW))
    rows = {line.split("|")[1].strip(): line for line in report.operating_points(verdicts).splitlines()}
    assert "1.000" in rows["MEDIUM and above"]
    assert "0.500" in rows["LOW and above"]
    assert "1.000" not in rows["HIGH and above"]
