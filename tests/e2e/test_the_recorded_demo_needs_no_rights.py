import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent.parent


def run_without_rights(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the demo with no capabilities; as root this is what remains of it, as anybody else nothing is to be dropped."""
    drop = ["setpriv", "--bounding-set", "-all", "--inh-caps", "-all"] if os.geteuid() == 0 else []
    if drop and not shutil.which("setpriv"):
        pytest.skip("needs setpriv to give up capabilities; on Debian: apt-get install util-linux")
    environment = {**os.environ, "PYTHONPATH": str(TESTS)}
    command = [*drop, sys.executable, "-m", "demo", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=140, check=False, env=environment)


@pytest.mark.timeout(150)
def test_the_story_is_told_from_a_recording() -> None:
    done = run_without_rights("--recorded")

    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    assert "Exactly the attacked replica was flagged" in done.stdout


def test_without_rights_the_live_demo_says_so_and_offers_the_recording() -> None:
    done = run_without_rights()

    assert done.returncode == 3
    assert len(done.stderr.splitlines()) == 1
    assert "make demo ARGS=--recorded" in done.stderr
