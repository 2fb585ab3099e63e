"""The modules of the detection benchmark are found as the benchmark finds them: beside its command."""

import sys
from pathlib import Path

BENCH = str(Path(__file__).resolve().parents[2] / "bench/detection")
if BENCH not in sys.path:
    sys.path.insert(0, BENCH)
