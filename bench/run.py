"""All benchmarks: `make bench`, or `bench/run.py NAME…` for some. Figures go to bench/results/ as lines of JSON."""

import argparse
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests")]  # the harness of the tests starts the containers here, too

import capture  # noqa: E402 — found by the line above

BENCHMARKS = {"capture": capture.main}


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[[], *BENCHMARKS], metavar="NAME", help=f"of: {', '.join(BENCHMARKS)}")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each load, with and without the agent (default 5)")
    parser.add_argument("--seconds", type=int, default=5, help="length of one load (default 5)")
    arguments = parser.parse_args()
    results = HERE / "results" / time.strftime("%Y-%m-%d.jsonl", time.gmtime())
    results.parent.mkdir(exist_ok=True)
    for name in arguments.names or BENCHMARKS:
        BENCHMARKS[name](arguments.rounds, arguments.seconds, results)


if __name__ == "__main__":
    main()
