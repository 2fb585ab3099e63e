"""Where no machine can be started, `make kernels` says in a sentence what is missing, and fetches nothing."""

import pytest

from machines.__main__ import main


def test_without_qemu_it_names_the_packages(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PATH", "/nowhere")

    assert main(["6.1", "6.1-arm64"]) == 3
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("6.1: needs qemu-system-x86_64, busybox, ")
    assert first.endswith("; on Debian: apt-get install qemu-system-x86 busybox-static")
    assert second.endswith("; on Debian: apt-get install qemu-system-arm busybox-static")


def test_a_kernel_that_nobody_knows_is_an_error_that_lists_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["2.6"]) == 2
    assert capsys.readouterr().out == "no such kernel: 2.6; there are 5.10, 6.1, 6.12, newest, 6.1-arm64\n"
