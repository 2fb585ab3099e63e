"""All benchmarks: `make bench`, or `bench/run.py NAME [OPTION…]` for one. Figures go to bench/results/ as lines of JSON."""

import argparse
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests")]  # the harness of the tests starts the containers here, too

import capture  # noqa: E402 — found by the line above
import cluster_view  # noqa: E402 — as above
import scale  # noqa: E402 — as above

BENCHMARKS = {"capture": capture, "cluster-view": cluster_view, "kubernetes": scale}
HERE_IMPOSSIBLE = 3
"""Exit code, as of all commands: the environment cannot do it."""


def main() -> int:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    names = parser.add_subparsers(dest="name", metavar="NAME", help="without one: all, with their defaults")
    for name, module in BENCHMARKS.items():
        module.options(names.add_parser(name, help=(module.__doc__ or "").splitlines()[0], description=module.__doc__))
    asked = parser.parse_args()
    results = HERE / "results" / time.strftime("%Y-%m-%d.jsonl", time.gmtime())
    results.parent.mkdir(exist_ok=True)
    code = 0
    for name, module in BENCHMARKS.items():
        if asked.name in {None, name}:
            try:
                code = max(code, module.main(asked if asked.name else parser.parse_args([name]), results))
            except capture.NotHereError as error:
                print(f"{name}: cannot be measured here: {error}", file=sys.stderr)
                code = HERE_IMPOSSIBLE
    return code


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
