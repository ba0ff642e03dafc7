"""
What a row of the lake becomes when changes reach it (domain page, sections 4 and 6).

Pure, and the same for every lake: any order of one batch gives the same row, and applying a
batch again changes nothing. What orders changes is never their arrival but the time that their
source gives them; the one such time a row keeps is ``last_enriched_at``, its guard.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from claimx.domain.changes import Change, Source, Values
from claimx.domain.columns import Table
from claimx.domain.row_merge import RowMerge, order_of
from claimx.domain.shape import GUARD, Shape, shape_of
from claimx.domain.tables import ATTACHMENTS, CONTACTS, POLICYHOLDER, PROJECTS
from claimx.domain.times import Micros, day_of

Key: TypeAlias = tuple[str, ...]

Said: TypeAlias = dict[Micros, list[Change]]
"""What was said of one key, by the time of the flush that brought it."""

NAME = "master_file_name"
NAMED = (PROJECTS, CONTACTS)
"""Tables in which the name that an MFN event gave a project stands above the API's."""

_PROJECT = "project_id"
COMPLETED = "completed"


@dataclass(frozen=True, slots=True, order=True)
class NamedBy:
    """The MFN event that named a project; the greatest one holds (section 6, *project check*)."""

    event_time: Micros
    event_id: str
    name: str


def merge(
    table: Table,
    existing: Values | None,
    changes: Sequence[Change],
    now: Micros,
    names: Mapping[str, NamedBy] | None = None,
) -> Values:
    """
    Return the full row that *changes*, all of one key, make of *existing*.

    It is *existing* itself when nothing changes. *names* are the MFN events known for projects,
    by project id; those in the batch are found here. They name the policyholder, too. *now* only
    becomes ``created_at`` and ``updated_at``, the latter when a value changed that is not
    bookkeeping.
    """
    if not changes:
        msg = f"no changes to merge into a row of {table.name}"
        raise ValueError(msg)
    if table.insert_only:
        return existing if existing is not None else _first(table, changes, now)
    if table is ATTACHMENTS:
        return _result(table, existing, changes, now)
    if existing is None and len(changes) == 1 and changes[0].source is Source.ANSWER:
        return _new(table, changes[0], now, names or {})
    merged = RowMerge(table, existing, changes)
    if table is CONTACTS:
        merged.forget_guard_of_link_rows()
    merged.apply()
    if _is_named(table, merged.values):
        merged.rename(_name_that_holds(merged.values[_PROJECT], changes, names or {}))
    shape, event_id = shape_of(table), merged.event_id()
    return _row(shape, existing, merged.values, now, event_id=event_id, guard=merged.guard)


def merge_all(
    table: Table, existing: Values | None, said: Said, names: Mapping[str, NamedBy] | None = None
) -> Values:
    """
    Return what all flushes of *said* make of *existing*, one after the other; see `merge`.

    *names* are those known before the first of them.
    """
    if len(said) == 1:  # but for what a fold finds in a log
        ((moment, changes),) = said.items()
        return merge(table, existing, changes, moment, names)
    row, known = existing, dict(names or {})
    for moment in sorted(said):
        row = merge(table, row, said[moment], moment, known)
        if table in NAMED:
            for project_id, name in named_by(said[moment]).items():
                known[project_id] = max(name, known.get(project_id, name))
    if row is None:
        msg = f"nothing is said of a row of {table.name}"
        raise ValueError(msg)
    return row


def key_of(table: Table, values: Mapping[str, Any]) -> Key | None:
    """Return the key, None when a part of it is missing, empty or no text."""
    parts = tuple(map(values.get, table.key))
    for part in parts:
        if not part or not isinstance(part, str):
            return None
    return parts  # type: ignore[return-value]  # all are text by now


def by_key(table: Table, changes: Iterable[Change]) -> dict[Key, list[Change]]:
    """Group changes by key; those without one are left out (see `claimx.domain.refusal`)."""
    groups: dict[Key, list[Change]] = {}
    for change in changes:
        key = key_of(table, change.values)
        if key is not None:
            groups.setdefault(key, []).append(change)
    return groups


def named_by(changes: Iterable[Change]) -> dict[str, NamedBy]:
    """Return the newest MFN event of each project among *changes* of one of `NAMED`."""
    names: dict[str, NamedBy] = {}
    for change in changes:
        if change.source is Source.EVENT and (name := change.values.get(NAME)) is not None:
            project_id = change.values[_PROJECT]
            this = NamedBy(change.event_time, change.event_id, name)
            names[project_id] = max(this, names.get(project_id, this))
    return names


def renames(table: Table, existing: Values | None, merged: Values) -> bool:
    """
    Tell whether an MFN event may have given a row of `NAMED` another name than it has now.

    It may where a name is about to change, or a row comes (again: others may have deleted it). A
    policyholder may have come after the event, before or while it was written: of these nothing
    that is stored tells, and each is asked about.
    """
    if table is CONTACTS:
        return _is_named(table, merged)
    return existing is None or existing.get(NAME) != merged[NAME]


def partition_day(table: Table, values: Mapping[str, Any], event_time: Micros) -> str | None:
    """Return the day that a row of a partitioned table belongs to, None for other tables."""
    if not table.partition_by:
        return None
    ingested_at = values.get("ingested_at")
    return day_of(event_time if ingested_at is None else ingested_at)


def _is_named(table: Table, values: Mapping[str, Any]) -> bool:
    """Say whether a row has its project's name: of contacts the policyholder's alone."""
    return table is PROJECTS or (table is CONTACTS and values["contact_type"] == POLICYHOLDER)


def _name_that_holds(
    project_id: str, changes: Sequence[Change], names: Mapping[str, NamedBy]
) -> str | None:
    known = [*named_by(changes).values()]
    if project_id in names:
        known.append(names[project_id])
    return max(known).name if known else None


def _first(table: Table, changes: Sequence[Change], now: Micros) -> Values:
    """Return the row of an insert-only table: of several in one batch the oldest stands."""

    def age(change: Change) -> tuple[Any, ...]:
        processed = change.values.get("processed_at") or 0
        return (
            change.event_time,
            processed,
            json.dumps(change.values, sort_keys=True, default=str),
        )

    first = min(changes, key=age) if len(changes) > 1 else changes[0]
    shape = shape_of(table)
    row = shape.blank | first.values
    for column in table.partition_by:
        row[column] = partition_day(table, row, first.event_time)
    return _row(shape, None, row, now, event_id=row.get("event_id") or first.event_id)


def _new(table: Table, change: Change, now: Micros, names: Mapping[str, NamedBy]) -> Values:
    """Return the row that one answer makes where there was none: what `RowMerge` would, sooner."""
    shape = shape_of(table)
    row = shape.blank | change.values
    if names and _is_named(table, row) and (named := names.get(row[_PROJECT])):
        row[NAME] = named.name
    guard = order_of(change)[0]
    return _row(shape, None, row, now, event_id=change.event_id, guard=guard)


def _result(
    table: Table, existing: Values | None, changes: Sequence[Change], now: Micros
) -> Values:
    """
    Return the attachment row: completed beats failed, of two alike the newer stands.

    The table has no guard column. A completed row keeps its upload's time; for a failed one the
    time of writing stands in, which is later than the failure and earlier than any new try's.
    """

    def rank(change: Change) -> tuple[Any, ...]:
        completed = change.values.get("status") == COMPLETED
        text = json.dumps(change.values, sort_keys=True, default=str)
        return (completed, *order_of(change), text)

    best = max(changes, key=rank) if len(changes) > 1 else changes[0]
    completed = best.values.get("status") == COMPLETED
    if existing is not None:
        was_completed = existing.get("status") == COMPLETED
        if was_completed and not completed:
            return existing
        stored = existing.get("uploaded_at") if was_completed else existing.get("updated_at")
        if was_completed == completed and stored is not None and order_of(best)[0] < stored:
            return existing
    shape = shape_of(table)
    row = shape.blank | (existing or {})
    if completed:
        row |= {"error_category": None, "error": None}
    row |= {name: best.values[name] for name in shape.values if name in best.values}
    return _row(shape, existing, row, now, event_id=best.event_id)


def _row(
    shape: Shape,
    existing: Values | None,
    row: Values,
    now: Micros,
    *,
    event_id: str | None,
    guard: Micros | None = None,
) -> Values:
    """Bring the bookkeeping into *row*; *existing* when neither a value nor the guard moved."""
    if existing is None:
        row["created_at"] = row["updated_at"] = now
    elif _is_another(shape, existing, row):
        row["updated_at"] = now
    elif guard == existing.get(GUARD):
        return existing
    row["event_id"] = event_id
    if shape.guarded:
        row[GUARD] = guard
    return row


def _is_another(shape: Shape, existing: Values, row: Values) -> bool:
    """Say whether a column that changes speak of has another value; most rows have none."""
    after = shape.pick(row)
    try:
        before = shape.pick(existing)
    except KeyError:  # the stored row is older than one of the columns
        before = tuple(map(existing.get, shape.values))
    if after == before:
        return False
    for one, other in zip(after, before, strict=True):
        # a double that is no number stays one: that is no difference
        if one is not other and one != other and (one == one or other == other):  # noqa: PLR0124 - NaN differs from itself
            return True
    return False
