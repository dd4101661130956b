"""`headrace demo`: a company's Salesforce org in the box, and headrace at work on it."""

import json
import secrets
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import IO, Any

from integration.errors import UsageError
from integration.sandbox.clock import RealClock
from integration.sandbox.export import load_export
from integration.sandbox.org import Org
from integration.sandbox.server import SandboxServer
from integration.sandbox.traffic import Traffic
from integration.sandbox.world import build_world
from integration.settings import Settings, load
from integration.store.answers import ask
from integration.store.protocol import Queryable
from integration.stream.embedded import embedded, running_url
from integration.wiring import demo_product, reading
from integration.wiring.report import fitted, report

_MARK = ".headrace-demo"
"""Only a directory that holds this file is ever emptied."""

_KEY = "sandbox-key"
_OF_THE_COMPANY = files("integration.sandbox").joinpath("definitions")
"""Audiences, personas, a journey and a health of the invented company."""

_SETTINGS = """\
# Written by `headrace demo`: the sandbox org that it starts, and a store of its own.
[salesforce]
base_url = "{url}"
domain = "sandbox.my"
consumer_key = "{key}"
consumer_secret = "{secret}"

[poll]
interval_seconds = 2

[store]
url = {store}

[web]
port = {port}

[product]
enabled = true
write_keys = ["{write_key}"]

[definitions]
folder = {definitions}

[log]
level = "warning"
"""

_ENRICH = """
[objects.Account]
enrich = ["cbit__Clearbit__c"]

[objects.Contact]
enrich = ["cbit__Clearbit__c"]
"""

PERSONAS = """\
WITH per_account AS (
  SELECT sfdc_contact_{kind} AS {name}, sfdc_account_industry AS industry, account_id,
         count(*) AS people, sum(sfdc_account_{revenue}) AS per_person, max(sfdc_account_{revenue}) AS once
  FROM users
  WHERE NOT is_deleted AND account_id IS NOT NULL AND sfdc_contact_{kind} IS NOT NULL{customers}
  GROUP BY 1, 2, 3
)
SELECT {name}, industry, sum(people) AS people, count(*) AS accounts,
       sum(per_person) AS {revenue}_by_person, sum(once) AS {revenue}_by_account
FROM per_account GROUP BY 1, 2 ORDER BY {revenue}_by_account DESC NULLS LAST, people DESC, {name} LIMIT 10"""

_CUSTOMERS = "\n    AND sfdc_account_account_type = 'Paying Customer'"

PERSON = """\
SELECT user_id, email, {columns}, sfdc_opportunity_open_count, sfdc_opportunity_open_amount
FROM users WHERE user_id = '{user_id}'"""

TIMELINE = """\
SELECT time, name, via, (SELECT string_agg(c.field || ': ' || coalesce(c.old_value, '-') || ' -> '
         || coalesce(c.new_value, '-'), ', ' ORDER BY c.field) FROM changes c WHERE c.event_id = e.event_id) AS changed
FROM user_events e WHERE user_id = '{user_id}' ORDER BY time DESC, event_id LIMIT 12"""

_LIVELIEST = """\
SELECT user_id FROM users JOIN (SELECT user_id, count(*) AS n FROM events WHERE name NOT LIKE '%Created'
  AND user_id IS NOT NULL GROUP BY 1) AS e USING (user_id)
WHERE NOT is_deleted AND contact_id IS NOT NULL ORDER BY e.n DESC, user_id LIMIT 1"""
_ANYBODY = (
    "SELECT user_id FROM users WHERE NOT is_deleted ORDER BY contact_id IS NULL, account_id IS NULL, user_id LIMIT 1"
)

_SHOWN = (
    "sfdc_contact_name", "sfdc_contact_title", "sfdc_lead_company", "sfdc_account_name", "sfdc_account_industry",
    "sfdc_account_arr", "sfdc_account_annual_revenue", "sfdc_contact_cbit_role", "sfdc_opportunity_stage",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class View:
    """A question, the SQL that answers it, the answer, and the command that gives it where there is one."""

    title: str
    sql: str
    rows: list[dict[str, Any]]
    command: str = ""


@dataclass(slots=True)
class Demo:
    """A running sandbox org, and the settings under which headrace works on it."""

    settings: Settings
    config: Path
    told: dict[str, int]
    """What the org holds: object -> records."""
    _traffic: Traffic
    _product: demo_product.Product | None = None
    _stop: threading.Event = field(default_factory=threading.Event)

    def happen(self, operations: int) -> list[str]:
        """Let things happen in the org, and say what did."""
        return [sentence for _ in range(operations) for sentence in self._traffic.step()]

    def keep_happening(self, every_seconds: float, tell: Callable[[str], None]) -> None:
        """Let something happen every now and then, until the demo ends."""
        threading.Thread(
            target=self._traffic.run, args=(self._stop, every_seconds, tell), name="traffic", daemon=True
        ).start()

    def tell_of_product(self) -> tuple[int, int]:
        """Send what people have done in the company's product so far through a worker's door; return how many calls
        there were, and of how many users: none, where the org is an export. Raises RunError."""
        return self._product.tell(self.settings) if self._product is not None else (0, 0)

    def keep_using(self, url: str, every_seconds: float) -> None:
        """Let somebody use the product every now and then, until the demo ends; the worker's door is at `url`."""
        if self._product is not None:
            self._product.keep_telling(url, every_seconds, self._stop)

    def people(self) -> int:
        """Return how many people the store has."""
        with reading.reader(self.settings) as reader:
            return int(ask(reader, "SELECT count(*) AS people FROM users")[0]["people"])

    def newest_events(self) -> list[dict[str, Any]]:
        """Return the newest events, the last one first."""
        with reading.reader(self.settings) as reader:
            return ask(reader, "SELECT * FROM events ORDER BY stored_at DESC, time DESC, event_id LIMIT 200")

    def picture(self) -> list[View]:
        """Return what a person can see now: somebody's row, their timeline, and who the customers are."""
        with reading.reader(self.settings) as reader:
            return [*_views(lambda sql: ask(reader, sql)), *_reports(reader)]


_COLUMNS = (
    "SELECT column_name FROM information_schema.columns "
    "WHERE table_name = 'users' AND table_schema NOT IN ('salesforce', 'headrace')"
)


def _views(ask: Callable[[str], list[dict[str, Any]]]) -> list[View]:
    columns = {r["column_name"] for r in ask(_COLUMNS)}
    chosen = ask(_LIVELIEST) or ask(_ANYBODY)
    views = []
    if chosen:
        user_id = chosen[0]["user_id"]
        shown = ", ".join(c for c in _SHOWN if c in columns)
        person, timeline = PERSON.format(columns=shown, user_id=user_id), TIMELINE.format(user_id=user_id)
        views.append(View("One person, with everything the CRM knows", person, ask(person)))
        views.append(View("The same person's timeline", timeline, ask(timeline)))
    # An org without ARR (an export of somebody's own) is asked for the next best number it has.
    revenue = "arr" if "sfdc_account_arr" in columns else "annual_revenue"
    has_types = "sfdc_account_account_type" in columns and bool(
        ask("SELECT 1 FROM users WHERE sfdc_account_account_type = 'Paying Customer' LIMIT 1")
    )
    who = "Who pays" if has_types else "Who is there"
    for kind, name in (("title", "title"), ("cbit_role", "role")):
        if f"sfdc_contact_{kind}" in columns:
            customers = _CUSTOMERS if has_types else ""
            sql = PERSONAS.format(kind=kind, name=name, revenue=revenue, customers=customers)
            views.append(View(f"{who}: {name} x industry, revenue once per person and once per account", sql, ask(sql)))
    return views


def _reports(store: Queryable) -> list[View]:
    if not ask(store, "SELECT 1 AS one FROM events WHERE origin = 'product' LIMIT 1"):
        return []
    views = []
    for name in demo_product.REPORTS:
        one = fitted(store, report(name))
        views.append(View(one.sentence.removesuffix("."), one.sql, ask(store, one.sql), f"headrace report {name}"))
    return views


@contextmanager
def demo(
    directory: Path, *, data: Path | None = None, accounts: int = 60, seed: int = 7, port: int = 8080
) -> Iterator[Demo]:
    """Start the sandbox org and prepare an empty directory for headrace's files.

    `data` is a folder of CSV exports to start from instead of the invented company. Raises UsageError for a folder
    that can't be read, or a directory that is not the demo's own.
    """
    clock = RealClock()
    org = Org(clock=clock)
    try:
        world = None if data else build_world(org, accounts=accounts, seed=seed, ends_at=clock.now())
        told = load_export(org, data) if data else {name: len(org.records(name)) for name in org.objects}
    except ValueError as error:
        raise UsageError(f"The demo can't start from {data}: {error}") from None
    secret, write_key = secrets.token_hex(16), secrets.token_hex(16)
    with _emptied(directory), SandboxServer(org, consumer_key=_KEY, consumer_secret=secret) as server:
        config = directory / "headrace.toml"
        store = f"duckdb:///{(directory / 'headrace.duckdb').absolute()}"
        definitions = directory / "definitions"
        _define(definitions, _OF_THE_COMPANY if data is None else None)
        config.write_text(
            # A string of JSON is one of TOML, whatever the directory is called.
            _SETTINGS.format(
                url=server.url,
                key=_KEY,
                secret=secret,
                store=json.dumps(store),
                port=port,
                write_key=write_key,
                definitions=json.dumps(str(definitions.absolute())),
            )
            + ("" if data else _ENRICH)
            + _custom_objects(org, told if data else {})
        )
        config.chmod(0o600)
        running = Demo(
            load(config, env={"HEADRACE_SECRETS_DIR": ""}),
            config,
            {n: c for n, c in told.items() if c},
            Traffic(org, world, seed=seed),
            # What people of an export do is not for us to invent.
            demo_product.Product(org, seed, write_key) if world is not None else None,
        )
        try:
            yield running
        finally:
            running._stop.set()  # noqa: SLF001 - this function is the constructor


def _custom_objects(org: Org, told: dict[str, int]) -> str:
    """Watch what an export brought along beyond the usual objects."""
    names = [name for name in told if name in org.objects and name.endswith("__c")]
    return "".join(f"\n[objects.{name}]\nenabled = true\n" for name in names)


def _define(folder: Path, examples: Traversable | None) -> None:
    """Make the folder of definitions, with these in it to begin with."""
    folder.mkdir()
    for kind in examples.iterdir() if examples is not None else ():
        (folder / kind.name).mkdir()
        for file in kind.iterdir():
            (folder / kind.name / file.name).write_text(file.read_text("utf-8"), encoding="utf-8")


@contextmanager
def _emptied(directory: Path) -> Iterator[None]:
    """Give an empty directory, which is nobody else's while the block runs."""
    mark = directory / _MARK
    try:
        if directory.exists() and not mark.exists() and any(directory.iterdir()):
            raise UsageError(f"{directory} is not empty and not a demo's: name another one with --dir.")
        directory.mkdir(parents=True, exist_ok=True)
        lock = mark.open("w")
    except OSError as error:
        raise _unusable(directory, error) from None
    with lock:
        _lock(lock, directory)
        _end_server(directory / "headrace.valkey")
        try:
            for path in directory.iterdir():
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                elif path != mark:
                    path.unlink()
        except OSError as error:
            raise _unusable(directory, error) from None
        yield


def _end_server(directory: Path) -> None:
    """End the embedded server of a demo that was killed: without its directory nothing would find it again."""
    if running_url(directory) is not None:
        with embedded(directory):  # who leaves last stops it
            pass


def _lock(file: IO[str], directory: Path) -> None:
    try:
        import fcntl
    except ImportError:
        return  # the embedded Valkey will say that this system has none
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UsageError(
            f"{directory} is in use by a demo that runs: end that one, or name another directory with --dir."
        ) from None


def _unusable(directory: Path, error: OSError) -> UsageError:
    return UsageError(f"{directory} can't be used ({error.strerror}): name another one with --dir.")
