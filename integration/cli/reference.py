"""Writes docs/settings.md from the settings themselves: `python -m integration.cli.reference [--check]`."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic_core import PydanticUndefined

from integration.cli.output import cell
from integration.settings import DEFAULT_OBJECTS, Settings
from integration.settings_sources import Known, expected

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"

_HEAD = """\
# Settings

<!-- Written by `python -m integration.cli.reference`; change the descriptions in integration/settings.py instead. -->

A value comes from the first of these that has it:

1. a **secret file** in the folder `HEADRACE_SECRETS_DIR` (not set: `/run/secrets`; empty: none), named like
   the environment variable: `headrace_salesforce__consumer_secret`;
2. an **environment variable**: `HEADRACE_`, the section, two underscores, the key. A list is JSON or separated by
   commas. An empty variable counts as not set;
3. the **settings file**: the one given with `--config`, else the one named by `HEADRACE_CONFIG`, else
   `./headrace.toml`, else `~/.config/headrace/headrace.toml`;
4. the default.

`headrace config show` prints every value and where it came from, secrets masked. A key that does not exist is an
error, in all of these places.

```toml
[salesforce]
domain = "acme.my.salesforce.com"
consumer_key = "3MVG9..."            # the secret: HEADRACE_SALESFORCE__CONSUMER_SECRET, or a secret file

[poll]
interval_seconds = 30

[objects.Contact]
enrich = ["cbit__Clearbit__c"]
exclude = ["Internal_*"]

[objects.Task]
enabled = false
```
"""

_OBJECTS = f"""
Watched unless switched off: {", ".join(DEFAULT_OBJECTS)}. Any other object is switched on with `enabled = true`.
Names in environment variables: `HEADRACE_OBJECTS__Contact__ENRICH`,
`HEADRACE_OBJECTS__cbit__Clearbit__c__ENABLED`. Objects of the list above are found in any case; others are taken as
they are written.
"""


def page() -> str:
    """Return the text of docs/settings.md."""
    return "\n".join([_HEAD, *_sections()]) + "\n"


def main(arguments: Sequence[str]) -> int:
    """Write the page; with `--check` only compare, and return 1 if it differs."""
    if list(arguments) not in ([], ["--check"]):
        sys.stderr.write("Usage: python -m integration.cli.reference [--check]\n")
        return 2
    if not arguments:
        PAGE.write_text(page(), encoding="utf-8")
    elif not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != page():
        sys.stderr.write("docs/settings.md differs from the settings: run python -m integration.cli.reference\n")
        return 1
    return 0


def _sections() -> Iterator[str]:
    for section, fields in Known(Settings, DEFAULT_OBJECTS).sections.items():
        objects = section == "objects"
        yield f"## {section}{'.&lt;Name&gt;' if objects else ''}"
        if objects:
            yield _OBJECTS.rstrip()
        yield "\n| key | takes | default | meaning | environment |\n|---|---|---|---|---|"
        for key, info in fields.items():
            name = "<Name>__" if objects else ""
            variable = f"HEADRACE_{section.upper()}__{name}{key.upper()}"
            yield f"| `{key}` | {expected(info)} | {_default(info.default)} | {info.description} | `{variable}` |"
        yield ""


def _default(value: Any) -> str:
    return "" if value is None or value is PydanticUndefined else f"`{cell(value)}`"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
