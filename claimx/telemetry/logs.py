"""
Structured logs: one JSON object a line, or readable lines on a terminal.

The stage is bound once by its task; the ids of the record that is worked on (trace, event_id,
project_id, media_id) are added to each line. Whatever is logged passes the redaction, so that a
link or token in somebody else's message does not reach a file.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

from claimx.domain.redaction import mask
from claimx.services.at_work import ids_at_work

_QUIET = (
    "azure",
    "urllib3",
    "aiohttp.access",
    "redbeat",
    # a line for each hint and tick says nothing that the stages' own lines do not
    "celery.worker.strategy",
    "celery.app.trace",
    "celery.beat",
)


def configure(level: str, form: str, *, process: str) -> None:
    """
    Route structlog and the standard library's loggers (Celery's too) to one handler on stderr.

    *form* is ``json``, ``console`` or ``auto`` (console on a terminal); *process* names the
    process type in every line.
    """
    console = form == "console" or (form == "auto" and sys.stderr.isatty())
    shared: list[Any] = [
        _add_ids,
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        _process_name(process),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,  # before the redaction, on a terminal as well
        _redact,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            *shared[:4],
            *shared[5:],
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    renderer: Any = (
        structlog.dev.ConsoleRenderer() if console else structlog.processors.JSONRenderer()
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in _QUIET:  # a logger with a level of its own does not heed the root's
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


def _add_ids(_logger: Any, _method: str, entry: MutableMapping[str, Any]) -> Any:
    return {**ids_at_work(), **entry}


def _process_name(process: str) -> Any:
    def add(_logger: Any, _method: str, entry: MutableMapping[str, Any]) -> Any:
        entry["process"] = process
        return entry

    return add


def _redact(_logger: Any, _method: str, entry: MutableMapping[str, Any]) -> Any:
    for key, value in entry.items():
        if not key.startswith("_"):
            entry[key] = _masked(value)
    return entry


def _masked(value: Any) -> Any:
    """Return a value with every text in it masked; what is none of JSON's becomes its text."""
    match value:
        case str():
            return mask(value)
        case None | bool() | int() | float():
            return value
        case dict():
            return {key: _masked(one) for key, one in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_masked(one) for one in value]
        case _:
            return mask(str(value))
