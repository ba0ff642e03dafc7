"""What a Delta table is declared with: columns, their types, and how they take a value."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ColumnType(StrEnum):
    """The types that occur; times are microseconds UTC, the day is a date."""

    TEXT = "string"
    INTEGER = "int64"
    DOUBLE = "double"
    BOOLEAN = "boolean"
    TIME = "timestamp"
    DAY = "date"


class Rule(StrEnum):
    """
    How a column takes a value from a change (section 4, "what an upsert means").

    ANSWER: the change with the newer ``enriched_at`` wins, its null clears.
    LATEST: the greatest value ever seen stays (a fact that is its own event time).
    STICKY: a newer value that is not null wins, an older one only fills a null.
    EVER: true once anybody said true.
    NAMED: as ANSWER, but a name given by an MFN event holds until a newer MFN event.
    KEY, BOOKKEEPING: not merged by value.
    """

    KEY = "key"
    ANSWER = "answer"
    LATEST = "latest"
    STICKY = "sticky"
    EVER = "ever"
    NAMED = "named"
    BOOKKEEPING = "bookkeeping"


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its name in the table, type, meaning, and how a newer value replaces an older."""

    name: str
    type: ColumnType = ColumnType.TEXT
    doc: str = ""
    rule: Rule = Rule.ANSWER


@dataclass(frozen=True, slots=True)
class Table:
    """
    One Delta table.

    *setting* is the infix of its path variable, ``CLAIMX_<setting>_TABLE_PATH``; *insert_only*
    tables keep the first row of a key for ever; *partition_by* names the partition column.
    """

    name: str
    setting: str
    doc: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    partition_by: tuple[str, ...] = ()
    insert_only: bool = False

    @property
    def column_names(self) -> tuple[str, ...]:
        """All columns in the table's order."""
        return tuple(column.name for column in self.columns)

    def column(self, name: str) -> Column:
        """Return the column; raises KeyError with the table's name when there is none."""
        for column in self.columns:
            if column.name == name:
                return column
        msg = f"{self.name} has no column {name!r}"
        raise KeyError(msg)
