"""A pod's name may be known only after its events are on disk: whoever asks for it by that name gets them all the same."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from collector_shelf import SECOND, START, Shelf, claim, table

ASKED = [
    {"namespace": "shop"},
    {"pod": "web-1"},
    {"workload": "web"},
    {"workload": "Deployment/web"},
    {"container": "app"},
    {"namespace": "shop", "pod": "web-1", "workload": "deployment/web", "container": "app"},
]
OTHERS = [{"namespace": "bank"}, {"pod": "vault-1"}, {"workload": "StatefulSet/web"}, {"container": "vault"}, {"cluster": "b"}]


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    shelf = Shelf(tmp_path)
    yield shelf
    shelf.close()


@pytest.mark.parametrize("sealed", [False, True], ids=["journal", "archive"])
@pytest.mark.parametrize("asked", ASKED, ids=" ".join)
def test_events_are_found_by_the_name_that_came_after_them(shelf: Shelf, asked: dict[str, str], *, sealed: bool) -> None:
    shelf.store(1, table(claim("uid-web-1"), claim("uid-web-9")))
    if sealed:
        shelf.seal()
    assert shelf.found(**asked) == 0

    shelf.know()
    assert shelf.found(**asked) == 2


@pytest.mark.parametrize("asked", OTHERS, ids=" ".join)
def test_no_event_is_found_by_a_name_that_is_not_its_own(shelf: Shelf, asked: dict[str, str]) -> None:
    shelf.store(1, table(claim("uid-web-1"), claim("uid-web-9")))
    shelf.seal()
    shelf.know()

    assert shelf.found(**asked) == 0


@pytest.mark.parametrize("asked", ASKED, ids=" ".join)
def test_a_restart_finds_them_too_though_the_pod_is_gone(shelf: Shelf, asked: dict[str, str]) -> None:
    shelf.store(1, table(claim("uid-web-1")))
    shelf.seal()
    shelf.know()
    shelf.pipeline.tick(START + 10 * SECOND)

    again = shelf.again()  # which knows nobody
    assert again.found(**asked) == 2
    again.close()
