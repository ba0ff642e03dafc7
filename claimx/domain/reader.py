"""Reading the columns of a table from an answer's objects, whatever their shape."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from claimx.domain.changes import Values
from claimx.domain.columns import Column, ColumnType, Table
from claimx.domain.tables import TABLES
from claimx.domain.values import (
    Converter,
    Unconvertible,
    boolean,
    code_text,
    double,
    id_text,
    integer,
    text,
)
from claimx.domain.written_times import time

Unconverted: TypeAlias = Counter[tuple[str, str]]

_BY_TYPE: Mapping[ColumnType, Converter] = {
    ColumnType.INTEGER: integer,
    ColumnType.DOUBLE: double,
    ColumnType.BOOLEAN: boolean,
    ColumnType.TIME: time,
    ColumnType.DAY: text,  # only our own rows have one, already in ISO form
}


def converter_of(column: Column) -> Converter:
    """Return the converter that a column's type and name ask for."""
    if column.type is not ColumnType.TEXT:
        return _BY_TYPE[column.type]
    if column.name.endswith("_id"):
        return id_text
    if column.name.endswith("country_code") or column.name.startswith("custom_attribute"):
        return code_text
    return text


_CONVERTERS: Mapping[str, Mapping[str, Converter]] = {
    name: {column.name: converter_of(column) for column in table.columns}
    for name, table in TABLES.items()
}


@dataclass(frozen=True, slots=True)
class Fields:
    """
    What an object says of a table's row.

    *blank* has a null for each column: copy it. *steps* are (column, name that the API has for it,
    converter); of those of one column the first that says something counts.
    """

    blank: Values
    steps: tuple[tuple[str, str, Converter], ...]


def fields(table: Table, columns: str, **renamed: str) -> Fields:
    """
    Declare which columns an object fills: *columns* whose API name is the same in camelCase.

    In *renamed* the API's names follow the column, alternatives apart by blanks.
    """
    names = api_names(columns, **renamed)
    of = _CONVERTERS[table.name]
    steps = ((column, key, of[column]) for column, keys in names.items() for key in keys)
    return Fields(dict.fromkeys(names), tuple(steps))


def api_names(columns: str, **renamed: str) -> dict[str, tuple[str, ...]]:
    """Return the names that the API has for columns, told as `fields` is."""
    same = {name: (_camel(name),) for name in columns.split()}
    return same | {name: tuple(names.split()) for name, names in renamed.items()}


class Reader:
    """
    Reads values for one table; never raises, whatever JSON it meets.

    A value that cannot be converted becomes None and is counted in *unconverted* by (table,
    column), as is every column of an object that is none.
    """

    def __init__(self, table: Table, unconverted: Unconverted) -> None:
        self._table = table.name
        self._converters = _CONVERTERS[table.name]
        self._unconverted = unconverted

    def value(self, column: str, raw: Any) -> Any:
        """Convert one value to the column's type."""
        try:
            return self._converters[column](raw)
        except Unconvertible:
            self._unconverted[self._table, column] += 1
            return None

    def row(self, names: Fields, source: Any) -> Values:
        """Return a value for each column of *names*; all None when *source* is empty or none."""
        values = names.blank.copy()
        if not isinstance(source, dict):
            if source:
                self._unconverted.update((self._table, column) for column in values)
            return values
        get = source.get
        for column, key, convert in names.steps:
            raw = get(key)
            if raw is None or values[column] is not None:
                continue
            try:
                values[column] = convert(raw)
            except Unconvertible:
                self._unconverted[self._table, column] += 1
        return values

    def objects(self, column: str, raw: Any) -> list[dict[str, Any]]:
        """Return the objects of a list; whatever else is there is counted for *column*."""
        if not isinstance(raw, list):
            if raw:
                self._unconverted[self._table, column] += 1
            return []
        found = [entry for entry in raw if isinstance(entry, dict)]
        if len(found) < len(raw) and (
            odd := sum(1 for entry in raw if entry and not isinstance(entry, dict))
        ):
            self._unconverted[self._table, column] += odd
        return found

    def ids(self, column: str, raw: Any) -> list[str]:
        """Return the ids of a list in order, empty ones left out, each once."""
        if not isinstance(raw, list):
            if raw:
                self._unconverted[self._table, column] += 1
            return []
        return unique(self.value(column, entry) for entry in raw)


def unique(ids: Iterable[str | None]) -> list[str]:
    """Return the ids that are there, each once, in order."""
    return list(dict.fromkeys(one for one in ids if one is not None))


def _camel(column: str) -> str:
    first, *others = column.split("_")
    return first + "".join(other.capitalize() for other in others)
