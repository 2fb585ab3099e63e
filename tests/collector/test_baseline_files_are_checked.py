"""Files from Git are as hostile as any input: what is wrong is named with file, line and field, and costs nothing."""

import time

import pytest
from hypothesis import given, strategies as st

from collector.baseline_files import FILE_MAX, BaselineFile, FileEntry, entries_as_yaml, from_baseline, parse, to_yaml
from collector.errors import InputError
from collector.records import BaselineEntry, BehaviourState, BehaviourType, Lock, WorkloadKey

CART = WorkloadKey("prod-eu", "shop", "Deployment", "cart")
GOOD = """\
peerwatch: baseline/v1
cluster: prod-eu
workload: shop/Deployment/cart
locked:
  by: bob
  why: complete
containers:
  app:
    exec:
    - key: /usr/bin/pg_dump <- /bin/sh
      state: approved
      by: alice
      why: nightly dump
      until: '2027-01-01T00:00:00Z'
      example: pg_dump -h db
    connect:
    - key: /usr/bin/pg_dump -> shop/db:5432/tcp
      state: learned
"""


def entry(key: str = "/bin/x", state: BehaviourState = BehaviourState.LEARNED, **changes: object) -> BaselineEntry:
    values: dict[str, object] = {
        "workload": CART,
        "container": "app",
        "type": BehaviourType.EXEC,
        "key": key,
        "state": state,
        "count": 17,
        "replicas": 3,
        "of": 5,
        "nodes": 2,
        "revisions": ("r1",),
        "first_seen": 10**18,
        "last_seen": 10**18 + 1,
        "example": ("x", "it's"),
        "parent": "/bin/sh",
    }
    return BaselineEntry(**{**values, **changes})  # type: ignore[arg-type] — the cases name fields of every type


def test_a_file_is_read_as_it_is_written() -> None:
    found = parse(GOOD.encode(), "cart.yaml")
    assert found.workload == CART
    assert found.locked == Lock("bob", "complete", 0)
    assert [(each.type, each.key, each.state) for each in found.entries] == [
        (BehaviourType.EXEC, "/usr/bin/pg_dump <- /bin/sh", BehaviourState.APPROVED),
        (BehaviourType.CONNECT, "/usr/bin/pg_dump -> shop/db:5432/tcp", BehaviourState.LEARNED),
    ]
    assert found.entries[0].until == 1_798_761_600 * 10**9
    assert to_yaml(found) == GOOD


def test_an_export_has_nothing_that_changes_by_itself() -> None:
    first = [
        entry("/bin/b"),
        entry("/bin/a", BehaviourState.REJECTED, by="alice", why="no"),
        entry("/bin/c", BehaviourState.CANDIDATE),
    ]
    later = [
        entry("/bin/a", BehaviourState.REJECTED, by="alice", why="no", count=99, last_seen=2 * 10**18),
        entry("/bin/b", replicas=5),
    ]
    text = to_yaml(from_baseline(CART, first, None))
    assert text == to_yaml(from_baseline(CART, later, None))
    assert text.index("/bin/a") < text.index("/bin/b")
    assert "/bin/c" not in text
    assert "/bin/c" in to_yaml(from_baseline(CART, first, None, candidates=True))


def test_show_as_yaml_has_the_evidence() -> None:
    text = entries_as_yaml([entry("/bin/b", by="alice", why="so", decided=10**18)])
    for words in ("count: 17", "replicas: 3", "of: 5", "firstSeen: '2001-09-09T01:46:40Z'", "by: alice", "example: x 'it"):
        assert words in text


_TEXT = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1)


@given(
    st.lists(st.builds(FileEntry, _TEXT, st.sampled_from(BehaviourType), _TEXT, st.sampled_from(BehaviourState), _TEXT, _TEXT))
)
def test_what_was_exported_is_imported_as_it_was(entries: list[FileEntry]) -> None:
    unique = {(each.container, each.type, each.key): each for each in entries}
    file = BaselineFile(CART, None, tuple(unique[name] for name in sorted(unique)))
    text = to_yaml(file)
    assert text.isascii()
    assert parse(text.encode(), "x.yaml") == file


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("baseline/v1", "baseline/v9", ["line 1", "baseline/v9", "another version"]),
        ("peerwatch: baseline/v1\n", "", ["peerwatch is missing"]),
        ("shop/Deployment/cart", "shop/cart", ["line 3", "workload", "NAMESPACE/KIND/NAME"]),
        ("state: approved", "state: aproved", ["line 11", "containers.app.exec.state", "'aproved'", "approved"]),
        ("state: approved", "stat: approved", ["line 11", "containers.app.exec", "'stat'", "state"]),
        ("    exec:", "    execs:", ["line 10", "containers.app.execs", "exec, connect"]),
        (
            "    - key: /usr/bin/pg_dump <- /bin/sh\n      state",
            "    - state",
            ["line 10", "containers.app.exec.key is missing"],
        ),
        ("'2027-01-01T00:00:00Z'", "tomorrow", ["line 14", "containers.app.exec.until", "'tomorrow'"]),
        ("why: nightly dump", "why: [nightly, dump]", ["line 13", "containers.app.exec.why", "a text is expected"]),
        ("  app:\n", "  app: everything\n  web:\n", ["line 8", "containers.app", "fields are expected"]),
        ("by: alice", 'by: "\\e[31malice"', ["line 12", "not printable"]),
        ("by: alice", "by: *alice", ["line 12", "alias"]),
        ("by: alice", "by: !!python/object:os.system alice", []),
        ("by: alice", "by: alice: bob", ["line 12"]),
        ("cluster: prod-eu", "cluster: prod-eu\ncluster: prod-us", ["line 3", "'cluster' stands there twice"]),
        ("  by: bob", "  bye: bob", ["line 5", "locked", "'bye'"]),
    ],
)
def test_what_is_wrong_is_named_with_file_line_and_field(old: str, new: str, words: list[str]) -> None:
    assert old in GOOD
    text = GOOD.replace(old, new, 1).encode()
    if not words:  # a tag is no order: the text is what it is
        assert parse(text, "cart.yaml").entries[0].by == "alice"
        return
    with pytest.raises(InputError) as caught:
        parse(text, "cart.yaml")
    said = str(caught.value)
    assert said.startswith("cart.yaml")
    assert said.isprintable()
    for word in words:
        assert word in said


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\x00\x01\x02",
        b"\xff\xfe\x00",
        b"- 1\n- 2\n",
        b"just words",
        b"%YAML 9.9\n---\na: b\n",
        b"a: b\n---\nc: d\n",
        b"? [a, b]\n: c\n",
        b"<<: {a: b}\n",
        b"a: &a [x]\nb: [*a, *a]\n",
        b"[" * 100_000,
        b"{a: " * 50_000,
        "peerwatch: \u202e\n".encode(),
        b"x" * (FILE_MAX + 1),
        b"[" + b"[]," * 2_000_000 + b"]",
        b"peerwatch: baseline/v1\nworkload: a/b/c\ncontainers: {app: {exec: [" + b"{}, " * 100 + b"]}}\n",
    ],
    ids=lambda text: repr(text[:20]),
)
def test_hostile_files_are_one_clear_error_at_once(text: bytes) -> None:
    began = time.process_time()  # a neighbour's time is not the parser's
    with pytest.raises(InputError) as caught:
        parse(text, "bad.yaml")
    assert time.process_time() - began < 5
    assert len(str(caught.value)) < 1000


def test_a_behaviour_may_stand_in_a_file_only_once() -> None:
    twice = GOOD + "    - key: /usr/bin/pg_dump -> shop/db:5432/tcp\n      state: rejected\n"
    with pytest.raises(InputError, match="stands there twice"):
        parse(twice.encode(), "cart.yaml")
