"""Tests fork what users start: it must do the same."""

import os
import subprocess
from pathlib import Path

import pytest
from collector_harness import PROGRAM, Command, Events
from peerwatch import jsonlines


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["status", "--nope"], ["replay", "-"], ["replay", "here.jsonl"]]
)
def test_arguments_folder_streams_and_code_are_those_that_were_given(
    peerwatch: Command, events: Events, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    given = b"".join(jsonlines.write(events.table(begin=10**18))).decode()
    (tmp_path / "here.jsonl").write_text(given)
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    started = subprocess.run(
        [*PROGRAM, *arguments], input=given, cwd=tmp_path, capture_output=True, text=True, check=False, env=os.environ
    )

    forked = peerwatch(*arguments, given=given, cwd=tmp_path)

    assert (forked.returncode, forked.stdout, forked.stderr) == (started.returncode, started.stdout, started.stderr)
    assert forked.stdout + forked.stderr


def test_the_environment_is_the_one_of_its_caller(peerwatch: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PEERWATCH_SERVER", "nowhere")  # not taken over, as by any command of a test
    assert "nowhere" not in peerwatch("status", "--server", "127.0.0.1:1").stderr
    assert "nowhere:7" in peerwatch("status", server="nowhere:7").stderr
