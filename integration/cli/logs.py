"""Logging: one line per event on standard error, JSON in containers, secrets and e-mail addresses masked."""

import logging
import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TextIO

import structlog

from integration import tracing
from integration.cli.masking import MASK, mask

if TYPE_CHECKING:
    from structlog.typing import EventDict, Processor

    from integration.settings import LogSettings

_SECRET_KEY = re.compile(r"(?i)secret|password|passwd|token|authorization|session_?id|private_?key|cookie")

# These tell every request, batch or retry; what matters of it, our own events and errors tell.
_CHATTY = {
    "uvicorn": logging.WARNING,
    "faststream": logging.WARNING,
    "urllib3": logging.ERROR,
    "opentelemetry": logging.ERROR,
}


class Masking:
    """A processor that blots secrets and e-mail addresses out of every value of an event, nested ones too."""

    def __init__(self, secrets: Sequence[str] = ()) -> None:
        self._secrets = tuple(secrets)

    def __call__(self, logger: object, method: str, event: "EventDict") -> "EventDict":  # noqa: ARG002
        """Return the event with its values masked."""
        return {
            # structlog hands its own bookkeeping over under keys with an underscore.
            key: value if key.startswith("_") else self._value(key, value)
            for key, value in event.items()
        }

    def _value(self, key: str, value: Any) -> Any:
        if _SECRET_KEY.search(key) and value is not None:
            return MASK
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, dict):
            return {k: self._value(str(k), v) for k, v in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self._value("", v) for v in value]
        return mask(value if isinstance(value, str) else str(value), self._secrets)


def configure(settings: "LogSettings", secrets: Sequence[str] = (), stream: TextIO | None = None) -> None:
    """Send everything that is logged, by us or by a library, to standard error.

    JSON lines if `log.json` is true, or it is `auto` and standard error is no terminal. May be called again. Warnings
    of Python are lines too.
    """
    target = stream or sys.stderr
    as_json = not target.isatty() if settings.json_lines == "auto" else settings.json_lines
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        _traced,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    renderer: Processor = (
        structlog.processors.JSONRenderer()
        if as_json
        else structlog.dev.ConsoleRenderer(colors=target.isatty(), exception_formatter=_plain_exception)
    )
    handler = logging.StreamHandler(target)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                Masking(secrets),
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.captureWarnings(True)
    for name, least in _CHATTY.items():
        logging.getLogger(name).setLevel(level if level == logging.DEBUG else max(level, least))


def _traced(logger: object, method: str, event: "EventDict") -> "EventDict":  # noqa: ARG001
    """Name the trace that the line belongs to, while traces are made."""
    ids = tracing.current_ids()
    if ids is not None:
        event.setdefault("trace_id", ids[0])
        event.setdefault("span_id", ids[1])
    return event


def _plain_exception(stream: TextIO, info: Any) -> None:
    stream.write(str(info))
