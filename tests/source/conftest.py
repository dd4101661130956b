"""A small org without HTTP, for tests of the poller alone, and an HTTP server that answers what it is told."""

import json
import re
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from integration.core import exactjson
from integration.core.page import Page
from integration.source.client import Answer, DeletedWindow
from integration.source.faults import (
    InvalidFieldError,
    QueryTimeoutError,
    ReplicationWindowError,
    UnknownObjectError,
)
from schemas import Capture, Cursor

BORN = datetime(2024, 1, 22, 12, 0, 0, tzinfo=UTC)


def stamp(second: float) -> str:
    return (BORN + timedelta(seconds=int(second))).strftime("%Y-%m-%dT%H:%M:%SZ")


def raw_stamp(second: float) -> str:
    return stamp(second).removesuffix("Z") + ".000+0000"


def record_id(number: int) -> str:
    return f"003{number:012d}AAA"


class LittleOrg:
    """Rows of a few objects, a clock, commits that become visible late, and the calls the poller makes.

    Every save is given a content of its own, so that each version of a record can be told from all others.
    """

    def __init__(self, objects: tuple[str, ...] = ("Contact",), cut_at: int | None = None) -> None:
        self.second = 0
        self.tables: dict[str, dict[str, dict]] = {name: {} for name in objects}
        self.fields = {name: ["Id", "IsDeleted", "Name", "SystemModstamp", "LastViewedDate"] for name in objects}
        self.types: dict[str, str] = {}
        self.unfilterable: set[str] = set()
        self.hidden: set[str] = set()
        # queries that would have to look at more seconds or rows than that time out
        self.patience = (10**12, 10**12)
        self.pending: list[tuple[int, int, str, dict]] = []
        self.log: dict[str, list[tuple[str, str]]] = {name: [] for name in objects}
        self.log_reaches_back_to = -(10**9)
        self.saves = 0
        self.cut_at = cut_at
        self.problems: dict[str, list[Exception]] = {}
        self.queries: list[list[str]] = []
        self.windows: list[tuple[str, str]] = []
        self.between: Callable[[], None] = lambda: None
        # what SalesforceClient has
        self.calls = 0
        self.org_id = "00D000000000001EAA"
        self.server_time = stamp(0)

    # --- what people do in the org ---
    def save(
        self,
        number: int,
        *,
        name: str = "Contact",
        open_for: int = 0,
        deleted: bool = False,
        began: int | None = None,
        **fields,
    ) -> str | None:
        """Save a record now; it can be seen `open_for` seconds later. None if another transaction holds it.

        `began` is the second in which the transaction began, when that was earlier.
        """
        key = record_id(number)
        if any(row["Id"] == key for _at, _began, table, row in self.pending if table == name):
            return None
        self.saves += 1
        row = {
            "Id": key,
            "IsDeleted": deleted,
            "Name": f"version {self.saves}",
            "SystemModstamp": raw_stamp(self.second),
            "LastViewedDate": None,
            **fields,
        }
        if open_for:
            began = self.second if began is None else began
            self.pending.append((self.second + open_for, began, name, row))
        else:
            self.tables[name][key] = row
        return key

    def purge(self, number: int, *, name: str = "Contact") -> None:
        if self.tables[name].pop(record_id(number), None):
            self.log[name].append((record_id(number), raw_stamp(self.second)))

    def wait(self, seconds: int) -> None:
        self.second += seconds
        for entry in [p for p in self.pending if p[0] <= self.second]:
            self.pending.remove(entry)
            self.tables[entry[2]][entry[3]["Id"]] = entry[3]

    def look(self) -> None:
        """Learn what time it is, as any answer would tell: `server_time` is that of the last answer."""
        self.server_time = stamp(self.second)

    # --- what SalesforceClient does ---
    def _called(self) -> None:
        self.calls += 1
        self.look()

    def objects(self) -> list[dict]:
        self._called()
        return [
            {"name": name, "queryable": True, "replicateable": not name.endswith("History")}
            for name in self.tables
            if name not in self.hidden
        ]

    def describe(self, name: str) -> dict:
        self._called()
        return self._description(name)

    def describes(self, names: list[str]) -> dict:
        assert len(names) <= 25
        self._called()
        found = {}
        for name in names:
            try:
                found[name] = self._description(name)
            except UnknownObjectError as error:
                found[name] = error
        return found

    def _description(self, name: str) -> dict:
        if name not in self.tables or name in self.hidden:
            raise UnknownObjectError(f"The org has no object '{name}' that this login may read.")
        fields = [
            {"name": f, "type": self.types.get(f, "string"), "filterable": f not in self.unfilterable}
            for f in self.fields[name]
        ]
        return {"name": name, "label": name, "fields": fields}

    def query_pages(self, queries: list[str]) -> list[Answer]:
        self._called()
        assert len(queries) <= 5
        self.queries.append(list(queries))
        answers = [self._answer(query) for query in queries]
        self.between()
        return answers

    def deleted_windows(self, asked: list[tuple[str, str, str]]) -> list:
        assert len(asked) <= 25
        if asked:
            self._called()
        return [self._window(*one) for one in asked]

    def _window(self, name: str, start: str, end: str) -> DeletedWindow | ReplicationWindowError:
        self.windows.append((start, end))
        assert start[:16] < end[:16]
        if start < stamp(self.log_reaches_back_to):
            return ReplicationWindowError("too far back")
        entries = [e for e in self.log[name] if start[:16] <= e[1][:16] <= end[:16]]
        covered = min([self.second, *(began for _at, began, _table, _row in self.pending)])
        return DeletedWindow(entries, raw_stamp(self.log_reaches_back_to + 10**9 - 10**6), raw_stamp(covered))

    def _answer(self, query: str) -> Answer:
        name = re.search(r"FROM (\w+)", query)[1]
        if self.problems.get(name):
            return Answer(problem=self.problems[name].pop(0))
        if name in self.hidden:
            return Answer(problem=UnknownObjectError(f"The org has no object '{name}'."))
        asked = re.search(r"SELECT (.*?) FROM", query)[1].split(", ")
        if unknown := set(asked) - set(self.fields[name]):
            return Answer(problem=InvalidFieldError(f"No such column {unknown}"))
        order = re.search(r"ORDER BY (.*?) LIMIT", query)
        keys = order[1].split(", ") if order else ["Id"]
        rows = sorted(self.tables[name].values(), key=lambda r: [r[k] for k in keys])
        if ids := re.search(r"Id IN \((.*)\)", query):
            return Answer([{"Id": r["Id"]} for r in rows if f"'{r['Id']}'" in ids[1]])
        if where := re.search(r"WHERE (.*?)( ORDER BY|$)", query):
            rows = [r for r in rows if _holds(where[1], r)]
        limit = int(m[1]) if (m := re.search(r"LIMIT (\d+)", query)) else 10**9
        if self._is_too_much(rows, limit):
            return Answer(problem=QueryTimeoutError("The query ran too long."))
        rows = rows[:limit]
        done = self.cut_at is None or len(rows) <= self.cut_at
        rows = rows if done else rows[: self.cut_at]
        return Answer([{"attributes": {"type": name}} | {f: r.get(f) for f in asked} for r in rows], done)

    def _is_too_much(self, rows: list[dict], limit: int) -> bool:
        seconds, most = self.patience
        if not rows or seconds == most == 10**12:
            return False
        stamps = [r.get("SystemModstamp") or r["CreatedDate"] for r in rows]
        ends = [datetime.strptime(at, "%Y-%m-%dT%H:%M:%S.%f%z") for at in (min(stamps), max(stamps))]
        return (ends[1] - ends[0]).total_seconds() > seconds or min(len(rows), limit) > most


def _holds(where: str, row: dict) -> bool:
    """Evaluate the conditions that the source writes."""
    text = re.sub(r"(\w+) (!=|=|>=|<=|>|<) ('\w+'|null|[\dTZ:.-]+)", lambda m: repr(_compares(row, *m.groups())), where)
    return eval(text.replace("AND", "and").replace("OR", "or"), {})


def _compares(row: dict, name: str, sign: str, literal: str) -> bool:
    value = row.get(name)
    if literal == "null":
        return (value is None) == (sign == "=")
    if literal.startswith("'"):
        known = literal[1:-1]
    else:
        value, known = value[:19], literal.removesuffix("Z")
    return {"=": value == known, ">": value > known, ">=": value >= known, "<": value < known, "<=": value <= known}[
        sign
    ]


class CrashError(Exception):
    pass


class LittleSink:
    """Keeps what is published; dies on command before or after a page is kept."""

    def __init__(self) -> None:
        self.cursors: dict[str, Cursor] = {}
        self.marks: dict[str, dict[str, str]] = {}
        self.pages: list[Page] = []
        self.schemas: dict = {}
        self.crash_in: int | None = None
        self.crash_after_keeping = False

    def cursor(self, name: str) -> Cursor | None:
        return self.cursors.get(name)

    def seen(self, name: str) -> dict[str, str]:
        return dict(self.marks.get(name, {}))

    def schema(self, schema_id: str):
        return self.schemas.get(schema_id)

    def publish(self, page: Page) -> None:
        if self.crash_in is not None:
            self.crash_in -= 1
            if self.crash_in < 0 and not self.crash_after_keeping:
                self.crash_in = None
                raise CrashError
        for capture in page.captures:
            Capture.model_validate_json(exactjson.dumps(capture))
        marks = self.marks.setdefault(page.cursor.object, {})
        for key in page.forget:
            marks.pop(key, None)
        marks.update(page.seen)
        self.cursors[page.cursor.object] = page.cursor
        if page.schema is not None:
            self.schemas.setdefault(page.schema.schema_id, page.schema)
        self.pages.append(page)
        if self.crash_in is not None and self.crash_in < 0:
            self.crash_in = None
            raise CrashError

    @property
    def captures(self) -> list[dict]:
        return [c for page in self.pages for c in page.captures]

    @property
    def names(self) -> list[str]:
        return [c["fields"]["Name"] for c in self.captures if c["fields"]]


class Log:
    """Keeps what was told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def info(self, event: str, **values) -> None:
        self.told.append(event)

    warning = info


@pytest.fixture(scope="session")
def little():
    """The classes and helpers above: test modules can't import each other."""

    class Little:
        Org, Sink, Log, Crash = LittleOrg, LittleSink, Log, CrashError
        stamp, raw_stamp, record_id = staticmethod(stamp), staticmethod(raw_stamp), staticmethod(record_id)

    return Little


class Told:
    """An HTTP server that gives the answers it was told, in order, and keeps what it was asked."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, dict, bytes]] = []
        self.asked: list[tuple[str, str, dict, bytes]] = []
        told = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                told.asked.append((self.command, self.path, dict(self.headers), body))
                status, headers, content = told.answers.pop(0) if told.answers else (500, {}, b"not told")
                self.send_response_only(status)
                usual = {"Content-Length": str(len(content)), "Date": self.date_time_string()}
                for name, value in (usual | headers).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)
                if int(headers.get("Content-Length", len(content))) != len(content):
                    self.close_connection = True

            do_GET = do_POST = answer  # noqa: N815

            def log_message(self, *_args) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self.thread.start()

    def say(self, content, status: int = 200, **headers: str) -> None:
        """Answer one of the next requests; content other than bytes is sent as JSON."""
        is_json = not isinstance(content, bytes)
        names = {"Content-Type": "application/json" if is_json else "text/html"}
        names |= {name.replace("_", "-"): value for name, value in headers.items()}
        self.answers.append((status, names, json.dumps(content).encode() if is_json else content))

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(5)


@pytest.fixture
def told():
    server = Told()
    yield server
    server.close()
