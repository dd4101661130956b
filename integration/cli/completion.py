"""What the shell offers after Tab: names from the settings and the built-in lists. Nothing is asked of any server.

Commands need do nothing for it: an argument or option is completed by its metavar (`[OBJECT]...`), else by its name
(`stream`).
"""

import inspect
from collections.abc import Callable, Iterable
from typing import get_args

import typer
from typer.models import ParameterInfo

Complete = Callable[[str], list[str]]


def attach(app: typer.Typer) -> None:
    """Give every parameter of every command, groups included, the completion that fits its name."""
    for command in app.registered_commands:
        if command.callback is not None:
            for parameter in inspect.signature(command.callback).parameters.values():
                _complete(parameter)
    for group in app.registered_groups:
        if group.typer_instance is not None:
            attach(group.typer_instance)


def objects(incomplete: str) -> list[str]:
    """Offer the objects that are watched, and those that have settings."""
    return _beginning(incomplete, _objects())


def streams(incomplete: str) -> list[str]:
    """Offer the streams of these objects."""
    from integration.stream.names import PRODUCT_STREAM, stream_of

    return _beginning(incomplete, [*map(stream_of, _objects()), PRODUCT_STREAM])


def groups(incomplete: str) -> list[str]:
    """Offer the consumer groups."""
    from integration.stream.names import GROUP

    return _beginning(incomplete, [GROUP])


def reports(incomplete: str) -> list[str]:
    """Offer the named reports."""
    from integration.wiring.report import names

    return _beginning(incomplete, names())


def marts(incomplete: str) -> list[str]:
    """Offer the marts."""
    from integration.store.marts import SHOWN

    return _beginning(incomplete, [one.name for one in SHOWN])


def _complete(parameter: inspect.Parameter) -> None:
    for info in get_args(parameter.annotation):
        if isinstance(info, ParameterInfo):
            complete = _fitting(parameter.name, info)
            if complete is not None and info.autocompletion is None:
                info.autocompletion = complete


def _fitting(name: str, info: ParameterInfo) -> Complete | None:
    metavar = str(info.metavar or "").strip("[].").lower()
    words = (metavar, *name.lower().split("_"))
    return next((_BY_NAME[word] for word in words if word in _BY_NAME), None)


def _objects() -> list[str]:
    from integration.errors import HeadraceError
    from integration.settings import DEFAULT_OBJECTS, load

    try:
        settings = load()
    except HeadraceError:  # Tab is no moment to complain of the settings
        return list(DEFAULT_OBJECTS)
    return list(dict.fromkeys((*settings.watched, *settings.objects)))


def _beginning(incomplete: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


_BY_NAME: dict[str, Complete] = {
    "object": objects,
    "objects": objects,
    "stream": streams,
    "streams": streams,
    "group": groups,
    "mart": marts,
    "report": reports,
}
