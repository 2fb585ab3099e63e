"""The canary without probes: its events are made for real, and come back in tables that these tests make."""

import asyncio
import errno
import logging
import os
import signal
import struct
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from peerwatch.addresses import pack_address
from peerwatch.columns import ColumnsBuilder, ConnectResult, EventColumns, ProcessFlag, Protocol
from peerwatch.subjects import NOBODY

from agent import canary as module
from agent.canary import NAME, Canary, Program, connect_nowhere, elf
from agent.errors import UnsupportedError

CANARY = 1 << ProcessFlag.CANARY
NOW = 1_800_000_000_000_000_000


class Noting(Program):
    """The real program; notes with which words it ran."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []

    def run(self, word: str) -> None:
        super().run(word)
        self.words.append(word)


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 — what is waited for is state of the canary, which tells nobody
        await asyncio.sleep(0.001)


class Flight:
    """A canary that flies, and what it has sent."""

    def __init__(self, **options: float) -> None:
        self.program = Noting()
        self.ports: list[int] = []
        self.canary = Canary(program=self.program, connect=self._connect, **options)
        self.running = asyncio.create_task(self.canary.run())

    def _connect(self) -> int:
        self.ports.append(connect_nowhere())
        return self.ports[-1]

    async def sent(self, count: int) -> None:
        """Wait until this many pairs of events were made."""
        await _until(lambda: len(self.ports) >= count)

    async def missed(self, kind: str, count: int) -> None:
        """Wait until this many events of one kind were given up."""
        await _until(lambda: self.canary.readings()[kind].missed >= count)


def _fly(body: Callable[[Flight], Awaitable[None]], **options: float) -> None:
    async def run() -> None:
        flight = Flight(**options)
        try:
            await asyncio.wait_for(body(flight), 30)
        finally:
            flight.running.cancel()
            await asyncio.gather(flight.running, return_exceptions=True)

    asyncio.run(run())


def _exec(word: str, *, flags: int = CANARY, name: str = NAME, at: int = NOW) -> EventColumns:
    builder = ColumnsBuilder()
    subject = builder.subject(NOBODY)
    builder.loss(at, subject, reason="RING_FULL", count=1, begin=at, end=at)
    builder.exec(at, subject, builder.process(pid=7, exe="/bin/x", args=["x"]))
    builder.exec(at, subject, builder.process(pid=8, args=[name, word], flags=flags))
    return builder.build()


def _connect(port: int, *, flags: int = CANARY, at: int = NOW) -> EventColumns:
    builder = ColumnsBuilder()
    subject = builder.subject(NOBODY)
    loopback = pack_address("127.0.0.1")
    for pid, own_flags, own_port in ((7, 0, 443), (8, flags, port), (9, 0, port)):
        process = builder.process(pid=pid, flags=own_flags)
        builder.connect(
            at, subject, process, protocol=Protocol.TCP, address=loopback, port=own_port, result=ConnectResult.REFUSED
        )
    builder.exec(at, subject, builder.process(pid=9))
    return builder.build()


def test_what_comes_back_is_seen_with_its_latency() -> None:
    async def body(flight: Flight) -> None:
        await flight.sent(1)
        flight.canary.observe(_exec(flight.program.words[0]), NOW + 12_000_000)
        flight.canary.observe(_connect(flight.ports[0]), NOW + 15_000_000)
        readings = flight.canary.readings()
        assert {kind: (each.sent, each.missed, each.latency_s) for kind, each in readings.items()} == {
            "exec": (1, 0, 0.012),
            "connect": (1, 0, 0.015),
        }

    _fly(body)


def test_before_anything_came_back_there_is_no_age_and_no_latency() -> None:
    async def body(flight: Flight) -> None:
        await flight.sent(1)
        for reading in flight.canary.readings().values():
            assert (reading.age_s, reading.latency_s, reading.worst_s) == (None, None, None)

    _fly(body)


def test_the_next_pair_follows_and_the_worst_latency_is_kept() -> None:
    async def body(flight: Flight) -> None:
        for number, latency in enumerate((30_000_000, 5_000_000)):
            await flight.sent(number + 1)
            flight.canary.observe(_exec(flight.program.words[number]), NOW + latency)
            flight.canary.observe(_connect(flight.ports[number]), NOW + latency)
        reading = flight.canary.readings()["exec"]
        assert (reading.latency_s, reading.worst_s) == (0.005, 0.03)
        assert len(set(flight.program.words[:2])) == 2

    _fly(body, period_s=0.0)


@pytest.mark.parametrize(
    "strange",
    [
        lambda _: _exec("another"),
        lambda flight: _exec(flight.program.words[0], flags=0),  # a container that copies what it read in an archive
        lambda flight: _exec(flight.program.words[0], name="sh"),
        lambda flight: _connect(flight.ports[0], flags=0),
        lambda flight: _connect((flight.ports[0] + 1) % 65536),
        lambda _: ColumnsBuilder().build(),
    ],
    ids=["another word", "an exec without mark", "another program", "a connect without mark", "another port", "nothing"],
)
def test_what_is_not_the_canary_is_not_taken_for_it(strange: Callable[[Flight], EventColumns]) -> None:
    async def body(flight: Flight) -> None:
        await flight.sent(1)
        flight.canary.observe(strange(flight), NOW)
        assert [reading.age_s for reading in flight.canary.readings().values()] == [None, None]

    _fly(body)


def test_an_event_that_comes_twice_counts_once() -> None:
    async def body(flight: Flight) -> None:
        await flight.sent(1)
        flight.canary.observe(_exec(flight.program.words[0]), NOW + 1_000_000)
        flight.canary.observe(_exec(flight.program.words[0]), NOW + 900_000_000)
        assert flight.canary.readings()["exec"].worst_s == 0.001

    _fly(body)


def test_a_clock_set_back_makes_no_negative_latency() -> None:
    async def body(flight: Flight) -> None:
        await flight.sent(1)
        flight.canary.observe(_exec(flight.program.words[0], at=NOW), NOW - 3_600_000_000_000)
        assert flight.canary.readings()["exec"].latency_s == 0.0

    _fly(body)


def test_what_is_missed_is_told_once_and_so_is_its_return(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    async def body(flight: Flight) -> None:
        await flight.missed("exec", 3)

        # From now on the exec comes back each time, the connect never.
        def is_back() -> bool:
            flight.canary.observe(_exec(flight.program.words[-1]), NOW)
            return len(caplog.messages) > 2

        await _until(is_back)

    _fly(body, period_s=0.0, patience_s=0.02)
    advice = "this node may not be watched; `peerwatch-agent check` looks for the reason"
    assert caplog.messages[:3] == [
        f"the canary's exec did not come back within 0.02 s: {advice}",
        f"the canary's connect did not come back within 0.02 s: {advice}",
        "the canary's exec came back",
    ]


def test_where_no_program_may_run_from_memory_that_is_the_reason(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "memfd_create", refuse)

    async def body(flight: Flight) -> None:
        await flight.sent(1)
        flight.canary.observe(_connect(flight.ports[0]), NOW)
        await flight.missed("exec", 1)
        assert flight.canary.readings()["connect"].missed == 0

    _fly(body)
    assert caplog.messages[0].startswith("the canary's exec cannot be made ([Errno 13] Permission denied): this node may not ")


def test_the_program_runs_on_this_machine_and_ends_well(tmp_path: Path) -> None:
    file = tmp_path / "canary"
    file.write_bytes(elf())
    file.chmod(0o700)
    assert subprocess.run([file], check=False).returncode == 0


@pytest.mark.parametrize(("machine", "number"), [("x86_64", 62), ("aarch64", 183)])
def test_the_program_is_a_complete_elf_file(machine: str, number: int) -> None:
    content = elf(machine)
    kind, its_number, _, entry, header = struct.unpack_from("<HHIQQ", content, 16)
    segment_type, flags, offset, address, _, in_file, in_memory, _ = struct.unpack_from("<IIQQQQQQ", content, header)
    assert content[:4] == b"\x7fELF"
    assert (kind, its_number) == (2, number)
    assert (segment_type, flags, offset) == (1, 5, 0)
    assert in_file == in_memory == len(content)
    assert address < entry < address + len(content)


def test_another_kind_of_machine_has_no_canary_and_says_so() -> None:
    with pytest.raises(UnsupportedError, match=r"^there is no canary for riscv64$"):
        elf("riscv64")


def test_a_kernel_that_knows_no_flag_for_executable_memory_is_asked_without(monkeypatch: pytest.MonkeyPatch) -> None:
    create = os.memfd_create

    def before_6_3(name: str, flags: int) -> int:
        if flags & ~os.MFD_CLOEXEC:
            raise OSError(errno.EINVAL, "Invalid argument")
        return create(name, flags)

    monkeypatch.setattr(os, "memfd_create", before_6_3)

    async def body(flight: Flight) -> None:
        await _until(lambda: flight.program.words != [])

    _fly(body)


def _children() -> list[str]:
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()


def _descriptors() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


def test_no_zombie_and_no_descriptor_is_left() -> None:
    before, files = _children(), _descriptors()

    async def body(flight: Flight) -> None:
        await flight.sent(3)
        await _until(lambda: _children() == before)  # the loop reaps, at once

    _fly(body, period_s=0.02, patience_s=0.001)
    assert _children() == before
    assert _descriptors() == files


def test_a_program_that_does_not_end_is_ended_before_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    content = elf()
    entry = struct.unpack_from("<Q", content, 24)[0] - 0x400000
    jump_to_itself = {62: bytes.fromhex("ebfe"), 183: bytes.fromhex("00000014")}[struct.unpack_from("<H", content, 18)[0]]
    monkeypatch.setattr(module, "elf", lambda: content[:entry] + jump_to_itself + bytes(64))
    before = set(_children())

    async def run() -> None:
        program = Program()
        program.run("one")
        [first] = set(_children()) - before
        os.kill(int(first), signal.SIGSTOP)
        program.run("two")
        [second] = set(_children()) - before
        assert second != first
        program.close()

    asyncio.run(run())
    assert set(_children()) == before


def test_a_table_without_a_mark_is_looked_at_no_further() -> None:
    table = _exec("x", flags=0)
    object.__setattr__(table, "process", None)  # what any further look would need

    Canary().observe(table, NOW)
