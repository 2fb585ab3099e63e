"""The C structs of the probes and the numpy types that read them are written twice: here they are compared."""

import json
import re
import shutil
import subprocess
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from peerwatch.columns import ConnectResult, EventKind, ProcessFlag, Protocol

from agent.capture import folds, generation, libbpf, loader, pins, records
from agent.capture.libbpf import lookup, opened
from agent.capture.probes import Probes
from agent.capture.records import Counter, FoldUse, Kind, Operation, State
from agent.capture.sizes import SIZES

BPF = Path(str(resources.files("agent.capture") / "bpf"))
SOURCE = re.sub(r"/\*.*?\*/", "", loader.amalgamate(BPF / "probes.c"), flags=re.DOTALL)
STRUCTS = {
    name: f"{kind} {name}" for kind, name in re.findall(r"^(struct|union) (\w+) \{$", SOURCE, re.MULTILINE)
}  # fmt: skip

Place = tuple[int, int]
"""Offset and size."""


@pytest.fixture(scope="module")
def layouts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Place]]:
    """Struct → field → place; the empty field is the struct itself."""
    if not shutil.which("gcc"):
        pytest.skip("needs gcc; on Debian: apt-get install gcc libc6-dev")
    program = tmp_path_factory.mktemp("layouts") / "layouts"
    # Our own types.h names the kernel's types only: no system header may bring others.
    flags = [f"-I{BPF / 'include'}", "-D__KERNEL__"]
    subprocess.run(["gcc", "-w", *flags, "-x", "c", "-o", program, "-"], input=_program(), text=True, check=True)
    found: dict[str, dict[str, Place]] = {}
    for line in subprocess.run([program], capture_output=True, text=True, check=True).stdout.splitlines():
        name, field, offset, size = line.split(" ")
        found.setdefault(name, {})[field] = int(offset), int(size)
    return found


def test_events_have_the_same_fields_at_the_same_places(layouts: dict[str, dict[str, Place]]) -> None:
    for name, dtype in (("small_event", records.SMALL_EVENT), ("long_event", records.LONG_EVENT)):
        process = {("process_unused" if field == "unused" else field): place for field, place in layouts["process"].items()}
        fields = layouts["event"] | _moved(process, layouts["event"]["process"][0]) | {"text": layouts[name]["text"]}
        del fields["process"], fields[""]

        assert _places(dtype) == fields
        assert dtype.itemsize == layouts[name][""][1]


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("fold", records.FOLD), ("attempt", records.ATTEMPT), ("cgroup", records.CGROUP)],
    ids=["fold", "attempt", "cgroup"],
)
def test_tables_have_the_same_fields_at_the_same_places(
    layouts: dict[str, dict[str, Place]], name: str, dtype: np.dtype[Any]
) -> None:
    fields = dict(layouts[name])
    _, size = fields.pop("")

    assert (_places(dtype), dtype.itemsize) == (fields, size)


@pytest.mark.parametrize("key", ["exec_key", "repeat_key"])
def test_keys_have_no_gaps(layouts: dict[str, dict[str, Place]], key: str) -> None:
    """Two keys are equal when all bytes are: what no field names would be whatever was there before."""
    fields = dict(layouts[key])
    _, size = fields.pop("")

    assert sum(length for _, length in fields.values()) == size


def test_records_fill_rings_without_a_rest() -> None:
    assert [record.itemsize + 8 for record in (records.SMALL_EVENT, records.LONG_EVENT)] == [640, 8192]


def test_questions_have_the_same_size_on_both_sides(layouts: dict[str, dict[str, Place]]) -> None:
    assert _defines("OPERANDS") == {"": folds.OPERANDS}
    assert layouts["request"][""][1] == 8 * (1 + folds.OPERANDS) == 8 * libbpf.MOST_ARGUMENTS
    assert layouts["layout"][""][1] == generation.LAYOUT_BYTES


@pytest.mark.parametrize(
    ("prefix", "numbers"),
    [
        ("KIND_", {each.name: int(each) for each in Kind}),
        ("COUNTER_", {each.name: int(each) for each in Counter} | {"MAX": len(Counter)}),
        ("STATE_", {each.name: int(each) for each in State} | {"MAX": len(State)}),
        ("RESULT_", {each.name if each else "NONE": int(each) for each in ConnectResult}),
        ("PROTOCOL_", {each.name: int(each) for each in Protocol if each}),
        ("OPERATION_", {each.name: int(each) for each in Operation}),
        ("FOLD_", {each.name: int(each) for each in FoldUse}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_numbers_mean_the_same_on_both_sides(prefix: str, numbers: dict[str, int]) -> None:
    enums = {name: int(value) for name, value in re.findall(rf"^    {prefix}([A-Z_]+) = (\d+),", SOURCE, re.MULTILINE)}
    assert numbers == enums | _defines(prefix)


def test_flags_mean_the_same_on_both_sides() -> None:
    flags = {name: int(bit) for name, bit in re.findall(r"#define FLAG_([A-Z_]+) \(1u << (\d+)\)", SOURCE)}
    between_probes = {"LINEAGE_CUT": 30}

    assert {flag.name: int(flag) for flag in ProcessFlag} | {"ARGS_TRUNCATED": 31} | between_probes == flags


def test_kinds_are_those_of_the_contract() -> None:
    assert {kind.name: int(kind) for kind in Kind if kind} == {
        kind.name: int(kind) for kind in EventKind if kind is not EventKind.LOSS
    }


def test_programs_stand_at_the_places_that_calls_name() -> None:
    """TAIL_EXEC and ANCHOR_EXEC are where process_exec stands, and so on."""
    words = {"cgroups_of_current": "CGROUPS", "process_exec": "EXEC", "process_exit": "EXIT", "state_change": "STATE"}
    tails = {words.get(name, name.upper()): place for table in pins.TAILS.values() for name, place in table.items()}
    words |= {"exit_network": "SYSCALL", "uring_submit": "SUBMIT", "uring_complete": "COMPLETE"}
    anchors = {words[name]: place for programs in pins.TABLES.values() for name, place in programs.items()}

    assert tails == _defines("TAIL_")
    assert anchors == _defines("ANCHOR_")


@pytest.mark.kernel
def test_maps_are_as_large_as_what_reads_them(own_pins: Path) -> None:
    with Probes(own_pins) as probes:
        pinned = probes.current.pins
        found = {name: _map(pinned / name) for name in pins.MAPS}
        with opened(pinned / "layout") as descriptor:
            description = json.loads((lookup(descriptor, bytes(4), generation.LAYOUT_BYTES) or b"").rstrip(b"\0"))

    assert found == {
        "small_events": (0, 0, SIZES.small_ring),
        "long_events": (0, 0, SIZES.long_ring),
        "counters": (4, 8 * len(Counter), 1),
        "cgroups": (8, records.CGROUP.itemsize, SIZES.cgroups),
        "state": (4, 8, len(State)),
        "folds": (4, records.FOLD.itemsize, SIZES.folds),
        "attempts": (4, records.ATTEMPT.itemsize, SIZES.attempts),
        "layout": (4, generation.LAYOUT_BYTES, 1),
    }
    # What it says of itself is whole: an agent of another version has nothing else.
    assert description["counters"] == [counter.name for counter in Counter]
    assert (description["folds"], description["attempts"]) == (SIZES.folds, SIZES.attempts)


def _program() -> str:
    """Return a program that prints the place of every field of every struct."""
    constants = re.findall(r"^#define [A-Z_0-9]+ +\S.*[^\\]$", SOURCE, re.MULTILINE)
    structs = re.findall(r"^(?:struct|union) \w+ \{$.*?^\};$", SOURCE, re.MULTILINE | re.DOTALL)
    shows = [
        f'printf("{name} {field} %zu %zu\\n", offsetof({struct}, {field}), sizeof((({struct} *)0)->{field}));'
        for name, struct in STRUCTS.items()
        for field in _fields(name)
    ]
    shows += [f'printf("{name}  0 %zu\\n", sizeof({struct}));' for name, struct in STRUCTS.items()]
    return "\n".join(
        [
            "#include <stddef.h>\n#include <stdio.h>\n#include <linux/types.h>",
            *constants,
            *re.findall(r"^enum \w+ \{$.*?^\};$", SOURCE, re.MULTILINE | re.DOTALL),
            *structs,
            "int main(void) {",
            *shows,
            "return 0; }",
        ]
    )


def _fields(struct: str) -> list[str]:
    """Return the names of a struct's fields: the last word of each declaration, those after a comma too."""
    (body,) = re.findall(rf"^(?:struct|union) {struct} \{{$(.*?)^\}};$", SOURCE, re.MULTILINE | re.DOTALL)
    declarations = re.sub(r"\[.*?\]", "", body).split(";")
    return [name.split()[-1].lstrip("*") for each in declarations for name in each.split(",") if name.strip()]


def _moved(fields: dict[str, Place], by: int) -> dict[str, Place]:
    return {name: (offset + by, size) for name, (offset, size) in fields.items()}


def _places(dtype: np.dtype[Any]) -> dict[str, Place]:
    return {name: (field[1], np.dtype(field[0]).itemsize) for name, field in (dtype.fields or {}).items()}


def _defines(prefix: str) -> dict[str, int]:
    return {name: int(value) for name, value in re.findall(rf"^#define {prefix}([A-Z_]*) (\d+)\s*$", SOURCE, re.MULTILINE)}


def _map(pin: Path) -> tuple[int, int, int]:
    """Return the sizes of a map's key and value, and how many entries it has."""
    with opened(pin) as descriptor:
        lines = Path(f"/proc/self/fdinfo/{descriptor}").read_text().splitlines()
    info = dict(line.split(":\t", 1) for line in lines)
    return int(info["key_size"]), int(info["value_size"]), int(info["max_entries"])
