"""The API server's side of a watch, cut and broken in every way; lines as recorded from Kubernetes 1.33."""

import json

import peerwatch.kubernetes.watchlines as module
import pytest
from hypothesis import given, strategies as st
from peerwatch.backoff import Backoff
from peerwatch.kubernetes.errors import ExpiredError, ServerError, failure
from peerwatch.kubernetes.watchlines import Change, WatchEvent, lines, watch_event

EXPIRED = (
    b'{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure",'
    b'"message":"too old resource version: 598 (615)","reason":"Expired","code":410}}'
)
BOOKMARK = (
    b'{"type":"BOOKMARK","object":{"kind":"Pod","apiVersion":"v1","metadata":{"resourceVersion":"12746",'
    b'"creationTimestamp":null},"spec":{"containers":null},"status":{}}}'
)


@given(st.lists(st.binary(max_size=20).map(lambda line: line.replace(b"\n", b"")), max_size=10), st.data())
def test_lines_are_whole_however_they_are_cut(expected: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(line + b"\n" for line in expected) + b"cut off"
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    chunks = [stream[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]

    assert list(lines(chunks)) == expected


def test_a_line_without_end_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_LINE", 1000)
    taken = []

    with pytest.raises(ServerError, match="longer than 1000 bytes"):
        list(lines(taken.append(number) or b"x" * 100 for number in range(10**9)))  # type: ignore[func-returns-value] — append() is called for what it does

    assert len(taken) == 11


@pytest.mark.parametrize(("kind", "change"), [("ADDED", Change.APPLY), ("MODIFIED", Change.APPLY), ("DELETED", Change.DELETE)])
def test_a_change_carries_its_object_and_version(kind: str, change: Change) -> None:
    pod = {"metadata": {"resourceVersion": "7"}}

    assert watch_event(json.dumps({"type": kind, "object": pod}).encode()) == WatchEvent(change, pod, "7")


def test_a_bookmark_carries_a_version_only() -> None:
    event = watch_event(BOOKMARK)

    assert event is not None
    assert (event.change, event.version) == (Change.BOOKMARK, "12746")


def test_a_type_from_the_future_is_passed_over() -> None:
    assert watch_event(b'{"type":"SPLIT","object":{"metadata":{"resourceVersion":"7"}}}') is None


def test_an_expired_version_is_told_apart() -> None:
    with pytest.raises(ExpiredError, match="HTTP 410: too old resource version: 598"):
        watch_event(EXPIRED)
    assert isinstance(failure(410, b"{}"), ExpiredError)
    assert isinstance(failure(504, b'{"message": "Timeout: Too large resource version: 9, current: 3"}'), ExpiredError)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"type":"ADDED"}',
        b'{"type":"ADDED","object":{}}',
        b'{"type":"ERROR","object":{"code":"x"}}',
        b'{"type":"ADDED","object":{"metadata":{"resourceVersion":7}}}',
        b'{"type":"ADDED","object":{"metadata":[]}}',
    ],
)
def test_what_is_no_event_is_an_error_and_no_expiry(line: bytes) -> None:
    with pytest.raises(ServerError) as caught:
        watch_event(line)

    assert not isinstance(caught.value, ExpiredError)


@given(st.binary(max_size=60))
def test_any_line_is_an_event_or_an_error(line: bytes) -> None:
    with pytest.raises(ServerError):
        watch_event(line)


def test_a_refusal_says_what_the_server_said_in_one_line() -> None:
    error = failure(429, b'{"message": "slow\\ndown"}', "7")

    assert (str(error), error.retry_after_s) == ("HTTP 429: slow down", 7)
    assert str(failure(502, b"<html>")) == "HTTP 502: no message"
    assert failure(503, b"", "Fri, 31 Dec 1999 23:59:59 GMT").retry_after_s == 0


def test_pauses_double_up_to_a_cap_with_jitter_and_begin_again() -> None:
    backoff = Backoff(1, 5)
    full = [1, 2, 4, 5, 5]

    for _ in range(2):
        pauses = [backoff.next_s() for _ in full]
        backoff.reset()
        assert all(most / 2 <= pause <= most for pause, most in zip(pauses, full, strict=True))
