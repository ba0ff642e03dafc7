"""
What the tables must hold, from the set of all that was ever said: no order, no batches, no merging.

Written from the domain page, section 4, and on purpose not from the code that it judges.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from claimx.domain.changes import Change, Source
from claimx.domain.columns import Table
from claimx.domain.tables import ATTACHMENTS, EVENTS

Row: TypeAlias = Mapping[str, Any]

FACTS = ("policyholder_invited_at", "policyholder_joined_at", "xa_autolink_fail_at")


def by_key(table: Table, said: Iterable[Change]) -> dict[tuple[str, ...], list[Change]]:
    """Return what is said of each row."""
    groups: dict[tuple[str, ...], list[Change]] = {}
    for change in said:
        key = tuple(change.values[name] for name in table.key)
        groups.setdefault(key, []).append(change)
    return groups


def wrong(table: Table, row: Row, said: Sequence[Change]) -> list[str]:
    """Return what is not as it must be in the row of which this was said."""
    if table is EVENTS:
        return _wrong_event(row, said)
    right = _attachment(row, said) if table is ATTACHMENTS else _entity(table, said)
    return [
        f"{name} is {row[name]!r}, not {value!r}"
        for name, value in right.items()
        if row[name] != value
    ]


def _wrong_event(row: Row, said: Sequence[Change]) -> list[str]:
    """The first stands, and which that was nobody can know from here; but it is one, and whole."""
    for change in said:
        if all(row[name] == value for name, value in change.values.items()):
            return []
    return [f"the row is none of those that were said: {row}"]


def _attachment(row: Row, said: Sequence[Change]) -> dict[str, Any]:
    """A file that was ever stored stays so, as its newest upload; else it failed somehow."""
    stored = [change.values for change in said if change.values["status"] == "completed"]
    if stored:
        return max(stored, key=lambda values: values["uploaded_at"])
    errors = {change.values["error"] for change in said}
    error = row["error"] if row["error"] in errors else errors
    return {"status": "failed", "error": error, "uploaded_at": None}


def _entity(table: Table, said: Sequence[Change]) -> dict[str, Any]:
    answers = [change for change in said if change.source is Source.ANSWER]
    facts = [change for change in said if change.source is Source.EVENT]
    newest = max(answers, key=lambda change: change.enriched_at or 0, default=None)
    told = newest.values if newest else {}
    right: dict[str, Any] = {"last_enriched_at": newest.enriched_at if newest else None}
    for name in table.column_names:
        spoken = [c.values[name] for c in facts if c.values.get(name) is not None]
        if name in FACTS:
            right[name] = max(spoken, default=None)
        elif name == "xa_autolink_fail":
            right[name] = True if spoken else None
        elif name == "master_file_name" and spoken:
            namer = max((c for c in facts if c.values.get(name)), key=lambda c: c.event_time)
            right[name] = namer.values[name]
        elif any(name in change.values for change in answers):
            right[name] = told.get(name)
    return right
