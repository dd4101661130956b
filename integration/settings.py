"""Every setting, its default and its meaning; and the only place that reads the environment.

A value comes from the first of these that has it: a secret file, a `HEADRACE_*` environment variable (`__` steps
into a section: `HEADRACE_POLL__INTERVAL_SECONDS`), headrace.toml, the default. `Settings.origin` tells which.
"""

import os
import re
from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    Strict,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from integration import settings_sources as sources
from integration.errors import ConfigError
from integration.store.attribution import OWN_KINDS, Attribution

DEFAULT_OBJECTS = (
    "Account",
    "Contact",
    "Lead",
    "Opportunity",
    "OpportunityContactRole",
    "Task",
    "Event",
    "Campaign",
    "CampaignMember",
    "User",
)
"""The objects that are watched unless `objects.<Name>.enabled` says otherwise."""

MASK = "********"
_RULES = Attribution()

_FilePath = Annotated[Path, Strict(False)]
_DUCKDB = "duckdb:///"
_SERVERS = ("postgresql", "postgres", "clickhouse", "clickhouses")
"""Schemes of stores that a server keeps; `clickhouses` is ClickHouse over TLS."""


def is_loopback(host: str) -> bool:
    """Tell whether a host name or address means this machine."""
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def mask_url(text: str) -> str:
    """Return an address without the user and password in it."""
    masked = re.sub(r"//[^/@\s]*@", f"//{MASK}@", text)
    return re.sub(r"(?i)\b((?:ssl)?password)=[^&\s]*", rf"\1={MASK}", masked)


def _split(value: str) -> Any:
    try:
        return urlsplit(value)
    except ValueError:
        return urlsplit("")


class Section(BaseModel):
    """A section of the settings: frozen, and it takes no key it does not know."""

    # Types are strict so that `days = true` is an error and not one day; text from the environment is turned into
    # numbers and lists before it comes here.
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)


class SalesforceSettings(Section):
    """Where the org is, how to log in, and how much of its API allowance may be used."""

    base_url: str | None = Field(default=None, description="send every request, logins included, to this address")
    ca_file: _FilePath | None = Field(default=None, description="PEM file with an extra certificate authority")
    domain: str | None = Field(default=None, description="My Domain of the org, for the client-credentials login")
    consumer_key: str | None = Field(default=None, description="consumer key of the External Client App")
    consumer_secret: SecretStr | None = Field(default=None, description="its secret (client-credentials login)")
    username: str | None = Field(default=None, description="user name (JWT bearer or password login)")
    private_key_file: _FilePath | None = Field(
        default=None, description="PEM file with the key of the JWT bearer login"
    )
    instance_url: str | None = Field(default=None, description="address of the org, for an access token of your own")
    session_id: SecretStr | None = Field(default=None, description="the access token")
    password: SecretStr | None = Field(default=None, description="password login, which Salesforce is retiring")
    security_token: SecretStr | None = Field(default=None, description="security token of the password login")
    api_version: str = Field(default="66.0", description="version of the REST API")
    api_budget_percent: int = Field(
        default=70, ge=1, le=100, description="share of the org's daily API calls that may be used, by anyone"
    )

    @field_validator("base_url", "instance_url")
    @classmethod
    def _is_safe_address(cls, value: str | None) -> str | None:
        if value is None:
            return None
        url = _split(value)
        if url.scheme == "http" and not is_loopback(url.hostname or ""):
            raise ValueError("an https:// address (http:// is allowed to this machine only: it shows the login)")
        if url.scheme not in ("http", "https") or not url.hostname or url.username or url.query or url.fragment:
            raise ValueError("an address such as https://acme.my.salesforce.com")
        return value.rstrip("/")

    @field_validator("domain")
    @classmethod
    def _is_host_name(cls, value: str | None) -> str | None:
        if value is None:
            return None
        host = value.strip().removeprefix("https://").rstrip("/").lower()
        if not re.fullmatch(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", host):
            raise ValueError("a host name such as acme.my.salesforce.com")
        return host

    @field_validator("api_version", mode="before")
    @classmethod
    def _is_version(cls, value: object) -> object:
        text = str(value).strip().lower().removeprefix("v")
        match = re.fullmatch(r"(\d{2,3})(\.0)?", text) if not isinstance(value, bool) else None
        # composite calls with queryAll need a version of this decade; the upper limit only catches slips.
        if match is None or not 50 <= int(match[1]) <= 199:
            raise ValueError('a version such as "66.0", at least 50.0')
        return f"{match[1]}.0"


class PollSettings(Section):
    """How often Salesforce is asked, and how far back each time."""

    interval_seconds: float = Field(default=10, ge=0.1, le=86400, description="seconds between two polls")
    overlap_seconds: float = Field(
        default=600, ge=0, le=86400, description="how far back each poll reads again, for records committed late"
    )
    reread_seconds: float = Field(
        default=3600,
        ge=0,
        le=604_800,
        description="how often formulas and roll-ups are read again, which change without a stamp; 0: never",
    )


class SweepSettings(Section):
    """When source and store are compared without being asked."""

    every_hours: float = Field(
        default=24, ge=0, le=8760, description="hours between two sweeps that a worker makes by itself; 0: never"
    )


class ObjectSettings(Section):
    """How one object is read: `objects.<Name>.*`."""

    enabled: bool | None = Field(default=None, description="watch it or not; unset: as the built-in list says")
    fields: list[str] = Field(default=[], description="globs of field names to read; empty: all that can be read")
    exclude: list[str] = Field(default=[], description="globs of field names not to read")
    names: dict[str, str] = Field(default={}, description="field name -> property name of your own")
    enrich: list[str] = Field(default=[], description="lookup fields whose record is flattened in")


class RedisSettings(Section):
    """Where the streams are."""

    url: str = Field(default="embedded", repr=False, description="`embedded`, or a redis:// or rediss:// address")

    @field_validator("url")
    @classmethod
    def _is_redis(cls, value: str) -> str:
        if value != "embedded" and _split(value).scheme not in ("redis", "rediss", "unix"):
            raise ValueError('"embedded" or an address such as redis://127.0.0.1:6379/0')
        return value


class StreamsSettings(Section):
    """How much may wait in the streams, and how much of what is done stays there."""

    high_water: int = Field(
        default=50_000, ge=100, description="entries waiting, over all streams, at which pollers and backfills pause"
    )
    memory_percent: int = Field(
        default=70,
        ge=1,
        le=100,
        description="share of Redis's maxmemory at which they pause; 100: only when it is full",
    )
    keep: int = Field(
        default=10_000, ge=0, description="finished entries that stay in each stream, for people to look at"
    )
    max_dead_in_a_row: int = Field(
        default=500, ge=1, description="so many dead letters in a row in one stream stop the consumer"
    )


class StoreSettings(Section):
    """Where the tables are."""

    url: str = Field(
        default="duckdb:///headrace.duckdb",
        repr=False,
        description="duckdb:///file.duckdb (from the working directory), duckdb:////absolute/file.duckdb, "
        "postgresql://user@host/database or clickhouse://user@host/database",
    )
    password: SecretStr | None = Field(default=None, description="password of a store that a server keeps")

    @field_validator("url")
    @classmethod
    def _is_store(cls, value: str) -> str:
        url = _split(value)
        if url.scheme in _SERVERS:
            if not url.hostname and "host=" not in url.query:
                raise ValueError(f"an address such as {url.scheme}://headrace@db.example.com/headrace")
            return value
        name = value.removeprefix(_DUCKDB)
        if name == value or not Path(name).name or ":memory:" in name or "?" in name:
            raise ValueError(
                "an address such as duckdb:///headrace.duckdb or postgresql://headrace@db.example.com/headrace"
            )
        return value


class IdentitySettings(Section):
    """When two records are one person."""

    match_email: bool = Field(default=True, description="stitch people whose e-mail is the same")
    max_cluster: int = Field(default=25, ge=2, le=10_000, description="larger clusters are reported, not merged")


class ArchiveSettings(Section):
    """How long captures are kept."""

    days: int = Field(default=0, ge=0, le=36_500, description="days that `captures` are kept; 0: for ever")


class PrivacySettings(Section):
    """What is never stored in the clear."""

    exclude: list[str] = Field(default=[], description="globs of fields (`Contact.Birthdate`) that are never stored")
    hash: list[str] = Field(
        default=[],
        description="globs of fields stored as keyed hashes; not in this version, so anything here is refused",
    )
    pseudonym_key: SecretStr | None = Field(
        default=None, description="secret that the names of accounts in `public_accounts` are made with; unset: none"
    )
    pseudonym_columns: list[Literal["industry", "size"]] = Field(
        default=[], description="what stands beside these names: `industry`, `size`, or both"
    )


class WebSettings(Section):
    """The HTTP door for queries and the page."""

    host: str = Field(default="127.0.0.1", min_length=1, description="address to listen on")
    port: int = Field(default=8080, ge=0, le=65535, description="port to listen on; 0: any free one")
    token: SecretStr | None = Field(default=None, description="bearer token that every request must carry")

    @model_validator(mode="after")
    def _is_guarded(self) -> Self:
        if not is_loopback(self.host) and not (self.token and self.token.get_secret_value()):
            raise ValueError(
                f"web.host {self.host} is open to other machines: set web.token (HEADRACE_WEB__TOKEN) to a long "
                "random text, or leave web.host at 127.0.0.1"
            )
        return self


class ProductSettings(Section):
    """The HTTP door for product events, which clients of the Segment Tracking API send."""

    enabled: bool = Field(default=True, description="take product events at web.host and web.port")
    write_keys: list[SecretStr] = Field(
        default=[],
        description="keys that clients may send events with; without any, events are taken from this machine alone",
    )

    @field_validator("write_keys")
    @classmethod
    def _are_keys(cls, value: list[SecretStr]) -> list[SecretStr]:
        if not all(key.get_secret_value().strip() for key in value):
            raise ValueError("keys that are not empty")
        return value


class UsageSettings(Section):
    """What the view on the use of the product shows: a row per person, for tools of customer success."""

    view: str = Field(default="user_usage", description="name of the view", pattern=r"^[a-z][a-z0-9_]{0,62}$")
    events: list[str] = Field(
        default=[], max_length=20, description="names of the events counted as metric1_30d, metric2_30d, ..."
    )
    user_id: str = Field(
        default="user_id", description="column of users shown as user_id: what your tool knows people by"
    )
    company_name: str = Field(default="company_name", description="column of users shown as company_name")
    company_id: str = Field(default="company", description="column of users shown as company_id")
    exclude_emails: list[str] = Field(
        default=[], description="e-mails left out, with * for anything, such as those of your own company"
    )
    all_people: bool = Field(default=False, description="also people without an e-mail, or who have never visited")
    zeros: bool = Field(default=False, description="0 instead of null for what somebody has not done")
    compatible: bool = Field(
        default=False, description="only metric1_30d counts the first instant of its days, as published queries do"
    )


class DefinitionsSettings(Section):
    """Audiences, personas, journeys, cohorts and health, as files."""

    folder: _FilePath = Field(
        default=Path("definitions"), description="folder of the definitions; read again at each run"
    )
    interval_seconds: float = Field(default=300, ge=1, description="how often a worker works them out")
    packs: list[str] = Field(default=[], description="definitions that come with headrace, by name of their pack")


class AttributionSettings(Section):
    """What attribution counts, and for how long; a change works out anew what depends on it."""

    outbound_words: list[str] = Field(
        default=[*_RULES.outbound_words], description="words of a lead source that say that sales made the first step"
    )
    inbound_words: list[str] = Field(
        default=[*_RULES.inbound_words],
        description="words of a lead source that say that people came by themselves, where none of the others is in it",
    )
    outbound_days: int = Field(
        default=_RULES.outbound_days,
        ge=0,
        le=3650,
        description="days before a lead in which somebody whom sales brought in makes the opportunity outbound",
    )
    influence_days: int = Field(
        default=_RULES.influence_days,
        ge=0,
        le=3650,
        description="days before an opportunity in which a campaign has influenced it",
    )
    half_life_days: int = Field(
        default=_RULES.half_life_days,
        ge=1,
        le=3650,
        description="days after which a touch gets half of the credit (model `time_decay`)",
    )
    sign_up_events: list[str] = Field(
        default=[*_RULES.sign_up_events], description="names of the product events that are sign-ups"
    )
    touchpoints: dict[str, list[str]] = Field(
        default={kind: [*names] for kind, names in _RULES.touchpoints.items()},
        description="other kinds of touchpoints, each with the names of its product events",
    )
    sales_types: list[str] = Field(
        default=[*_RULES.sales_types],
        description="tasks whose Type, TaskSubtype or Subject is one of these are a talk with sales once completed",
    )

    guess_accounts: bool = Field(
        default=_RULES.guess_accounts,
        description="guess accounts of leads that are not converted, by their e-mail and company",
    )
    free_mail_domains: list[str] = Field(
        default=[*_RULES.free_mail_domains],
        description="domains of e-mails that say nothing of a company, for these guesses",
    )

    @field_validator("touchpoints")
    @classmethod
    def _are_free(cls, value: dict[str, list[str]]) -> dict[str, list[str]]:
        taken = sorted(value.keys() & {*OWN_KINDS})
        if taken:
            raise ValueError(f"kinds other than {taken[0]}, which has a rule of its own")
        return value

    def rules(self) -> Attribution:
        """Return these as plain values."""
        return Attribution(**self.model_dump())


class TelemetrySettings(Section):
    """Where traces go."""

    otlp_endpoint: str | None = Field(
        default=None, description="OpenTelemetry collector (OTLP over HTTP) that gets traces; unset: none are made"
    )

    @field_validator("otlp_endpoint")
    @classmethod
    def _is_address(cls, value: str | None) -> str | None:
        if value is None:
            return None
        url = _split(value)
        if url.scheme not in ("http", "https") or not url.hostname:
            raise ValueError("an address such as http://localhost:4318")
        return value.rstrip("/")


class LogSettings(Section):
    """What is written to standard error while working."""

    level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="least severe level shown")
    json_lines: bool | Literal["auto"] = Field(
        default="auto", alias="json", description="one JSON object a line; auto: unless standard error is a terminal"
    )


class Settings(BaseSettings):
    """All settings. `load` gathers them; constructing the class reads nothing."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    salesforce: SalesforceSettings = Field(default_factory=SalesforceSettings)
    poll: PollSettings = Field(default_factory=PollSettings)
    sweep: SweepSettings = Field(default_factory=SweepSettings)
    objects: dict[str, ObjectSettings] = {}
    redis: RedisSettings = Field(default_factory=RedisSettings)
    streams: StreamsSettings = Field(default_factory=StreamsSettings)
    store: StoreSettings = Field(default_factory=StoreSettings)
    identity: IdentitySettings = Field(default_factory=IdentitySettings)
    archive: ArchiveSettings = Field(default_factory=ArchiveSettings)
    privacy: PrivacySettings = Field(default_factory=PrivacySettings)
    web: WebSettings = Field(default_factory=WebSettings)
    product: ProductSettings = Field(default_factory=ProductSettings)
    usage: UsageSettings = Field(default_factory=UsageSettings)
    definitions: DefinitionsSettings = Field(default_factory=DefinitionsSettings)
    attribution: AttributionSettings = Field(default_factory=AttributionSettings)
    log: LogSettings = Field(default_factory=LogSettings)
    telemetry: TelemetrySettings = Field(default_factory=TelemetrySettings)

    _origins: dict[sources.Path, str] = PrivateAttr(default_factory=dict)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the signature is the library's
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Merge the layers that `load` read (the first wins), instead of the library's own sources.

        Those can't tell where a value came from, and would take `cbit__Clearbit__c` for three nested keys.
        """
        layers: list[sources.Layer] = []
        if isinstance(init_settings, InitSettingsSource):
            layers = init_settings.init_kwargs.pop("layers", layers)
        return (init_settings, *(InitSettingsSource(settings_cls, layer.values) for layer in layers))

    @property
    def watched(self) -> tuple[str, ...]:
        """The objects to poll, in order: the default ones less those switched off, plus those switched on."""
        names = dict.fromkeys((*DEFAULT_OBJECTS, *self.objects))
        wanted = {name: self.object(name).enabled for name in names}
        return tuple(n for n in names if wanted[n] or (wanted[n] is None and n in DEFAULT_OBJECTS))

    def object(self, name: str) -> ObjectSettings:
        """Return the settings of one object; the defaults where none are set."""
        return self.objects.get(name) or ObjectSettings()

    @property
    def store_path(self) -> Path | None:
        """The file of the DuckDB store, relative to the working directory unless absolute; None for a server's."""
        return Path(self.store.url.removeprefix(_DUCKDB)) if self.store.url.startswith(_DUCKDB) else None

    @property
    def redis_directory(self) -> Path:
        """Where the embedded Valkey keeps its data: `<stem>.valkey` beside the store's file, else `headrace.valkey`."""
        return (self.store_path or Path("headrace")).with_suffix(".valkey")

    @property
    def secrets(self) -> tuple[str, ...]:
        """The secret values, to be blotted out of whatever is logged or shown."""
        values = [value for section in type(self).model_fields for _, value in _leaves((), getattr(self, section))]
        hidden = [secret.get_secret_value() for value in values for secret in _secrets(value)]
        in_urls = (_split(url).password for url in (self.redis.url, self.store.url))
        return tuple(filter(None, (*hidden, *in_urls)))

    def origin(self, *path: str) -> str:
        """Tell where a value came from: `default`, a file, or the name of an environment variable."""
        return self._origins.get(path, "default")

    def shown(self) -> Iterator[tuple[str, Any, str]]:
        """Give (key, value, origin) of every setting, secrets masked, in the order of this file."""
        for section in type(self).model_fields:
            value = getattr(self, section)
            for path, one in _leaves((section,), value):
                yield ".".join(path), _masked(one), self.origin(*path)


def load(config: Path | None = None, env: Mapping[str, str] | None = None) -> Settings:
    """Read headrace.toml, the environment and the secret files.

    `config` is the file of `--config`; without it HEADRACE_CONFIG, ./headrace.toml and
    ~/.config/headrace/headrace.toml are tried. `env` defaults to the process's environment.
    Raises ConfigError with one sentence for anything that is wrong.
    """
    env = os.environ if env is None else env
    known = sources.Known(Settings, DEFAULT_OBJECTS)
    found = sources.find_config(config, env)
    layers = [
        sources.read_secrets(env, known),
        sources.read_environment(env, known),
        sources.read_toml(found, known) if found else sources.Layer(),
    ]
    origins = {path: origin for layer in reversed(layers) for path, origin in layer.origins.items()}
    try:
        settings = Settings(layers=layers)  # type: ignore[call-arg]
    except ValidationError as error:
        raise ConfigError(sources.sentence(error, known, origins)) from None
    settings._origins.update(origins)  # noqa: SLF001 - this function is the constructor
    return settings


def _leaves(path: sources.Path, value: Any) -> Iterator[tuple[sources.Path, Any]]:
    if isinstance(value, BaseModel):
        for name, info in type(value).model_fields.items():
            yield from _leaves((*path, info.alias or name), getattr(value, name))
    elif path == ("objects",):
        for name, one in value.items():
            yield from _leaves((*path, name), one)
    else:
        yield path, value


def _secrets(value: Any) -> list[SecretStr]:
    """Return the secrets in a value: it may be one, or a list of them."""
    return [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, SecretStr)]


def _masked(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return MASK
    if isinstance(value, list):
        return [_masked(one) for one in value]
    if isinstance(value, Path):
        return str(value)
    return mask_url(value) if isinstance(value, str) else value
