"""What docs/baselines.md shows is what a collector answers that has seen its recording, in the page's order."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from collector_harness import Command, Daemon
from peerwatch import jsonlines
from peerwatch.columns import EventColumns

from collector.analysis import Analysis
from collector.recordings import lines_of
from collector.state import Flush, State

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/baselines.md"
NOTE = "<!-- not run: it needs a collector; tests/collector runs it with one -->\n"
BLOCK = re.compile(re.escape(NOTE) + r"```console\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)


def remember(data: Path) -> None:
    """Leave what a run learned that has seen the recording."""
    analysis = Analysis()
    tables = list(jsonlines.Reader().read(lines_of(str(ROOT / "docs/examples/cart.jsonl"))))
    analysis.observe(EventColumns.concatenate(tables).sorted_by_time())
    incidents = analysis.finish()
    changes = analysis.take_changes()
    data.mkdir()
    state = State.for_file(data / "state.db")
    state.write(Flush(changes.replicas, changes.sightings, list({each.id: each for each in incidents}.values())))
    state.close()


def test_the_page_is_true_from_top_to_bottom(peerwatch: Command, daemons: Callable[[], Daemon], tmp_path: Path) -> None:
    remember(tmp_path / "data")
    shutil.copytree(ROOT / "docs/examples", tmp_path / "docs/examples")
    daemon = daemons()
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "LC_ALL": "C.UTF-8",
        "PEERWATCH_SERVER": daemon.address,
    }
    examples = 0
    for block in BLOCK.finditer(PAGE.read_text()):
        for part in re.split(r"^\$ ", block["body"], flags=re.MULTILINE)[1:]:
            command, *output = part.rstrip().splitlines()
            done = subprocess.run(
                ["bash", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
            )
            assert (done.returncode, done.stderr) == (0, ""), command
            patterns = [".*".join(re.escape(each) for each in line.split("…")) for line in output]
            assert [each for each in patterns if not re.search(each, done.stdout)] == [], done.stdout
            examples += 1
    assert examples >= 8

    before = peerwatch("baseline", "export", "shop/cart", server=daemon.address).stdout
    daemon.end()
    assert peerwatch("baseline", "export", "shop/cart", server=daemons().address).stdout == before
    assert "rejected" in before
