"""The program: all commands, and what is said when the words make no sense."""

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from integration import __version__
from integration.cli import (
    backfill,
    completion,
    config,
    definitions,
    demo,
    dlq,
    explain,
    funnel,
    health,
    imports,
    marts,
    migrate,
    personas,
    query,
    replay,
    report,
    streams,
    sweep,
    users,
    why,
    work,
)
from integration.cli.frame import INTERRUPTED, show_help


def build() -> typer.Typer:
    """Return the command line with every command registered."""
    # Without rich the help is plain text: half the time to show it, and the same on every terminal.
    app = typer.Typer(name="headrace", rich_markup_mode=None, pretty_exceptions_enable=False)
    app.callback(invoke_without_command=True)(_root)
    demo.register(app)
    work.register(app)
    backfill.register(app)
    imports.register(app)
    replay.register(app)
    migrate.register(app)
    sweep.register(app)
    query.register(app)
    report.register(app)
    personas.register(app)
    funnel.register(app)
    health.register(app)
    marts.register(app)
    users.register(app)
    definitions.register(app)
    explain.register(app)
    why.register(app)
    streams.register(app)
    dlq.register(app)
    config.register(app)
    completion.attach(app)
    return app


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code."""
    app = build()
    try:
        code = app(args=list(arguments), prog_name="headrace", standalone_mode=False)
    except typer.TyperException as error:
        sys.stderr.write(f"headrace: {_sentence(error)}\n")
        return error.exit_code
    except typer.Abort:
        return INTERRUPTED
    return code if isinstance(code, int) else 0


def _root(
    context: typer.Context,
    show_version: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False,
) -> None:
    """Keep a Salesforce org's changes in SQL: one row per person, one event per change.

    Start with `headrace demo`: it needs no account. Results go to standard output, everything else to standard
    error. Exit codes: 0 ok, 1 failed, 2 usage or settings, 3 out of reach, 4 done but with dead letters, 5 a check
    found problems, 130 interrupted.
    """
    if show_version:
        sys.stdout.write(f"headrace {__version__}\n")
    else:
        show_help(context)


def _sentence(error: typer.TyperException) -> str:
    """Return the message on one line, with the command whose help explains it."""
    message = " ".join(error.format_message().split())
    path = getattr(getattr(error, "ctx", None), "command_path", "headrace")
    return f"{message.rstrip('.')}{'' if message.endswith('?') else '.'} See `{path} --help`."
