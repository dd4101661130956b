"""docker-compose.yml and its override for an org of one's own, without an engine: what starts, how it is confined."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from deployed import COMPOSE, OWN_ORG, ROOT, SECRETS, compose, documents, doubled_keys, of_compose, started
from typer.testing import CliRunner

from integration.cli.app import build
from integration.sandbox.__main__ import _parser
from integration.settings import Settings, load

PROJECT = compose()
OWN = compose(COMPOSE, OWN_ORG)
SERVICES = sorted(PROJECT["services"])
WORKERS = {"headrace", "headrace-postgres", "headrace-clickhouse"}
PROFILES = ("postgres", "clickhouse", "observability")
OBSERVED = ROOT / "deploy" / "observability"


def service(name: str) -> dict[str, Any]:
    found: dict[str, Any] = PROJECT["services"][name]
    return found


def settings_of(project: dict[str, Any], name: str, folder: Path, env: dict[str, str]) -> Settings:
    """Load the settings that a worker finds in its container."""
    for secret in project["services"][name]["secrets"]:
        (folder / secret).write_text(f"text of {secret}\n")
    return load(None, {"HOME": str(folder), "HEADRACE_SECRETS_DIR": str(folder), **env})


def ports_of_images() -> dict[str, int]:
    return {"valkey": 6379, "postgres": 5432, "clickhouse": 8123, "prometheus": 9090, "grafana": 3000}


@pytest.mark.parametrize(("profiles", "more"), [
    ((), set()),
    (("postgres",), {"postgres", "headrace-postgres"}),
    (("clickhouse",), {"clickhouse", "headrace-clickhouse"}),
    (("observability",), {"prometheus", "grafana"}),
])  # fmt: skip
def test_without_a_profile_there_is_all_that_is_needed_to_see_people(profiles: tuple[str, ...], more: set[str]) -> None:
    assert set(started(PROJECT, *profiles)) == {"sandbox", "valkey", "headrace"} | more


@pytest.mark.parametrize("name", SERVICES)
def test_every_container_is_confined(name: str) -> None:
    found = service(name)
    assert found["read_only"] is True
    assert "/tmp" in found["tmpfs"]
    assert found["cap_drop"] == ["ALL"]
    assert found["security_opt"] == ["no-new-privileges:true"]
    assert "cap_add" not in found
    assert "privileged" not in found
    limits = found["deploy"]["resources"]["limits"]
    assert set(limits) == {"cpus", "memory", "pids"}
    assert found["restart"] == "unless-stopped"


@pytest.mark.parametrize("name", SERVICES)
def test_every_container_says_whether_it_is_well_and_gets_time_to_end(name: str) -> None:
    found = service(name)
    assert found["healthcheck"]["test"][0] == "CMD"
    assert {"interval", "timeout", "retries"} <= set(found["healthcheck"])
    assert re.fullmatch(r"\d+s", found["stop_grace_period"])


@pytest.mark.parametrize("name", SERVICES)
def test_every_image_is_ours_or_of_a_named_version_and_none_runs_as_root(name: str) -> None:
    found = service(name)
    if "build" in found:
        assert found["image"] == "headrace:local"
        assert found["init"] is True
        return
    assert re.search(r":v?\d[\w.]*(-alpine)?$", found["image"])
    # Prometheus and Grafana say so in their images.
    assert name in ("prometheus", "grafana") or found["user"].partition(":")[0] not in ("", "0", "root")


def test_ports_are_published_to_this_machine_alone_and_none_of_a_worker() -> None:
    published = {name: found["ports"] for name, found in PROJECT["services"].items() if "ports" in found}
    assert published == {"grafana": ["127.0.0.1:3000:3000"]}


@pytest.mark.parametrize("name", sorted(WORKERS))
def test_a_worker_finds_settings_that_fit(name: str, tmp_path: Path) -> None:
    container = of_compose(PROJECT, name)
    settings = settings_of(PROJECT, name, tmp_path, container.env)
    assert settings.web.host == "0.0.0.0"
    assert settings.web.token is not None
    assert settings.salesforce.consumer_secret is not None
    assert f":{settings.web.port}/readyz" in container.probe[-1]
    assert settings.redis.url.startswith("redis://valkey:6379/")
    if name != "headrace":
        assert settings.store.password is not None
    assert CliRunner().invoke(build(), [*container.words[1:], "--help"]).exit_code == 0


@pytest.mark.parametrize("name", SERVICES)
def test_no_secret_stands_in_an_environment(name: str, tmp_path: Path) -> None:
    env = of_compose(PROJECT, name).env
    assert (
        load(None, {"HOME": str(tmp_path), "HEADRACE_SECRETS_DIR": "", **env, "HEADRACE_WEB__HOST": ""}).secrets == ()
    )
    assert [key for key in env if re.search("PASSWORD|SECRET|TOKEN", key) and not env[key].startswith(SECRETS)] == []


def test_workers_share_neither_streams_nor_ports(tmp_path: Path) -> None:
    found = [settings_of(PROJECT, name, tmp_path, of_compose(PROJECT, name).env) for name in sorted(WORKERS)]
    assert len({one.redis.url for one in found}) == len(WORKERS)
    assert len({one.web.port for one in found}) == len(WORKERS)
    assert len({one.store.url for one in found}) == len(WORKERS)


def test_the_sandbox_is_loopback_to_the_workers_and_understands_its_words() -> None:
    words = of_compose(PROJECT, "sandbox").words
    assert words[:3] == ["python", "-m", "integration.sandbox"]
    options = _parser().parse_args(words[3:])
    for name in WORKERS:
        assert service(name)["network_mode"] == "service:sandbox"
        env = service(name)["environment"]
        assert env["HEADRACE_SALESFORCE__BASE_URL"] == f"http://{options.host}:{options.port}"
        assert env["HEADRACE_SALESFORCE__CONSUMER_KEY"] == options.consumer_key
    kept = ROOT / PROJECT["secrets"]["headrace_salesforce__consumer_secret"]["file"]
    assert kept.read_text().strip() == options.consumer_secret
    assert options.every > 0
    assert set(service("sandbox")["networks"]["default"]["aliases"]) == WORKERS


def test_valkey_keeps_what_is_not_stored_yet_and_has_room_to_do_so() -> None:
    words = of_compose(PROJECT, "valkey").words
    told = dict(zip(words[1::2], words[2::2], strict=True))
    assert told == {"--appendonly": "yes", "--maxmemory": "256mb", "--maxmemory-policy": "noeviction"}
    assert service("valkey")["deploy"]["resources"]["limits"]["memory"] == "512m"


@pytest.mark.parametrize("name", sorted(WORKERS))
def test_a_worker_starts_when_what_it_needs_is_well(name: str) -> None:
    asked = {key: value["condition"] for key, value in service(name)["depends_on"].items()}
    store = {name.partition("-")[2]} - {""}
    assert asked == dict.fromkeys({"sandbox", "valkey"} | store, "service_healthy")
    # Where the org is one's own, there is no sandbox to wait for.
    assert service(name)["depends_on"]["sandbox"]["required"] is False


@pytest.mark.parametrize("name", ["postgres", "clickhouse"])
def test_a_database_has_the_user_the_name_and_the_password_that_its_worker_uses(name: str) -> None:
    env, secrets = service(name)["environment"], service(name)["secrets"]
    prefix = name.upper()
    user = env[f"{prefix}_USER"]
    url = service(f"headrace-{name}")["environment"]["HEADRACE_STORE__URL"]
    assert url.endswith(f"://{user}@{name}:{ports_of_images()[name]}/{env[f'{prefix}_DB']}")
    told = env.get("POSTGRES_PASSWORD_FILE") or " ".join(service(name)["entrypoint"])
    assert f"{SECRETS}/{secrets[0]}" in told
    assert secrets[0] in service(f"headrace-{name}")["secrets"]


def test_every_file_volume_and_secret_that_is_named_is_there_and_used() -> None:
    mounts = [one for found in PROJECT["services"].values() for one in found.get("volumes", [])]
    files = [mount.split(":") for mount in mounts if mount.startswith("./")]
    assert [file for file, _, mode in files if not (ROOT / file).is_file() or mode != "ro"] == []
    named = {mount.partition(":")[0] for mount in mounts if not mount.startswith("./")}
    assert named == set(PROJECT["volumes"])
    assert {name for found in PROJECT["services"].values() for name in found.get("secrets", [])} == set(
        PROJECT["secrets"]
    )
    assert [one for one in PROJECT["secrets"].values() if not (ROOT / one["file"]).is_file()] == []


def test_prometheus_asks_every_worker_where_it_listens() -> None:
    job = documents(OBSERVED / "prometheus.yml")[0]["scrape_configs"][0]
    ports = {name: service(name)["environment"].get("HEADRACE_WEB__PORT", "8080") for name in WORKERS}
    assert set(job["static_configs"][0]["targets"]) == {f"{name}:{port}" for name, port in ports.items()}
    assert job["authorization"]["credentials_file"] == f"{SECRETS}/headrace_web__token"
    assert service("prometheus")["secrets"] == ["headrace_web__token"]


def mounted(name: str) -> dict[str, Path]:
    """Path in a container -> file of ours."""
    return {one.split(":")[1]: ROOT / one.split(":")[0] for one in service(name)["volumes"] if one.startswith("./")}


def test_the_alerts_and_the_dashboard_of_the_documentation_are_those_that_are_shown() -> None:
    monitoring = ROOT / "docs" / "monitoring"
    rules = documents(OBSERVED / "prometheus.yml")[0]["rule_files"]
    assert [mounted("prometheus")[path] for path in rules] == [monitoring / "alerts.yml"]
    provider = documents(OBSERVED / "grafana" / "dashboards.yml")[0]["providers"][0]
    shown = {path: file for path, file in mounted("grafana").items() if path.startswith(provider["options"]["path"])}
    assert list(shown.values()) == [monitoring / "grafana-dashboard.json"]
    assert service("grafana")["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"] in shown


def test_the_dashboard_finds_prometheus() -> None:
    source = documents(OBSERVED / "grafana" / "datasources.yml")[0]["datasources"][0]
    dashboard = json.loads((ROOT / "docs" / "monitoring" / "grafana-dashboard.json").read_text())
    variable = next(one for one in dashboard["templating"]["list"] if one["type"] == "datasource")
    assert source["type"] == variable["query"]
    assert source["isDefault"] is True
    assert source["url"] == f"http://prometheus:{ports_of_images()['prometheus']}"


def interpolated(env: dict[str, Any], given: dict[str, str]) -> dict[str, str]:
    """Put the variables of .env in, as Compose does; one that must be there and is not is an error."""

    def put(found: re.Match[str]) -> str:
        if found[2] == ":?" and not given.get(found[1]):
            raise LookupError(found[3])
        return given.get(found[1]) or found[3]

    return {key: re.sub(r"\$\{(\w+)(:[?-])([^}]*)\}", put, str(value)) for key, value in env.items()}


MINE = {"HEADRACE_SALESFORCE__DOMAIN": "acme.my.salesforce.com", "HEADRACE_SALESFORCE__CONSUMER_KEY": "3MVG9"}


@pytest.mark.parametrize("name", sorted(WORKERS))
def test_with_an_org_of_ones_own_nothing_of_the_sandbox_is_left(name: str, tmp_path: Path) -> None:
    found = OWN["services"][name]
    assert "network_mode" not in found
    assert found["env_file"] == [".env"]
    env = interpolated(found["environment"], MINE)
    settings = settings_of(OWN, name, tmp_path, env)
    assert settings.salesforce.base_url is None
    assert settings.salesforce.domain == MINE["HEADRACE_SALESFORCE__DOMAIN"]
    assert settings.salesforce.consumer_key == MINE["HEADRACE_SALESFORCE__CONSUMER_KEY"]
    assert settings.object("Contact").enrich == []
    assert "sandbox" not in " ".join(env.values())


def test_with_an_org_of_ones_own_the_sandbox_does_not_start_and_volumes_are_others() -> None:
    assert "sandbox" not in started(OWN, *PROFILES)
    assert OWN["name"] != PROJECT["name"]
    assert {Path(one["file"]).parts for one in OWN["secrets"].values()} == {
        ("secrets", name) for name in OWN["secrets"]
    }


@pytest.mark.parametrize("missing", sorted(MINE))
def test_an_org_that_is_not_named_is_asked_for(missing: str) -> None:
    env = OWN["services"]["headrace"]["environment"]
    with pytest.raises(LookupError, match=r"put the .+ into \.env"):
        interpolated(env, {key: value for key, value in MINE.items() if key != missing})


@pytest.mark.parametrize("profiles", [(), PROFILES], ids=["default", "all"])
@pytest.mark.parametrize("project", [PROJECT, OWN], ids=["sandbox", "own"])
def test_what_starts_leans_only_on_what_starts(project: dict[str, Any], profiles: tuple[str, ...]) -> None:
    up = started(project, *profiles)
    for found in up.values():
        needed = {name for name, how in found.get("depends_on", {}).items() if how.get("required", True)}
        host = re.findall(r"^service:(.+)$", found.get("network_mode", ""))
        assert needed | set(host) <= set(up)
        assert not (host and "networks" in found)


@pytest.mark.parametrize("path", [COMPOSE, *sorted((ROOT / "deploy").rglob("*.y*ml"))], ids=lambda p: p.name)
def test_no_key_is_there_twice(path: Path) -> None:
    assert doubled_keys(path) == []


def test_a_doubled_key_is_found(tmp_path: Path) -> None:
    (tmp_path / "doubled.yml").write_text("a: {b: 1, c: 2, b: 3}\n")
    assert doubled_keys(tmp_path / "doubled.yml") == ["b"]


@pytest.mark.parametrize("project", [PROJECT, OWN], ids=["sandbox", "own"])
def test_compose_knows_every_word_of_it(project: dict[str, Any]) -> None:
    """By the Compose Specification: keys, durations, ports, and whether what is named is defined."""
    compose_spec = pytest.importorskip("compose_spec")
    # Its own reader of YAML does not know merge keys.
    compose_spec.PyCompose.from_json(json.dumps(project)).validate()
    with pytest.raises(ValueError, match="stop_grace_periode"):
        compose_spec.PyCompose.from_json(json.dumps(project).replace("stop_grace_period", "stop_grace_periode"))


def test_the_files_read_as_compose_reads_them() -> None:
    assert yaml.safe_load(COMPOSE.read_text())["services"]["headrace"] == service("headrace")
