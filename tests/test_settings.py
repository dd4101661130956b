"""Settings: where values come from, and what is said about bad ones."""

from pathlib import Path

import pytest

from integration.errors import ConfigError
from integration.settings import DEFAULT_OBJECTS, MASK, Settings, load
from integration.store.companies import FREE_MAIL


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder, so that no headrace.toml of this machine is read."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "no-secrets").mkdir()
    return tmp_path


def given(folder: Path, config: Path | None = None, **env: str) -> Settings:
    return load(config, {"HOME": str(folder), "HEADRACE_SECRETS_DIR": str(folder / "no-secrets"), **env})


def test_the_defaults_are_those_of_the_contract(tmp_path: Path) -> None:
    settings = given(tmp_path)
    assert {key: value for key, value, origin in settings.shown() if value not in (None, [])} == {
        "salesforce.api_version": "66.0",
        "salesforce.api_budget_percent": 70,
        "poll.interval_seconds": 10,
        "poll.overlap_seconds": 600,
        "poll.reread_seconds": 3600,
        "sweep.every_hours": 24,
        "redis.url": "embedded",
        "streams.high_water": 50_000,
        "streams.memory_percent": 70,
        "streams.keep": 10_000,
        "streams.max_dead_in_a_row": 500,
        "store.url": "duckdb:///headrace.duckdb",
        "identity.match_email": True,
        "identity.max_cluster": 25,
        "archive.days": 0,
        "web.host": "127.0.0.1",
        "web.port": 8080,
        "product.enabled": True,
        "usage.view": "user_usage",
        "usage.user_id": "user_id",
        "usage.company_name": "company_name",
        "usage.company_id": "company",
        "usage.all_people": False,
        "usage.zeros": False,
        "usage.compatible": False,
        "definitions.folder": "definitions",
        "definitions.interval_seconds": 300,
        "attribution.outbound_words": ["SDR", "AE", "Outbound"],
        "attribution.inbound_words": [
            "Inbound", "Contact", "Demo", "Trial", "Sign-up", "Signup", "Sign up", "Set-up", "Setup", "Install", "Web",
            "Website", "HubSpot",
        ],
        "attribution.outbound_days": 60,
        "attribution.influence_days": 30,
        "attribution.half_life_days": 7,
        "attribution.sign_up_events": ["Sign Up", "Signed Up", "User Signed Up"],
        "attribution.touchpoints": {
            "install": ["Instance Installed", "Server Installed", "Site Initialized"],
            "form": ["Form Submitted", "Demo Requested", "Trial Requested", "Contact Form Submitted"],
        },
        "attribution.sales_types": ["Call", "Meeting"],
        "attribution.guess_accounts": True,
        "attribution.free_mail_domains": [*FREE_MAIL],
        "log.level": "info",
        "log.json": "auto",
    }  # fmt: skip
    assert {origin for _, _, origin in settings.shown()} == {"default"}
    assert settings.watched == DEFAULT_OBJECTS


def test_kinds_of_touchpoints_are_a_table_of_lists(tmp_path: Path) -> None:
    (tmp_path / "headrace.toml").write_text('[attribution.touchpoints]\nwebinar = ["Webinar Joined"]\n')
    assert given(tmp_path).attribution.touchpoints == {"webinar": ["Webinar Joined"]}
    (tmp_path / "headrace.toml").unlink()
    told = given(tmp_path, HEADRACE_ATTRIBUTION__TOUCHPOINTS='{"demo": ["Demo Seen"]}')
    assert told.attribution.touchpoints == {"demo": ["Demo Seen"]}
    with pytest.raises(ConfigError, match="kinds other than sales, which has a rule of its own"):
        given(tmp_path, HEADRACE_ATTRIBUTION__TOUCHPOINTS='{"sales": ["Called"]}')
    with pytest.raises(ConfigError, match=r"a table such as \{ name = \[\"One\", \"Two\"\] \}"):
        given(tmp_path, HEADRACE_ATTRIBUTION__TOUCHPOINTS="Called")


def test_the_environment_goes_before_the_file_and_secret_files_before_both(tmp_path: Path) -> None:
    (tmp_path / "headrace.toml").write_text(
        '[salesforce]\ndomain = "file"\nconsumer_key = "file"\nconsumer_secret = "file"\n'
    )
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "headrace_salesforce__consumer_secret").write_text("from-a-secret-file\n")
    (secrets / "another_program").write_text("none of ours")
    settings = given(
        tmp_path,
        HEADRACE_SECRETS_DIR=str(secrets),
        HEADRACE_SALESFORCE__CONSUMER_KEY="environment",
        HEADRACE_SALESFORCE__CONSUMER_SECRET="environment",
    )
    salesforce = settings.salesforce
    assert (salesforce.domain, salesforce.consumer_key) == ("file", "environment")
    assert salesforce.consumer_secret is not None
    assert salesforce.consumer_secret.get_secret_value() == "from-a-secret-file"
    assert settings.origin("salesforce", "domain") == "headrace.toml"
    assert settings.origin("salesforce", "consumer_key") == "environment variable HEADRACE_SALESFORCE__CONSUMER_KEY"
    assert settings.origin("salesforce", "consumer_secret").startswith("secret file ")
    assert settings.origin("salesforce", "username") == "default"


def test_an_empty_name_means_no_secret_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "headrace_web__port").write_text("1")
    monkeypatch.setattr("integration.settings_sources.DEFAULT_SECRETS", str(tmp_path))
    assert load(None, {"HOME": str(tmp_path)}).web.port == 1
    assert load(None, {"HOME": str(tmp_path), "HEADRACE_SECRETS_DIR": ""}).web.port == 8080


def test_the_settings_file_is_looked_for_in_four_places(tmp_path: Path) -> None:
    def port(folder: Path, number: int) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "headrace.toml").write_text(f"[web]\nport = {number}\n")
        return folder / "headrace.toml"

    port(tmp_path / ".config" / "headrace", 1)
    assert given(tmp_path).web.port == 1
    port(tmp_path, 2)
    assert given(tmp_path).web.port == 2
    named = port(tmp_path / "named", 3)
    assert given(tmp_path, HEADRACE_CONFIG=str(named)).web.port == 3
    assert given(tmp_path, port(tmp_path / "asked", 4), HEADRACE_CONFIG=str(named)).web.port == 4


def test_object_names_keep_their_case_and_may_hold_the_delimiter(tmp_path: Path) -> None:
    (tmp_path / "headrace.toml").write_text(
        '[objects.contact]\nexclude = ["Internal_*"]\n[objects.Task]\nenabled = false\n'
    )
    settings = given(
        tmp_path,
        HEADRACE_OBJECTS__CONTACT__ENRICH='["cbit__Clearbit__c"]',
        HEADRACE_OBJECTS__cbit__Clearbit__c__ENABLED="true",
        HEADRACE_OBJECTS__cbit__Clearbit__c__FIELDS="Id, cbit__*",
        HEADRACE_OBJECTS__Lead__NAMES='{"Rating": "heat"}',
    )
    assert settings.object("Contact").enrich == ["cbit__Clearbit__c"]
    assert settings.object("Contact").exclude == ["Internal_*"]
    assert settings.object("cbit__Clearbit__c").fields == ["Id", "cbit__*"]
    assert settings.object("Lead").names == {"Rating": "heat"}
    assert settings.watched == (*(name for name in DEFAULT_OBJECTS if name != "Task"), "cbit__Clearbit__c")
    assert settings.origin("objects", "Contact", "enrich") == "environment variable HEADRACE_OBJECTS__CONTACT__ENRICH"


def test_text_from_the_environment_becomes_numbers_truth_values_and_lists(tmp_path: Path) -> None:
    settings = given(
        tmp_path,
        HEADRACE_POLL__INTERVAL_SECONDS="2.5",
        HEADRACE_IDENTITY__MATCH_EMAIL="no",
        HEADRACE_ARCHIVE__DAYS="90",
        HEADRACE_PRIVACY__EXCLUDE="Contact.Birthdate, *.SSN__c",
        HEADRACE_LOG__JSON="true",
        HEADRACE_LOG__LEVEL="",
        headrace_web__port="0",
    )
    assert settings.poll.interval_seconds == 2.5
    assert settings.identity.match_email is False
    assert settings.archive.days == 90
    assert settings.privacy.exclude == ["Contact.Birthdate", "*.SSN__c"]
    assert settings.log.json_lines is True
    assert settings.log.level == "info"
    assert settings.web.port == 0


@pytest.mark.parametrize("written", ["66.0", "v66.0", "66", "V66"])
def test_a_version_may_be_written_as_people_write_it(tmp_path: Path, written: str) -> None:
    assert given(tmp_path, HEADRACE_SALESFORCE__API_VERSION=written).salesforce.api_version == "66.0"


def test_a_version_may_be_a_number_in_the_file(tmp_path: Path) -> None:
    (tmp_path / "headrace.toml").write_text("[salesforce]\napi_version = 66.0\n")
    assert given(tmp_path).salesforce.api_version == "66.0"


@pytest.mark.parametrize(
    ("url", "store", "redis"),
    [
        ("duckdb:///headrace.duckdb", "headrace.duckdb", "headrace.valkey"),
        ("duckdb:///data/acme.db", "data/acme.db", "data/acme.valkey"),
        ("duckdb:////var/lib/acme.duckdb", "/var/lib/acme.duckdb", "/var/lib/acme.valkey"),
    ],
)
def test_the_embedded_redis_keeps_its_data_beside_the_store(tmp_path: Path, url: str, store: str, redis: str) -> None:
    settings = given(tmp_path, HEADRACE_STORE__URL=url)
    assert (settings.store_path, settings.redis_directory) == (Path(store), Path(redis))


def test_what_kubernetes_says_about_a_service_called_headrace_is_no_setting(tmp_path: Path) -> None:
    settings = given(
        tmp_path,
        HEADRACE_SERVICE_HOST="10.0.0.7",
        HEADRACE_SERVICE_PORT="8080",
        HEADRACE_SERVICE_PORT_HTTP="8080",
        HEADRACE_PORT="tcp://10.0.0.7:8080",
        HEADRACE_PORT_8080_TCP="tcp://10.0.0.7:8080",
        HEADRACE_PORT_8080_TCP_ADDR="10.0.0.7",
        HEADRACE_WEB_PORT="tcp://10.0.0.7:8080",
    )
    assert settings.web.port == 8080


def test_secrets_show_neither_in_a_repr_nor_in_what_is_shown(tmp_path: Path) -> None:
    settings = given(
        tmp_path,
        HEADRACE_SALESFORCE__CONSUMER_SECRET="s3cret-one",
        HEADRACE_SALESFORCE__PASSWORD="s3cret-two",
        HEADRACE_WEB__TOKEN="s3cret-three",
        HEADRACE_REDIS__URL="redis://me:s3cret-four@127.0.0.1:6379/0",
    )
    shown = {key: value for key, value, _ in settings.shown()}
    assert "s3cret" not in repr(settings) + str(shown)
    assert shown["salesforce.consumer_secret"] == shown["web.token"] == MASK
    assert shown["redis.url"] == f"redis://{MASK}@127.0.0.1:6379/0"
    assert set(settings.secrets) == {"s3cret-one", "s3cret-two", "s3cret-three", "s3cret-four"}


BAD_ENVIRONMENT = {
    "a key that is nearly right": (
        {"HEADRACE_POLL__INTERVAL": "10"},
        "poll.interval is not a setting (from environment variable HEADRACE_POLL__INTERVAL): did you mean poll.interval_seconds?",
    ),
    "one underscore for two": (
        {"HEADRACE_WEB_PORT": "80"},
        "web_port is not a setting (from environment variable HEADRACE_WEB_PORT): did you mean web.port?",
    ),
    "a key like no other": (
        {"HEADRACE_XYZZY": "1"},
        "xyzzy is not a setting (from environment variable HEADRACE_XYZZY): `headrace config show` lists the settings there are.",
    ),
    "an unknown key of an object": (
        {"HEADRACE_OBJECTS__Contact__ENRIH": "x"},
        "objects.Contact.enrih is not a setting (from environment variable HEADRACE_OBJECTS__Contact__ENRIH): did you mean objects.Contact.enrich?",
    ),
    "a word for a number": (
        {"HEADRACE_POLL__INTERVAL_SECONDS": "soon"},
        'poll.interval_seconds is "soon" (from environment variable HEADRACE_POLL__INTERVAL_SECONDS): expected a number from 0.1 to 86400.',
    ),
    "no number at all": (
        {"HEADRACE_POLL__OVERLAP_SECONDS": "nan"},
        "poll.overlap_seconds is NaN (from environment variable HEADRACE_POLL__OVERLAP_SECONDS): expected a number from 0 to 86400.",
    ),
    "a number out of range": (
        {"HEADRACE_SALESFORCE__API_BUDGET_PERCENT": "700"},
        "salesforce.api_budget_percent is 700 (from environment variable HEADRACE_SALESFORCE__API_BUDGET_PERCENT): expected a whole number from 1 to 100.",
    ),
    "a word for a truth value": (
        {"HEADRACE_IDENTITY__MATCH_EMAIL": "maybe"},
        'identity.match_email is "maybe" (from environment variable HEADRACE_IDENTITY__MATCH_EMAIL): expected true or false.',
    ),
    "a list that is no JSON": (
        {"HEADRACE_OBJECTS__Contact__ENRICH": '["one"'},
        'objects.Contact.enrich is "[\\"one\\"" (from environment variable HEADRACE_OBJECTS__Contact__ENRICH): expected a list such as ["One", "Two"].',
    ),
    "an unknown level": (
        {"HEADRACE_LOG__LEVEL": "loud"},
        'log.level is "loud" (from environment variable HEADRACE_LOG__LEVEL): expected "debug" or "info" or "warning" or "error".',
    ),
    "a host open to others without a token": (
        {"HEADRACE_WEB__HOST": "0.0.0.0"},
        "web.host 0.0.0.0 is open to other machines: set web.token (HEADRACE_WEB__TOKEN) to a long random text, or leave web.host at 127.0.0.1.",
    ),
    "a login over plain http": (
        {"HEADRACE_SALESFORCE__BASE_URL": "http://acme.example.com"},
        'salesforce.base_url is "http://acme.example.com" (from environment variable HEADRACE_SALESFORCE__BASE_URL): expected an https:// address (http:// is allowed to this machine only: it shows the login).',
    ),
    "an old version": (
        {"HEADRACE_SALESFORCE__API_VERSION": "20.0"},
        'salesforce.api_version is "20.0" (from environment variable HEADRACE_SALESFORCE__API_VERSION): expected a version such as "66.0", at least 50.0.',
    ),
    "a server without a name, with a password": (
        {"HEADRACE_STORE__URL": "postgresql://me:s3cret@/acme"},
        'store.url is "postgresql://********@/acme" (from environment variable HEADRACE_STORE__URL): expected an address such as postgresql://headrace@db.example.com/headrace.',
    ),
    "a store that is nowhere": (
        {"HEADRACE_STORE__URL": "duckdb://headrace.duckdb"},
        'store.url is "duckdb://headrace.duckdb" (from environment variable HEADRACE_STORE__URL): expected an address such as duckdb:///headrace.duckdb or postgresql://headrace@db.example.com/headrace.',
    ),
    "no Redis address": (
        {"HEADRACE_REDIS__URL": "localhost:6379"},
        'redis.url is "localhost:6379" (from environment variable HEADRACE_REDIS__URL): expected "embedded" or an address such as redis://127.0.0.1:6379/0.',
    ),
    "a domain with a path": (
        {"HEADRACE_SALESFORCE__DOMAIN": "https://acme.example.com/home"},
        'salesforce.domain is "https://acme.example.com/home" (from environment variable HEADRACE_SALESFORCE__DOMAIN): expected a host name such as acme.my.salesforce.com.',
    ),
}


@pytest.mark.parametrize("case", BAD_ENVIRONMENT)
def test_a_bad_variable_is_named_with_what_was_found_and_what_is_expected(case: str, tmp_path: Path) -> None:
    env, sentence = BAD_ENVIRONMENT[case]
    with pytest.raises(ConfigError) as failure:
        given(tmp_path, None, **env)
    assert str(failure.value) == sentence
    assert failure.value.exit_code == 2


BAD_FILES = {
    "an empty write key": ('[product]\nwrite_keys = ["s3cret", ""]\n', "product.write_keys is list (not shown) (from {file}): expected keys that are not empty."),
    "a number for a write key": ("[product]\nwrite_keys = [12345]\n", 'product.write_keys is int (not shown) (from {file}): expected a list such as ["One", "Two"].'),
    "broken TOML": ("[poll]\ninterval_seconds = \n", "{file} is not valid TOML at line 2, column 20: Invalid value."),
    "an unfinished text": ('[salesforce]\ndomain = "acme', "{file} is not valid TOML at its end: "),
    "an unknown section": ("[pol]\ninterval_seconds = 1\n", "did you mean poll.interval_seconds?"),
    "a key outside its section": ("interval_seconds = 1\n", "interval_seconds is not a setting (from {file}): "),
    "a value for a section": ("poll = 5\n", "poll is int (not shown) (from {file}): expected a table, [poll]."),
    "a value for an object": ("[objects]\nContact = true\n", "expected a table, [objects.Contact]."),
    "a truth value for a number": ("[archive]\ndays = true\n", "archive.days is true (from {file}): expected a whole number"),
    "a fraction for a whole number": ("[archive]\ndays = 1.5\n", "archive.days is 1.5 (from {file}): expected a whole number"),
    "a list for text": ('[web]\nhost = ["a"]\n', 'web.host is ["a"] (from {file}): expected text.'),
    "a number for a secret": ("[web]\ntoken = 12345\n", "web.token is int (not shown) (from {file}): expected text."),
    "a number in a list": ("[privacy]\nexclude = [1]\n", 'expected a list such as ["One", "Two"].'),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_bad_file_is_named_with_the_place(case: str, tmp_path: Path) -> None:
    text, sentence = BAD_FILES[case]
    file = tmp_path / "my.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as failure:
        given(tmp_path, file)
    assert sentence.format(file=file) in str(failure.value)
    assert "\n" not in str(failure.value)


def test_a_file_or_folder_that_was_asked_for_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"There is no settings file .*/absent\.toml \(--config\): check the name\."):
        given(tmp_path, tmp_path / "absent.toml")
    with pytest.raises(ConfigError, match=r"There is no settings file absent\.toml \(HEADRACE_CONFIG\)"):
        given(tmp_path, HEADRACE_CONFIG="absent.toml")
    with pytest.raises(ConfigError, match=r"There is no folder absent \(HEADRACE_SECRETS_DIR\)"):
        given(tmp_path, HEADRACE_SECRETS_DIR="absent")


def test_a_file_that_is_no_text_is_refused_in_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "binary.toml"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="can't be read: it is not UTF-8 text"):
        given(tmp_path, file)


def test_an_open_host_with_a_token_is_allowed(tmp_path: Path) -> None:
    assert given(tmp_path, HEADRACE_WEB__HOST="0.0.0.0", HEADRACE_WEB__TOKEN="a-long-token").web.host == "0.0.0.0"


@pytest.mark.parametrize("url", ["http://127.0.0.1:8977", "http://localhost:1/", "http://[::1]:8977"])
def test_plain_http_is_allowed_to_this_machine(tmp_path: Path, url: str) -> None:
    assert given(tmp_path, HEADRACE_SALESFORCE__BASE_URL=url).salesforce.base_url == url.rstrip("/")


def test_write_keys_are_secrets_one_by_one(tmp_path: Path) -> None:
    settings = given(tmp_path, HEADRACE_PRODUCT__WRITE_KEYS="s3cret-web, s3cret-app")
    assert set(settings.secrets) == {"s3cret-web", "s3cret-app"}
    shown = {key: value for key, value, _ in settings.shown()}
    assert shown["product.write_keys"] == [MASK, MASK]
    assert "s3cret" not in repr(settings)


def test_the_password_of_a_store_is_one_of_the_secrets(tmp_path: Path) -> None:
    told = {"HEADRACE_STORE__URL": "postgresql://me:s3cret@db.example.com/acme", "HEADRACE_STORE__PASSWORD": "hush"}
    settings = given(tmp_path, **told)
    assert {"s3cret", "hush"} <= set(settings.secrets)
    assert settings.store_path is None
    assert "s3cret" not in repr(settings)
    assert "hush" not in repr(settings)
