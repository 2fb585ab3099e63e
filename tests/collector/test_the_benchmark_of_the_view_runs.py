import json
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).resolve().parents[2] / "bench/cluster_view.py"


@pytest.mark.parametrize("pods", [1, 31, 211])  # no workload, no node and no page is full
def test_with_any_number_of_pods(pods: int) -> None:
    done = subprocess.run([sys.executable, str(PROGRAM), str(pods)], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["pods"] == pods
