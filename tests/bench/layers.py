"""What a stack means: which layer of headrace a moment belongs to, and what the consumer is doing."""

import re
from collections.abc import Iterable, Mapping, Sequence
from types import FrameType
from typing import Any

_STATEMENT = "DuckDB: "
_STORE = "/integration/store/"

# From the innermost frame outwards, the first that fits. A name ends with "/" for a folder.
_LAYERS: tuple[tuple[str, str], ...] = (
    ("/integration/core/exactjson.py", "JSON"),
    ("/integration/store/arrow.py", "Arrow: rows into columns"),
    ("/integration/store/answers.py", "Arrow: columns into rows"),
    ("/integration/core/diff.py", "flatten"),
    ("/integration/core/flatten.py", "flatten"),
    ("/integration/core/image.py", "flatten: captures read"),
    ("/integration/core/identity.py", "people: stitching and choosing"),
    ("/integration/core/project.py", "people: stitching and choosing"),
    ("/consumers/people.py", "people: stitching and choosing"),
    ("/consumers/reach.py", "people: stitching and choosing"),
    ("/integration/core/history.py", "field history"),
    ("/integration/core/retelling.py", "field history"),
    ("/consumers/history.py", "field history"),
    ("/consumers/catalogs.py", "names, columns and raw rows"),
    ("/integration/core/registry.py", "names, columns and raw rows"),
    ("/integration/core/naming.py", "names, columns and raw rows"),
    ("/integration/core/values.py", "values and times"),
    ("/integration/core/times.py", "values and times"),
    ("/integration/core/segment.py", "product events: the door"),
    ("/integration/web/", "product events: the door"),
    ("/uvicorn/", "HTTP"),
    ("/starlette/", "HTTP"),
    ("/consumers/product.py", "product events: into rows, who is who"),
    ("/integration/core/product.py", "product events: into rows, who is who"),
    ("/integration/stream/", "Redis: publishing, looking, trimming"),
    ("/consumers/intake.py", "Redis: publishing, looking, trimming"),
    ("/consumers/app.py", "FastStream: reading the streams"),
    ("/faststream/", "FastStream: reading the streams"),
    ("/integration/source/", "Salesforce: HTTP, captures, cursors"),
    ("/simple_salesforce/", "Salesforce: HTTP, captures, cursors"),
    ("/consumers/", "consumer"),
    ("/integration/wiring/", "wiring"),
    ("/integration/cli/", "command line and settings"),
    ("/integration/settings", "command line and settings"),
)

_IMPORTS = "starting: imports"

_PHASES = {
    "/consumers/apply.py": {
        "_read": "read captures", "_fold": "fold: what differs", "_write_events": "write events and changes",
        "_retell": "field history",
    },
    "/consumers/records.py": {"write_records": "write captures, states, raw rows"},
    "/consumers/reach.py": {"reach": "whom it reaches"},
    "/consumers/people.py": {"write_people": "people: stitch, choose, write"},
    "/consumers/catalogs.py": {"save": "tables and views"},
}  # fmt: skip

_FROM = re.compile(r"\b(?:FROM|INTO|TABLE)\s+([\w.\"]+)", re.IGNORECASE)
_ARGUMENTS = ("table", "object_name", "name", "shape")


def is_in_store(frame: FrameType | None) -> bool:
    """Tell whether a stack is inside the store."""
    while frame is not None:
        if _STORE in frame.f_code.co_filename:
            return True
        frame = frame.f_back
    return False


def is_statement(layer: str) -> bool:
    """Tell whether a layer is a statement of the store."""
    return layer.startswith(_STATEMENT)


def layer_of(stack: Sequence[FrameType]) -> str:
    """Return the layer of a stack, the innermost frame first."""
    for place, frame in enumerate(stack):
        file = frame.f_code.co_filename
        if "importlib" in file:
            return _IMPORTS
        for part, layer in _LAYERS:
            if part in file:
                return layer
        if _STORE in file:
            return _STATEMENT + _statement(stack[place:])
    return "other"


def phase_of(stack: Iterable[FrameType]) -> str:
    """Return what the consumer is doing, "" where it is something else: by the outermost frame that tells."""
    phase = ""
    for frame in stack:
        file, name = frame.f_code.co_filename, frame.f_code.co_name
        for part, phases in _PHASES.items():
            if part in file and name in phases:
                phase = phases[name]
        if file.endswith("/consumers/apply.py") and name == "_attempt":
            return phase or "commit, positions and the rest"
    return ""


def function_of(stack: Sequence[FrameType]) -> str:
    """Name the innermost function."""
    code = stack[0].f_code
    return f"{'/'.join(code.co_filename.split('/')[-2:])}:{code.co_name}"


def _statement(stack: Sequence[FrameType]) -> str:
    """Name what the store is asked to do: the outermost of its methods, and the table."""
    inside = [frame for frame in stack if _STORE in frame.f_code.co_filename]
    for frame in reversed(inside):
        name, given = frame.f_code.co_name, frame.f_locals
        if name == "transaction":
            return "begin and commit"
        if name.startswith("_") or name in ("rows", "reading"):
            found = _FROM.search(given["sql"]) if isinstance(given.get("sql"), str) else None
            if name == "rows":
                return f"read {found[1]}" if found else "read"
            continue
        about = next((given[key] for key in _ARGUMENTS if isinstance(given.get(key), str)), "")
        return f"{name} {about}".strip().replace("_", " ", 1) if name != "close" else "close (checkpoint)"
    return inside[-1].f_code.co_name


def by_layer(sampled: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return a table of the layers, the heaviest first."""
    return _table("layer", sampled["layers"], sampled["cpu"])


def by_phase(sampled: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return a table of what the consumer does."""
    return _table("phase", sampled["phases"], sampled["cpu"])


def by_function(sampled: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return a table of functions by what they use themselves."""
    return _table("function", sampled["functions"], sampled["cpu"])


def _table(head: str, found: Mapping[str, int], cpu: float) -> list[tuple[str, ...]]:
    ordered = sorted(found.items(), key=lambda one: -one[1])
    small = sum(used for _, used in ordered if used / 1e9 < cpu / 200)
    lines = [(name, used / 1e9) for name, used in ordered if used / 1e9 >= cpu / 200]
    if small and head != "function":
        lines.append((f"each below half a percent ({len(ordered) - len(lines)} of them)", small / 1e9))
    return [(head, "CPU s", "share"), *((name, f"{used:.2f}", f"{used / cpu:.1%}") for name, used in lines)]
