"""
Values of the API as the lake's types, as short as they can be written.

The rules are those of the domain page, sections 2 and 6; what fits none becomes None, uncounted.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeAlias

from claimx.domain.columns import Column, ColumnType

Convert: TypeAlias = Callable[[Any], Any]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECONDS_DIGITS, _MILLIS_DIGITS = 10, 13
_FLAGS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def text(value: Any) -> str | None:
    """Convert to text."""
    if type(value) is str:
        return value.strip() or None
    return None if value is None or isinstance(value, dict | list) else str(value)


def ident(value: Any) -> str | None:
    """Convert an id, or a code: a number loses its decimals."""
    if type(value) is str:
        return value.strip() or None
    return None if value is None else str(int(value))


def moment(value: Any) -> int | None:
    """Convert a time to microseconds: ISO 8601, or epoch seconds and milliseconds by its digits."""
    if type(value) is int:
        return value * (1_000_000 if len(str(value)) == _SECONDS_DIGITS else 1000)
    if type(value) is not str or not (written := value.strip()):
        return None
    if written.isdigit() and len(written) in (_SECONDS_DIGITS, _MILLIS_DIGITS):
        return moment(int(written))
    try:
        found = datetime.fromisoformat(written)
    except ValueError:
        return None
    since = (found if found.tzinfo else found.replace(tzinfo=UTC)) - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def whole(value: Any) -> int | None:
    """Convert to a whole number."""
    found = real(value)
    return int(found) if found is not None and found.is_integer() else None


def real(value: Any) -> float | None:
    """Convert to a number."""
    try:
        return None if value is None else float(value)
    except (TypeError, ValueError):
        return None


def flag(value: Any) -> bool | None:
    """Convert yes or no."""
    if value is None or type(value) is bool:
        return value
    return _FLAGS.get(str(value).strip().lower())


def link_end(link: str) -> int | None:
    """Return when a signed link ends, None for one that does not say."""
    query = dict(part.split("=", 1) for part in link.partition("?")[2].split("&") if "=" in part)
    if "systemDate" in query:
        return (int(query["systemDate"]) + int(query["expires"])) * 1000
    if begin := moment(query.get("X-Amz-Date")):
        return begin + int(query["X-Amz-Expires"]) * 1_000_000
    return None


_BY_TYPE = {
    ColumnType.TEXT: text,
    ColumnType.INTEGER: whole,
    ColumnType.DOUBLE: real,
    ColumnType.BOOLEAN: flag,
    ColumnType.TIME: moment,
    ColumnType.DAY: text,
}


def converter(column: Column) -> Convert:
    """Return what converts a column's values."""
    if column.type is ColumnType.TEXT and (
        column.name.endswith(("_id", "country_code")) or column.name.startswith("custom_attribute")
    ):
        return ident if column.name.endswith(("_id", "country_code")) else _attribute
    return _BY_TYPE[column.type]


def _attribute(value: Any) -> str | None:
    return ident(value) if type(value) is float and value.is_integer() else text(value)
