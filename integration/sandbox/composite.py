"""/composite: up to 25 requests in one call, at most 5 of them queries.

Too many of them are refused inside the envelope: status 200, and one response, of nobody, with the status 400.
"""

import re
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from integration.sandbox.answers import Answer, Call, refusal
from integration.sandbox.errors import OrgError
from integration.sandbox.rest import Rest, route

MOST_SUBREQUESTS = 25
MOST_QUERIES = 5
_QUERIES = frozenset({"query", "queryAll", "query_more"})
_PATH = re.compile(r"/services/data/(v\d\d\.0)/(.*)", re.DOTALL)
_HALTED = "The transaction was rolled back since another operation in the same transaction failed."


def composite(rest: Rest, call: Call) -> Answer:
    """Answer the subrequests in their order. Raises OrgError if the composite itself is wrong."""
    body = call.body if isinstance(call.body, dict) else {}
    subrequests = body.get("compositeRequest")
    if not isinstance(subrequests, list) or not subrequests:
        raise OrgError("JSON_PARSER_ERROR", "compositeRequest must be a list with at least one subrequest")
    calls = [_call(sub, call) for sub in subrequests]
    _check(subrequests, calls)
    too_many = _too_many(calls)
    if too_many is not None:
        return Answer(200, {"compositeResponse": [_response({"referenceId": None}, refusal(too_many))]})
    answers = _all_or_none(rest, calls) if body.get("allOrNone") else [_answer(rest, sub) for sub in calls]
    return Answer(
        200,
        {"compositeResponse": [_response(sub, a) for sub, a in zip(subrequests, answers, strict=True)]},
    )


def _answer(rest: Rest, call: Call) -> Answer:
    kind = route(call)[0]
    if rest.composite_takes_queries_only and kind not in _QUERIES:
        return refusal(OrgError("INVALID_INPUT", f"Subrequests of a composite must be queries, not {call.path}"))
    if kind.startswith("bulk_"):
        return refusal(OrgError("INVALID_INPUT", f"This resource can't be a subrequest of a composite: {call.path}"))
    return rest.answer(call)


def _all_or_none(rest: Rest, calls: list[Call]) -> list[Answer]:
    """Write in one transaction, which a single failure rolls back. Reads see the state before it."""
    answers: list[Answer] = []
    with rest.org.begin() as transaction:
        rest.writer = transaction
        try:
            for call in calls:
                answers.append(_answer(rest, call))
                if answers[-1].status >= 400:
                    transaction.rollback()
                    halted = refusal(OrgError("PROCESSING_HALTED", _HALTED))
                    before = [halted] * (len(answers) - 1)
                    return [*before, answers[-1], *[halted] * (len(calls) - len(answers))]
        finally:
            rest.writer = rest.org
    return answers


def _too_many(calls: list[Call]) -> OrgError | None:
    if len(calls) > MOST_SUBREQUESTS:
        return OrgError("LIMIT_EXCEEDED", f"The request can't contain more than {MOST_SUBREQUESTS} operations.")
    if sum(route(call)[0] in _QUERIES for call in calls) > MOST_QUERIES:
        message = f"The request can't contain more than {MOST_QUERIES} query or sObject Collections operations."
        return OrgError("LIMIT_EXCEEDED", message)
    return None


def _check(subrequests: list[dict[str, Any]], calls: list[Call]) -> None:
    if any(route(call)[0] == "composite" for call in calls):
        raise OrgError("INVALID_OPERATION", "A composite can't contain a composite.")
    names = [sub["referenceId"] for sub in subrequests]
    if len(set(names)) < len(names):
        raise OrgError("BAD_REQUEST", "Each subrequest needs a referenceId of its own.")


def _call(sub: Any, outer: Call) -> Call:
    """Read one subrequest. Raises OrgError if it lacks a part."""
    if not isinstance(sub, dict) or not all(isinstance(sub.get(k), str) for k in ("method", "url", "referenceId")):
        raise OrgError("JSON_PARSER_ERROR", "Each subrequest needs method, url and referenceId.")
    if re.fullmatch(r"\w+", sub["referenceId"]) is None:
        raise OrgError("JSON_PARSER_ERROR", "A referenceId takes letters, digits and underscores only.")
    url = urlsplit(sub["url"])
    match = _PATH.fullmatch(url.path)
    if match is None:
        raise OrgError("NOT_FOUND", "The requested resource does not exist", status=404)
    headers = {key.lower(): str(value) for key, value in (sub.get("httpHeaders") or {}).items()}
    params = dict(parse_qsl(url.query, keep_blank_values=True))
    return Call(sub["method"].upper(), match[1], match[2], params, dict(outer.headers) | headers, sub.get("body"))


def _response(sub: dict[str, Any], answer: Answer) -> dict[str, Any]:
    return {
        "body": answer.body,
        "httpHeaders": dict(answer.headers),
        "httpStatusCode": answer.status,
        "referenceId": sub["referenceId"],
    }
