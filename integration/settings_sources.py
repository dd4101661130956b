"""Reads the layers of the settings (headrace.toml, environment, secret files) and words what is wrong with them."""

import difflib
import json
import re
import tomllib
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path as File
from typing import Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Le
from pydantic import BaseModel, SecretStr, ValidationError
from pydantic.fields import FieldInfo

from integration.errors import ConfigError

Path = tuple[str, ...]
"""The way to a value: ("poll", "interval_seconds"), ("objects", "Contact", "enrich")."""

PREFIX = "HEADRACE_"
CONFIG_VARIABLE = "HEADRACE_CONFIG"
SECRETS_VARIABLE = "HEADRACE_SECRETS_DIR"
DEFAULT_SECRETS = "/run/secrets"
FILE_NAME = "headrace.toml"

# Kubernetes describes every Service to every container; one called "headrace" would look like settings.
_SERVICE_LINK = re.compile(r"_SERVICE_(HOST|PORT(_\w+)?)$|_PORT_\d+_(TCP|UDP)(_\w+)?$")

_TRUE = {"true", "yes", "on", "1"}
_FALSE = {"false", "no", "off", "0"}


@dataclass(frozen=True, slots=True)
class Layer:
    """What one source says: nested values, and the origin of each."""

    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[Path, str] = field(default_factory=dict)

    def put(self, path: Path, value: Any, origin: str) -> None:
        """Set one value and remember where it came from."""
        place = self.values
        for step in path[:-1]:
            place = place.setdefault(step, {})
        place[path[-1]] = value
        self.origins[path] = origin


class Known:
    """The settings that exist, read off the models."""

    def __init__(self, settings: type[BaseModel], objects: tuple[str, ...]) -> None:
        self.objects = objects
        self.sections: dict[str, dict[str, FieldInfo]] = {}
        for name, info in settings.model_fields.items():
            model: Any = get_args(info.annotation)[1] if name == "objects" else info.annotation
            self.sections[name] = {f.alias or n: f for n, f in model.model_fields.items()}

    def field(self, path: Path) -> FieldInfo | None:
        """Return the setting at that path, or None."""
        depth = 3 if path[0] == "objects" else 2
        return self.sections.get(path[0], {}).get(path[-1]) if len(path) == depth else None

    def object_name(self, name: str) -> str:
        """Return the spelling of a default object whatever its case; other names as they are."""
        return next((o for o in self.objects if o.lower() == name.lower()), name)

    def keys(self) -> Iterator[str]:
        """List every key, dotted."""
        for section, fields in self.sections.items():
            prefix = f"{section}.<Name>" if section == "objects" else section
            yield from (f"{prefix}.{name}" for name in fields)

    def refuse(self, path: Path, origin: str) -> ConfigError:
        """Word the error for a key that does not exist, with the nearest one that does."""
        dotted = ".".join(path)
        name = path[1] if path[0] == "objects" and len(path) > 1 else "<Name>"
        candidates = [key.replace("<Name>", name) for key in self.keys()]
        close = difflib.get_close_matches(dotted.lower(), candidates, n=1, cutoff=0.6)
        hint = f"did you mean {close[0]}?" if close else "`headrace config show` lists the settings there are."
        return ConfigError(f"{dotted} is not a setting (from {origin}): {hint}")


def find_config(config: File | None, env: Mapping[str, str]) -> File | None:
    """Return the settings file to read, or None. A file that was asked for must be there."""
    for asked, by in ((config, "--config"), (env.get(CONFIG_VARIABLE), CONFIG_VARIABLE)):
        if asked:
            path = File(asked).expanduser()
            if not path.is_file():
                raise ConfigError(f"There is no settings file {path} ({by}): check the name.")
            return path
    home = File(env["HOME"]) if env.get("HOME") else File.home()
    usual = (File(FILE_NAME), home / ".config" / "headrace" / FILE_NAME)
    return next((path for path in usual if path.is_file()), None)


def read_toml(path: File, known: Known) -> Layer:
    """Read headrace.toml. Raises ConfigError with file and line where it is not TOML."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        match = re.search(r"^(.*) \(at line (\d+), column (\d+)\)$", str(error), re.DOTALL)
        what, where = (match[1], f"line {match[2]}, column {match[3]}") if match else (str(error), "its end")
        raise ConfigError(f"{path} is not valid TOML at {where}: {what}.") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"The settings file {path} can't be read: {reason}.") from None
    layer = Layer()
    for keys, value in _flat((), raw, known):
        _put(layer, known, keys, value, str(path))
    return layer


def read_environment(env: Mapping[str, str], known: Known) -> Layer:
    """Read the `HEADRACE_*` variables; an empty one counts as not set."""
    layer = Layer()
    for name in sorted(env):
        if not name.upper().startswith(PREFIX) or name.upper() in (CONFIG_VARIABLE, SECRETS_VARIABLE):
            continue
        if _SERVICE_LINK.search(name) or env[name].startswith(("tcp://", "udp://")) or not env[name]:
            continue
        _put_text(layer, known, name, env[name], f"environment variable {name}")
    return layer


def read_secrets(env: Mapping[str, str], known: Known) -> Layer:
    """Read files such as /run/secrets/headrace_salesforce__consumer_secret: the name is the key, the text the value."""
    asked = env.get(SECRETS_VARIABLE)
    layer = Layer()
    if asked == "":  # set, and to nothing: no secret files at all
        return layer
    folder = File(asked or DEFAULT_SECRETS).expanduser()
    if not folder.is_dir():
        if asked:
            raise ConfigError(f"There is no folder {folder} ({SECRETS_VARIABLE}): check the name.")
        return layer
    for file in sorted(folder.iterdir()):
        if file.name.upper().startswith(PREFIX) and file.is_file():
            try:
                text = file.read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
                raise ConfigError(f"The secret file {file} can't be read: {reason}.") from None
            if text:
                _put_text(layer, known, file.name, text, f"secret file {file}")
    return layer


def sentence(error: ValidationError, known: Known, origins: Mapping[Path, str]) -> str:
    """Say in one sentence which value is wrong, what was found and what is expected."""
    first = error.errors(include_url=False)[0]
    loc = tuple(str(part) for part in first["loc"])
    own = str(first["ctx"]["error"]) if first["type"] == "value_error" else ""
    path = next((p for p in origins if p == loc[: len(p)]), loc)
    info = known.field(path)
    if info is None:
        return f"{own or first['msg']}."
    found = _found(first["input"], secret=_is_secret(info))
    return f"{'.'.join(path)} is {found} (from {origins.get(path, 'default')}): expected {own or expected(info)}."


def expected(info: FieldInfo) -> str:
    """Say in words what a setting takes: `a whole number from 1 to 100`."""
    low = next((m.ge for m in info.metadata if isinstance(m, Ge)), None)
    high = next((m.le for m in info.metadata if isinstance(m, Le)), None)
    limits = f" from {low} to {high}" if low is not None and high is not None else ""
    return " or ".join(dict.fromkeys(_word(kind) for kind in _kinds(info.annotation))) + limits


def _word(kind: Any) -> str:
    words = {
        bool: "true or false",
        int: "a whole number",
        float: "a number",
        list: 'a list such as ["One", "Two"]',
        dict: 'a table such as { Field__c = "name" }',
        File: "a file name",
    }
    if get_origin(kind) is dict and get_origin(get_args(kind)[1]) is list:
        return 'a table such as { name = ["One", "Two"] }'
    if get_origin(kind) is Literal:
        return " or ".join(f'"{choice}"' for choice in get_args(kind))
    return words.get(get_origin(kind) or kind, "text")


def _kinds(annotation: Any) -> list[Any]:
    if get_origin(annotation) in (Union, types.UnionType):
        return [kind for part in get_args(annotation) for kind in _kinds(part)]
    if hasattr(annotation, "__metadata__"):
        return _kinds(get_args(annotation)[0])
    return [] if annotation is type(None) else [annotation]


def _is_secret(info: FieldInfo) -> bool:
    return any(SecretStr in (kind, *get_args(kind)) for kind in _kinds(info.annotation))


def _found(value: Any, *, secret: bool) -> str:
    if secret:
        return f"{type(value).__name__} (not shown)"
    text = json.dumps(value, default=str, ensure_ascii=False)
    text = re.sub(r"//[^/@\s]*@", "//********@", text)
    return text if len(text) <= 80 else text[:77] + "..."


def _flat(path: Path, value: Any, known: Known) -> Iterator[tuple[Path, Any]]:
    """Walk nested tables down to the settings; a table inside a setting (`names`) is its value."""
    if not isinstance(value, dict) or (path and known.field(path)):
        yield path, value
        return
    for key, inner in value.items():
        step = known.object_name(key) if path == ("objects",) else key
        yield from _flat((*path, step), inner, known)


def _put(layer: Layer, known: Known, path: Path, value: Any, origin: str) -> None:
    if known.field(path) is None:
        if path[0] in known.sections and len(path) < (3 if path[0] == "objects" else 2):
            dotted = ".".join(path)
            raise ConfigError(
                f"{dotted} is {_found(value, secret=True)} (from {origin}): expected a table, [{dotted}]."
            )
        raise known.refuse(path, origin)
    layer.put(path, value, origin)


def _put_text(layer: Layer, known: Known, name: str, text: str, origin: str) -> None:
    section, _, rest = name[len(PREFIX) :].partition("__")
    path: Path = (section.lower(), rest.lower()) if rest else (section.lower(),)
    if section.lower() == "objects" and "__" in rest:
        # The name of a custom object holds the delimiter itself: cbit__Clearbit__c.
        object_name, _, key = rest.rpartition("__")
        path = ("objects", known.object_name(object_name), key.lower())
    info = known.field(path)
    if info is None:
        raise known.refuse(tuple(p for part in path for p in part.split("__")), origin)
    layer.put(path, _decode(text, info), origin)


def _decode(text: str, info: FieldInfo) -> Any:
    """Turn text into what the setting takes; text that does not fit stays text, and validation words it."""
    kinds = [get_origin(kind) or kind for kind in _kinds(info.annotation)]
    if bool in kinds and text.lower() in _TRUE | _FALSE:
        return text.lower() in _TRUE
    if list in kinds and not text.lstrip().startswith("["):
        return [part.strip() for part in text.split(",") if part.strip()]
    if list in kinds or dict in kinds:
        return _or_text(json.loads, text)
    if int in kinds:
        return _or_text(int, text)
    return _or_text(float, text) if float in kinds else text


def _or_text(read: Any, text: str) -> Any:
    try:
        return read(text)
    except ValueError:
        return text
