"""The record that is being worked on: every line logged meanwhile names it."""

from __future__ import annotations

from contextvars import ContextVar

from claimx.domain.records import Record

AT_WORK: ContextVar[Record | None] = ContextVar("at_work", default=None)
"""Set where the work on a record begins; its ids are looked up when a line is logged."""


def ids_at_work() -> dict[str, str]:
    """Return the trace and the ids of the record that is being worked on, if there is one."""
    record = AT_WORK.get()
    return {} if record is None else {"trace": record.trace, **names_of(record)}


def names_of(record: Record) -> dict[str, str]:
    """Return the ids by which an operator looks for a record."""
    found = {}
    for name in ("event_id", "project_id", "media_id"):
        value = record.data.get(name)
        if isinstance(value, str) and value:
            found[name] = value
    return found
