import contextlib
import io
import json

import pytest
from google.protobuf import json_format
from harness.tables import tables
from hypothesis import example as explicitly, given, strategies as st
from peerwatch import jsonlines
from peerwatch.columns import EventColumns, EventKind
from peerwatch.times import format_duration, format_time, parse_duration, parse_time
from peerwatch.v1 import event_pb2

# The two examples of the contract, in the order and with the fields that users know them by.
EXEC = """{"time": "2026-11-21T10:00:00.123456789Z", "cluster": "prod-eu", "node": "node-3",
 "pod": {"namespace": "shop", "name": "cart-5d9c8f7b6-x2x9q", "uid": "7e0c", "ip": "10.4.2.17",
         "workload": {"kind": "Deployment", "name": "cart"}, "revision": "5d9c8f7b6",
         "createdAt": "2026-11-21T09:12:00Z", "serviceAccount": "cart",
         "labels": {"app": "cart"}, "annotations": {"peerwatch.dev/owner": "team-cart@example.com"}},
 "container": {"name": "app", "kind": "APP", "id": "4f1d", "image": "shop/cart:1.4.2",
               "imageDigest": "sha256:00", "startedAt": "2026-11-21T09:12:03Z"},
 "process": {"pid": 4242, "startTime": "2026-11-21T10:00:00.123Z", "exe": "/usr/bin/pg_dump",
             "args": ["pg_dump", "-h", "db", "shop"], "cwd": "/app", "uid": 1000,
             "parent": {"pid": 1, "exe": "/sbin/tini"},
             "ancestors": ["/sbin/tini"],
             "flags": ["UPPER_LAYER"]},
 "exec": {}}"""
CONNECT = EXEC.replace(
    '"exec": {}',
    '"connect": {"protocol": "TCP", "address": "10.4.7.3", "port": 5432, "result": "OK", "count": 3, '
    '"lastTime": "2026-11-21T10:00:00.900Z", '
    '"peer": {"namespace": "shop", "workload": {"kind": "StatefulSet", "name": "db"}}}',
)
# What came later, each with all of its fields.
FOLDED = EXEC.replace('"exec": {}', '"exec": {"count": 17, "lastTime": "2026-11-21T10:00:01.100Z"}')
EXIT = EXEC.replace(
    '"exec": {}',
    '"exit": {"code": 3, "signal": 9, "lifetime": "1.500s", "count": 2, "lastTime": "2026-11-21T10:00:01.100Z"}',
)
LISTEN = EXEC.replace('"exec": {}', '"listen": {"protocol": "TCP", "address": "0.0.0.0", "port": 8080}')
ACCEPT = CONNECT.replace('"connect"', '"accept"').replace('"result": "OK", ', "")
PRIVILEGED = EXEC.replace(
    '"flags"',
    '"gid": 50, "effectiveUid": 0, "effectiveGid": 51, "script": "/app/dump.sh", "capabilities": "0000000000002000", '
    '"gainedCapabilities": ["CAP_NET_RAW", "CAP_63"], '
    '"ancestorIds": [{"pid": 1, "startTime": "2026-11-21T09:12:03Z"}], "flags"',
)
EXAMPLES = {
    "exec": EXEC,
    "connect": CONNECT,
    "folded": FOLDED,
    "exit": EXIT,
    "listen": LISTEN,
    "accept": ACCEPT,
    "privileged": PRIVILEGED,
    "canary": EXEC.replace("UPPER_LAYER", "CANARY"),
}


def one_line(text: str) -> bytes:
    return " ".join(text.split()).encode()


@pytest.mark.parametrize("text", EXAMPLES.values(), ids=EXAMPLES)
def test_the_contract_s_examples_are_written_as_they_were_read(text: str) -> None:
    (table,) = jsonlines.read([one_line(text)])

    assert json.loads(next(jsonlines.write(table))) == json.loads(text)


@given(tables())
def test_protobuf_reads_what_we_write_and_we_read_what_protobuf_writes(table: EventColumns) -> None:
    ours = list(jsonlines.write(table))
    messages = [json_format.Parse(line, event_pb2.Event()) for line in ours]
    theirs = [json.dumps(json_format.MessageToDict(message)).encode() for message in messages]

    again = [line for part in jsonlines.read(theirs) for line in jsonlines.write(part)]

    assert again == ours


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"{", "not JSON"),
        (b"[]", "JSON object"),
        (b"\xff", "not JSON"),
        (b"{}", "needs a time"),
        (b'{"time": 5, "exec": {}}', "RFC 3339"),
        (b'{"time": "yesterday", "exec": {}}', "RFC 3339"),
        (b'{"time": "2026-13-01T00:00:00Z", "exec": {}}', "no[t] an RFC 3339 time"),
        (b'{"time": "0001-01-01T00:00:00Z", "exec": {}}', "before 1678"),
        (b'{"time": "9999-12-31T23:59:59Z", "exec": {}}', "after 2261"),
        (b'{"time": null, "exec": {}}', "needs a time"),
        (b'{"time": "2026-11-21T10:00:00Z", "exec": null}', "exec, connect, exit, listen, accept or loss"),
        (b'{"time": "2026-11-21T10:00:00Z", "exec": {}, "process": {"pid": "' + b"9" * 5000 + b'"}}', "pid"),
        (b'{"time": "2026-11-21T10:00:00Z"}', "exec, connect, exit, listen, accept or loss"),
        (b'{"time": "2026-11-21T10:00:00Z", "foo": 1}', "exec, connect, exit, listen, accept or loss"),
        (b'{"time": "2026-11-21T10:00:00Z", "exec": 1}', "exec must be an object"),
        (b'{"time": "2026-11-21T10:00:00Z", "exec": {}, "process": {"pid": -1}}', "pid"),
        (b'{"time": "2026-11-21T10:00:00Z", "exec": {}, "process": {"args": "ls"}}', "args must be a list"),
        (b'{"time": "2026-11-21T10:00:00Z", "exec": {}, "pod": {"labels": {"a": 1}}}', "labels"),
        (b'{"time": "2026-11-21T10:00:00Z", "connect": {"address": "localhost"}}', "no IP address"),
        (b'{"time": "2026-11-21T10:00:00Z", "connect": {"address": "::1", "port": 70000}}', "port"),
        (b'{"time": "2026-11-21T10:00:00Z", "listen": {"protocol": "TCP"}}', "listen.address is no IP address"),
        (b'{"time": "2026-11-21T10:00:00Z", "accept": {"address": "::1", "count": -1}}', "count"),
        (b'{"time": "2026-11-21T10:00:00Z", "exec": {"lastTime": 5}}', "lastTime"),
        (b'{"time": "2026-11-21T10:00:00Z", "exit": {"lifetime": 5}}', "lifetime must be a string"),
        (b'{"time": "2026-11-21T10:00:00Z", "exit": {"lifetime": "1h"}}', "lifetime: not a duration"),
        (b'{"time": "2026-11-21T10:00:00Z", "exit": {"lifetime": "999999999999s"}}', "more than 292 years"),
        (b'{"time": "2026-11-21T10:00:00Z", "exec": {}, "process": {"capabilities": "0x1"}}', "hexadecimal"),
        (b'{"time": "2026-11-21T10:00:00Z", "exec": {}, "process": {"effectiveUid": -1}}', "effectiveUid"),
        (b'{"time": "2026-11-21T10:00:00Z", "exec": {}, "process": {"ancestorIds": [1]}}', "list of objects"),
        (b'{"time": "2026-11-21T10:00:00Z", "exec": {}, "process": {"flags": {}}}', "flags must be a list"),
        (b'{"time": "2026-11-21T10:00:00Z", "exec": {}, "cwd": "' + b"x" * (1 << 20) + b'"}', "longer than"),
    ],
)
def test_a_line_that_is_no_event_is_refused_with_its_number_and_reason(line: bytes, words: str) -> None:
    with pytest.raises(jsonlines.BadLineError, match=words) as caught:
        list(jsonlines.read([one_line(EXEC), b"", line]))

    assert caught.value.line == 3


def test_bad_lines_can_be_skipped_and_are_counted() -> None:
    reader = jsonlines.Reader(skip_bad_lines=True)

    (table,) = reader.read([b"{", one_line(EXEC), b"nonsense"])

    assert len(table) == 1
    assert reader.bad == 2


def test_unknown_fields_values_and_kinds_do_no_harm() -> None:
    event = json.loads(EXEC)
    event["new"] = {"a": 1}
    event["container"]["kind"] = "NEW"
    event["process"]["flags"] += ["NEW"]
    event["process"]["gainedCapabilities"] = ["CAP_NEW"]
    other = {"time": event["time"], "process": event["process"], "new": {"code": 1}}
    reader = jsonlines.Reader()

    (table,) = reader.read([json.dumps(event).encode(), json.dumps(other).encode()])

    assert reader.unknown == 1
    written = json.loads(next(jsonlines.write(table)))
    assert "kind" not in written["container"]
    assert written["process"]["flags"] == ["UPPER_LAYER"]
    assert "gainedCapabilities" not in written["process"]


@given(st.integers(0, 4_000_000_000 * 10**9))
@explicitly(0)
@explicitly(1_795_000_000 * 10**9)
def test_times_survive_their_text(time: int) -> None:
    assert parse_time(format_time(time)) == time


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("1970-01-01T00:00:01Z", 1_000_000_000),
        ("1970-01-01T01:00:00.5+01:00", 500_000_000),
        ("1969-12-31T23:00:00-01:30", 1_800_000_000_000),
    ],
)
def test_times_with_offsets(text: str, time: int) -> None:
    assert parse_time(text) == time


@given(st.integers(-(2**63), 2**63))
def test_durations_survive_their_text(duration: int) -> None:
    assert parse_duration(format_duration(duration)) == duration


# Where one part of a line ends and another begins.
SEAMS = [
    b'"',
    b"{",
    b"}",
    b",",
    b'},"exec":{',
    b',"process":{',
    b'"time":"',
    b'{"time":"',
    b'\\"',
    b"\\",
    b'"pod":{},',
    b"null",
    b"\xff",
]


@given(tables(), st.data())
def test_a_line_means_what_it_means_however_it_is_read(table: EventColumns, data: st.DataObject) -> None:
    for line in jsonlines.write(table):
        spoiled = bytearray(line)
        for _ in range(data.draw(st.integers(0, 3))):
            at = data.draw(st.integers(0, len(spoiled)))
            spoiled[at : at + data.draw(st.integers(0, 3))] = data.draw(st.sampled_from(SEAMS))

        # A line that begins with a space is none of ours: it is parsed as a whole.
        assert outcome(bytes(spoiled)) == outcome(b" " + spoiled)


AT = b'{"time":"2026-11-21T10:00:00Z"'


@pytest.mark.parametrize(
    "line",
    [
        AT + b',"process":{"pid":1},"exec":{},"pod":{"name":"late"}}',
        AT + b',"process":{"pid":1},"exec":{"count":3},"pod":{"name":"late"}}',
        AT + b',"process":{"pid":1},"exec":{"count":3},"exec":{}}',
        AT + b',"process":{"pid":1},"exec":{"count":3},"time":"2026-11-21T10:00:09Z"}',
        AT + b',"time":"2026-11-21T10:00:09Z","process":{"pid":1},"exec":{}}',
        AT + b',"exec":{"count":3},"process":{"pid":1},"listen":{"address":"::1"}}',
        AT + b',"exec":null,"process":{"pid":1},"listen":{"address":"::1"}}',
        AT + b',"process":{"pid":2},"node":"n","process":{"pid":1},"exec":{}}',
        AT + b',"process":{"pid":1},"process":{"pid":2},"exec":{}}',
        AT + b',"pod":{"name":"a","process":{"pid":1},"exec":{}},"exec":{"count":3}}',
        AT + b',"new":{"process":{"pid":1},"exec":{}}}',
        AT + b',"new":1,"process":{"pid":1},"exec":{}}',
        AT + b',"process":{"pid":1,"new":{"a":{},"exec":{}}},"listen":{"address":"::1"}}',
        AT + b',"process":{"args":["},\\"exec\\":{"]},"exec":{}}',
        AT + b',"process":{"pid":1},"exec":{}}}',
        AT + b',"process":{"pid":1},"exec":{}} {}',
        AT + b',"process":{"pid":1},"exec":{}',
        AT + b' ,"process":{"pid":1},"exec":{}}',
        AT + b'"process":{"pid":1},"exec":{}}',
        AT + b',"process":{"pid":-1},"exec":{}}',
        AT.replace(b"2026", b"\\u0032026") + b',"process":{"pid":1},"exec":{}}',
        AT.replace(b"2026", b"\xff026") + b',"process":{"pid":1},"exec":{}}',
    ],
)
def test_a_line_that_is_almost_ours_is_read_as_what_it_is(line: bytes) -> None:
    assert outcome(line) == outcome(b" " + line)


def outcome(line: bytes) -> list[bytes] | None:
    try:
        return [written for part in jsonlines.read([line]) for written in jsonlines.write(part)]
    except jsonlines.BadLineError:
        return None


@given(
    st.binary(max_size=200)
    | st.recursive(st.none() | st.integers() | st.text(), lambda x: st.dictionaries(st.text(), x)).map(
        lambda v: json.dumps(v).encode()
    )
)
def test_no_line_does_more_than_be_refused(line: bytes) -> None:
    with contextlib.suppress(jsonlines.BadLineError):
        list(jsonlines.read([line]))


def test_a_time_that_nobody_knew_is_none() -> None:
    line = one_line(
        EXEC.replace("2026-11-21T09:12:00Z", "0001-01-01T00:00:00Z").replace("2026-11-21T09:12:03Z", "9999-12-31T23:59:59Z")
    )

    (table,) = jsonlines.read([line])

    assert (table.subjects[0].pod.created_at, table.subjects[0].container.started_at) == (0, 0)


def test_null_is_a_field_that_is_not_set() -> None:
    (table,) = jsonlines.read([one_line(CONNECT.replace('"connect"', '"exec": null, "connect"'))])

    assert list(table.kind) == [EventKind.CONNECT]


def test_a_byte_order_mark_at_the_beginning_is_passed_over() -> None:
    (table,) = jsonlines.read([b"\xef\xbb\xbf" + one_line(EXEC) + b"\r\n"])

    assert len(table) == 1


def test_a_line_without_end_is_read_in_bounded_memory_and_the_next_lines_are_read_too() -> None:
    class Counted(io.BytesIO):
        longest = 0

        def readline(self, size: int | None = -1, /) -> bytes:
            line = super().readline(size)
            self.longest = max(self.longest, len(line))
            return line

    file = Counted(one_line(EXEC) + b"\n" + b"x" * (5 << 20) + b"\n" + one_line(CONNECT))
    reader = jsonlines.Reader(skip_bad_lines=True)

    (table,) = reader.read(jsonlines.lines(file))

    assert (len(table), reader.bad, reader.lines) == (2, 1, 3)
    assert file.longest <= jsonlines.MAX_LINE + 1
