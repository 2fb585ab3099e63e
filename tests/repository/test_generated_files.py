"""What is generated and committed is what would be generated now."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOCKS = sorted((ROOT / "requirements").glob("*.lock"))


def test_generated_code_is_what_the_proto_files_say() -> None:
    result = subprocess.run([ROOT / "proto/generate.sh", "--check"], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_lock_files_belong_to_the_requirements_in_pyproject() -> None:
    result = subprocess.run(
        [sys.executable, ROOT / "requirements/lock.py", "--check"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_every_locked_package_has_hashes_and_no_host(lock: Path) -> None:
    text = lock.read_text()
    assert "://" not in text
    packages = re.findall(r"^[A-Za-z0-9._-]+==.*(?:\n    .*)*", text, re.MULTILINE)
    assert len(packages) > 3
    assert [package.splitlines()[0] for package in packages if "--hash=sha256:" not in package] == []
