"""What all tests share, and which of them may run beside which."""

import fcntl
import os
import signal
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

TOGETHER = {
    "tests/cluster/test_install.py": "chart",
    "tests/cluster/test_uninstall.py": "chart",
    "tests/cluster": "node",
    "tests/kernel": "probes",
    "tests/daemonset/test_rights_are_needed.py": "probes",
    "tests/e2e/test_the_demo_keeps_its_promise.py": "demo",
}
"""File or folder → group, whose tests follow each other in one process: they share what is expensive to make (a Kubernetes
node, containers, loaded probes), or fill it (rings, folds). The longest group is first, and is begun first.

Every other file is a group of its own. Groups run beside each other, as whole test runs may: no name on the host is fixed.
"""

ALONE = {
    "tests/e2e/test_capture_survives_an_outage.py": "capture",
    "tests/e2e/test_capture_survives_and_accounts_for_it.py": "capture",
    "tests/e2e/test_capture_survives_kills.py": "capture",
    "tests/e2e/test_capture_survives_upgrades.py": "capture",
    "tests/kernel/test_nothing_is_lost_or_twice_when_a_ring_is_full.py": "capture",
}
"""One more group, the last: beside its tests none of another group runs. They say that a load is captured without a loss, and
for that an agent needs the processor that it has on any node that is not overloaded; or they make more events than rings hold,
which fills those of all agents here, and count what is lost.

A test that is like these and needs what its group shares carries the marker `alone`: it comes last in its file.
"""

_SEVERAL = "PYTEST_XDIST_WORKER" in os.environ
_QUEUE, _ROOM = (os.open(path, os.O_RDONLY) for path in (__file__, Path(__file__).parent))
"""What processes of one checkout lock to be alone. Nothing is written, so nothing is left behind."""
_KEPT = pytest.StashKey[bool]()
"""Whether this process is still alone, since its next test is to be, too: it would wait for the others each time."""

# How long an example takes says more of the machine than of the code: what must be fast is measured in bench/.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")

# A background job of a shell ignores Ctrl-C, and with it every process on which a test presses it.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Hundreds of processes are started here; each would compile our code and the libraries anew, which is half of what it takes.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return how many processes `-n auto` is: one more than processors, because a Kubernetes node is mostly waited for.

    Beyond eight, the rest is done long before the longest group; on one processor, each test would be late for another's sake.
    """
    processors = len(os.sched_getaffinity(0))
    return min(processors + 1, 8) if processors > 1 else 0


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:  # noqa: ANN401 — pytest-xdist may not be installed
    """Give each process one group after the other."""
    from xdist.scheduler import LoadScopeScheduling  # noqa: PLC0415 — this is called by pytest-xdist only

    class Groups(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _group(nodeid.partition("::")[0])

    config.option.loadscopereorder = False  # by how long they take, and not by how many tests they have
    return Groups(config, log)


@pytest.hookimpl(tryfirst=True)  # after the order was made
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Bring to the front what takes longest, and to the end what runs alone."""
    if _SEVERAL:
        first = list(dict.fromkeys(TOGETHER.values()))
        places = {group: place - len(first) for place, group in enumerate(first)} | dict.fromkeys(ALONE.values(), 1)
        files = {file: place for place, file in enumerate(dict.fromkeys(map(_file, items)))}

        def place(item: pytest.Item) -> tuple[int, int, bool]:
            file = _file(item)
            return places.get(_group(file), 0), files[file], _is_alone(item)

        items.sort(key=place)


@pytest.hookimpl(wrapper=True, tryfirst=True)  # before the test's time begins
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None, Any, Any]:
    """Have what runs alone wait for all others, once for all that follow each other, and all others for it."""
    if not _SEVERAL:
        return (yield)
    alone = _is_alone(item)
    if not item.config.stash.get(_KEPT, False):
        fcntl.flock(_QUEUE, fcntl.LOCK_EX)  # who waits for the room keeps others from entering it meanwhile
        fcntl.flock(_ROOM, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(_QUEUE, fcntl.LOCK_UN)
    try:
        return (yield)
    finally:
        kept = item.config.stash[_KEPT] = alone and nextitem is not None and _is_alone(nextitem)
        if not kept:
            fcntl.flock(_ROOM, fcntl.LOCK_UN)


def _file(item: pytest.Item) -> str:
    return item.path.relative_to(item.config.rootpath).as_posix()


def _is_alone(item: pytest.Item) -> bool:
    return _file(item) in ALONE or item.get_closest_marker("alone") is not None


def _group(file: str) -> str:
    groups = ALONE | TOGETHER  # a file before its folder
    return next((group for start, group in groups.items() if file == start or file.startswith(f"{start}/")), file)
