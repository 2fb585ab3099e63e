"""Debian's packages of any release and processor, from the mirror that apt uses here, without installing one.

apt does the work, with a state of its own: it knows the way to the mirror, checks signatures, and finds what needs what.
"""

import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

from machines.machine import MachineError

__all__ = ["Release"]

_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


class Release:
    """One release for one processor, as Debian names both; what apt knows of it is kept in `folder`.

    Raises:
        MachineError: apt has no mirror of Debian here, or that has no such release.
    """

    def __init__(self, suite: str, architecture: str, folder: Path) -> None:
        self._folder = folder
        self._configuration = folder / "apt.conf"
        for name in ("lists/partial", "cache/archives/partial", "preferences.d"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / "status").touch()
        source = f"deb [arch={architecture} signed-by={_KEYRING}] {_mirror()} {suite} main\n"
        (folder / "sources.list").write_text(source)
        settings = {
            "APT::Architecture": architecture,
            "APT::Architectures": architecture,
            "APT::Sandbox::User": "root",
            "Acquire::Check-Valid-Until": "false",  # of a release that has ended it is long over
            "Dir::State": folder,
            "Dir::State::status": folder / "status",
            "Dir::Cache": folder / "cache",
            "Dir::Etc::sourcelist": folder / "sources.list",
            "Dir::Etc::sourceparts": "-",
            "Dir::Etc::preferencesparts": folder / "preferences.d",
        }
        self._configuration.write_text("".join(f'{name} "{value}";\n' for name, value in settings.items()))
        self._apt("apt-get", "update", "-q")

    def kernel_packages(self, architecture: str) -> list[str]:
        """Return the packages that make the release's kernel: one, or since 2026 one for the image and one for modules."""
        depends = ("depends", "--recurse", "--important", "--no-suggests", f"linux-image-{architecture}")
        names = set(re.findall(r"^linux-(?:image|binary|modules)-[0-9]\S*$", self._apt("apt-cache", *depends), re.MULTILINE))
        return sorted(names)

    def download(self, packages: Iterable[str]) -> list[Path]:
        """Return the files of these packages and no others."""
        return self._downloaded(["apt-get", "download", "-q", *packages], self._folder / "cache/archives")

    def download_with_needs(self, packages: Iterable[str]) -> list[Path]:
        """Return the files of these packages and of all that they need."""
        options = ("-y", "-q", "--download-only", "--no-install-recommends")
        return self._downloaded(["apt-get", "install", *options, *packages], self._folder)

    def _downloaded(self, argv: list[str], folder: Path) -> list[Path]:
        self._apt(*argv, folder=folder)
        return sorted((self._folder / "cache/archives").glob("*.deb"))

    def _apt(self, *argv: str, folder: Path = Path("/")) -> str:
        environment = {"APT_CONFIG": str(self._configuration), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
        done = subprocess.run(argv, env=environment, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            raise MachineError(f"{' '.join(argv)}: {' '.join(done.stderr.split())[-500:]}")
        return done.stdout


def _mirror() -> str:
    targets = ["apt-get", "indextargets", "--format", "$(REPO_URI) $(LABEL)"]
    try:
        found = subprocess.run(targets, capture_output=True, text=True, check=False).stdout.splitlines()
    except FileNotFoundError:
        found = []
    mirrors = [line.split()[0] for line in found if line.partition(" ")[2] == "Debian"]
    if not mirrors or not _KEYRING.exists():
        raise MachineError("apt has no mirror of Debian here: machines are made of Debian's packages")
    return mirrors[0]
