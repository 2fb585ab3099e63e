"""Lines of the usual form are known by their parts, and parts that were met before change nothing about what a line says."""

import itertools

import pytest
from hypothesis import given, strategies as st
from peerwatch import jsonlines
from peerwatch.jsonlines import line as lines_of_ours

HEAD = b'{"time":"2026-11-21T10:00:00.5Z","node":"n","process":{"pid":1},'
LAST = b'"lastTime":"2026-11-21T10:00:09.25Z"'
DEEDS = [
    b'"exec":{}}',
    b'"exit":{}}',
    b'"exec":{"count":3}}',
    b'"exit":{"count":3}}',
    b'"exec":{"count":4,' + LAST + b"}}",
    b'"exit":{"code":1,"count":4,' + LAST + b"}}",
    b'"exit":{"code":1,"lifetime":"1.5s","count":4}}',
    b'"listen":{"protocol":"TCP","address":"::1","port":80}}',
    b'"connect":{"protocol":"TCP","address":"10.0.0.1","port":80,"result":"OK","count":2}}',
    b'"connect":{"protocol":"TCP","address":"10.0.0.1","port":80,"result":"OK","count":7,' + LAST + b"}}",
    b'"accept":{"protocol":"TCP","address":"10.0.0.1","port":80,"count":7,' + LAST + b"}}",
    b'"accept":{"protocol":"TCP","address":"10.0.0.1","port":80,"count":7,"peer":{"namespace":"a","workload":{"name":"b"}}}}',
]
ODD = [
    b'"listen":{"address":"::1","count":3}}',  # a field that this kind does not have
    b'"exec":{"new":{"count":3}}}',
    b'"exec":{"new":{"a":1,"count":3}}}',
    b'"exec":{"new":[1,{"count":3}]}}',
    b'"exec":{"count":3,"count":4}}',
    b'"exec":{"count":3,"\\u0063ount":4}}',
    b'"exec":{"\\u0063ount":4,"count":3}}',
    b'"exec":{' + LAST + b',"count":3}}',
    b'"exec":{"count":3,' + LAST + b"," + LAST.replace(b"09", b"19") + b"}}",
    b'"exec":{"count":03}}',
    b'"exec":{"count":0}}',
    b'"exec":{"count":3.5}}',
    b'"exec":{"count":4294967296}}',
    b'"exec":{"count":"3"}}',
    b'"exec":{"count":3,}}',
    b'"exec":{,"count":3}}',
    b'"exec":{"count":3,"lastTime":"tomorrow, at ten o clock"}}',
    b'"connect":{"address":"10.0.0.1,"count":3"}}',
    b'"connect":{"address":"10.0.0.1","count":3,"count"}}',
    b'"connect":{"address":"10.0.0.1","result":"\xff","count":3}}',
    b'"exec":{"count":3},"exec":{"count":1}}',
    b'"exec":{"count":3},"pod":{"name":"late"}}',
]


def said(lines: list[bytes]) -> list[bytes]:
    reader = jsonlines.Reader(skip_bad_lines=True)
    return [written for table in reader.read(lines) for written in jsonlines.write(table)]


def as_a_whole(line: bytes) -> bytes:
    """Return the same line in a form that is none of ours."""
    return b" " + line


@pytest.mark.parametrize("deed", DEEDS + ODD)
def test_a_line_says_what_it_says_as_a_whole(deed: bytes) -> None:
    assert said([HEAD + deed]) == said([as_a_whole(HEAD + deed)])


@given(st.lists(st.sampled_from(DEEDS + ODD), max_size=30))
def test_lines_that_came_before_change_nothing(deeds: list[bytes]) -> None:
    lines = [HEAD + deed for deed in deeds]

    assert said(lines) == list(itertools.chain.from_iterable(said([as_a_whole(line)]) for line in lines))


def test_what_is_remembered_from_table_to_table_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines_of_ours, "MOST_REMEMBERED", 1_000)
    monkeypatch.setattr(lines_of_ours, "MOST_SECONDS", 5)
    remembered = lines_of_ours.Remembered()
    table = lines_of_ours.LineTable(remembered)
    for number in range(997):
        line = HEAD.replace(b'"n"', b'"node-%d"' % number).replace(b"10:00:00", b"10:%02d:%02d" % divmod(number, 60))
        assert table.add(line + DEEDS[0])

    assert len(table.builder) == 997
    assert sum(map(len, remembered.subjects)) <= 1_000
    assert len(remembered.seconds) <= 6
