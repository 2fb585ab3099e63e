"""`peerwatch baseline …` as people use it, against a real collector."""

import dataclasses
import json
import shlex
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from collector_harness import SECOND, Command, Daemon, Events
from peerwatch.columns import ColumnsBuilder, EventColumns
from peerwatch.v1 import event_pb2, incident_pb2, query_pb2, query_pb2_grpc

from collector.analysis import Analysis
from collector.approvals import approval
from collector.records import (
    CHANGES_MAX,
    BehaviourEvidence,
    BehaviourType,
    Incident,
    IncidentKind,
    Severity,
    WorkloadKey,
)
from collector.state import Flush, State

DATE = "/usr/bin/date (stdio socket) <- /sbin/tini"
RARE = "/opt/rare (stdio socket) <- /sbin/tini"
HOSTILE = "\x1b]0;owned\x07\u202e"


class Baselines:
    """Calls `peerwatch baseline` for the workload shop/cart of one collector."""

    def __init__(self, peerwatch: Command, daemon: Daemon) -> None:
        self.peerwatch, self.daemon = peerwatch, daemon

    def __call__(self, verb: str, *arguments: object, code: int = 0, given: str | None = None) -> str:
        done = self.peerwatch("baseline", verb, *arguments, server=self.daemon.address, given=given)
        assert done.returncode == code, done.stderr
        assert all(line.isprintable() for line in (done.stdout + done.stderr).split("\n"))
        if code in {0, 1}:
            assert done.stderr == ""
            return done.stdout
        assert len(done.stderr.splitlines()) == 1, done.stderr
        return done.stderr

    def states(self) -> dict[str, str]:
        lines = self("show", "shop/cart", "--output", "json").splitlines()
        return {each["key"]: each["state"] for each in map(json.loads, lines)}


def remember(data: Path, events: Events) -> None:
    """Leave what an earlier run learned: five replicas run date, one of them something else."""
    now, analysis = time.time_ns(), Analysis()
    analysis.observe(events.table(begin=now - 600 * SECOND))
    analysis.advance(now - 400 * SECOND)
    analysis.observe(events.table(begin=now - 300 * SECOND, only=3, exe="/opt/rare"))
    changes = analysis.take_changes()
    data.mkdir()
    state = State.for_file(data / "state.db")
    state.write(Flush(replicas=changes.replicas, sightings=changes.sightings))
    state.close()


@pytest.fixture
def baselines(peerwatch: Command, daemons: Callable[[], Daemon], events: Events, tmp_path: Path) -> Baselines:
    remember(tmp_path / "data", events)
    return Baselines(peerwatch, daemons())


def daemon_states(daemon: Daemon, name: str = "cart") -> dict[str, int]:
    ref = query_pb2.WorkloadRef(cluster="test", namespace="shop", workload=event_pb2.Workload(kind="Deployment", name=name))
    with daemon.query() as stub:
        answer = stub.GetBaseline(query_pb2.GetBaselineRequest(ref=ref), timeout=10)
    return {each.key: each.state for each in answer.entries}


def test_an_approval_is_kept_with_who_when_and_why(baselines: Baselines, daemons: Callable[[], Daemon]) -> None:
    assert baselines.states()[RARE] == "CANDIDATE"
    done = baselines("approve", "shop/cart", RARE, "--reason", "it's OPS-17", "--author", "alice", "--until", "30d")
    assert done == "approved 1 behaviour of shop/Deployment/cart\n"
    baselines("reject", "shop/cart", DATE, "-r", "no clocks here", "--author", "bob")

    baselines.daemon.end()
    baselines.daemon = daemons()
    states = baselines.states()
    assert (states[RARE], states[DATE]) == ("APPROVED", "REJECTED")
    table = baselines("show", "shop/cart")
    assert "alice: it's OPS-17 (until 20" in table
    assert "app: " in table.splitlines()[0]
    assert "a new program or destination is expected every" in table
    log = [json.loads(line) for line in baselines("log", "shop/cart", "--output", "json").splitlines()]
    assert [(each["author"], each["action"], each["key"], each["why"]) for each in log] == [
        ("bob", "REJECT", DATE, "no clocks here"),
        ("alice", "APPROVE", RARE, "it's OPS-17"),
    ]
    assert log[0]["via"] == "ipv4:127.0.0.1"
    assert "no clocks here" in baselines("log", "shop/cart", "--limit", "1")

    baselines("reset", "shop/cart", DATE, "--reason", "there is one", "--author", "bob")
    assert baselines.states()[DATE] == "LEARNED"
    yaml = baselines("show", "shop/cart", "--output", "yaml")
    assert "state: approved" in yaml
    assert "phases:" in yaml


def test_when_an_approval_ends_is_a_time_to_come_and_a_wrong_one_is_told_how_to_write_it(baselines: Baselines) -> None:
    told = baselines("approve", "shop/cart", RARE, "--reason", "OPS-17", "--until=-5m", code=2)
    assert "'-5m' is no time" in told
    assert "how long from now" in told
    assert " ago" not in told


def test_a_lock_is_shown_and_taken_back(baselines: Baselines) -> None:
    done = baselines("lock", "shop/cart", "--reason", "SEC-4", "--author", "alice")
    assert "locked shop/Deployment/cart: 2 behaviours are on its list; 2 that were seen are not, and will be told" in done
    assert baselines("show", "shop/cart").startswith("locked by alice since 20")
    (line,) = baselines.peerwatch("workloads", "--output", "json", server=baselines.daemon.address).stdout.splitlines()
    assert json.loads(line)["phase"] == "locked"
    baselines("unlock", "shop/cart", "--reason", "a release comes", "--author", "alice")
    assert "is not locked" in baselines("unlock", "shop/cart", "--reason", "again", code=2)


def test_a_baseline_goes_to_git_and_comes_back(baselines: Baselines, tmp_path: Path) -> None:
    file = tmp_path / "cart.yaml"
    baselines("approve", "shop/cart", RARE, "--reason", "OPS-17", "--author", "alice")
    baselines("export", "shop/cart", "--file", file)
    assert baselines("export", "shop/cart") == file.read_text()
    assert baselines("diff", file, "shop/cart") == "no difference\n"
    assert baselines("import", file) == "nothing to change\n"

    baselines("reject", "shop/cart", RARE, "--reason", "after all", "--author", "bob")
    assert baselines("diff", file, "shop/cart", code=1) == f"~ app exec {RARE}  (approved before, rejected after)\n"
    dry = baselines("import", file, "--dry-run", "--author", "carol")
    assert dry == f"+ approve app exec {RARE}: OPS-17\n1 decision would change in shop/Deployment/cart\n"
    assert baselines.states()[RARE] == "REJECTED"
    baselines("import", file, "--author", "carol", "--reason", "as in Git")
    assert baselines.states()[RARE] == "APPROVED"

    file.write_text(file.read_text().replace(f"- key: {RARE}\n      state: approved", f"- key: {RARE}\n      state: rejectd"))
    told = baselines("import", file, code=2)
    for words in (str(file), "line ", "containers.app.exec.state", "'rejectd'"):
        assert words in told


def test_a_baseline_is_imported_before_its_workload_is_seen(baselines: Baselines) -> None:
    text = baselines("export", "shop/cart")
    done = baselines("import", "-", "--workload", "shop/Deployment/basket", "--reason", "its twin", given=text)
    assert done.endswith("3 decisions changed in shop/Deployment/basket of cluster 'test', of which nothing was seen yet\n")
    states = daemon_states(baselines.daemon, "basket")
    assert set(states.values()) == {query_pb2.GetBaselineResponse.Entry.APPROVED}
    assert DATE in states


def test_a_file_of_more_than_can_be_changed_at_once_is_refused_already_when_it_is_only_tried(baselines: Baselines) -> None:
    entries = "".join(f"    - {{key: /usr/bin/x{number}, state: approved}}\n" for number in range(CHANGES_MAX + 1))
    text = f"peerwatch: baseline/v1\ncluster: test\nworkload: shop/Deployment/cart\ncontainers:\n  app:\n    exec:\n{entries}"
    for how in ((), ("--dry-run",)):
        done = baselines("import", "-", *how, "--reason", "all", given=text, code=2)
        assert f"{CHANGES_MAX + 1} decisions" in done


def test_a_baseline_that_came_before_its_workload_can_be_looked_at_and_changed(baselines: Baselines) -> None:
    before = baselines.daemon.status().workloads
    text = baselines("export", "shop/cart").replace("shop/Deployment/cart", "shop/Deployment/basket")
    baselines("import", "-", "--reason", "its twin", given=text)

    listed = baselines.peerwatch("workloads", "--output", "json", server=baselines.daemon.address).stdout.splitlines()
    found = {each["ref"]["workload"]["name"]: each for each in map(json.loads, listed)}
    assert (found["basket"]["phase"], found["basket"]["replicas"], found["basket"]["containers"]) == ("expected", 0, ["app"])
    assert found["basket"]["learned"] == 3
    assert baselines.daemon.status().workloads == before
    assert "APPROVED" in baselines("show", "shop/basket")
    assert baselines("reset", "shop/basket", DATE, "--reason", "not there") == "reset 1 behaviour of shop/Deployment/basket\n"
    baselines("lock", "shop/basket", "--reason", "complete")
    assert baselines("show", "shop/basket").startswith("locked by")


def test_how_complete_a_baseline_is_stands_in_all_forms(baselines: Baselines) -> None:
    lines = [json.loads(line) for line in baselines("show", "shop/cart", "--output", "json").splitlines()]
    assert {each["completeness"]["observations"] for each in lines} == {24}
    assert set(lines[0]["completeness"]) >= {"unseen", "observed", "newEvery", "settled"}
    yaml = baselines("show", "shop/cart", "--output", "yaml")
    assert yaml.startswith("completeness:\n  app:\n    unseen: ")
    assert "observations: 24\n" in yaml


def test_replace_takes_back_what_is_not_in_the_file(baselines: Baselines, tmp_path: Path) -> None:
    file = tmp_path / "cart.yaml"
    baselines("export", "shop/cart", "-f", file)
    baselines("reject", "shop/cart", RARE, "--reason", "no")
    baselines("lock", "shop/cart", "--reason", "complete")
    assert baselines("import", file) == "nothing to change\n"
    done = baselines("import", file, "--replace")
    assert done.startswith("~ unlock: the file has no lock\n~ reset app exec")
    assert baselines.states()[RARE] == "CANDIDATE"


def of_revision(events: Events, revision: str, exe: str) -> EventColumns:
    builder, now = ColumnsBuilder(), time.time_ns()
    for pod in range(3):
        subject = events.subject(pod)
        name = f"cart-{revision}-{pod}"
        renamed = dataclasses.replace(subject.pod, name=name, uid=name, revision=revision)
        process = builder.process(pid=9, start_time=now, exe=exe, ancestors=["/sbin/tini"])
        builder.exec(now, builder.subject(dataclasses.replace(subject, pod=renamed)), process)
    return builder.build()


def test_revisions_and_times_are_compared(baselines: Baselines, events: Events) -> None:
    agent = baselines.daemon.agent(session="two")
    agent.store(1, of_revision(events, "r2", "/usr/bin/new"))
    lines = baselines("diff", "shop/cart@r1", "shop/cart@r2", code=1).splitlines()
    assert [line[0] for line in lines if "/usr/bin/new" in line] == ["+"]
    assert [line[0] for line in lines if DATE in line and " : " not in line] == ["-"]
    assert "known are r1, r2" in baselines("diff", "shop/cart@r1", "shop/cart@r9", code=2)

    recent = [json.loads(line) for line in baselines("diff", "shop/cart", "--since", "1h", "-o", "json", code=1).splitlines()]
    assert {each["change"] for each in recent} == {"+"}
    gone = baselines("diff", "shop/cart", "--since", "2100-01-01T00:00:00Z", code=1)
    assert {line[0] for line in gone.splitlines()} == {"-"}


WRONG = [
    (["approve", "shop/cart", RARE], ["--reason"]),
    (["approve", "shop/cart", RARE, "--reason", "…"], ["--reason"]),
    (["approve", "shop/cart"], ["KEY"]),
    (["approve", "shop/cart", "/opt/rar", "--reason", "x"], ["did you mean", "/opt/rare"]),
    (["approve", "shop/cart", RARE, "--reason", "x", "--until", "2020-01-01T00:00:00Z"], ["--until", "is over"]),
    (["approve", "shop/cart", RARE, "--reason", "x", "--until", "soon"], ["--until", "'soon'"]),
    (["approve", "shop/cart", RARE, "--reason", "x", "--author", HOSTILE], ["the author", "not printable"]),
    (["approve", "shop/cart", "x", "--unseen", "--reason", HOSTILE], ["--container"]),
    (["approve", "shop/cart", "/bin/sh (memory file)", "--unseen", "-c", "app", "-r", "x"], ["--known-bad"]),
    (["approve", "shop/cart", "curl", "--unseen", "-c", "app", "-r", "x"], ["curl is no behaviour", "peerwatch baseline show"]),
    (["reject", "shop/cart", HOSTILE, "--unseen", "-c", "app", "--reason", "x"], ["the behaviour", "not printable"]),
    (["lock", "shop/nobody", "--reason", "x"], ["shop/nobody", "peerwatch workloads"]),
    (["diff", "shop/cart"], ["--since"]),
    (["diff", "shop/cart", "shop/cart", "--since", "1h"], ["--since"]),
    (["import", "-"], ["standard input", "peerwatch is missing"]),
    (["export", "shop"], ["NAMESPACE/NAME"]),
    (["show", "nowhere:shop/cart"], ["nowhere:shop/cart"]),
]


def test_wrong_calls_say_what_and_what_to_do(baselines: Baselines) -> None:
    for arguments, words in WRONG:
        told = baselines(*arguments, code=2, given="{}")
        for word in words:
            assert word in told
    assert "/no/such.yaml" in baselines("diff", "/no/such.yaml", "shop/cart", code=2)


def test_files_are_compared_without_a_collector(peerwatch: Command, tmp_path: Path) -> None:
    head = "peerwatch: baseline/v1\nworkload: shop/Deployment/cart\ncontainers:\n  app:\n    exec:\n"
    (tmp_path / "a.yaml").write_text(head + "    - key: /bin/a\n      state: learned\n")
    (tmp_path / "b.yaml").write_text(
        head + "    - key: /usr/bin/a\n      state: approved\n    - {key: /bin/b, state: learned}\n"
    )
    done = peerwatch("baseline", "diff", "a.yaml", "b.yaml", cwd=tmp_path, server="127.0.0.1:1")
    assert (done.returncode, done.stdout, done.stderr) == (1, "+ app exec /bin/b  (learned)\n", "")


def test_the_collector_checks_for_itself(daemon: Daemon, events: Events) -> None:
    daemon.agent().store(1, events.table())
    ref = query_pb2.WorkloadRef(cluster="test", namespace="shop", workload=event_pb2.Workload(kind="Deployment", name="cart"))
    approve = query_pb2.BaselineChange(
        action=query_pb2.APPROVE, container="app", type=incident_pb2.EXEC, key=DATE, why="because"
    )
    newer = query_pb2.BaselineChange(action=99, why="from the future")  # type: ignore[arg-type] — that is the point
    listing = query_pb2.BaselineChange(action=query_pb2.LIST, container="app", type=incident_pb2.EXEC, key=DATE, why="x")
    with grpc.insecure_channel(daemon.address) as channel:
        stub = query_pb2_grpc.CurationServiceStub(channel)
        for changes, author, words in (
            ([], "alice", "1 to"),
            ([approve], "", "the author is missing"),
            ([approve], HOSTILE, "not printable"),
            ([approve, newer], "alice", "99"),
            ([listing], "alice", "LIST"),
        ):
            request = query_pb2.ChangeBaselineRequest(ref=ref, changes=changes, author=author)
            with pytest.raises(grpc.RpcError) as caught:
                stub.ChangeBaseline(request, timeout=10)
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert words in caught.value.details()
        assert (
            stub.ChangeBaseline(query_pb2.ChangeBaselineRequest(ref=ref, changes=[approve], author="a"), timeout=10).made == 1
        )
    assert daemon.status().refused["refused_change"] == 5


def told_incident() -> Incident:
    behaviours = (
        BehaviourEvidence(BehaviourType.EXEC, RARE, ("rare",), 1, 5, 10**18, 1),
        BehaviourEvidence(BehaviourType.EXEC, "/bin/it's; reboot `id` $(id)", (), 1, 5, 10**18, 1),
    )
    return Incident(
        *("id-1", 1, 10**18, 10**18, Severity.HIGH, 1.0, IncidentKind.PEER_DEVIATION),
        *(WorkloadKey("test", "shop", "Deployment", "cart"), (), 4, 0, behaviours, (), (), "because", 0),
    )


def test_an_alert_prints_what_would_make_it_normal(peerwatch: Command, daemons: Callable[[], Daemon]) -> None:
    daemon = daemons()
    daemon.end()
    state = State.for_file(daemon.data / "state.db")
    state.write(Flush(incidents=[told_incident()]))
    state.close()
    shown = peerwatch("alerts", server=daemons().address).stdout
    (command,) = [line.strip() for line in shown.splitlines() if "baseline approve" in line]
    assert command == approval(told_incident())
    done = subprocess.run(["bash", "-c", f"printf '%s\\n' {command}"], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == shlex.split(command)
    assert shlex.split(command)[3:] == [
        *("shop/Deployment/cart", RARE, "/bin/it's; reboot `id` $(id)", "--cluster", "test", "--reason", "…"),
    ]
