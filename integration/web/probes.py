"""What a worker shows to whoever watches it: is it alive, is it ready, its numbers.

    GET /livez    200 while its event loop answers, else 503        {"status": "ok"}
    GET /readyz   200 while every component works, else 503         {"status": "ok", "components": {"redis": "ok"}}
    GET /metrics  numbers for Prometheus, in the form its `Accept` header asks for

The probes are open, for those who ask them carry no token; they tell nothing of records. `/metrics` wants the token,
where one is set.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from integration.core import exactjson

OK: Final = "ok"
Endpoint = Callable[[Request], Awaitable[Response]]
NOT_CACHED: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer to a probe: good or not, in a word, and component by component (`ok` or a sentence)."""

    is_good: bool
    status: str
    components: Mapping[str, str] = field(default_factory=dict)


def _alive() -> Verdict:
    # Who answers at all lives.
    return Verdict(True, OK)


@dataclass(frozen=True, slots=True)
class Probes:
    """Where the answers come from. `live` must answer at once; the others run in a thread and may take a moment.

    `metrics` takes an `Accept` header and returns the page and its content type. What is None is not served.
    """

    live: Callable[[], Verdict] = _alive
    ready: Callable[[], Verdict] | None = None
    metrics: Callable[[str], tuple[bytes, str]] | None = None


def probe_routes(probes: Probes, refusal: Callable[[Request], Response | None]) -> list[Route]:
    """Return the routes. `refusal` answers a request for the metrics that does not carry the token."""

    async def live(_: Request) -> Response:
        return _answer(probes.live())

    routes = [Route("/livez", live)]
    if probes.ready is not None:
        routes.append(Route("/readyz", _readiness(probes.ready)))
    if probes.metrics is not None:
        routes.append(Route("/metrics", _numbers(probes.metrics, refusal)))
    return routes


def _readiness(ask: Callable[[], Verdict]) -> Endpoint:
    async def ready(_: Request) -> Response:
        return _answer(await run_in_threadpool(ask))

    return ready


def _numbers(collect: Callable[[str], tuple[bytes, str]], refusal: Callable[[Request], Response | None]) -> Endpoint:
    async def metrics(request: Request) -> Response:
        refused = refusal(request)
        if refused is not None:
            return refused
        page, content_type = await run_in_threadpool(collect, request.headers.get("accept", ""))
        return Response(page, 200, {**NOT_CACHED, "Content-Type": content_type})

    return metrics


def _answer(verdict: Verdict) -> Response:
    told: dict[str, object] = {"status": verdict.status}
    if verdict.components:
        told["components"] = dict(verdict.components)
    return Response(exactjson.dumps(told), 200 if verdict.is_good else 503, NOT_CACHED, "application/json")
