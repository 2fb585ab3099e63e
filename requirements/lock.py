"""Write the lock files from pyproject.toml, or with --check say, without a network, whether they are still right.

Each lock file is a list of pinned versions with hashes, as pip and uv read it, and begins with a digest of the requirements
in pyproject.toml that it was made from. `--check` compares digests: it finds a dependency that was changed without
`make lock`; it does not look for newer versions. `--upgrade` takes those.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

_HERE = Path(__file__).resolve().parent
_ROOT = _HERE.parent
_UV = Path(sys.executable).parent / "uv"

# The oldest Python that is supported: what resolves there with --universal resolves on the newer ones too.
_PYTHON = "3.11"

# Lock file → extras that it holds on top of the dependencies; None: what builds the wheel in the images.
_LOCKS: dict[str, list[str] | None] = {
    "agent": ["agent"],
    "collector": ["collector"],
    "dev": ["agent", "collector", "dev"],
    "build": None,
}


def _requirements(pyproject: dict[str, Any], extras: list[str] | None) -> list[str]:
    if extras is None:
        return sorted(pyproject["build-system"]["requires"])
    project = pyproject["project"]
    optional = project["optional-dependencies"]
    return sorted([*project["dependencies"], *(line for extra in extras for line in optional[extra])])


def _header(requirements: list[str]) -> str:
    digest = hashlib.sha256(json.dumps([_PYTHON, requirements]).encode()).hexdigest()
    return f"# Made by `make lock` from the requirements in pyproject.toml with this digest: {digest}\n"


def _check(name: str, header: str) -> bool:
    path = _HERE / f"{name}.lock"
    if path.is_file() and path.read_text().startswith(header):
        return True
    print(f"requirements/{name}.lock does not belong to pyproject.toml as it is now: run `make lock`", file=sys.stderr)
    return False


def _write(name: str, header: str, requirements: list[str], *, upgrade: bool) -> None:
    path = _HERE / f"{name}.lock"
    command = [_UV, "pip", "compile", "-", "--universal", "--python-version", _PYTHON, "--generate-hashes"]
    # Whoever installs chooses the index; no host belongs into the repository. The header is ours.
    command += ["--no-emit-index-url", "--no-header", "--quiet", "--output-file", path]
    if upgrade:
        command.append("--upgrade")
    subprocess.run(command, input="\n".join(requirements), text=True, check=True, cwd=_ROOT, stdout=subprocess.DEVNULL)
    path.write_text(header + path.read_text())


def main() -> int:
    """Write or check all lock files; 1 if one is out of date."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if a lock file is out of date")
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions that pyproject.toml allows")
    arguments = parser.parse_args()
    pyproject = tomllib.loads((_ROOT / "pyproject.toml").read_text())
    fresh = True
    for name, extras in _LOCKS.items():
        requirements = _requirements(pyproject, extras)
        header = _header(requirements)
        if arguments.check:
            fresh &= _check(name, header)
        else:
            _write(name, header, requirements, upgrade=arguments.upgrade)
    return 0 if fresh else 1


if __name__ == "__main__":
    sys.exit(main())
