"""What an API server answers to a list, in pieces: the same as when it is read at once, and nonsense is told."""

import json
from typing import Any

import pytest
from hypothesis import given, strategies as st
from peerwatch.kubernetes.errors import ServerError
from peerwatch.kubernetes.listing import Page

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
METADATA = {"resourceVersion": "7", "continue": "x"}


@given(
    st.lists(VALUES, max_size=6),
    st.sampled_from([None, 1]),
    st.permutations(["kind", "metadata", "items"]),
    st.sampled_from(["plain", ""]),
)
def test_all_items_come_in_order_wherever_they_stand(
    items: list[Any], indent: int | None, order: list[str], plain: str
) -> None:
    whole = {"kind": "PodList", "metadata": METADATA, "items": items}
    body = json.dumps({key: whole[key] for key in order}, ensure_ascii=bool(plain), indent=indent).encode(
        "utf-8", "surrogatepass"
    )
    page = Page(body)

    try:
        body.decode()
    except UnicodeDecodeError:
        with pytest.raises(ServerError):
            list(page.items())
        return
    assert list(page.items()) == items
    assert page.metadata == METADATA


WRONG = (
    "", "[", "7", "{", '{"items"',
    '{"items":', '{"items":[', '{"items":[1', '{"items":[1,', '{"items":[1,]}', '{"items":[1 2]}',
    '{"items":[1]', '{"items":[1],', '{"items":7}', '{"items":{}}', '{"items":[{"a":]}', "<html>", '{"items":' + "[" * 100_000,
)  # fmt: skip


@pytest.mark.parametrize("body", [b"\xff\xfe", *(each.encode() for each in WRONG)])
def test_what_is_no_list_is_told_in_one_line(body: bytes) -> None:
    with pytest.raises(ServerError, match=r"^its answer to a list ") as told:
        list(Page(body).items())

    assert "\n" not in str(told.value)


def test_a_page_that_is_cut_gives_what_was_whole_and_then_says_so() -> None:
    items = Page(b'{"items":[{"a":1},{"b":2},{"c"').items()

    assert [next(items), next(items)] == [{"a": 1}, {"b": 2}]
    with pytest.raises(ServerError):
        next(items)
