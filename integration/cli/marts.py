"""The commands about the marts: which there are, their SQL, and a project of dbt."""

from pathlib import Path
from typing import Annotated

import typer

from integration.cli.frame import Call, command, group
from integration.core.kinds import Dialect

_ENV = ("HEADRACE_STORE__URL",)


Of = Annotated[Dialect | None, typer.Option("--dialect", help="Which SQL; by default the store's.")]


def register(app: typer.Typer) -> None:
    """Add the group `marts`."""
    added = group(app, "marts", "Look at the marts; take them along as SQL or as a dbt project.")
    command(added, "ls", example="headrace marts ls")(ls)
    command(added, "show", example="headrace marts show touches --dialect postgres", env=_ENV)(show)
    command(added, "export-dbt", example="headrace marts export-dbt analytics", env=_ENV)(export_dbt)


def ls(call: Call) -> None:
    """List the marts: the key by which each is kept up to date, and what it tells."""
    from integration.wiring import marts

    rows = marts.rows()
    if call.json:
        call.out.document(rows)
    else:
        told = [{"name": one.name, "key": one.key, "sentence": one.sentence} for one in rows]
        call.out.table(("name", "key", "sentence"), told)


def show(
    call: Call, name: Annotated[str, typer.Argument(metavar="MART", help="Its name.")], dialect: Of = None
) -> None:
    """Print the SELECT that a mart is worked out by, with the columns that this org has."""
    settings = call.settings
    from integration.wiring import marts

    shown, note = marts.show(settings, name, dialect)
    if note is not None:
        call.out.note(note)
    if call.json:
        call.out.document(shown)
    else:
        for line in shown.sql.splitlines():
            call.out.text(line)


def export_dbt(
    call: Call,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="New, empty, or of an earlier export.")],
    dialect: Of = None,
) -> None:
    """Write the marts as a dbt project: a model for each, the tables that they read as sources, and tests.

    Exported again, everything is written anew but profiles.yml.
    """
    settings = call.settings
    from integration.wiring import marts

    exported = marts.export_dbt(settings, folder, dialect)
    if exported.note is not None:
        call.out.note(exported.note)
    if call.json:
        call.out.document(exported)
    else:
        call.out.text(f"{len(exported.files)} files for {exported.dialect} written to {exported.folder}.")
        call.out.note(f"Look at profiles.yml, then: cd {exported.folder} && dbt build")
