"""Salesforce: the login, what it may see, the clock, and the API calls."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any

from integration.core import identity, project
from integration.core.whereabouts import named
from integration.errors import HeadraceError
from integration.settings import Settings
from integration.source.client import SalesforceClient
from integration.source.credentials import SOAP_LOGIN_ENDS, Connection, LoginKind, login_kind
from integration.stream import metrics
from integration.wiring import parts
from integration.wiring.checks.check import Check, State
from integration.wiring.status import api
from integration.wiring.streams import existing_streams, has_streams

_SKEW_SECONDS = 60
_NOT_TOO_SOON_SECONDS = 6 * 3600
_GRANT = "grant the integration user access to it (Setup > Permission Sets)"
_DECISIVE: Mapping[str, tuple[str, ...]] = {
    **identity.FACTS,
    "Opportunity": project.DEAL_FACTS,
    "OpportunityContactRole": project.ROLE_FACTS,
}
"""The fields that decide who is one person and which opportunity a person shows."""


def checks(settings: Settings) -> Iterator[Check]:
    """Log in and look. Takes about one API call for every ten watched objects."""
    parts.watched_objects(settings)
    yield from login(settings)
    source = parts.salesforce(settings)
    shown = {str(o["name"]) for o in source.objects()}
    yield Check("salesforce", State.OK, f"logged in to org {source.org_id}, {len(shown)} objects visible")
    for name in settings.watched:
        if name not in shown:
            yield Check(
                f"object {name}", State.WARN, f"the login does not see {name}",
                "grant the integration user read access to it (Setup > Permission Sets), or set "
                f"objects.{name}.enabled = false",
            )  # fmt: skip
    seen = [name for name in settings.watched if name in shown]
    yield from fields(settings, source, seen)
    yield from emptiness(source, seen)
    yield from _clock(source)
    yield from _calls(settings, source)


def login(settings: Settings) -> Iterator[Check]:
    """Say how it logs in, and warn of the way that Salesforce retires. Raises ConfigError for settings of no login."""
    kind = login_kind(Connection(**settings.salesforce.model_dump(exclude={"api_budget_percent"})))
    if kind is LoginKind.PASSWORD:
        yield Check(
            "login", State.WARN, f"it logs in by password, which Salesforce retires with {SOAP_LOGIN_ENDS}",
            "make an External Client App with the client-credentials flow, and set salesforce.domain, consumer_key and "
            "consumer_secret",
        )  # fmt: skip
    elif kind is LoginKind.SESSION:
        yield Check(
            "login", State.WARN, "it uses an access token of your own, which ends and can't be renewed from here",
            "for unattended work, use client credentials: salesforce.domain, consumer_key and consumer_secret",
        )  # fmt: skip
    else:
        yield Check("login", State.OK, f"it logs in with {str(kind).replace('-', ' ')}")


def fields(settings: Settings, source: SalesforceClient, seen: Iterable[str]) -> Iterator[Check]:
    """Name the fields that settings ask for, or that people are put together by, and that describe does not show."""
    for name, described in source.describes(list(seen)).items():
        if isinstance(described, HeadraceError):
            yield Check(f"object {name}", State.WARN, str(described), _GRANT)
            continue
        there = [str(f["name"]) for f in described.get("fields", ())]
        one = settings.object(name)
        unknown = {
            "fields": [g for g in one.fields if not any(fnmatchcase(f, g) for f in there)],
            "names": [f for f in one.names if f not in there],
            "enrich": [f for f in one.enrich if f not in there],
        }
        for key, missing in unknown.items():
            if missing:
                yield Check(
                    "field access", State.WARN,
                    f"objects.{name}.{key} asks for {named(missing)}, which the login is not shown",
                    "correct the name, or grant the integration user access to the field (Setup > Permission Sets)",
                )  # fmt: skip
        hidden = [f for f in _DECISIVE.get(name, ()) if f not in there]
        if hidden:
            yield Check(
                "field access", State.WARN,
                f"{name}: the login is not shown {named(hidden)}, by which people and their opportunities are told",
                "grant the integration user access to the field (Setup > Permission Sets)",
            )  # fmt: skip


def emptiness(source: SalesforceClient, seen: Iterable[str]) -> Iterator[Check]:
    """Name the objects of which not one record is shown: nothing there, or nothing shared."""
    names = list(seen)
    answers = source.query_pages([f"SELECT Id FROM {name} LIMIT 1" for name in names])
    empty = [name for name, answer in zip(names, answers, strict=True) if answer.problem is None and not answer.records]
    if empty:
        yield Check(
            "sharing", State.OK, f"the login is shown no record of {named(empty)}",
            'right if there is none; else the integration user lacks "View All Records" of the object',
        )  # fmt: skip


def _clock(source: SalesforceClient) -> Iterator[Check]:
    skew = abs((datetime.fromisoformat(source.server_time) - datetime.now(UTC)).total_seconds())
    if skew > _SKEW_SECONDS:
        yield Check(
            "clock", State.WARN, f"this machine's clock and Salesforce's differ by {skew:,.0f} s",
            "headrace goes by Salesforce's; set this one by NTP so that logs agree",
        )  # fmt: skip


def _calls(settings: Settings, source: SalesforceClient) -> Iterator[Check]:
    usage = source.api_usage
    refused = parts.check_budget(settings, source)
    if refused is not None:
        yield Check("api calls", State.WARN, str(refused), "raise salesforce.api_budget_percent, or poll less often")
        return
    ahead = _forecast(settings)
    soon = ahead.get("budget_reached_in_seconds")
    if soon is not None and soon < _NOT_TOO_SOON_SECONDS:
        yield Check(
            "api calls", State.WARN, str(ahead["forecast"]),
            "raise poll.interval_seconds or salesforce.api_budget_percent, or find who else calls so much",
        )  # fmt: skip
    elif usage is not None:
        told = f"; {ahead['forecast']}" if ahead.get("forecast") else ""
        yield Check("api calls", State.OK, f"{usage[0]:,} of {usage[1]:,} used in the last 24 hours{told}")


def _forecast(settings: Settings) -> dict[str, Any]:
    """Return what the poller's numbers say of the hours ahead; nothing where there are none, or Redis is away."""
    try:
        if not has_streams(settings):
            return {}
        with existing_streams(settings) as streams:
            poller = metrics.read(streams.client)
    except HeadraceError:  # told by its own check
        return {}
    return api(poller, datetime.now(UTC)) if poller is not None else {}
