"""`--pods FILE`: both forms, every way to change it, and what a user reads when it is wrong."""

import json
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from agent.errors import ConfigError
from agent.identity.cgroups import ContainerRef
from agent.identity.index import PodIndex
from agent.identity.podfile import PodFile, read_pods

STARTED = "2026-11-21T09:12:03Z"


def pods(*names: str, kind: str = "PodList") -> dict[str, Any]:
    items = [
        {
            "metadata": {"name": name, "namespace": "shop", "uid": f"uid-{name}", "creationTimestamp": STARTED},
            "status": {"containerStatuses": [{"name": "app", "containerID": f"containerd://{name}"}]},
        }
        for name in names
    ]
    return {"apiVersion": "v1", "kind": kind, "items": items}


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)


def known(index: PodIndex) -> set[str]:
    return {name for name in ("a", "b", "c") if index.lookup(ContainerRef(name)) is not None}


@pytest.mark.parametrize("write", [json.dumps, yaml.safe_dump], ids=["JSON", "YAML"])
@pytest.mark.parametrize("kind", ["PodList", "List"])
def test_both_forms_and_both_kinds_give_the_same_pods(tmp_path: Path, write: Callable[[object], str], kind: str) -> None:
    path = tmp_path / "pods"
    path.write_text(write(pods("a", "b", kind=kind)))

    records = read_pods(str(path))

    assert [each.pod.name for each in records] == ["a", "b"]
    assert {each.pod.created_at for each in records} == {1_795_252_323 * 10**9}


def test_times_in_yaml_need_no_quotes(tmp_path: Path) -> None:
    path = tmp_path / "pods.yaml"
    path.write_text(yaml.safe_dump(pods("a")).replace(f"'{STARTED}'", STARTED))

    assert STARTED in path.read_text()
    assert read_pods(str(path))[0].pod.created_at == 1_795_252_323 * 10**9


def test_other_kinds_in_a_list_are_passed_over(tmp_path: Path) -> None:
    content = pods("a", kind="List")
    content["items"].append({"kind": "Service", "metadata": {}})
    path = tmp_path / "pods.json"
    path.write_text(json.dumps(content))

    assert len(read_pods(str(path))) == 1


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ('{"kind": "PodList",\n "items": [}', ", line 2, column 12: "),
        ("kind: PodList\nitems: [\n", ", line 3, column 1: "),
        ("a: b\n--- \nc: d\n", ", line 2, column 1: "),
        ("", ": expected a PodList with items, found NoneType"),
        ("[]", ": expected a PodList with items, found list"),
        ('{"kind": "Pod"}', ": expected a PodList with items, found kind Pod"),
        ('{"kind": "PodList", "items": [{"metadata": {"name": "x"}}]}', ", items[0]: metadata.uid is missing"),
        ("\x00", ": "),
        ("- " * 5000, ": nested deeper than 100 levels"),
        ("items: " + "[" * 200_000, ": nested deeper than 100 levels"),
        ("kind: !!timestamp x", ": "),
        ("kind: \udc80", ": "),
    ],
)
def test_a_wrong_file_is_named_with_the_place_and_what_to_do(tmp_path: Path, content: str, why: str) -> None:
    path = tmp_path / "pods"
    path.write_bytes(content.encode(errors="surrogateescape"))

    with pytest.raises(ConfigError) as caught:
        read_pods(str(path))

    text = str(caught.value)
    assert text.startswith(f"--pods {path}{why}")
    assert text.endswith("; give a Kubernetes PodList in JSON or YAML, for example from `kubectl get pods -A -o json`")
    assert "\n" not in text


def test_a_missing_file_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file or directory"):
        PodFile(str(tmp_path / "none"), PodIndex("c", "n")).start()


def test_a_file_written_in_place_or_replaced_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "pods.json"
    path.write_text(json.dumps(pods("a")))
    index = PodIndex("c", "n")
    source = PodFile(str(path), index, poll_s=0.01)
    source.start()
    try:
        assert known(index) == {"a"}
        path.write_text(json.dumps(pods("a", "b")))
        until(lambda: known(index) == {"a", "b"})
        fresh = tmp_path / "fresh"
        fresh.write_text(json.dumps(pods("a", "c")))
        fresh.replace(path)
        until(lambda: "c" in known(index))
        assert len(index) == 2
    finally:
        source.stop()


def test_a_second_write_within_the_same_tick_of_the_clock_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "pods.json"
    path.write_text(json.dumps(pods("a")))
    index = PodIndex("c", "n")
    source = PodFile(str(path), index, poll_s=0.01)
    source.start()
    try:
        stamp = path.stat()
        path.write_text(json.dumps(pods("b")))  # as long as before, the same inode, and now the same time
        os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
        until(lambda: "b" in known(index))
    finally:
        source.stop()


def test_a_file_that_turns_wrong_is_told_once_and_changes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "agent.identity.podfile")
    path = tmp_path / "pods.json"
    path.write_text(json.dumps(pods("a")))
    index = PodIndex("c", "n")
    source = PodFile(str(path), index, poll_s=0.01)
    source.start()
    try:
        path.write_text('{"kind"')
        until(lambda: caplog.records)
        path.write_text('{"kind": ')
        path.unlink()
        until(lambda: source.age_s() > 0.1)
        assert len(caplog.records) == 1
        assert known(index) == {"a"}
        path.write_text(json.dumps(pods("b")))
        until(lambda: len(caplog.records) == 2)
        assert "b" in known(index)
    finally:
        source.stop()

    wrong, right = (record.getMessage() for record in caplog.records)
    assert ", line 1, column " in wrong
    assert wrong.endswith("; the 1 pods read before stay")
    assert right == f"--pods {path} is read again: 1 pods"
