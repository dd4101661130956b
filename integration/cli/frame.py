"""What every command has: its common options, its settings, its output, and one way to fail."""

import inspect
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from integration.cli.masking import mask
from integration.cli.output import Output
from integration.errors import HeadraceError

if TYPE_CHECKING:
    from integration.settings import Settings

INTERRUPTED = 130

_COMMON_ENV = ("HEADRACE_CONFIG", "NO_COLOR")

_COMMON = {
    "json": Annotated[bool, typer.Option("--json", help="Print one JSON document.")],
    "config": Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="Settings file instead of headrace.toml.")
    ],
    "debug": Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")],
}
_DEFAULTS = {"json": False, "config": None, "debug": False}


@dataclass
class Call:
    """One run of one command: the common options, and what is made from them when it is first asked for."""

    json: bool = False
    config: Path | None = None
    debug: bool = False
    after_interrupt: str = "the same command goes on from there"
    """What somebody who pressed Ctrl-C is told."""

    @cached_property
    def settings(self) -> "Settings":
        """The settings; reading them sets up logging too. Raises ConfigError."""
        from integration.cli import logs
        from integration.settings import load

        settings = load(self.config)
        logs.configure(settings.log, settings.secrets)
        return settings

    @cached_property
    def out(self) -> Output:
        """Where the command prints."""
        return Output(sys.stdout, sys.stderr)

    def mask(self, text: str) -> str:
        """Blot secrets and e-mail addresses out of a text about an error."""
        loaded = self.__dict__.get("settings")
        return mask(text, loaded.secrets if loaded is not None else ())


def command(
    app: typer.Typer, name: str, *, example: str, env: Sequence[str] = ()
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a function as a command: its docstring is the help, its first argument the `Call`.

    `example` is a line that can be run as it stands; `env` names the environment variables that matter to it.
    """

    def register(function: Callable[..., None]) -> Callable[..., None]:
        own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
        common = [
            inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=_DEFAULTS[key], annotation=kind)
            for key, kind in _COMMON.items()
        ]

        def invoke(**given: Any) -> None:
            call = Call(**{key: given.pop(key) for key in _COMMON})
            code = guarded(call, lambda: function(call, **given))
            if code:
                raise typer.Exit(code)

        keyword_only = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own]
        invoke.__signature__ = inspect.Signature([*keyword_only, *common])  # type: ignore[attr-defined]
        invoke.__annotations__ = {p.name: p.annotation for p in (*own, *common)}
        invoke.__doc__ = function.__doc__
        app.command(name, epilog=_epilog(example, (*env, *_COMMON_ENV)))(invoke)
        return function

    return register


def group(app: typer.Typer, name: str, sentence: str) -> typer.Typer:
    """Add a group of commands; without a command it prints its help."""
    added = typer.Typer(help=sentence, rich_markup_mode=None)
    added.callback(invoke_without_command=True)(show_help)
    app.add_typer(added, name=name)
    return added


def show_help(context: typer.Context) -> None:
    """Print the help where no command was given."""
    if context.invoked_subcommand is None:
        sys.stdout.write(context.get_help() + "\n")


def guarded(call: Call, work: Callable[[], None]) -> int:
    """Do the work and return the exit code; every failure becomes one sentence on standard error."""
    try:
        work()
        sys.stdout.flush()
    except HeadraceError as error:
        return _failed(call, error, f"{error}", error.exit_code)
    except BrokenPipeError:
        # Whoever read our output has seen enough (`| head`). Python would complain once more when it flushes
        # standard output at exit, so that goes nowhere now.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        call.out.note(f"Interrupted. What was finished is saved; {call.after_interrupt}.")
        return INTERRUPTED
    except typer.TyperException:
        raise
    except Exception as error:  # the last line of defence: no traceback reaches a user unasked
        text = (
            f"Something unexpected happened ({type(error).__name__}: {' '.join(str(error).split())}). "
            "Run again with --debug and report it with what that prints."
        )
        return _failed(call, error, text, HeadraceError.exit_code)
    return 0


def _failed(call: Call, error: Exception, sentence: str, code: int) -> int:
    if call.debug:
        call.out.note(call.mask("".join(traceback.format_exception(error)).rstrip()))
    call.out.note(f"headrace: {call.mask(sentence)}")
    return code


def _epilog(example: str, env: Sequence[str]) -> str:
    # \b keeps the lines as they are instead of filling them up to a paragraph.
    return f"\b\nExample:\n  {example}\n\n\b\nEnvironment:\n  {', '.join(dict.fromkeys(env))}"
