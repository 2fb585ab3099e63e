"""`python -m machines [KERNEL…] [-- TEST…]`: boots each kernel, runs `peerwatch-agent check` and tests, and tells the results.

The probes are compiled here, from the types of that kernel, because an emulated machine takes minutes to: what is tried there
is whether its verifier takes them, and what they see.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

from machines.kernels import KERNELS, cache, kernel_of
from machines.machine import HOST, Kernel, Machine, MachineError, missing
from machines.roots import PACKAGES, root_for

PROJECT = Path(__file__).resolve().parents[2]

USUAL = ("6.1", "6.12", "newest", "6.1-arm64")
"""What is tried unless somebody says otherwise: 5.10 is known to lack what is needed (docs/decisions/0010)."""

TESTS = (
    "test_every_exec_is_seen_once.py",
    "test_every_connect_is_seen_once.py",
    "test_every_exit_is_told_once.py",
    "test_repeated_connects_add_up.py",
    "test_datagrams_are_told_by_address.py",
    "test_io_uring_hides_nothing.py",
    "test_probes_outlive_their_agent.py",
)

TIMEOUT_S = 3600
"""Of a whole run: five minutes on two cores with nothing else to do, much longer beside others."""

_MODES = ((), ("FOLDING",), ("FOLDING", "CAPTURE_HOST"))
_RESULT = re.compile(r"^(?:\S+::\S+.* (?:PASSED|FAILED|ERROR|SKIPPED).*|(?:FAILED|ERROR|SKIPPED) .*|=+ .* =+)$", re.MULTILINE)
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def main(arguments: list[str]) -> int:
    """Try the kernels that are named; exit code 1 if one of them fails, 3 if none can be tried."""
    separator = arguments.index("--") if "--" in arguments else len(arguments)
    names, tests = arguments[:separator] or list(USUAL), arguments[separator + 1 :]
    unknown = [name for name in names if name not in KERNELS]
    if unknown:
        return _say(f"no such kernel: {', '.join(unknown)}; there are {', '.join(KERNELS)}", 2)
    codes = []
    for name in names:
        reason = missing(KERNELS[name].architecture)
        if reason:
            codes.append(_say(f"{name}: {reason}", 3))
            continue
        try:
            codes.append(_try(name, tests or [f"tests/kernel/{test}" for test in TESTS]))
        except MachineError as error:
            codes.append(_say(f"{name}: {error}", 1))
    return 1 if 1 in codes else min(codes)


def _try(name: str, tests: list[str]) -> int:
    kernel = kernel_of(name)
    root = root_for(kernel.architecture, PROJECT)
    folder = cache() / name
    if not (folder / "types/vmlinux").exists():
        (folder / "types").mkdir(exist_ok=True)
        copy = ("cp", "/sys/kernel/btf/overlay", "/sys/kernel/btf/vmlinux", "/output")  # the first is younger than 5.10
        Machine(kernel, root, {}, folder / "types.log", folder / "types").run(copy, folder="/", timeout=TIMEOUT_S)
    _compile(kernel, folder)
    shares = {"/compiled": folder / "compiled"}
    if kernel.architecture == HOST:
        python, packages = sys.executable, ""
    else:
        python, packages = "/usr/bin/python3", f"{PACKAGES}:"
        shares[str(PROJECT)] = PROJECT
    script = (
        f"export PYTHONPATH={packages}{PROJECT}:{PROJECT}/proto PEERWATCH_CACHE=/run/compiled "
        f"HYPOTHESIS_STORAGE_DIRECTORY=/run/hypothesis; cp -r /compiled /run/; "
        f"{python} -m agent.cli check && {python} -m pytest -v -p no:randomly -p no:cacheprovider --tb=short {' '.join(tests)}"
    )
    log = folder / "machine.log"
    _say(f"{name}: {kernel.modules.name}; all that it says goes to {log}")
    code, said = Machine(kernel, root, shares, log).run(("sh", "-c", script), folder=str(PROJECT), timeout=TIMEOUT_S)
    said = _COLOURS.sub("", said)
    for line in (*re.findall(r"^(?:ok|limited|missing) .*$", said, re.MULTILINE), *_RESULT.findall(said)):
        _say(f"{name}: {line}")
    return 1 if code else 0


def _compile(kernel: Kernel, folder: Path) -> None:
    """Compile for another kernel, in a process of its own: the compiler brings 130 MB."""
    machine = {"amd64": "x86_64", "arm64": "aarch64"}[kernel.architecture]
    program = (
        "import sys; from pathlib import Path; from agent.capture.loader import prepare\n"
        f"for macros in {_MODES!r}: prepare(macros, types=Path({str(folder / 'types/vmlinux')!r}), machine={machine!r})"
    )
    environment = os.environ | {
        "PYTHONPATH": f"{PROJECT}:{PROJECT / 'proto'}",
        "PEERWATCH_CACHE": str(folder / "compiled"),
    }
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise MachineError(f"the probes cannot be compiled: {done.stderr.strip()[-300:]}")


def _say(text: str, code: int = 0) -> int:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
