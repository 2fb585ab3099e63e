"""Lines of the usual form are known by their parts, and parts that were met before change nothing about what a line says."""

import itertools
import json

import pytest
from hypothesis import given, strategies as st
from peerwatch import jsonlines
from peerwatch.jsonlines import line as lines_of_ours, moments

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
    b'"connect":{"protocol":"TCP","address":"10.0.0.1","port":80,"peer":{"namespace":"a"},"count":7}}',
    b'"connect":{"address":"10.0.0.1","count":7,"peer":{"workload":{"name":"b"},"namespace":"a"},' + LAST + b"}}",
    b'"listen":{"protocol":"TCP","address":"::1","port":65535}}',
    b'"connect":{"protocol":"UDP","address":"10.0.0.1","port":50874,"result":"OK","count":1}}',
    b'"connect":{"protocol":"UDP","address":"10.0.0.1","port":42948,"result":"OK","count":1}}',
    b'"connect":{"protocol":"UDP","address":"10.0.0.1","port":42948,"result":"OK","count":1,' + LAST + b"}}",
    b'"connect":{"protocol":"UDP","address":"10.0.0.1","port":0,"result":"OK","count":1}}',
    b'"connect":{"protocol":"UDP","address":"10.0.0.1","result":"OK","count":1}}',
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
    b'"exec":null}',
    b'"exec":[{"count":3}]}',
    b'"loss":{"count":3}}',
    b'"exec":{"new":{},"exec":{"count":3}}}',
    b'"connect":{"address":"10.0.0.1","result":"},"count":3}}',
    b'"connect":{"protocol":"UDP","address":"10.0.0.1","port":70874,"result":"OK","count":1}}',
    b'"connect":{"protocol":"UDP","address":"10.0.0.1","port":00874,"result":"OK","count":1}}',
    b'"connect":{"protocol":"UDP","address":"10.0.0.1","port":"5087","result":"OK","count":1}}',
    b'"connect":{"protocol":"UDP","address":"10.0.0.1","port":64937,"port":50874,"count":1}}',
    b'"connect":{"address":"10.0.0.1","peer":{"port":50874},"port":42948,"count":1}}',
    b'"exit":{"port":50874}}',
]


MOMENT = b'"2026-11-21T10:00:00.5Z"'
PROCESSES = [
    b'{"pid":1}',
    b'{"pid":12,"startTime":%b,"exe":"/bin/a","args":["a","7"]}' % MOMENT,
    b'{"pid":98,"startTime":%b,"exe":"/bin/a","args":["a","8"]}' % MOMENT.replace(b"10:00", b"11:07"),
    b'{"pid":12,"exe":"/bin/a","parent":{"pid":3,"exe":""},"ancestors":[],"flags":[]}',
    b'{"pid":12,"exe":"/bin/a","parent":{"pid":4,"exe":"/b","startTime":%b},"ancestors":["/b"]}' % MOMENT,
    b'{"pid":12,"parent":{"pid":5,"exe":"/b"},"ancestors":["/b","/c"],"ancestorIds":[{"pid":7},{"pid":8}]}',
    b'{"pid":12,"parent":{"pid":5,"exe":"/b"},"ancestors":["/b","/c"],"ancestorIds":[{"pid":9},{"pid":3}]}',
    b'{"pid":12,"ancestorIds":[]}',
]
ODD_PROCESSES = [
    b'{"pid":05}',
    b'{"pid":00}',
    b'{"pid":0}',
    b'{"pid":4294967296}',
    b'{"pid":5,"pid":6}',
    b'{"pid":5,"pid":999999937}',
    b'{"pid":5,"\\u0070id":6}',
    b'{"pid":5,"parent":{"pid":7,"pid":8}}',
    b'{"pid":5,"parent":{"pid":7},"parent":{"pid":8}}',
    b'{"pid":5,"new":{"parent":{"pid":7}}}',
    b'{"pid":5,"new":{"parent":{"pid":7}},"parent":{"pid":8}}',
    b'{"pid":5,"parent":{"pid":07}}',
    b'{"pid":5,"ancestorIds":[{"pid":07}]}',
    b'{"pid":5,"ancestorIds":[{"pid":7,"startTime":"never"}]}',
    b'{"pid":5,"ancestorIds":[{"pid":7},]}',
    b'{"pid":5,"ancestorIds":[[]]}',
    b'{"pid":5,"ancestorIds":["]"]}',
    b'{"pid":5,"new":{"ancestorIds":[{"pid":1}]},"ancestorIds":[{"pid":2}]}',
    b'{"pid":5,"startTime":"2026-13-21T10:00:00.5Z"}',
    b'{"pid":5,"startTime":"0001-01-01T00:00:00.0Z"}',
    b'{"pid":5,"exe":"\xff"}',
    b'{"pid":5,"exe":"\n"}',
]


SUBJECTS = [
    b"",
    b'"node":"n",',
    b'"node":"n", ',
    b'"node":"n","pod":{"name":"a"},',
    b'"node":"n","pod":{"name":"b"},',
    b'"node":"n","new":{"process":{"pid":1}},',
]
ODD_SUBJECTS = [
    b'"node":"n","node":"m",',
    b'"node":"n","exec":{},',
    b'"node":"n","process":{"pid":2},',
    b'"node":"n"',
]
LONG = b'{"pid":12,"startTime":%b,"exe":"/bin/a","args":["a","b","c","d"],"cwd":"/somewhere/below"}' % MOMENT
LONGER = LONG.replace(b"below", b"below/it")


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


@pytest.mark.parametrize("process", PROCESSES + ODD_PROCESSES)
def test_a_process_is_what_it_is_as_a_whole(process: bytes) -> None:
    line = HEAD.replace(b'{"pid":1}', process) + DEEDS[0]

    assert said([line]) == said([as_a_whole(line)])


@given(st.lists(st.sampled_from(PROCESSES + ODD_PROCESSES), max_size=30))
def test_processes_that_came_before_change_nothing(processes: list[bytes]) -> None:
    lines = [HEAD.replace(b'{"pid":1}', each) + DEEDS[0] for each in processes]

    assert said(lines) == list(itertools.chain.from_iterable(said([as_a_whole(line)]) for line in lines))


@given(
    st.lists(
        st.tuples(
            st.sampled_from(SUBJECTS + ODD_SUBJECTS), st.sampled_from([LONG, LONGER, b'{"pid":1}']), st.sampled_from(DEEDS)
        ),
        max_size=30,
    )
)
def test_whose_a_process_was_before_changes_nothing(parts: list[tuple[bytes, bytes, bytes]]) -> None:
    lines = [
        HEAD.replace(b'"node":"n",', subject).replace(b'"process":{"pid":1}', b'"process":' + process) + deed
        for subject, process, deed in parts
    ]

    assert said(lines) == list(itertools.chain.from_iterable(said([as_a_whole(line)]) for line in lines))


@pytest.mark.parametrize("deed", DEEDS)
@pytest.mark.parametrize("process", PROCESSES)
def test_spaces_after_colons_and_commas_change_nothing(process: bytes, deed: bytes) -> None:
    line = HEAD.replace(b'{"pid":1}', process) + deed
    spaced = json.dumps(json.loads(line)).encode()

    assert b'"process": {"pid": ' in spaced
    assert said([spaced]) == said([line])


def test_lines_of_the_usual_form_are_not_parsed_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: lines_of_ours.LineTable, line: bytes) -> bool:
        raise AssertionError(line)

    monkeypatch.setattr(lines_of_ours.LineTable, "add_any", refuse)
    lines = [HEAD.replace(b'{"pid":1}', process) + deed for process in PROCESSES for deed in DEEDS]

    assert len(said(lines)) == len(said([json.dumps(json.loads(line)).encode() for line in lines])) == len(lines)


def test_what_is_remembered_from_table_to_table_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines_of_ours, "MOST_REMEMBERED", 1_000)
    monkeypatch.setattr(moments, "MOST_SECONDS", 5)
    remembered = lines_of_ours.Remembered()
    table = lines_of_ours.LineTable(remembered)
    heads = (
        HEAD.replace(b'"n"', b'"node-%d"' % number).replace(b"10:00:00", b"10:%02d:%02d" % divmod(number, 60))
        for number in range(997)
    )

    assert not list(table.add(head + DEEDS[0] for head in heads))

    assert len(table) == 997
    assert sum(map(len, remembered.subjects.known)) <= 1_000
    assert len(remembered.moments.seconds) <= 6
