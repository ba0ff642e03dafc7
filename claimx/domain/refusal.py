"""Which changes a table cannot take, and why, in words that hold no value of the change."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import date
from typing import Any

from claimx.domain.changes import Change
from claimx.domain.columns import Column, ColumnType, Table
from claimx.domain.shape import shape_of
from claimx.domain.times import to_datetime
from claimx.domain.upsert import Key, key_of

_INT64 = 2**63


def sorted_out(
    table: Table, changes: Iterable[Change]
) -> tuple[dict[Key, list[Change]], list[tuple[Change, str]]]:
    """Return the changes that can be rows of *table* by key, and the `ill_formed` with reasons."""
    groups: dict[Key, list[Change]] = {}
    refused: list[tuple[Change, str]] = []
    columns = shape_of(table).values.keys()
    for change in changes:
        key = key_of(table, change.values)
        if key is not None and change.table == table.name and change.values.keys() <= columns:
            groups.setdefault(key, []).append(change)
        else:
            refused.append((change, ill_formed(table, change) or ""))
    return groups, refused


def ill_formed(table: Table, change: Change) -> str | None:
    """Return why *change* can be no row of *table* whatever its values' types, None if it can."""
    if change.table != table.name:
        return f"{table.name}: the change is of another table"
    if key_of(table, change.values) is None:
        return f"{table.name}: the key ({', '.join(table.key)}) is incomplete"
    shape = shape_of(table)
    if change.values.keys() <= shape.values.keys():
        return None
    for name in change.values:
        if name in shape.kept:
            return f"{table.name}.{name}: the lake keeps this column itself"
        if name not in shape.values:
            return f"{table.name}: there is no column {name!r}"
    return None


def refusal(table: Table, change: Change) -> str | None:
    """Return why *table* cannot take *change* (table, column, reason), None when it can."""
    reason = ill_formed(table, change)
    if reason is not None:
        return reason
    for name, value in change.values.items():
        wrong = value_refusal(table.column(name), value)
        if wrong is not None:
            return f"{table.name}.{name}: {wrong}"
    return None


def value_refusal(column: Column, value: Any) -> str | None:
    """Return why *value* does not fit *column*, None when it does; None always fits."""
    return None if value is None else _CHECKS[column.type](value)


def _text(value: Any) -> str | None:
    if not isinstance(value, str):
        return f"expected text, found {_kind(value)}"
    try:
        value.encode()
    except UnicodeEncodeError:
        return "holds a lone surrogate"
    return None


def _boolean(value: Any) -> str | None:
    return None if isinstance(value, bool) else f"expected true or false, found {_kind(value)}"


def _integer(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int):
        return f"expected a whole number, found {_kind(value)}"
    return None if -_INT64 <= value < _INT64 else "beyond 64 bits"


def _double(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return f"expected a number, found {_kind(value)}"
    try:
        float(value)
    except OverflowError:
        return "too great for a double"
    return None


def _time(value: Any) -> str | None:
    if (wrong := _integer(value)) is not None:
        return wrong
    try:
        to_datetime(value)
    except OverflowError:
        return "beyond the years 1 to 9999"
    return None


def _day(value: Any) -> str | None:
    if not isinstance(value, str):
        return f"expected a day, found {_kind(value)}"
    try:
        date.fromisoformat(value)
    except ValueError:
        return "expected a day as YYYY-MM-DD"
    return None


def _kind(value: Any) -> str:
    return type(value).__name__


_CHECKS: Mapping[ColumnType, Callable[[Any], str | None]] = {
    ColumnType.TEXT: _text,
    ColumnType.INTEGER: _integer,
    ColumnType.DOUBLE: _double,
    ColumnType.BOOLEAN: _boolean,
    ColumnType.TIME: _time,
    ColumnType.DAY: _day,
}
