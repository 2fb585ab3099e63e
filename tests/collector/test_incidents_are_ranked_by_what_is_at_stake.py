"""The same deed is worse where more is at stake: what Kubernetes says of a place ranks its incidents, with the reasons."""

import http.server
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import urllib3
from cluster_objects import Cluster, at, container_id, pod
from collector_harness import eventually
from peerwatch import wire
from peerwatch.columns import ColumnsBuilder, ProcessFlag
from peerwatch.kubernetes.connection import ApiServer
from peerwatch.kubernetes.fields import MalformedError
from peerwatch.subjects import Container, Pod, Subject, Workload
from peerwatch.v1 import ingest_pb2

from collector.analysis import Analysis
from collector.archive.journal import Journal
from collector.cluster import rights
from collector.cluster.objects import parse_pod_of_cluster
from collector.cluster.rights import Rights
from collector.cluster.surroundings import parse_ingress, parse_namespace
from collector.cluster.watching import ClusterWatch
from collector.commands.alerts import print_incidents
from collector.commands.options import ListOutput
from collector.ingest import ranks
from collector.ingest.counters import Counters
from collector.ingest.pipeline import Pipeline, Received
from collector.ingest.ranks import Ranks
from collector.messages import incident_from_json, incident_to_json
from collector.records import Incident, IncidentKind, ReplicaRef, Risk, Severity, WorkloadKey
from collector.risk import CONTEXT_POINTS, SEVERITY_POINTS, WEIGHTS, Fact, Place, rank_of, risk_of
from collector.state import Flush, State

WEB = Workload("Deployment", "web")
TOKEN = {"projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}, "name": "kube-api-access"}
NOWHERE = ApiServer("http://127.0.0.1:1", urllib3.PoolManager(), dict)


def incident(name: str = "one", *, severity: Severity = Severity.MEDIUM, cluster: str = "test", time: int = 1) -> Incident:
    return Incident(
        id=name,
        revision=1,
        time=at(time),
        first_event=at(time),
        severity=severity,
        score=0.9,
        kind=IncidentKind.PEER_DEVIATION,
        workload=WorkloadKey(cluster, "shop", WEB.kind, WEB.name),
        replicas=(ReplicaRef("web-1", "uid-web-1", "app"),),
        compared=3,
        sharing=0,
        behaviours=(),
        evidence=(),
        techniques=(),
        reason="it did something",
        loss_in_window=0,
    )


def facts(spec: dict[str, Any]) -> Fact:
    raw = pod("web-1")
    raw["spec"] |= spec
    return parse_pod_of_cluster(raw).facts


def app(**security: object) -> dict[str, Any]:
    return {"name": "app", "securityContext": security}


def mounted(path: str, *, read_only: bool) -> dict[str, Any]:
    mount = {"name": "node", "mountPath": "/node", "readOnly": read_only}
    return {"volumes": [{"name": "node", "hostPath": {"path": path}}], "containers": [{"name": "app", "volumeMounts": [mount]}]}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, Fact(0)),
        ({"hostPID": True}, Fact.HOST_PROCESSES),
        ({"hostNetwork": True, "hostIPC": True}, Fact.HOST_NETWORK | Fact.HOST_IPC),
        ({"hostPID": "yes"}, Fact(0)),
        ({"containers": [app(privileged=True)]}, Fact.PRIVILEGED),
        ({"containers": [app(capabilities={"add": ["CHOWN"]})]}, Fact(0)),
        ({"containers": [app(capabilities={"add": ["CAP_SYS_ADMIN"]})]}, Fact.CAPABILITIES),
        ({"containers": [app(capabilities={"add": "SYS_ADMIN"})]}, Fact(0)),
        ({"ephemeralContainers": [app(privileged=True)]}, Fact.PRIVILEGED),
        ({"initContainers": [app(privileged=True)]}, Fact(0)),
        ({"initContainers": [app(privileged=True) | {"restartPolicy": "Always"}]}, Fact.PRIVILEGED),
        (mounted("/var/lib/data", read_only=False), Fact.HOST_FILES),
        (mounted("/var/log", read_only=True), Fact(0)),
        (mounted("/run/containerd/containerd.sock", read_only=True), Fact.HOST_FILES),
        (mounted("/", read_only=True), Fact.HOST_FILES),
        ({"containers": [{"name": "app", "ports": [{"hostPort": 80}]}]}, Fact.HOST_PORT),
        ({"volumes": [TOKEN]}, Fact.TOKEN),
        (
            {"volumes": [{"projected": {"sources": [{"serviceAccountToken": {"audience": "vault"}}]}}]},
            Fact(0),
        ),
    ],
)
def test_a_pod_s_specification_says_what_it_may_do_to_its_node(spec: dict[str, Any], expected: Fact) -> None:
    assert facts(spec) == expected


def test_what_is_kept_of_a_pod_is_a_number_of_which_there_is_one() -> None:
    of_pods = [each for each in Fact if each <= Fact.TOKEN]
    assert sum(of_pods) < 256


def purpose(name: str, **labels: str) -> Fact:
    return parse_namespace({"metadata": {"name": name, "uid": name, "labels": labels}}).purpose


@pytest.mark.parametrize(
    ("name", "labels", "expected"),
    [
        ("shop", {}, Fact(0)),
        ("shop-prod", {}, Fact.PRODUCTION),
        ("producer", {}, Fact(0)),
        ("nonprod", {}, Fact.TEST),
        ("shop-non-prod", {}, Fact.TEST),
        ("shop", {"environment": "Production"}, Fact.PRODUCTION),
        ("shop", {"app.kubernetes.io/environment": "staging"}, Fact.TEST),
        ("shop-prod", {"env": "dev"}, Fact.TEST),
        ("shop-dev", {"env": "eu-1"}, Fact.TEST),
        ("shop", {"team": "production"}, Fact(0)),
    ],
)
def test_a_namespace_is_for_what_its_labels_say_or_else_its_name(name: str, labels: dict[str, str], expected: Fact) -> None:
    assert purpose(name, **labels) is expected


def test_a_namespace_that_was_made_again_keeps_its_purpose_when_the_former_is_deleted() -> None:
    view = Cluster().view
    for uid in ("former", "latter"):
        view.namespaces.apply(parse_namespace({"metadata": {"name": "prod", "uid": uid}}), 0)
    view.namespaces.delete("former", 0, 0)
    assert view.namespaces.purpose("prod") is Fact.PRODUCTION
    view.namespaces.delete("latter", 0, 0)
    assert view.namespaces.purpose("prod") == Fact(0)
    assert len(view.namespaces.keys()) == 0


def deployed() -> Cluster:
    """Return a cluster with one replica of web behind a service, as it is inside."""
    cluster = Cluster()
    cluster.owned("ReplicaSet", "web-5d9c", ("Deployment", "web"))
    cluster.pod("web-1")
    cluster.service("front", ips=["10.9.0.1"])
    cluster.slice("front", pods=["uid-web-1"])
    return cluster


def way(cluster: Cluster, workload: Workload = WEB, namespace: str = "shop") -> str:
    place = cluster.view.place(namespace, workload, ["uid-web-1"])
    assert (Fact.REACHED in place.facts) == bool(place.way)
    return place.way


def ingress(name: str, *services: str, namespace: str = "shop", default: str = "") -> dict[str, Any]:
    paths = [{"backend": {"service": {"name": each}}} for each in services]
    spec = {"rules": [{"http": {"paths": paths}}], "defaultBackend": {"service": {"name": default}} if default else None}
    return {"metadata": {"name": name, "namespace": namespace, "uid": f"ingress-{name}"}, "spec": spec}


def test_who_is_inside_only_is_not_reached() -> None:
    assert way(deployed()) == ""


@pytest.mark.parametrize("kind", ["LoadBalancer", "NodePort"])
def test_a_service_that_leads_into_the_cluster_reaches_its_workload_until_it_does_not(kind: str) -> None:
    cluster = deployed()
    cluster.service("front", ips=["10.9.0.1"], kind=kind)
    assert way(cluster) == f"service front, {kind}"
    assert way(cluster, Workload("Deployment", "db")) == ""
    assert way(cluster, namespace="bank") == ""
    cluster.service("front", ips=["10.9.0.1"])
    assert way(cluster) == ""
    cluster.service("front", ips=["10.9.0.1"], kind=kind)
    cluster.view.delete_service("svc-shop-front", at(2), at(2))
    assert way(cluster) == ""


def test_a_claimed_address_reaches_its_workload() -> None:
    cluster = deployed()
    cluster.service("front", claimed=["198.51.100.7"])
    assert way(cluster) == "service front, externalIPs"


@pytest.mark.parametrize("raw", [ingress("web", "front"), ingress("web", default="front"), ingress("web", "other", "front")])
def test_an_ingress_reaches_the_workload_behind_its_service(raw: dict[str, Any]) -> None:
    cluster = deployed()
    cluster.view.ingresses.apply(parse_ingress(raw), 0)
    assert way(cluster) == "ingress web"
    cluster.view.ingresses.apply(parse_ingress(ingress("web", "other")), 0)
    assert way(cluster) == ""
    cluster.view.ingresses.delete("ingress-web", 0, 0)
    assert len(cluster.view.ingresses.keys()) == 0


@pytest.mark.parametrize("parse", [parse_ingress, parse_namespace])
@pytest.mark.parametrize("raw", [None, [], {}, {"metadata": {}}, {"metadata": {"uid": 7}}])
def test_what_is_none_is_refused(parse: Callable[[object], object], raw: object) -> None:
    with pytest.raises(MalformedError):
        parse(raw)


def test_a_place_lifts_an_incident_past_the_next_severity_and_never_past_the_one_after() -> None:
    assert SEVERITY_POINTS < CONTEXT_POINTS < 2 * SEVERITY_POINTS
    everything = Fact(sum(each for each in Fact if each is not Fact.TEST))
    for severity in Severity:
        most = risk_of(severity, Place(everything)).rank
        assert rank_of(severity) + CONTEXT_POINTS == most <= 100
        assert all(most > rank_of(each) for each in Severity if each == severity + 1)
        assert all(most < rank_of(each) for each in Severity if each == severity + 2)


def test_reasons_stand_in_the_order_of_their_weight_and_name_the_way() -> None:
    weights = [points for points, _ in WEIGHTS.values()]
    assert [abs(each) for each in weights] == sorted(map(abs, weights), reverse=True)
    place = Place(Fact.PRIVILEGED | Fact.REACHED | Fact.PRODUCTION | Fact.TOKEN, "ingress web")
    reasons = ("privileged", "reachable from outside (ingress web)", "in production")
    assert risk_of(Severity.LOW, place) == Risk(rank_of(Severity.LOW) + 18, reasons)


def test_what_is_not_production_counts_less_but_never_less_than_its_severity() -> None:
    assert risk_of(Severity.LOW, Place(Fact.TEST)) == Risk(rank_of(Severity.LOW), ("not in production",))
    assert risk_of(Severity.LOW, Place(Fact.TEST | Fact.PRIVILEGED)).rank < risk_of(Severity.LOW, Place(Fact.PRIVILEGED)).rank


class Authority:
    """An API server that knows what service accounts may: `may` holds verb, resource and namespace, `*` for all of these."""

    def __init__(self) -> None:
        self.may: set[tuple[str, str, str]] = set()
        self.status = 201
        self.asked: list[dict[str, Any]] = []
        authority = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                spec = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["spec"]
                authority.asked.append(spec)
                body = json.dumps({"status": {"allowed": authority.allows(spec)}}).encode()
                self.send_response(authority.status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()
        self.api = ApiServer(f"http://127.0.0.1:{self.http.server_port}", urllib3.PoolManager(), dict)

    def allows(self, spec: dict[str, Any]) -> bool:
        attributes = spec["resourceAttributes"]
        resource = "/".join(filter(None, (attributes["resource"], attributes.get("subresource", ""))))
        return (attributes["verb"], resource, attributes.get("namespace", "*")) in self.may

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


@pytest.fixture
def authority() -> Iterator[Authority]:
    started = Authority()
    yield started
    started.close()


def known(rights: Rights) -> Fact | None:
    before = rights.version
    if (found := rights.of("shop", "web")) is None:
        eventually(lambda: rights.version > before)
        found = rights.of("shop", "web")
    return found


@pytest.mark.parametrize(
    ("may", "expected"),
    [
        ((), Fact(0)),
        ((("list", "secrets", "shop"),), Fact.SECRETS),
        ((("list", "secrets", "bank"),), Fact(0)),
        ((("list", "secrets", "*"), ("list", "secrets", "shop")), Fact.ALL_SECRETS),
        ((("create", "pods", "shop"), ("create", "pods/exec", "shop")), Fact.PODS | Fact.ENTER),
        ((("*", "*", "*"), ("list", "secrets", "*"), ("create", "pods", "shop")), Fact.ANYTHING),
    ],
)
def test_what_a_service_account_may_is_asked_of_the_api_server(
    authority: Authority, may: tuple[tuple[str, str, str], ...], expected: Fact
) -> None:
    authority.may = set(may)
    desk = Rights(authority.api)
    assert desk.of("shop", "web") is None  # nobody waits
    assert known(desk) == expected
    assert {each["user"] for each in authority.asked} == {"system:serviceaccount:shop:web"}
    asked = len(authority.asked)
    assert desk.of("shop", "web") == expected
    assert len(authority.asked) == asked
    desk.stop()


def test_an_answer_is_asked_for_again_and_holds_while_there_is_no_other(authority: Authority) -> None:
    now = [0.0]
    authority.may = {("list", "secrets", "shop")}
    desk = Rights(authority.api, clock=lambda: now[0])
    assert known(desk) == Fact.SECRETS
    authority.status, now[0] = 503, rights.FRESH_S
    assert desk.of("shop", "web") == Fact.SECRETS
    eventually(lambda: desk.version == 2)
    assert desk.of("shop", "web") == Fact.SECRETS
    authority.status, authority.may, now[0] = 201, set(), 2 * rights.FRESH_S
    desk.of("shop", "web")
    eventually(lambda: desk.version == 3)
    assert desk.of("shop", "web") == Fact(0)
    desk.stop()


def test_a_server_that_does_not_say_is_told_of_once_and_not_asked_at_once_again(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    now = [0.0]
    authority.status = 403
    desk = Rights(authority.api, clock=lambda: now[0])
    assert known(desk) is None
    assert desk.of("shop", "web") is None
    assert len(authority.asked) == 1
    authority.status, now[0] = 201, rights.RETRY_S
    assert known(desk) == Fact(0)
    assert caplog.text.count("what service accounts may is not known") == 1
    desk.stop()


def with_token(cluster: Cluster) -> ClusterWatch:
    raw = pod("web-1")
    raw["spec"] |= {"volumes": [TOKEN], "serviceAccountName": "web", "hostPID": True}
    cluster.view.apply_pod(parse_pod_of_cluster(raw), at(1))
    return ClusterWatch(cluster.view, NOWHERE)


def test_an_alert_does_not_wait_for_its_rank_and_is_written_again_when_the_rest_is_known(authority: Authority) -> None:
    authority.may = {("list", "secrets", "*")}
    cluster = deployed()
    with_token(cluster)
    watch = ClusterWatch(cluster.view, authority.api)
    ranking = Ranks(watch)
    first = ranking.rank(incident())
    assert first == replace(incident(), risk=Risk(rank_of(Severity.MEDIUM) + 6, ("shares its node's processes",)))
    eventually(lambda: watch.answers)
    (second,) = ranking.completed()
    reasons = ("its service account may read all secrets", "shares its node's processes")
    assert second.risk == Risk(rank_of(Severity.MEDIUM) + 14, reasons)
    assert ranking.completed() == []
    assert ranking.rank(incident("two")).risk == second.risk
    watch.rights.stop()


def test_a_collector_tells_an_incident_with_what_it_knows_and_keeps_it_with_the_rest(
    authority: Authority, tmp_path: Path
) -> None:
    authority.may = {("*", "*", "*")}
    cluster = deployed()
    with_token(cluster)
    watch = ClusterWatch(cluster.view, authority.api)
    state, journal = State.for_file(tmp_path / "state.db"), Journal(tmp_path / "journal")
    pipeline = Pipeline(journal=journal, state=state, analysis=Analysis(), counters=Counters(), watch=watch)
    builder = ColumnsBuilder()
    where = builder.subject(Subject("test", "node-1", Pod(uid="uid-web-1"), Container(id=container_id("uid-web-1app"))))
    process = builder.process(pid=7, start_time=at(1), exe="memfd:x", ancestors=["/sbin/tini"], flags=1 << ProcessFlag.MEMFD)
    builder.exec(at(1), where, process)
    hello = ingest_pb2.Hello(cluster="test", node="node-1", session="s")
    batch = ingest_pb2.EventBatch(sequence=1, columns=wire.encode(builder.build()))
    pipeline.store([Received(at(2), hello, batch)])

    (told,) = pipeline.tick(at(60))  # what is new in the first second is held for the peers
    assert told.risk == Risk(rank_of(Severity.CRITICAL) + 6, ("shares its node's processes",))
    eventually(lambda: watch.answers)
    assert pipeline.tick(at(61)) == []
    (kept,) = state.incidents(by_risk=True)
    reasons = ("its service account may do anything in the cluster", "shares its node's processes")
    assert kept == replace(told, risk=Risk(rank_of(Severity.CRITICAL) + 16, reasons))
    watch.rights.stop()
    journal.close()
    state.close()


def test_who_holds_no_token_is_not_asked_about(authority: Authority) -> None:
    watch = ClusterWatch(deployed().view, authority.api)
    assert watch.risk(incident()) == (Risk(rank_of(Severity.MEDIUM), ()), True)
    watch.rights.stop()
    assert authority.asked == []


def test_an_incident_of_another_cluster_has_no_rank() -> None:
    watch = ClusterWatch(deployed().view, NOWHERE)
    assert Ranks(watch).rank(incident(cluster="other")).risk is None
    assert Ranks(None).rank(incident()).risk is None
    watch.rights.stop()


def test_what_waits_for_answers_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "WAITING_MAX", 3)
    watch = with_token(deployed())
    ranking = Ranks(watch)
    for number in range(7):
        ranking.rank(incident(f"{number}"))
    eventually(lambda: watch.answers)  # that there is none
    assert [each.id for each in ranking.completed()] == ["4", "5", "6"]
    watch.rights.stop()


def test_the_list_is_by_risk_if_wished_and_else_by_time() -> None:
    state = State("sqlite://")
    listed = [
        incident("old", severity=Severity.HIGH, time=1),
        replace(incident("grave", severity=Severity.MEDIUM, time=2), risk=Risk(68, ("privileged",))),
        replace(incident("new", severity=Severity.MEDIUM, time=3), risk=Risk(48, ())),
    ]
    state.write(Flush(incidents=listed))
    assert [each.id for each in state.incidents()] == ["new", "grave", "old"]
    assert [each.id for each in state.incidents(by_risk=True)] == ["grave", "old", "new"]
    assert [each.id for each in state.incidents(by_risk=True, limit=1)] == ["grave"]
    state.close()


def test_a_rank_survives_its_line_of_json_and_an_incident_without_one_has_no_field() -> None:
    ranked = replace(incident(), risk=Risk(68, ("privileged",)))
    assert incident_from_json(incident_to_json(ranked)) == ranked
    assert json.loads(incident_to_json(ranked))["risk"] == {"rank": 68, "reasons": ["privileged"]}
    assert "risk" not in json.loads(incident_to_json(incident()))


def test_the_table_has_a_rank_where_somebody_knows_one(capsys: pytest.CaptureFixture[str]) -> None:
    ranked = replace(incident(), risk=Risk(68, ("privileged", "in production")))
    print_incidents([ranked, incident()], ListOutput.TABLE)
    assert "68: privileged; in production" in capsys.readouterr().out
    print_incidents([incident()], ListOutput.TABLE)
    assert "RISK" not in capsys.readouterr().out
