"""The REST resources below /services/data/vNN.0/, as functions from a Call to an Answer."""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from integration.sandbox import checks, replication
from integration.sandbox.answers import Answer, Call, refusal
from integration.sandbox.bulk import BulkJobs
from integration.sandbox.describe import describe, global_describe
from integration.sandbox.errors import OrgError, not_found
from integration.sandbox.ids import is_id, to18
from integration.sandbox.project import Resolver, Result, builder
from integration.sandbox.query import Cursors, run
from integration.sandbox.soql import Name
from integration.sandbox.transaction import PendingTransaction

if TYPE_CHECKING:
    from integration.sandbox.org import Org

VERSIONS = range(41, 68)
_DEFAULT_PAGE = 2_000
_SMALLEST_PAGE = 200
_SEASONS = ("Winter", "Spring", "Summer")

Handler = Callable[["Rest", Call, tuple[str, ...]], Answer]


class Rest:
    """The REST API of one org.

    usage     returns (calls used, calls allowed) for /limits
    served    how often each kind of resource was asked, subrequests of composites included
    bulk      the query jobs of Bulk API 2.0
    composite_takes_queries_only   refuse every other subrequest of a composite, one by one, as some servers do
    """

    def __init__(self, org: "Org", usage: Callable[[], tuple[int, int]]) -> None:
        self.org = org
        self.cursors = Cursors(org)
        self.served: Counter[str] = Counter()
        self.usage = usage
        self.bulk = BulkJobs(org)
        self.composite_takes_queries_only = False
        self._schema_seen = org.schema_version, org.clock.now().replace(microsecond=0)
        self.writer: Org | PendingTransaction = org  # a composite with allOrNone puts its transaction here

    def answer(self, call: Call) -> Answer:
        """Answer one call; whatever the org refuses becomes an error reply."""
        kind, handler, arguments = route(call)
        self.served[kind] += 1
        try:
            if handler is None:
                raise not_found() if kind == "unknown" else _not_allowed(call)
            with self.org.lock:
                return handler(self, call, arguments)
        except OrgError as error:
            return refusal(error)

    def schema_changed_at(self) -> datetime:
        """When the schema moved last, in whole seconds; never earlier than it really did."""
        version, at = self._schema_seen
        if version != self.org.schema_version:
            # a second later than now: who described the object earlier in this second saw the old schema
            at = self.org.clock.now().replace(microsecond=0) + timedelta(seconds=1)
            self._schema_seen = self.org.schema_version, at
        return at


def route(call: Call) -> tuple[str, Handler | None, tuple[str, ...]]:
    """Return the kind of a call, who handles it (None: nobody) and the variable parts of its path."""
    kind = "unknown"
    for method, pattern, name, handler in _ROUTES:
        match = pattern.fullmatch(call.path.strip("/"))
        if match is not None:
            kind = name
            if method == call.method:
                return name, handler, match.groups()
    return kind, None, ()


def versions() -> list[dict[str, str]]:
    """The API versions on offer: 59.0 is Winter '24, three a year."""
    return [
        {
            "label": f"{_SEASONS[(n - 59) % 3]} '{24 + (n - 59) // 3:02d}",
            "url": f"/services/data/v{n}.0",
            "version": f"{n}.0",
        }
        for n in VERSIONS
    ]


# --- queries ------------------------------------------------------------------------------------------


def _query(rest: Rest, call: Call, _: tuple[str, ...]) -> Answer:
    return _first_page(rest, call, include_deleted=False)


def _query_all(rest: Rest, call: Call, _: tuple[str, ...]) -> Answer:
    return _first_page(rest, call, include_deleted=True)


def _first_page(rest: Rest, call: Call, *, include_deleted: bool) -> Answer:
    text = call.params.get("q", "")
    if not text:
        raise OrgError("MALFORMED_QUERY", "SOQL statements cannot be empty or null")
    result = run(rest.org, text, include_deleted=include_deleted, version=call.version)
    locator = rest.cursors.keep(result) if len(result.rows) > _page_size(call.headers) else ""
    return _page(call, result, locator, 0)


def _next_page(rest: Rest, call: Call, parts: tuple[str, ...]) -> Answer:
    locator, start = parts[0], int(parts[1])
    result = rest.cursors.find(locator)
    if start >= len(result.rows):
        raise OrgError("INVALID_QUERY_LOCATOR", "invalid query locator")
    return _page(call, result, locator, start)


def _page(call: Call, result: Result, locator: str, start: int) -> Answer:
    size = _page_size(call.headers)
    end = start + size
    done = end >= len(result.rows)
    body: dict[str, Any] = {"totalSize": result.total, "done": done}
    if not done:
        resource = call.path.strip("/").split("/")[0]
        body["nextRecordsUrl"] = f"/services/data/{call.version}/{resource}/{locator}-{end}"
    body["records"] = result.page(start, size)
    return Answer(200, body)


def _page_size(headers: Mapping[str, str]) -> int:
    found = re.search(r"batchSize\s*=\s*(\d+)", headers.get("sforce-query-options", ""))
    return min(max(int(found.group(1)), _SMALLEST_PAGE), _DEFAULT_PAGE) if found else _DEFAULT_PAGE


# --- objects and records --------------------------------------------------------------------------------


def _all_objects(rest: Rest, call: Call, _: tuple[str, ...]) -> Answer:
    return Answer(200, global_describe(rest.org, call.version))


def _describe(rest: Rest, call: Call, parts: tuple[str, ...]) -> Answer:
    name, changed = _object(rest, parts[0]), rest.schema_changed_at()
    headers = {"Last-Modified": format_datetime(changed, usegmt=True)}
    since = _moment(call.headers.get("if-modified-since", ""))
    if since is not None and since >= changed:
        return Answer(304, headers=headers)
    return Answer(200, describe(rest.org, name, call.version), headers)


def _moment(header: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(header)
    except ValueError:
        return None
    return found if found.tzinfo is not None else None


def _about(rest: Rest, call: Call, parts: tuple[str, ...]) -> Answer:
    full = describe(rest.org, _object(rest, parts[0]), call.version)
    short = {key: value for key, value in full.items() if key not in ("fields", "childRelationships")}
    return Answer(200, {"objectDescribe": short, "recentItems": []})


def _deleted(rest: Rest, call: Call, parts: tuple[str, ...]) -> Answer:
    return Answer(200, replication.deleted(rest.org, _object(rest, parts[0]), call.params))


def _updated(rest: Rest, call: Call, parts: tuple[str, ...]) -> Answer:
    return Answer(200, replication.updated(rest.org, _object(rest, parts[0]), call.params))


def _create(rest: Rest, call: Call, parts: tuple[str, ...]) -> Answer:
    name = _object(rest, parts[0])
    if not rest.org.objects[name].createable:
        raise OrgError("INVALID_TYPE_FOR_OPERATION", f"entity type {name} does not support create")
    new = rest.writer.insert(name, _given(rest, name, call.body, "createable"))
    location = f"/services/data/{call.version}/sobjects/{name}/{new}"
    return Answer(201, {"id": new, "success": True, "errors": []}, {"Location": location})


def _read(rest: Rest, call: Call, parts: tuple[str, ...]) -> Answer:
    name, key = _record(rest, parts)
    table = rest.org.tables[name]
    checks.row_to_change(table, key)
    resolver = Resolver(rest.org, name)
    wanted = call.params.get("fields", "")
    names = wanted.split(",") if wanted else [f.name for f in rest.org.visible_fields(name)]
    columns = [resolver(Name(tuple(field.strip().split(".")))) for field in names]
    return Answer(200, builder(rest.org, resolver, columns, call.version)(table.rows[key]))


def _update(rest: Rest, call: Call, parts: tuple[str, ...]) -> Answer:
    name, key = _record(rest, parts)
    rest.writer.update(name, key, _given(rest, name, call.body, "updateable"))
    return Answer(204)


def _delete(rest: Rest, _: Call, parts: tuple[str, ...]) -> Answer:
    name, key = _record(rest, parts)
    rest.writer.delete(name, key)
    return Answer(204)


def _object(rest: Rest, name: str) -> str:
    found = next((known for known in rest.org.objects if known.lower() == name.lower()), None)
    if found is None:
        raise not_found()
    return found


def _record(rest: Rest, parts: tuple[str, ...]) -> tuple[str, str]:
    if not is_id(parts[1]):
        raise OrgError(
            "NOT_FOUND", f"Provided external ID field does not exist or is not accessible: {parts[1]}", status=404
        )
    return _object(rest, parts[0]), to18(parts[1])


def _given(rest: Rest, name: str, body: Any, right: str) -> dict[str, Any]:
    """The fields of a request body in their right spelling; refuses those the caller may not write."""
    if not isinstance(body, dict):
        raise OrgError("JSON_PARSER_ERROR", "The request body must be a JSON object")
    visible = {f.name.lower(): f for f in rest.org.visible_fields(name)}
    given = {}
    for key, value in body.items():
        field = visible.get(key.lower())
        if key == "attributes":
            continue
        if field is None:
            raise OrgError("INVALID_FIELD", f"No such column '{key}' on sobject of type {name}", (key,))
        if not getattr(field, right):
            raise checks.read_only(field.name)
        given[field.name] = value
    return given


# --- the rest -------------------------------------------------------------------------------------------


def _resources(_: Rest, call: Call, __: tuple[str, ...]) -> Answer:
    names = ("sobjects", "query", "queryAll", "composite", "limits", "jobs")
    return Answer(200, {name: f"/services/data/{call.version}/{name}" for name in names})


def _limits(rest: Rest, _: Call, __: tuple[str, ...]) -> Answer:
    used, allowed = rest.usage()
    return Answer(
        200,
        {
            "DailyApiRequests": {"Max": allowed, "Remaining": max(0, allowed - used)},
            "DailyBulkV2QueryJobs": {
                "Max": rest.bulk.allowed,
                "Remaining": max(0, rest.bulk.allowed - rest.bulk.created),
            },
            "DailyBulkV2QueryFileStorageMB": {"Max": 976_562, "Remaining": 976_562},
        },
    )


def _composite(rest: Rest, call: Call, _: tuple[str, ...]) -> Answer:
    from integration.sandbox.composite import composite  # it answers its subrequests through this module

    return composite(rest, call)


# --- Bulk API 2.0 ---------------------------------------------------------------------------------------


def _bulk_create(rest: Rest, call: Call, _: tuple[str, ...]) -> Answer:
    return rest.bulk.create(call)


def _bulk_list(rest: Rest, _: Call, __: tuple[str, ...]) -> Answer:
    return rest.bulk.jobs()


def _bulk_look(rest: Rest, _: Call, parts: tuple[str, ...]) -> Answer:
    return rest.bulk.look(parts[0])


def _bulk_abort(rest: Rest, call: Call, parts: tuple[str, ...]) -> Answer:
    return rest.bulk.abort(parts[0], call)


def _bulk_delete(rest: Rest, _: Call, parts: tuple[str, ...]) -> Answer:
    return rest.bulk.delete(parts[0])


def _bulk_results(rest: Rest, call: Call, parts: tuple[str, ...]) -> Answer:
    return rest.bulk.results(parts[0], call)


def _not_allowed(call: Call) -> OrgError:
    return OrgError("METHOD_NOT_ALLOWED", f"HTTP Method '{call.method}' not allowed.", status=405)


_WORD = r"([A-Za-z0-9_]+)"
_ROUTES: list[tuple[str, re.Pattern[str], str, Handler]] = [
    (method, re.compile(pattern), kind, handler)
    for method, pattern, kind, handler in (
        ("GET", "query", "query", _query),
        ("GET", "queryAll", "queryAll", _query_all),
        ("GET", r"query(?:All)?/([A-Za-z0-9]{18})-(\d+)", "query_more", _next_page),
        ("POST", "composite", "composite", _composite),
        ("GET", rf"sobjects/{_WORD}/describe", "describe", _describe),
        ("GET", rf"sobjects/{_WORD}/deleted", "deleted", _deleted),
        ("GET", rf"sobjects/{_WORD}/updated", "updated", _updated),
        ("GET", "sobjects", "global_describe", _all_objects),
        ("GET", rf"sobjects/{_WORD}", "sobject", _about),
        ("POST", rf"sobjects/{_WORD}", "create", _create),
        ("GET", rf"sobjects/{_WORD}/{_WORD}", "read", _read),
        ("PATCH", rf"sobjects/{_WORD}/{_WORD}", "update", _update),
        ("DELETE", rf"sobjects/{_WORD}/{_WORD}", "delete", _delete),
        ("POST", "jobs/query", "bulk_create", _bulk_create),
        ("GET", "jobs/query", "bulk_list", _bulk_list),
        ("GET", rf"jobs/query/{_WORD}", "bulk_look", _bulk_look),
        ("PATCH", rf"jobs/query/{_WORD}", "bulk_abort", _bulk_abort),
        ("DELETE", rf"jobs/query/{_WORD}", "bulk_delete", _bulk_delete),
        ("GET", rf"jobs/query/{_WORD}/results", "bulk_results", _bulk_results),
        ("GET", "limits", "limits", _limits),
        ("GET", "", "resources", _resources),
    )
]
