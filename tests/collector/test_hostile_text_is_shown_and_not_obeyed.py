import json
from pathlib import Path

import pytest
from collector_harness import Command, Daemon, Events
from hypothesis import given, strategies as st
from peerwatch import jsonlines
from peerwatch.columns import ColumnsBuilder, Peer
from peerwatch.subjects import Workload

from collector.commands.terminal import escape, json_line

HOSTILE = "\x1b]0;owned\x07\x9b31m\u202egpj.exe\u2066[bold red]x[/]\r\n\t\x00\u200b\ue000"


@given(st.text())
def test_escaped_text_is_printable_whatever_it_was(text: str) -> None:
    assert escape(text).isprintable()
    if text.isprintable():
        assert escape(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31m", r"\x1b[31m"),
        ("a\nb\tc\r", r"a\nb\tc\r"),
        ("\u202e", r"\u202e"),
        ("\x9b", r"\x9b"),
        ("\U000e0001", r"\U000e0001"),
        ("naïve 名前 😀", "naïve 名前 😀"),
    ],
)
def test_what_a_terminal_would_obey_is_made_visible(text: str, shown: str) -> None:
    assert escape(text) == shown


@given(st.dictionaries(st.text(), st.text() | st.lists(st.text())))
def test_a_json_line_keeps_its_meaning(value: dict[str, object]) -> None:
    line = json_line(json.dumps(value, ensure_ascii=False))
    assert line.isprintable()
    assert json.loads(line) == value


@pytest.mark.parametrize("output", ["timeline", "tree", "json"])
def test_a_replay_of_hostile_names_prints_no_control_character(
    peerwatch: Command, tmp_path: Path, events: Events, output: str
) -> None:
    path = tmp_path / "events.jsonl"
    builder = ColumnsBuilder()
    builder.extend(events.table(begin=10**18, exe=HOSTILE, name=HOSTILE))
    subject = builder.subject(events.subject(name=HOSTILE))
    process = builder.process(pid=5, exe=HOSTILE, script=HOSTILE, args=[HOSTILE], ancestors=[HOSTILE])
    peer = builder.peer(Peer(HOSTILE, Workload(HOSTILE, HOSTILE)))
    builder.exec(10**18 + 10**9, subject, process)
    builder.exit(10**18 + 10**9, subject, process, code=2**32 - 1, signal=2**32 - 1, lifetime=-(2**63) + 1)
    builder.accept(10**18 + 10**9, subject, process, protocol=0, address=b"\xff" * 16, port=65_535, peer=peer)
    path.write_bytes(b"".join(jsonlines.write(builder.build())))
    done = peerwatch("replay", path, "--output", output)
    assert done.returncode == 0
    assert all(line.isprintable() for line in done.stdout.split("\n"))
    assert "[bold red]" in done.stdout


def test_lists_print_no_control_character(peerwatch: Command, daemon: Daemon, events: Events) -> None:
    daemon.agent().store(1, events.table(exe=HOSTILE, name=HOSTILE, namespace="shop\x1b[2J"))
    for arguments in (["status"], ["workloads"], ["workloads", "-o", "json"], ["replay"], ["alerts"]):
        done = peerwatch(*arguments, server=daemon.address)
        assert (done.returncode, done.stderr) == (0, "")
        assert all(line.isprintable() for line in done.stdout.split("\n"))


def test_an_error_message_prints_no_control_character(peerwatch: Command, tmp_path: Path) -> None:
    done = peerwatch("replay", f"{tmp_path}/{HOSTILE}".replace("\x00", ""))
    assert done.returncode == 2
    assert done.stderr.rstrip("\n").isprintable()
