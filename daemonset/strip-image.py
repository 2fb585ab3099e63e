"""Last step of an image: remove every program but Python, and this file.

Without a shell, a package manager and their kind, whoever gets into the container finds nothing to work with, and the image has
less that needs updates. Whoever wants to look inside attaches an ephemeral container (`kubectl debug`).
"""

import shutil
from pathlib import Path

_KEEP = ("python3", "python3.")


def main() -> None:
    """Empty the folders that hold programs, and what only those programs use."""
    for folder in ("/bin", "/sbin", "/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin"):
        for program in Path(folder).iterdir():
            if not program.name.startswith(_KEEP) and (program.is_symlink() or program.is_file()):
                program.unlink()
    for folder in ("/usr/lib/apt", "/usr/lib/dpkg", "/usr/libexec", "/usr/share/info", "/usr/share/perl5", "/var/lib/apt"):
        shutil.rmtree(folder, ignore_errors=True)
    for folder in (*Path("/usr/lib").glob("*/perl-base"), *Path("/usr/lib").glob("*/perl")):
        shutil.rmtree(folder, ignore_errors=True)
    Path(__file__).unlink()


if __name__ == "__main__":
    main()
