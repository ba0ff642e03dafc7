"""
What the tables must hold, from the set of all that was ever said: no order, no batches, no merging.

Written from the domain page, section 4, and on purpose not from the code that it judges.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from claimx.domain.changes import Change, Source
from claimx.domain.columns import Table

Expected: TypeAlias = Mapping[str, Callable[[Any], bool]]
"""Column -> whether a value is right there."""

FACTS = ("policyholder_invited_at", "policyholder_joined_at", "xa_autolink_fail_at")


def expected(table: Table, said: Iterable[Change]) -> dict[tuple[str, ...], Expected]:
    """Return what each row must be, by key."""
    groups: dict[tuple[str, ...], list[Change]] = {}
    for change in said:
        key = tuple(change.values[name] for name in table.key)
        groups.setdefault(key, []).append(change)
    judge = {"claimx_events": _event, "claimx_attachments": _attachment}
    return {key: judge.get(table.name, _entity)(table, changes) for key, changes in groups.items()}


def wrong(row: Mapping[str, Any], right: Expected) -> list[str]:
    """Return the columns of a row that are not right."""
    return [f"{name}={row[name]!r}" for name, is_right in right.items() if not is_right(row[name])]


def _is(value: Any) -> Callable[[Any], bool]:
    return lambda found: bool(found == value)


def _event(table: Table, changes: list[Change]) -> Expected:
    """The first stands, and which that was nobody can know from here; but it is one, and whole."""
    whole = [tuple(c.values.get(n) for n in ("handler", "ingested_at")) for c in changes]
    del table
    return {
        "handler": lambda found: found in {handler for handler, _ in whole},
        "ingested_at": lambda found: found in {time for _, time in whole},
    }


def _attachment(table: Table, changes: list[Change]) -> Expected:
    """A file that was ever stored stays so, as its newest upload; else it failed somehow."""
    del table
    stored = [c.values for c in changes if c.values["status"] == "completed"]
    if stored:
        newest = max(stored, key=lambda values: values["uploaded_at"])
        names = ("status", "uploaded_at", "bytes", "error")
        return {name: _is(newest[name]) for name in names}
    return {
        "status": _is("failed"),
        "error": lambda found: found in {c.values["error"] for c in changes},
        "uploaded_at": _is(None),
    }


def _entity(table: Table, changes: list[Change]) -> Expected:
    answers = [c for c in changes if c.source is Source.ANSWER]
    facts = [c for c in changes if c.source is Source.EVENT]
    newest = max(answers, key=lambda c: c.enriched_at or 0, default=None)
    told = newest.values if newest else {}
    right: dict[str, Callable[[Any], bool]] = {
        "last_enriched_at": _is(newest.enriched_at if newest else None)
    }
    for column in table.columns:
        name = column.name
        spoken = [c.values[name] for c in facts if c.values.get(name) is not None]
        if name in FACTS:
            right[name] = _is(max(spoken, default=None))
        elif name == "xa_autolink_fail":
            right[name] = _is(True if spoken else None)
        elif name == "master_file_name" and spoken:
            namer = max((c for c in facts if c.values.get(name)), key=lambda c: c.event_time)
            right[name] = _is(namer.values[name])
        elif any(name in c.values for c in answers):
            right[name] = _is(told.get(name))
    return right
