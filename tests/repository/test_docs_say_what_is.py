"""The documents: their links lead somewhere, their decisions are complete, and their examples run.

A block that begins with ```console is an example: each line after `$ ` is a command, which must end with exit code 0, and what
stands below it must be in its output, line by line; `…` stands for anything. Examples run in a folder of their own that holds
a copy of docs/examples. A block after `<!-- not run: reason -->` is shown only.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "daemonset").rglob("*.md")])
DECISIONS = sorted((ROOT / "docs/decisions").glob("[0-9]*.md"))
BLOCK = re.compile(r"(?P<note><!-- not run: .+? -->\n)?^```console\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Example:
    place: str
    command: str
    output: tuple[str, ...]


def _examples() -> list[Example]:
    examples = []
    for path in DOCUMENTS:
        text = path.read_text()
        for block in BLOCK.finditer(text):
            if block["note"]:
                continue
            line = text.count("\n", 0, block.start("body")) + 1
            for part in re.split(r"^\$ ", block["body"], flags=re.MULTILINE)[1:]:
                command, *output = part.rstrip().splitlines()
                examples.append(Example(f"{path.relative_to(ROOT)}:{line}", command, tuple(output)))
    return examples


def _pattern(line: str) -> re.Pattern[str]:
    return re.compile(".*".join(re.escape(part) for part in line.rstrip().split("…")))


@pytest.mark.parametrize("example", _examples(), ids=lambda example: f"{example.place} {example.command}")
def test_the_examples_in_the_documents_run_as_shown(example: Example, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "docs/examples", tmp_path / "docs/examples")
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "COLUMNS": "120",
        "LC_ALL": "C.UTF-8",
        "PYTHONWARNINGS": "error",
    }
    result = subprocess.run(
        ["bash", "-o", "pipefail", "-c", example.command],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, f"{shlex.quote(example.command)}: {result.stderr}"
    shown = result.stdout + result.stderr
    missing = [line for line in example.output if line.strip() and not _pattern(line).search(shown)]
    assert missing == [], shown


def test_some_examples_are_run() -> None:
    assert len(_examples()) >= 2


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_files_that_exist(path: Path) -> None:
    links = [target for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text()) if "://" not in target]
    assert [target for target in links if not (path.parent / target.partition("#")[0]).exists()] == []


def test_decisions_are_numbered_without_gaps() -> None:
    assert [int(path.name[:4]) for path in DECISIONS] == list(range(1, len(DECISIONS) + 1))


def test_the_list_of_decisions_is_complete() -> None:
    listed = re.findall(r"^  - \[(.+)\]\(decisions/(.+)\)$", (ROOT / "docs/README.md").read_text(), re.MULTILINE)
    assert listed == [(path.read_text().splitlines()[0].removeprefix("# "), path.name) for path in DECISIONS]


@pytest.mark.parametrize("path", DECISIONS, ids=lambda path: path.stem)
def test_a_decision_says_what_was_measured_and_when_to_look_again(path: Path) -> None:
    headings = re.findall(r"^## (.+)$", path.read_text(), re.MULTILINE)
    assert headings == ["Context", "Decision", "Measured", "What we gave up", "When to look again"]
