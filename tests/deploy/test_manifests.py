"""The manifests below deploy/kubernetes, without a cluster: what they name is there, and everything is confined."""

import re
from pathlib import Path
from typing import Any

import pytest
from deployed import KUBERNETES, containers_of, documents, kustomization, manifests, of_compose, of_pod, pods
from deployed import compose as project
from starlette.routing import Route
from typer.testing import CliRunner

from integration import __version__
from integration.cli.app import build
from integration.sandbox.__main__ import _parser
from integration.settings import Settings, load
from integration.web.probes import OK, Probes, Verdict, probe_routes

FOLDERS = ["base", "overlays/postgres", "overlays/sandbox"]
PODS = dict(pods())
WHOLE = {name: pod for name, pod in PODS.items() if "containers" in pod}
CONTAINERS = {f"{name}/{one['name']}": one for name, pod in PODS.items() for one in containers_of(pod)}
WORKERS = {name: one for name, one in CONTAINERS.items() if one["name"] == "headrace"}


def served() -> set[str]:
    """The paths that a worker's probes serve."""
    probes = Probes(ready=lambda: Verdict(True, OK), metrics=lambda _: (b"", ""))
    return {route.path for route in probe_routes(probes, lambda _: None) if isinstance(route, Route)}


def of_kind(kind: str) -> list[dict[str, Any]]:
    return [document for _, document in manifests() if document["kind"] == kind]


def settings_of(container: dict[str, Any], toml: Path, folder: Path) -> Settings:
    """Load the settings that a worker finds: its environment, its ConfigMap, a Secret with all that may be in it."""
    env = {one["name"]: one["value"] for one in container["env"]}
    assert env["HEADRACE_CONFIG"] == "/etc/headrace/headrace.toml"
    for name in ("headrace_salesforce__consumer_secret", "headrace_web__token", "headrace_store__password"):
        (folder / name).write_text(f"text of {name}\n")
    return load(None, env | {"HOME": str(folder), "HEADRACE_CONFIG": str(toml), "HEADRACE_SECRETS_DIR": str(folder)})


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_kustomization_names_every_file_beside_it_and_none_that_is_not_there(folder: str) -> None:
    here = KUBERNETES / folder
    found = kustomization(folder)
    named = {one for one in found["resources"] if not one.startswith("..")}
    named |= {patch["path"] for patch in found.get("patches", []) if "path" in patch}
    named |= {file for one in found.get("configMapGenerator", []) for file in one["files"]}
    assert {path.name for path in here.iterdir() if path.name != "kustomization.yaml"} == named
    assert [one for one in found["resources"] if not (here / one).exists()] == []


def test_every_folder_is_looked_at() -> None:
    assert {path.parent.relative_to(KUBERNETES).as_posix() for path in KUBERNETES.rglob("kustomization.yaml")} == set(
        FOLDERS
    )


@pytest.mark.parametrize("name", sorted(WHOLE))
def test_every_pod_is_one_of_nobody_special(name: str) -> None:
    pod = WHOLE[name]
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    context = pod["securityContext"]
    assert context["runAsNonRoot"] is True
    assert context["runAsUser"] > 0
    assert context["runAsGroup"] > 0
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["terminationGracePeriodSeconds"] >= 30


@pytest.mark.parametrize("name", sorted(CONTAINERS))
def test_every_container_is_confined(name: str) -> None:
    container = CONTAINERS[name]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {"cpu", "memory"} <= set(container["resources"]["requests"])
    assert "memory" in container["resources"]["limits"]
    assert "startupProbe" in container


@pytest.mark.parametrize("name", sorted(WHOLE))
def test_every_volume_that_is_mounted_is_there_and_the_other_way_round(name: str) -> None:
    pod = WHOLE[name]
    mounted = {mount["name"] for container in containers_of(pod) for mount in container["volumeMounts"]}
    owner = next(
        one for one in [*of_kind("StatefulSet"), *of_kind("Deployment")] if one["spec"]["template"]["spec"] == pod
    )
    claimed = {one["metadata"]["name"] for one in owner["spec"].get("volumeClaimTemplates", [])}
    assert mounted == {volume["name"] for volume in pod["volumes"]} | claimed


@pytest.mark.parametrize("name", sorted(WORKERS))
def test_the_probes_ask_what_a_worker_serves_where_it_listens(name: str) -> None:
    container = WORKERS[name]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    probes = [container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")]
    assert {probe["path"] for probe in probes} <= served()
    assert {ports[probe["port"]] for probe in probes} == {8080}
    # A worker that is not ready must not be killed for it.
    assert container["livenessProbe"]["httpGet"]["path"] == "/livez"


@pytest.mark.parametrize("name", sorted(WORKERS))
def test_the_words_of_a_worker_are_a_command(name: str) -> None:
    assert CliRunner().invoke(build(), [*WORKERS[name]["args"], "--help"]).exit_code == 0


@pytest.mark.parametrize("overlay", ["base", "overlays/sandbox"])
@pytest.mark.parametrize("name", sorted(WORKERS))
def test_the_settings_of_a_worker_fit(name: str, overlay: str, tmp_path: Path) -> None:
    settings = settings_of(WORKERS[name], KUBERNETES / overlay / "headrace.toml", tmp_path)
    assert settings.web.host == "0.0.0.0"
    assert settings.web.port == 8080
    assert settings.web.token is not None
    assert settings.redis.url == "redis://valkey:6379/0"
    assert settings.origin("redis", "url").endswith("headrace.toml")
    mounts = {mount["name"]: mount["mountPath"] for mount in WORKERS[name]["volumeMounts"]}
    assert mounts["config"] == "/etc/headrace"
    env = {one["name"]: one["value"] for one in WORKERS[name]["env"]}
    assert env["HEADRACE_SECRETS_DIR"] == mounts["secrets"]
    if settings.store_path is not None:
        assert settings.store_path.is_relative_to(mounts["data"])


def test_one_worker_owns_a_file_and_two_share_a_server(tmp_path: Path) -> None:
    sets = {one["metadata"]["name"]: one["spec"] for one in of_kind("StatefulSet") if "replicas" in one["spec"]}
    assert {name: spec["replicas"] for name, spec in sets.items()} == {"headrace": 1, "valkey": 1}
    deployment = of_kind("Deployment")[0]
    assert deployment["spec"]["replicas"] == 2
    worker = WORKERS["postgres/headrace/headrace"]
    assert worker["args"] == ["run", "--standby"]
    settings = settings_of(worker, KUBERNETES / "base" / "headrace.toml", tmp_path)
    assert settings.store.url.startswith("postgresql://")
    assert settings.store.password is not None


def test_an_update_of_workers_that_stand_by_does_not_wait_for_them_to_work() -> None:
    """/readyz says 503 of a worker that stands by: an update that wants it ready would never end."""
    spec = of_kind("Deployment")[0]["spec"]
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    assert WORKERS["postgres/headrace/headrace"]["readinessProbe"]["httpGet"]["path"] == "/livez"
    assert WORKERS["base/headrace/headrace"]["readinessProbe"]["httpGet"]["path"] == "/readyz"


def test_the_overlay_with_a_server_has_no_worker_with_a_file() -> None:
    patches = kustomization("overlays/postgres")["patches"]
    deleted = [patch["patch"] for patch in patches if "$patch: delete" in patch["patch"]]
    assert len(deleted) == 1
    assert re.search(r"kind: StatefulSet\nmetadata:\n  name: headrace\n", deleted[0])


def test_selectors_find_the_pods_they_mean() -> None:
    labels = {one["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/name"] for one in of_kind("Deployment")}
    for one in of_kind("StatefulSet"):
        if "selector" in one["spec"]:
            assert one["spec"]["selector"]["matchLabels"] == one["spec"]["template"]["metadata"]["labels"]
            labels |= set(one["spec"]["selector"]["matchLabels"].values())
    assert labels == {"headrace", "valkey"}
    for one in of_kind("Service"):
        assert one["spec"]["selector"] == {"app.kubernetes.io/name": one["metadata"]["name"]}
    for one in of_kind("NetworkPolicy"):
        assert one["spec"]["podSelector"]["matchLabels"] == {"app.kubernetes.io/name": one["metadata"]["name"]}


def test_nobody_but_workers_reaches_valkey() -> None:
    policy = next(one for one in of_kind("NetworkPolicy") if one["metadata"]["name"] == "valkey")
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert "egress" not in policy["spec"]
    (rule,) = policy["spec"]["ingress"]
    assert rule["from"] == [{"podSelector": {"matchLabels": {"app.kubernetes.io/name": "headrace"}}}]


def test_valkey_is_started_as_in_the_compose_file() -> None:
    valkey = of_pod(CONTAINERS["base/valkey/valkey"] | {"command": []}, files={}, secrets={})
    assert valkey.words == of_compose(project(), "valkey").words
    assert valkey.probe == of_compose(project(), "valkey").probe


def test_the_sandbox_stands_beside_the_worker_and_goes_on() -> None:
    sandbox = CONTAINERS["sandbox/headrace/sandbox"]
    assert sandbox["restartPolicy"] == "Always"
    options = _parser().parse_args(sandbox["args"])
    told = (KUBERNETES / "overlays" / "sandbox" / "headrace.toml").read_text()
    assert f'base_url = "http://{options.host}:{options.port}"' in told
    literals = kustomization("overlays/sandbox")["secretGenerator"][0]["literals"]
    assert f"headrace_salesforce__consumer_secret={options.consumer_secret}" in literals


@pytest.mark.parametrize("folder", ["base", "overlays/postgres"])
def test_the_image_is_that_of_this_version(folder: str) -> None:
    assert kustomization(folder)["images"] == [{"name": "headrace", "newTag": __version__}]


@pytest.mark.parametrize("name", sorted(CONTAINERS))
def test_images_of_others_are_of_a_named_version(name: str) -> None:
    image = CONTAINERS[name]["image"]
    assert image == "headrace" or image == project()["services"]["valkey"]["image"]


def test_no_secret_is_written_down_but_those_of_invented_people() -> None:
    assert of_kind("Secret") == []
    assert [folder for folder in FOLDERS if "secretGenerator" in kustomization(folder)] == ["overlays/sandbox"]
    for folder in ("base", "overlays/sandbox"):
        settings = load(
            KUBERNETES / folder / "headrace.toml",
            {"HOME": "/nowhere", "HEADRACE_SECRETS_DIR": "", "HEADRACE_WEB__HOST": "127.0.0.1"},
        )
        assert settings.secrets == ()


def test_the_documents_are_what_they_seem() -> None:
    assert len(documents(KUBERNETES / "base" / "headrace.yaml")) == 3
    kinds = {one["kind"] for _, one in manifests()}
    assert kinds == {"ServiceAccount", "Service", "StatefulSet", "NetworkPolicy", "Deployment", "PodDisruptionBudget"}


def test_the_page_names_secrets_that_are_settings() -> None:
    page = (KUBERNETES.parents[1] / "docs" / "containers.md").read_text()
    named = set(re.findall(r"\bheadrace_([a-z]+)__([a-z_]+)", page))
    assert len(named) == 3
    for section, key in named:
        assert key in Settings.model_fields[section].annotation.model_fields  # type: ignore[union-attr]
