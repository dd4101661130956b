"""What the compose file and the manifests start is started here as processes: the same words, the same environment."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from deployed import KUBERNETES, ROOT, compose, containers_of, documents, kustomization, of_compose, of_pod, started
from machine import WITHIN_SECONDS, Machine, Running, can_be_read_only

PEOPLE = ("headrace", "sql", "--json", "SELECT count(*) AS people FROM users")
PROJECT = compose()


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine with the sandbox and Valkey of the compose file, both healthy."""
    folder = tmp_path_factory.mktemp("machine")
    machine = Machine(folder, read_only=can_be_read_only(folder / "probe"))
    try:
        for name in ("sandbox", "valkey"):
            machine.healthy(machine.start(of_compose(PROJECT, name)))
        yield machine
    finally:
        machine.end_all()


@pytest.fixture(scope="module")
def worker(machine: Machine) -> Iterator[Running]:
    """The worker of the default profile, healthy."""
    running = machine.start(of_compose(PROJECT, "headrace"))
    machine.healthy(running)
    yield running
    if running in machine.running:
        machine.end(running, within=20)
    machine.empty_valkey()


def await_people(machine: Machine, running: Running, most: int) -> None:
    """Wait until there are more people than that, asking as the page says."""
    deadline = time.monotonic() + WITHIN_SECONDS
    while True:
        done = machine.run(running.container, *PEOPLE)
        # One that has just begun to live may have no store yet.
        assert done.returncode == 0 or "There is no store" in done.stderr, done.stderr
        if done.returncode == 0 and int(json.loads(done.stdout)[0]["people"]) > most:
            return
        assert time.monotonic() < deadline, running.notes


def asked(url: str, token: str) -> tuple[int, str]:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, ""


def test_the_default_profile_shows_people_within_a_minute_and_without_an_org(machine: Machine, worker: Running) -> None:
    assert set(started(PROJECT)) == {"sandbox", "valkey", "headrace"}
    await_people(machine, worker, 100)


def test_prometheus_finds_the_worker_with_the_token_of_the_secret_file(machine: Machine, worker: Running) -> None:
    job = documents(ROOT / "deploy" / "observability" / "prometheus.yml")[0]["scrape_configs"][0]
    secret = Path(job["authorization"]["credentials_file"])
    assert secret.name in PROJECT["services"]["prometheus"]["secrets"]
    token = (ROOT / PROJECT["secrets"][secret.name]["file"]).read_text().strip()
    target = machine.put("prometheus", job["static_configs"][0]["targets"][0])
    status, page = asked(f"http://{target}/metrics", token)
    assert status == 200
    assert "headrace_build_info" in page
    assert asked(f"http://{target}/metrics", "another")[0] == 401


def test_a_worker_writes_below_its_data_folder_alone(machine: Machine, worker: Running) -> None:
    """Where this machine lets us mount, the rest was read-only all the time (`machine.read_only`)."""
    name = worker.container.name
    written = {path.relative_to(machine.folder / name) for path in (machine.folder / name).rglob("*") if path.is_file()}
    kept = {path.name for path in written if path.parts[0] == "data"}
    assert "headrace.duckdb" in kept
    assert {path.parts[0] for path in written} <= {"data", "tmp", "run"}
    assert {path.name for path in written if path.parts[0] == "run"} == set(worker.container.secrets)


def test_a_worker_that_is_told_to_stop_ends_well_within_its_grace(machine: Machine, worker: Running) -> None:
    service = PROJECT["services"]["headrace"]
    assert machine.end(worker, within=float(service["stop_grace_period"].removesuffix("s"))) == 0
    assert "Traceback" not in worker.notes


def test_the_pod_of_the_sandbox_overlay_shows_people_too(machine: Machine) -> None:
    """After the other worker's end: both take the same port, and the streams."""
    overlay = KUBERNETES / "overlays" / "sandbox"
    secrets = dict(one.split("=", 1) for one in kustomization("overlays/sandbox")["secretGenerator"][0]["literals"])
    files = {"headrace.toml": (overlay / "headrace.toml").read_text()}
    sandbox = of_pod(
        documents(overlay / "sandbox.yaml")[0]["spec"]["template"]["spec"]["initContainers"][0], files={}, secrets={}
    )
    assert sandbox.words == of_compose(PROJECT, "sandbox").words
    assert sandbox.probe == of_compose(PROJECT, "sandbox").probe
    base = next(one for one in documents(KUBERNETES / "base" / "headrace.yaml") if one["kind"] == "StatefulSet")
    pod = replace(of_pod(containers_of(base["spec"]["template"]["spec"])[0], files=files, secrets=secrets), name="pod")
    running = machine.start(pod)
    machine.healthy(running)
    await_people(machine, running, 100)
    assert machine.end(running, within=base["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]) == 0
