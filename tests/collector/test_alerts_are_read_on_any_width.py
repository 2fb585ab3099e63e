"""A list of alerts: on a terminal what was done stands below who did it, in a pipe each alert is one line."""

import contextlib
import dataclasses
import os
import pty
import re
import sys

import pytest

from collector.commands.alerts import print_incidents
from collector.commands.options import ListOutput
from collector.records import BehaviourEvidence, BehaviourType, Incident, IncidentKind, ReplicaRef, Severity, WorkloadKey

LONG = "curl -s " + "/".join(["http://198.51.100.7:8000", *["segment"] * 30])
WIDTH = 70


def incident(number: int) -> Incident:
    replicas = tuple(ReplicaRef(f"cart-{each}", f"uid-{each}", "app") for each in range(number))
    return Incident(
        id=str(number),
        revision=1,
        time=10**9,
        first_event=10**9,
        severity=Severity.HIGH,
        score=1.0,
        kind=IncidentKind.PEER_DEVIATION,
        workload=WorkloadKey("", "shop", "Deployment", "cart"),
        replicas=replicas,
        compared=4,
        sharing=0,
        behaviours=(
            BehaviourEvidence(BehaviourType.EXEC, "/usr/bin/curl", tuple(LONG.split()), 1, 5, 0, 1),
            BehaviourEvidence(BehaviourType.CONNECT, "/usr/bin/curl -> public 198.51.0.0/16:8000/tcp", (), 1, 5, 0, 1),
        ),
        evidence=(),
        techniques=(),
        reason="because",
        loss_in_window=0,
    )


def shown_on_a_terminal(incidents: list[Incident], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the lines without trailing blanks and colours."""
    ours, theirs = pty.openpty()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(WIDTH))
    with os.fdopen(theirs, "w") as terminal, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", terminal)
        print_incidents(incidents, ListOutput.TABLE)
    shown = b""
    with (
        os.fdopen(ours, "rb", buffering=0) as screen,
        contextlib.suppress(OSError),
    ):  # EIO: all was read, and nobody writes any more
        while part := screen.read(4096):
            shown += part
    return [re.sub(r"\x1b\[[0-9;]*m", "", line).rstrip() for line in shown.decode().splitlines()]


def test_on_a_terminal_each_deed_stands_on_lines_of_its_own_below_who_did_it(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = shown_on_a_terminal([incident(1)], monkeypatch)
    assert max(map(len, lines)) <= WIDTH
    deeds = [line for line in lines if line.startswith("    ")]
    assert deeds[0].startswith("    ran /usr/bin/curl: curl -s")
    assert deeds[-1] == "    connected /usr/bin/curl -> public 198.51.0.0/16:8000/tcp"
    assert "".join(line.strip() for line in deeds[:-1]).endswith("/segment/segment/segmen…")  # cut to what a person reads
    assert any("cart-0 (app)" in line for line in lines if line not in deeds)


def test_in_a_pipe_each_alert_is_one_line_whose_end_is_what_was_done(capsys: pytest.CaptureFixture[str]) -> None:
    print_incidents([incident(1), dataclasses.replace(incident(3), behaviours=incident(3).behaviours[1:])], ListOutput.TABLE)
    header, first, second = capsys.readouterr().out.splitlines()
    begin = header.index("WHAT IT DID")
    assert header.endswith("WHAT IT DID")
    assert first[begin:].startswith("ran /usr/bin/curl: curl -s")
    assert second[begin:] == "connected /usr/bin/curl -> public 198.51.0.0/16:8000/tcp"


def test_of_many_replicas_the_first_is_named_and_the_others_counted(capsys: pytest.CaptureFixture[str]) -> None:
    print_incidents([incident(1), incident(2), incident(300)], ListOutput.TABLE)
    _, *lines = capsys.readouterr().out.splitlines()
    replicas = ["cart-0 (app)  ", "cart-0 (app) and 1 more replica  ", "cart-0 (app) and 299 more replicas  "]
    assert [wanted in line for wanted, line in zip(replicas, lines, strict=True)] == [True, True, True]
