"""The C structs of the probes and the numpy types that read them are written twice: here they are compared."""

import re
import shutil
import subprocess
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from peerwatch.columns import ConnectResult, ProcessFlag

from agent.capture import records
from agent.capture.records import Counter, Kind

BPF = Path(str(resources.files("agent.capture") / "bpf"))

PROGRAM = """
#include <stddef.h>
#include <stdio.h>
#include "linux/types.h"
#include "records.h"
#define SHOW(type, field) printf("%s %zu %zu\\n", #field, offsetof(type, field), sizeof(((type *)0)->field));
int main(void) {
    printf("small_event %zu\\nlong_event %zu\\n", sizeof(struct small_event), sizeof(struct long_event));
    printf("outcome %zu\\n", sizeof(struct outcome));
    typedef struct small_event s; typedef struct outcome o;
    SHOW(s, event.time) SHOW(s, event.socket) SHOW(s, event.address) SHOW(s, event.port) SHOW(s, event.kind)
    SHOW(s, event.protocol) SHOW(s, event.result) SHOW(s, event.unused)
    SHOW(s, event.process.start) SHOW(s, event.process.image) SHOW(s, event.process.cgroup) SHOW(s, event.process.parent_start)
    SHOW(s, event.process.pid) SHOW(s, event.process.parent_pid) SHOW(s, event.process.uid) SHOW(s, event.process.flags)
    SHOW(s, event.process.exe_length) SHOW(s, event.process.cwd_length) SHOW(s, event.process.ancestors_length)
    SHOW(s, event.process.args_length) SHOW(s, text)
    return 0;
}
"""


def test_structs_and_numpy_types_have_the_same_fields_at_the_same_places(tmp_path: Path) -> None:
    if not shutil.which("gcc"):
        pytest.skip("needs gcc; on Debian: apt-get install gcc libc6-dev")
    program = tmp_path / "layout"
    # Our own types.h names the kernel's types only: no system header may bring others.
    flags = [f"-I{BPF}", f"-I{BPF / 'include'}", "-D__KERNEL__"]
    subprocess.run(["gcc", "-w", *flags, "-x", "c", "-o", program, "-"], input=PROGRAM, text=True, check=True)
    lines = [line.split() for line in subprocess.run([program], capture_output=True, text=True, check=True).stdout.splitlines()]

    sizes = {name: int(size) for name, size in (line for line in lines if len(line) == 2)}
    fields = {name.rpartition(".")[2]: (int(at), int(size)) for name, at, size in (line for line in lines if len(line) == 3)}
    ours = records.SMALL_EVENT.fields or {}

    assert sizes == {
        "small_event": records.SMALL_EVENT.itemsize,
        "long_event": records.LONG_EVENT.itemsize,
        "outcome": records.OUTCOME.itemsize,
    }
    assert fields == {name: (field[1], np.dtype(field[0]).itemsize) for name, field in ours.items()}


def test_records_fill_rings_without_a_rest() -> None:
    for record in (records.SMALL_EVENT, records.LONG_EVENT, records.OUTCOME):
        assert record.itemsize % 8 == 0


def test_numbers_mean_the_same_on_both_sides() -> None:
    header = (BPF / "records.h").read_text()
    enums = {name: int(value) for name, value in re.findall(r"^    ([A-Z_]+) = (\d+),", header, re.MULTILINE)}
    flags = {name: int(bit) for name, bit in re.findall(r"#define FLAG_([A-Z_]+) \(1u << (\d+)\)", header)}

    assert {f"COUNTER_{counter.name}": counter for counter in Counter} | {"COUNTER_MAX": len(Counter)} == {
        name: value for name, value in enums.items() if name.startswith("COUNTER_")
    }
    assert {f"KIND_{kind.name}": kind for kind in Kind} == {
        name: value for name, value in enums.items() if name.startswith("KIND_")
    }
    assert {f"RESULT_{result.name}": result for result in ConnectResult if result} == {
        name: value for name, value in enums.items() if name.startswith("RESULT_") and value
    }
    assert {flag.name: int(flag) for flag in ProcessFlag} | {"ARGS_TRUNCATED": 31} == flags
