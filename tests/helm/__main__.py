"""`python -m helm ARGUMENTS`: helm itself, built first if need be. Exit code 3: it cannot be had, and the line says why."""

import os
import sys

from helm import Missing, program

try:
    helm = program()
except Missing as missing:
    sys.stderr.write(f"helm: {missing}\n")
    sys.exit(3)
os.execv(helm, [str(helm), *sys.argv[1:]])  # noqa: S606 — the program that was just built
