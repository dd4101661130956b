"""The files that deploy headrace, read as whoever starts containers from them reads them."""

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "docker-compose.yml"
OWN_ORG = ROOT / "deploy" / "compose.org.yml"
KUBERNETES = ROOT / "deploy" / "kubernetes"
SECRETS = "/run/secrets"

Document = dict[str, Any]


class Reset:
    """What the tag `!reset` leaves: a key of an earlier file is taken away."""


class _Loader(yaml.SafeLoader):
    """Reads the tag of Compose too."""


_Loader.add_constructor("!reset", lambda *_: Reset)


def documents(path: Path) -> list[Document]:
    """Return the documents of a YAML file."""
    return list(yaml.load_all(path.read_text(encoding="utf-8"), _Loader))


def doubled_keys(path: Path) -> list[str]:
    """Return the keys that a mapping of a YAML file has twice: YAML forbids it, and its readers take the last."""
    found: list[str] = []

    def look(node: yaml.Node) -> None:
        if isinstance(node, yaml.MappingNode):
            keys = [str(key.value) for key, _ in node.value]
            found.extend({key for key in keys if keys.count(key) > 1})
        for child in node.value if isinstance(node, yaml.CollectionNode) else []:
            for one in child if isinstance(child, tuple) else (child,):
                look(one)

    for node in yaml.compose_all(path.read_text(encoding="utf-8"), _Loader):
        look(node)
    return found


def compose(*paths: Path) -> Document:
    """Return a project: the files one upon the other, as `docker compose -f ... -f ...` lays them."""
    found: Document = {}
    for path in paths or (COMPOSE,):
        found = _laid(found, documents(path)[0])
    return found


def _laid(lower: Any, upper: Any) -> Any:
    """Lay one value upon another. Lists of words replace each other here, which is so for commands alone."""
    if not isinstance(lower, dict) or not isinstance(upper, dict):
        return upper
    both = lower | {key: _laid(lower.get(key), value) for key, value in upper.items()}
    return {key: value for key, value in both.items() if value is not Reset}


def started(project: Document, *profiles: str) -> dict[str, Document]:
    """Return the services that start with these profiles."""
    return {
        name: service
        for name, service in project["services"].items()
        if not service.get("profiles") or set(service["profiles"]) & set(profiles)
    }


@dataclass(frozen=True)
class Image:
    """What the Dockerfile leaves: of its last stage."""

    entrypoint: list[str]
    command: list[str]
    env: dict[str, str]
    text: str

    @classmethod
    def read(cls) -> "Image":
        """Read the Dockerfile."""
        text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
        last = text[text.rindex("\nFROM ") :].replace("\\\n", " ")
        env: dict[str, str] = {}
        for line in re.findall(r"^ENV (.*)$", last, re.MULTILINE):
            env |= dict(word.split("=", 1) for word in shlex.split(line))
        words = {
            key: yaml.safe_load(value) for key, value in re.findall(r"^(ENTRYPOINT|CMD) (.*)$", last, re.MULTILINE)
        }
        return cls(words["ENTRYPOINT"], words["CMD"], env, last)


@dataclass(frozen=True)
class Container:
    """A process as a container would start it: its words, its environment, its secret files, its probe."""

    name: str
    words: list[str]
    env: dict[str, str]
    probe: list[str]
    """The words of the health check; of a probe over HTTP, the path alone."""
    secrets: dict[str, str] = field(default_factory=dict, repr=False)
    """File name below the folder of the secrets -> content."""
    files: dict[str, str] = field(default_factory=dict)
    """Path inside -> content, of files that are mounted."""


def of_compose(project: Document, name: str) -> Container:
    """Return the container of a service."""
    service, image = project["services"][name], Image.read()
    ours = "build" in service
    entrypoint = service.get("entrypoint", image.entrypoint if ours else [])
    command = service.get("command", image.command if ours and "entrypoint" not in service else [])
    environment = {key: str(value) for key, value in service.get("environment", {}).items()}
    return Container(
        name,
        [word.replace("$$", "$") for word in (*entrypoint, *command)],
        (image.env if ours else {}) | environment,
        service["healthcheck"]["test"][1:],
        {one: (ROOT / project["secrets"][one]["file"]).read_text() for one in service.get("secrets", [])},
    )


def of_pod(container: Document, *, files: Mapping[str, str], secrets: Mapping[str, str]) -> Container:
    """Return a container of a pod; `files` are those of its ConfigMap, `secrets` those of its Secret."""
    image = Image.read()
    probe = container.get("readinessProbe") or container["startupProbe"]
    words = container.get("command", image.entrypoint) + container.get("args", [])
    mounted = {mount["name"]: mount["mountPath"] for mount in container.get("volumeMounts", [])}
    return Container(
        container["name"],
        words,
        image.env | {one["name"]: one["value"] for one in container.get("env", [])},
        [probe["httpGet"]["path"]] if "httpGet" in probe else probe["exec"]["command"],
        dict(secrets) if "secrets" in mounted else {},
        {f"{mounted['config']}/{name}": text for name, text in files.items()} if "config" in mounted else {},
    )


def kustomization(folder: str) -> Document:
    """Return the kustomization.yaml of a folder below deploy/kubernetes."""
    return documents(KUBERNETES / folder / "kustomization.yaml")[0]


def manifests() -> Iterator[tuple[Path, Document]]:
    """Give every manifest below deploy/kubernetes, patches that are files included."""
    for path in sorted(KUBERNETES.rglob("*.yaml")):
        if path.name != "kustomization.yaml":
            for document in documents(path):
                yield path, document


def pods() -> Iterator[tuple[str, Document]]:
    """Give (where, pod template) of everything that starts pods."""
    for path, document in manifests():
        if "template" in document.get("spec", {}):
            yield f"{path.parent.name}/{document['metadata']['name']}", document["spec"]["template"]["spec"]


def containers_of(pod: Document) -> list[Document]:
    """Return the containers of a pod template, those that start first included."""
    return [*pod.get("initContainers", []), *pod.get("containers", [])]
