"""Other probes take over under load. Another mode is another version: both are other probes, in a folder of their own."""

import re
import signal
from collections import Counter
from pathlib import Path

import pytest
from harness.agents import Delivered, Site
from harness.containers import Container
from harness.load import Load
from harness.sabotage import fatal

pytestmark = pytest.mark.kernel


def exactly(delivered: Delivered, load: Load, upgrades: int) -> None:
    """Each event of the load arrived once, but for the exit of whoever lived when other probes took over.

    Those probes have not seen its exec. The load runs one program at a time.
    """
    missing, too_many = delivered.compare(load.events)
    assert too_many == Counter()
    assert {kind for kind, *_ in missing} <= {"exit"}
    assert missing.total() <= upgrades
    assert delivered.lost == Counter() or delivered.others, "on a shared machine others lose events, too"
    assert len(delivered.processes) == 1, "a process that lived all the time is one"


def generations(pins: Path) -> list[str]:
    return sorted(entry.name for entry in pins.iterdir() if re.fullmatch("[0-9a-f]{16}(-new)?", entry.name))


def test_there_and_back_again_under_load(site: Site, container: Container) -> None:
    before = generations(site.pins)
    found = []
    with Load(container) as load:
        for options in ([], ["--full"], []):
            with site.agent(*options) as agent:
                agent.until("capturing on node")
                agent.stop()
            found.append(generations(site.pins))
    site.finish()

    exactly(site.delivered(container.id), load, upgrades=2)
    assert [len(each) for each in found] == [1, 1, 1], "old probes are gone"
    assert found[0] == found[2] == before != found[1]
    assert len(list(site.pins.iterdir())) == 2, "one generation, and what it is called by"


MOMENTS = {
    "the new probes are loaded, and not pinned where they belong": fatal("pathlib", "Path.rename", 1, "before"),
    "the new probes are there, and never called": fatal("agent.capture.probes", "activate", 1, "before"),
    "some programs are the new ones": fatal("agent.capture.pins", "store", 2, "after"),
    "all programs are the new ones, some of the old still run": fatal(
        "agent.capture.probes", "await_grace_period", 1, "before"
    ),
    "what the old ones held was read": fatal("agent.stream", "Sender.put", 1, "before"),
    "what the old ones held is safe": fatal("agent.stream", "Sender.put", 1, "after"),
    "some pins of the old ones are gone": fatal("os", "unlink", 5, "after", "'/bpf/' in str(arguments[0])"),
}


def test_killed_in_the_middle_of_an_upgrade(site: Site, container: Container) -> None:
    with Load(container) as load:
        for moment, fault in MOMENTS.items():
            with site.agent("--full", source=fault) as agent:
                words = agent.process.communicate(timeout=30)[1]
                assert agent.process.returncode == -signal.SIGKILL, f"{moment}: {words}"
        with site.agent("--full") as agent:
            agent.until("capturing on node")
            agent.stop()
        assert len(generations(site.pins)) == 1
    site.finish()

    exactly(site.delivered(container.id), load, upgrades=2)
