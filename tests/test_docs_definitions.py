"""The definitions that the pages show are definitions, and every key that there is has an example."""

import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

sys.path.insert(0, str(Path(__file__).parent))
from docs_examples import definitions, written

from integration.store.definitions.book import bound
from integration.store.definitions.conditions import SUMS
from integration.wiring.definitions import FOLDERS, KEYS, read_folder
from schemas.definitions import KINDS, Definition, Outcomes

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "audiences.md"
SHOWN = definitions(PAGE)
OF_KINDS = [PAGE, *(ROOT / "docs" / f"{name}.md" for name in ("personas", "health"))]
"""The pages that explain them: some kinds have one of their own."""
TEXT = "\n".join(page.read_text("utf-8") for page in OF_KINDS)
EXAMPLES = [
    *((path, text) for page in OF_KINDS for path, text in definitions(page).items()),
    *(("personas/", text) for text in re.findall(r"^~~~toml\n(.*?)^~~~$", TEXT, re.MULTILINE | re.DOTALL)),
    *(("personas/", file.read_text("utf-8")) for file in ROOT.glob("integration/packs/*/personas/*.toml")),
    *(("audiences/", file.read_text("utf-8")) for file in ROOT.glob("integration/packs/*/audiences/*.toml")),
]
"""(where it lies, text) of every definition that they show, or that comes along."""


def models(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """Give a model, and those of its fields."""
    yield model
    for field in model.model_fields.values():
        yield from (inner for kind in parts(field.annotation) for inner in models(kind))


def parts(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from parts(inner)


def keys(told: Any) -> Iterator[str]:
    """Give every key of a document."""
    if isinstance(told, Mapping):
        for key, value in told.items():
            yield key
            yield from keys(value)
    elif isinstance(told, list):
        for one in told:
            yield from keys(one)


def test_the_definitions_shown_fit_together(tmp_path: Path) -> None:
    found = read_folder(written(SHOWN, tmp_path / "definitions"))
    assert found.problems == {}
    book, wrong = bound(found.definitions, found.lists)
    assert wrong == {}
    assert {ref.kind for ref in book.definitions} == {*KINDS}
    assert len(book.definitions) + len(found.lists) == len(SHOWN)
    assert [*found.lists.values()] == [
        [("email", "ann@example.com"), ("domain", "agency.example.org"), ("account_id", "0015g0000000001AAA")]
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_every_key_of_a_kind_has_an_example(kind: str) -> None:
    files = [tomllib.loads(text) for path, text in EXAMPLES if path.startswith(f"{FOLDERS[kind]}/")]
    # What all kinds have is shown once; what is another's own is shown in its own files.
    common = {*keys([tomllib.loads(text) for path, text in EXAMPLES if not path.endswith(".csv")])}
    own = KINDS[kind].model_fields.keys() - Definition.model_fields.keys()
    assert own <= {*keys(files)}
    # Where nothing but the outcome differs, one or two of the three are shown.
    everything = {name for model in models(KINDS[kind]) if model is not Outcomes for name in model.model_fields}
    assert everything <= common


def test_every_folder_column_of_lists_and_sum_of_events_is_explained() -> None:
    assert [name for name in FOLDERS.values() if f"| `{name}` |" not in TEXT] == []
    assert [name for name in KEYS if f"`{name}`" not in TEXT] == []
    assert [name for name in SUMS if f"`.{name}`" not in TEXT] == []


def test_the_sentences_shown_are_said() -> None:
    sources = "".join(
        (PAGE.parents[1] / path).read_text("utf-8")
        for path in ("integration/wiring/definitions.py", "integration/store/definitions/book.py", "integration/store/definitions/conditions.py", "consumers/members.py", "integration/store/definitions/statements.py")
    )  # fmt: skip
    for sentence in ("it is not valid TOML", "there is no key", "There is no ", "It rests on ", "It speaks of itself", "is no condition", "no kind of definition lies there", "does not fit", "definition removed", "same person as another"):  # fmt: skip
        assert sentence in sources
        assert sentence in re.sub(r"\s+", " ", TEXT)
