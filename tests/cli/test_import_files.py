"""Files of product events: what is read of them, and what is told of those that can't be used."""

import csv
import gc
import gzip
import hashlib
import io
import json
import os
import resource
import threading
import tracemalloc
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from integration.cli.app import run
from integration.cli.imports import _left
from integration.core import exactjson
from integration.core.kinds import Format
from integration.core.segment import read_past
from integration.errors import RunError, UsageError
from integration.settings import load
from integration.wiring import event_files, imports
from integration.wiring.event_files import Reading
from integration.wiring.imports import Asked, ImportReport, import_events

SETTINGS = load(None, {"HEADRACE_SECRETS_DIR": ""})
NOW = datetime(2026, 1, 1, tzinfo=UTC)
EVENT = {"type": "track", "event": "Sign Up", "userId": "u1", "timestamp": "2024-05-01T10:00:00Z"}
Writer = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path) -> Writer:
    """Write a file and return its name."""

    def written(name: str, content: bytes | str) -> str:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    return written


def lines(*values: Any) -> str:
    return "".join(json.dumps(value) + "\n" for value in values)


def dry(*files: str, rejected: Path | None = None, **words: Any) -> ImportReport:
    words.setdefault("defaults", {"type": "track"})
    return import_events(SETTINGS, Asked(files, Reading(**words), rejected), dry_run=True)


def bodies(name: str, reading: Reading | None = None) -> list[Any]:
    with event_files.opened(name, reading or Reading(defaults={"type": "track"})) as table:
        return [record.body for record in table.records()]


def told(report: ImportReport) -> list[tuple[int, str]]:
    return [(one.line, one.reason) for one in report.reasons]


def test_json_lines_hold_calls_and_batches(write: Writer) -> None:
    name = write(
        "a.jsonl", "\ufeff" + lines(EVENT, {"batch": [EVENT, {**EVENT, "userId": "u2"}]}) + "\n  \n" + lines(EVENT)
    )
    report = dry(name)
    assert (report.files, report.rows, report.events, report.refused) == (1, 3, 4, 0)
    [named] = report.by_name
    assert (named.name, named.events, named.first) == ("Sign Up", 4, "2024-05-01T10:00:00.000Z")


def test_text_may_be_packed_whatever_its_name_says(write: Writer) -> None:
    packed = gzip.compress(lines(EVENT, EVENT).encode())
    table = gzip.compress(b"\xef\xbb\xbfuser_id,event,timestamp\nu1,A,2024-01-01\n")
    assert dry(write("a.jsonl.gz", packed), write("b.ndjson", packed), write("c.csv.gz", table)).events == 5


def test_a_packed_file_that_ends_too_early_is_told(write: Writer) -> None:
    packed = gzip.compress(lines(*[EVENT] * 200).encode())
    for cut in (packed[:-9], packed[: len(packed) // 2], packed[:-4] + b"abcd"):
        with pytest.raises(RunError, match="is not whole"):
            dry(write("a.jsonl.gz", cut))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("nonsense", "It is not JSON."),
        ('{"a": 1', "It is not JSON."),
        ('{"a": \xff}', "It is not JSON."),
        ("7", "The body is not a JSON object."),
        ("{}", "The event has neither userId nor anonymousId."),
        ('{"userId": "Reyes", "event": "e"}', "An event of the past needs a timestamp, as ISO 8601."),
        ('{"batch": 7}', "batch is not a list."),
        ("[" * 100_000, "It is not JSON."),
    ],
)
def test_a_line_that_can_not_be_used_is_counted_with_its_place_and_reason(
    write: Writer, text: str, reason: str
) -> None:
    report = dry(
        write("a.jsonl", lines(EVENT).encode() + b"\n" + text.encode("latin-1") + b"\n" + lines(EVENT).encode())
    )
    assert (report.rows, report.events, report.refused) == (3, 2, 1)
    assert told(report) == [(3, reason)]


def test_many_are_counted_and_the_first_ones_told(write: Writer) -> None:
    report = dry(write("a.jsonl", "x\n" * 50))
    assert (report.refused, [one.line for one in report.reasons]) == (50, list(range(1, 11)))


def test_a_line_beyond_measure_is_skipped_in_pieces(write: Writer, tmp_path: Path) -> None:
    long = b'{"a": "' + b"x" * 9_000_000 + b'"}'
    name = write("a.jsonl", lines(EVENT).encode() + long + b"\n" + lines(EVENT).encode() + long)
    tracemalloc.start()
    report = dry(name, rejected=tmp_path / "rejected.jsonl")
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (report.rows, report.events) == (4, 2)
    assert told(report) == [(2, "It is longer than 2 MB."), (4, "It is longer than 2 MB.")]
    assert (tmp_path / "rejected.jsonl").read_bytes() == (long + b"\n") * 2
    assert most < 8_000_000


def test_an_array_is_not_taken_for_lines(write: Writer) -> None:
    for text in (json.dumps([EVENT]), json.dumps([EVENT], indent=2)):
        with pytest.raises(UsageError, match="one JSON array"):
            dry(write("a.json", text))


def test_csv_is_read_by_its_header(write: Writer) -> None:
    name = write(
        "a.csv",
        "\ufeffuser_id, event ,timestamp,properties,plan,utm_source\r\n"
        'u1,"Sign, Up",2024-01-01,"{""price"": 9.25}",,ad\r\n'
        '\r\n007,"Two\nlines",2024-01-02 UTC,,"a ""b""",\r\n',
    )
    assert bodies(name) == [
        {
            "type": "track", "userId": "u1", "event": "Sign, Up", "timestamp": "2024-01-01",
            "properties": {"price": 9.25}, "context": {"campaign": {"source": "ad"}},
        },
        {
            "type": "track", "userId": "007", "event": "Two\nlines", "timestamp": "2024-01-02 UTC",
            "properties": {"plan": 'a "b"'},
        },
    ]  # fmt: skip


@pytest.mark.parametrize("between", [",", ";", "\t", "|"])
def test_the_header_tells_what_stands_between_the_cells(write: Writer, between: str) -> None:
    name = write("a.csv", f"user_id{between}event{between}timestamp\nu1{between}A{between}2024-01-01\n")
    assert [one["event"] for one in bodies(name)] == ["A"]


def test_rows_of_csv_that_can_not_be_used_are_told_by_their_line(write: Writer, tmp_path: Path) -> None:
    rows = [
        b"userId,event,timestamp", b"u1,A,2024-01-01", b"u1,A", b'u1,"A\nB",2024-01-01', b"u1,A,2024-01-01,more",
        b"u\xff,A,2024-01-01", b'u1,"A"x,2024-01-01', b"u1,A,yesterday", b'u1,"A,2024-01-01',
    ]  # fmt: skip
    name = write("a.csv", b"\n".join(rows))
    report = dry(name, rejected=tmp_path / "rejected.csv")
    assert (report.rows, report.events, report.refused) == (8, 2, 6)
    found = dict(told(report))
    assert found[3] == "It has 2 cells, and the header has 3."
    assert found[6] == "It has 4 cells, and the header has 3."
    assert "can't be kept" in found[7]
    assert found[8].startswith("It is not CSV (")
    assert "needs a timestamp" in found[9]
    assert found[10].startswith("It is not CSV (")
    bad = [rows[0], rows[2], rows[4], rows[5], rows[6], rows[7], rows[8]]
    assert (tmp_path / "rejected.csv").read_bytes() == b"\n".join(bad) + b"\n"


def test_an_open_quote_does_not_swallow_memory(write: Writer) -> None:
    csv.field_size_limit(131_072)  # what Python begins with; a bulk download of the same process needs more
    name = write("a.csv", "userId,event,timestamp\n" + 'u1,"A,2024-01-01\n' + "u1,B,2024-01-01\n" * 20_000)
    report = dry(name)
    assert told(report)[0] == (2, "It is not CSV (field larger than field limit (131072)).")
    assert report.events > 10_000
    with pytest.raises(UsageError, match="a line of more than 2 MB"):
        dry(write("b.csv", "userId,event\n" + "x" * 3_000_000))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", "", "no header line"),
        ("a.csv", "\n", "no header line"),
        ("a.csv", "userId,user_id\n", "are both userId"),
        ("a.csv", "plan,plan\n", "more than one column plan"),
        ("a.csv", '"userId\n', "header is not CSV"),
        ("a.csv", "userId".encode("utf-16"), "is UTF-16"),
        ("a.parquet", "PAR1", "not Parquet"),
        ("a.txt", "", "add --format"),
    ],
)
def test_what_is_no_file_of_events_is_refused_before_anything_is_read(
    write: Writer, name: str, content: bytes | str, words: str
) -> None:
    seen: list[int] = []
    files = [write("first.jsonl", lines(EVENT)), write(name, content)]
    with pytest.raises(UsageError, match=words):
        import_events(SETTINGS, Asked(files, Reading()), dry_run=True, on_change=lambda told: seen.append(told.rows))
    assert seen == []


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    for name in ("nowhere.jsonl", "."):
        with pytest.raises(UsageError, match="can't be read"):
            dry(str(tmp_path / name), format=Format.JSON_LINES)
    with pytest.raises(UsageError, match="standard input"):
        dry("-", format=Format.PARQUET)


def parquet(path: Path, rows: list[dict[str, Any]], schema: pa.Schema | None = None, **words: Any) -> str:
    pq.write_table(pa.Table.from_pylist(rows, schema), path, **words)
    return str(path)


def test_parquet_keeps_its_types(tmp_path: Path) -> None:
    schema = pa.schema(
        [
            ("user_id", pa.int64()), ("event", pa.dictionary(pa.int32(), pa.string())),
            ("timestamp", pa.timestamp("ns", "Europe/Berlin")), ("seats", pa.int32()), ("price", pa.decimal128(18, 2)),
            ("day", pa.date32()), ("paid", pa.bool_()), ("tags", pa.list_(pa.string())),
            ("context", pa.struct([("page", pa.struct([("url", pa.string())]))])),
            ("properties", pa.map_(pa.string(), pa.float64())), ("none", pa.null()),
        ]
    )  # fmt: skip
    row = {
        "user_id": 7, "event": "A", "timestamp": 1_704_067_200_123_456_789, "seats": 3, "price": exactjson.number(1.5), "day": 19_782,
        "paid": False, "tags": ["a", None], "context": {"page": {"url": "u"}}, "properties": [("x", 0.5)],
    }  # fmt: skip
    name = parquet(tmp_path / "a.parquet", [row, {"user_id": 8, "event": "B"}], schema)
    first, second = bodies(name)
    assert exactjson.loads(exactjson.dumps(first)) == {
        "type": "track", "userId": 7, "event": "A", "timestamp": "2024-01-01T00:00:00.123456Z",
        "context": {"page": {"url": "u"}},
        "properties": {"seats": 3, "price": 1.5, "day": "2024-02-29", "paid": False, "tags": ["a", None], "x": 0.5},
    }  # fmt: skip
    assert second == {"type": "track", "userId": 8, "event": "B"}


FAR = 2**62
ODD: list[tuple[pa.Array, str]] = [
    (pa.array([None, FAR], pa.timestamp("us")), "what can't be read"),
    (pa.array([None, FAR // 1_000], pa.timestamp("ms", "UTC")), "what can't be read"),
    (pa.array([None, [FAR]], pa.list_(pa.timestamp("us"))), "what can't be read"),
    (pa.array([None, {"at": -800_000}], pa.struct([("at", pa.date32())])), "what can't be read"),
    (pa.array([None, 7], pa.duration("ms")), "a length of time"),
    (pa.array([None, {"raw": b"Reyes"}], pa.struct([("raw", pa.binary())])), "bytes"),
]


@pytest.mark.parametrize(("odd", "words"), ODD, ids=[str(odd.type) for odd, _ in ODD])
def test_an_odd_value_refuses_its_row_of_parquet_and_no_other(tmp_path: Path, odd: pa.Array, words: str) -> None:
    sound = {"user_id": ["u1", "u2"], "event": ["A", "A"], "timestamp": ["2024-01-01", "2024-01-02"]}
    pq.write_table(pa.table({**sound, "odd": odd}), tmp_path / "a.parquet")
    report = dry(str(tmp_path / "a.parquet"), rejected=tmp_path / "rejected.parquet")
    assert (report.rows, report.events, report.refused) == (2, 1, 1)
    [(place, reason)] = told(report)
    assert (place, reason.startswith(f"Its column odd holds {words}")) == (2, True)
    assert pq.read_table(tmp_path / "rejected.parquet")["user_id"].to_pylist() == ["u2"]


def test_times_of_parquet_are_cut_to_the_microsecond_wherever_they_stand(tmp_path: Path) -> None:
    at = 1_704_067_200_123_456_789
    schema = pa.schema(
        [
            ("clock", pa.time64("ns")), ("many", pa.list_(pa.timestamp("ns", "UTC"))),
            ("deep", pa.struct([("at", pa.timestamp("ns")), ("n", pa.int64())])),
        ]
    )  # fmt: skip
    row = {"clock": 3_600_000_001_999, "many": [at, None], "deep": {"at": at, "n": 7}}
    [body] = bodies(parquet(tmp_path / "a.parquet", [row], schema))
    assert body["properties"] == {
        "clock": "01:00:00.000001", "many": ["2024-01-01T00:00:00.123456Z", None],
        "deep": {"at": "2024-01-01T00:00:00.123456Z", "n": 7},
    }  # fmt: skip


def test_rejected_rows_of_parquet_are_parquet(tmp_path: Path) -> None:
    rows = [
        {"user_id": f"u{n}" if n % 3 else None, "event": "A", "timestamp": "2024-01-01", "n": n} for n in range(2_500)
    ]
    name = parquet(tmp_path / "a.parquet", rows, row_group_size=700)
    report = dry(name, rejected=tmp_path / "rejected.parquet")
    bad = [row for row in rows if row["user_id"] is None]
    assert (report.rows, report.events, report.refused) == (2_500, 2_500 - len(bad), len(bad))
    assert [one.line for one in report.reasons] == list(range(1, 30, 3))
    assert pq.read_table(tmp_path / "rejected.parquet").to_pylist() == bad


def test_rejected_rows_are_never_written_over_a_file(write: Writer, tmp_path: Path) -> None:
    name = write("a.jsonl", "x\n")
    with pytest.raises(UsageError, match="is there already"):
        dry(name, rejected=Path(name))
    with pytest.raises(RunError, match="can't be written"):
        dry(name, rejected=tmp_path / "no" / "such" / "folder")
    assert Path(name).read_text() == "x\n"


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_disk_that_is_full_only_when_rejected_rows_are_finished_is_told(tmp_path: Path, kind: str) -> None:
    bad = [{"event": "A", "timestamp": "2024-01-01", "text": hashlib.sha256(bytes([n])).hexdigest()} for n in range(40)]
    if kind == "parquet":
        name = parquet(tmp_path / "a.parquet", bad)
    else:
        (tmp_path / "a.jsonl").write_text(lines(*bad))
        name = str(tmp_path / "a.jsonl")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, before[1]))  # less than is held back before it is written
    try:
        with pytest.raises(RunError, match=r"rejected can't be written \(\w.*\): see to it"):
            dry(name, rejected=tmp_path / "rejected")
        gc.collect()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_what_is_rejected_of_a_pipe_is_not_mixed_with_that_of_another_format(tmp_path: Path) -> None:
    bad = parquet(tmp_path / "bad.parquet", [{"event": "A", "timestamp": "2024-01-01"}])
    good = parquet(tmp_path / "good.parquet", [{"event": "A", "timestamp": "2024-01-01", "userId": "u1"}])
    for further, words in ((bad, "pipe.jsonl and .*bad.parquet have not the same columns"), (good, "")):
        pipe = tmp_path / "pipe.jsonl"
        os.mkfifo(pipe)
        writing = threading.Thread(target=pipe.write_text, args=["Reyes\n"])
        writing.start()
        with pytest.raises(UsageError, match=words) if words else nullcontext():
            dry(str(pipe), further, rejected=tmp_path / "rejected")
        writing.join()
        assert (tmp_path / "rejected").read_text() == "Reyes\n"
        (tmp_path / "rejected").unlink()
        pipe.unlink()


def test_files_of_other_columns_have_no_common_file_of_rejected_rows(write: Writer, tmp_path: Path) -> None:
    files = [write("a.csv", "userId,event\n"), write("b.csv", "event,userId\n"), write("c.jsonl", lines(EVENT))]
    for pair in (files[:2], files[1:]):
        with pytest.raises(UsageError, match="one by one"):
            dry(*pair, rejected=tmp_path / "rejected")
    assert dry(*files).files == 3


def test_nothing_is_rejected_where_everything_can_be_used(write: Writer, tmp_path: Path) -> None:
    assert dry(write("a.jsonl", lines(EVENT)), rejected=tmp_path / "rejected").refused == 0
    assert not (tmp_path / "rejected").exists()


def test_columns_and_defaults_can_be_named(write: Writer) -> None:
    name = write("signups.csv", "id,created_at,plan\n7,2024-01-31 12:00:00+00,pro\n")
    report = dry(
        name, columns={"userId": "id", "timestamp": "created_at"}, defaults={"type": "track", "event": "Sign Up"}
    )
    assert [(one.name, one.first) for one in report.by_name] == [("Sign Up", "2024-01-31T12:00:00.000Z")]
    with pytest.raises(UsageError, match="no column uid for userId; its columns are id, created_at, plan"):
        dry(name, columns={"userId": "uid"})


def test_json_lines_have_no_columns_to_name(write: Writer) -> None:
    with pytest.raises(UsageError, match=r"a.jsonl: It is JSON Lines, which has no columns"):
        dry(write("a.jsonl", lines(EVENT)), columns={"userId": "uid"})


def test_what_is_refused_on_the_command_line_is_told_by_row_and_by_column(
    write: Writer, tmp_path: Path, headrace: Callable[..., Any]
) -> None:
    table = Path(parquet(tmp_path / "a.parquet", [{"event": "A", "userId": "u1"}]))
    for name, words in (("a.PARQUET", ()), ("b.data", ("--format", "parquet"))):
        (tmp_path / name).write_bytes(table.read_bytes())
        done = headrace("import", str(tmp_path / name), "--dry-run", *words)
        assert (done.returncode, f"{name}, row 1: An event of the past needs" in done.stderr) == (4, True), done.stderr
    name = write("a.csv", "userId,a,b\n")
    done = headrace("import", name, "--dry-run", "--column", "userId=a", "--column", "user_id=b")
    assert (done.returncode, "--column names both a and b for userId" in done.stderr) == (2, True), done.stderr
    assert headrace("import", name, "--dry-run", "--column", "event=a", "--column", "event=a").returncode == 0


def test_who_interrupts_an_import_reads_what_the_next_one_needs(
    write: Writer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(imports, "import_events", interrupted)
    name = write("a.jsonl", lines(EVENT))
    for words, end in (((), "comes in once."), (("--rejected", "bad.jsonl"), "bad.jsonl has to be removed before.")):
        assert run(["import", name, *words]) == 130
        told = capsys.readouterr().err.strip()
        assert "import the same files again, from their beginning" in told
        assert told.endswith(end)


def test_who_reads_of_refused_rows_reads_of_dead_letters_too() -> None:
    report = ImportReport("", refused=3, dead_letters=2)
    assert _left(report, None) == (
        "Finished, but not everything can be used (3 refused): --rejected NEW writes out the rest; corrected, it can be "
        "imported alone. And not everything could be stored: headrace dlq ls product.events shows the reasons."
    )


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=12)
JSON = st.dictionaries(TEXT, st.none() | st.booleans() | st.integers(-(2**40), 2**40) | TEXT, max_size=3)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "type": st.sampled_from(["track", "page", "identify"]),
            "event": TEXT.map(lambda text: f"E {text}"),
            "userId": TEXT.map(lambda text: f"u{text}"),
            "timestamp": st.datetimes().map(lambda at: at.replace(year=2000 + at.year % 20).isoformat()),
            "properties": JSON,
            "context": JSON,
        }
    ),
    min_size=1,
    max_size=12,
)


def read_all(files: Iterable[str]) -> dict[str, Any]:
    """Read files as an import does; give the events by their ids."""
    found: dict[str, Any] = {}
    for name in files:
        for body in bodies(name):
            call = read_past(body, NOW)
            assert call.refused == []
            for one in call.events:
                assert found.setdefault(one["id"], one) == one
    return found


def as_csv(rows: list[dict[str, Any]]) -> bytes:
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(["context", "user_id", "event", "TYPE", "timestamp", "properties"])
    for row in rows:
        cells = [row["userId"], row["event"], row["type"], row["timestamp"]]
        writer.writerow([json.dumps(row["context"]), *cells, json.dumps(row["properties"], ensure_ascii=False)])
    return file.getvalue().encode()


@given(rows=ROWS, luck=st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_in_whatever_pieces_order_and_format_a_file_comes_its_events_are_the_same(
    rows: list[dict[str, Any]], luck: Any, tmp_path: Path
) -> None:
    whole = tmp_path / "whole.jsonl"
    whole.write_text(lines(*rows))
    told_rows = [dict(sorted(luck.choice(rows).items())) for _ in range(5)] + rows
    luck.shuffle(told_rows)
    cut = luck.randrange(len(told_rows) + 1)
    (tmp_path / "one.jsonl.gz").write_bytes(gzip.compress(lines(*told_rows[:cut]).encode()))
    (tmp_path / "two.jsonl").write_text(lines({"batch": told_rows[cut:]}))
    (tmp_path / "all.csv").write_bytes(as_csv(told_rows))
    flat = [
        {**row, "properties": json.dumps(row["properties"]), "context": json.dumps(row["context"])} for row in told_rows
    ]
    pieces = [str(tmp_path / "one.jsonl.gz"), str(tmp_path / "two.jsonl")]
    expected = read_all([str(whole)])
    assert len(expected) == len({json.dumps(row, sort_keys=True) for row in map(normal, rows)})
    assert read_all(pieces) == expected
    assert read_all([str(tmp_path / "all.csv")]) == expected
    assert read_all([parquet(tmp_path / "all.parquet", flat)]) == expected


def normal(row: dict[str, Any]) -> dict[str, Any]:
    """Return what is left of a row: ids and names are trimmed, and only a track call has the name of an event."""
    at = datetime.fromisoformat(row["timestamp"]).isoformat()
    event = row["event"].strip() if row["type"] == "track" else None
    return {**row, "event": event, "userId": row["userId"].strip(), "timestamp": at}
