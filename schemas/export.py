"""Writes the JSON Schemas of the models to schemas/jsonschema/: `python -m schemas.export [--check]`."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel

from schemas import Capture, Change, Cursor, DeadLetter, Event, Identity, ProductEvent, User

MODELS: dict[str, type[BaseModel]] = {
    "capture": Capture,
    "change": Change,
    "cursor": Cursor,
    "dead_letter": DeadLetter,
    "event": Event,
    "identity": Identity,
    "product_event": ProductEvent,
    "user": User,
}
FOLDER = Path(__file__).parent / "jsonschema"


def documents() -> dict[str, str]:
    """Return the text of every schema file by file name."""
    return {f"{name}.json": _document(name, model) for name, model in MODELS.items()}


def main(arguments: Sequence[str]) -> int:
    """Write the files; with `--check` only compare, and return 1 if any differs."""
    return write_or_check(documents(), FOLDER, arguments, "schemas.export")


def differences(wanted: Mapping[str, str], folder: Path) -> list[str]:
    """Name the files of a folder that are missing, stale, or not wanted."""
    present = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.json")}
    return sorted(name for name in wanted.keys() | present.keys() if wanted.get(name) != present.get(name))


def write_or_check(wanted: Mapping[str, str], folder: Path, arguments: Sequence[str], module: str) -> int:
    """Have a folder hold these files (text by name) and no other; with `--check` only tell what differs.

    `module` is what is run with `python -m`. Returns the exit code.
    """
    if list(arguments) not in ([], ["--check"]):
        sys.stderr.write(f"Usage: python -m {module} [--check]\n")
        return 2
    stale = differences(wanted, folder)
    if arguments:
        for name in stale:
            sys.stderr.write(f"{folder.name}/{name} differs: run python -m {module}\n")
        return 1 if stale else 0
    folder.mkdir(parents=True, exist_ok=True)
    for name in stale:
        if name in wanted:
            (folder / name).write_text(wanted[name], encoding="utf-8")
        else:
            (folder / name).unlink()
    return 0


def _document(name: str, model: type[BaseModel]) -> str:
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": f"urn:headrace:schema:{name}"}
    return json.dumps(head | model.model_json_schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
