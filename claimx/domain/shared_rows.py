"""
Rows that many events bring alike, stored and read once.

Until a project's row is committed every event that needs it brings it, so that no crash leaves an
event whose project nobody wrote. The rows are read out of one answer of the API and are the same
for all of them but for the event's own id and time. So they are encoded once and known again by
their bytes; of all the events of a batch that bring them only the newest one counts
(`claimx.domain.row_merge`: what ties in value and in the time of asking is ordered by its event).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import orjson

from claimx.domain.changes import Change, Source, Values
from claimx.domain.times import Micros

Row: TypeAlias = tuple[str, Values]
"""A table's name and what is said of one of its rows."""


class SharedValues(dict[str, Any]):
    """The values of one of `SharedRows`, with the *line* that all of those are stored as."""

    __slots__ = ("line",)

    line: bytes


class SharedRows:
    """
    What one answer, asked for at *asked_at*, says of *rows*; never changed once it is made.

    *line* is its JSON, made here unless it was read.
    """

    # values know their line and not this object: a cycle would stay until a collector comes by
    __slots__ = ("asked_at", "line", "rows")

    def __init__(self, rows: Sequence[Row], asked_at: Micros, line: bytes = b"") -> None:
        self.asked_at = asked_at
        self.line = line or orjson.dumps({"asked_at": asked_at, "rows": rows})
        self.rows: list[tuple[str, SharedValues]] = []
        for table, values in rows:
            ours = SharedValues(values)
            ours.line = self.line
            self.rows.append((table, ours))

    def changes(self, event_id: str, event_time: Micros) -> list[Change]:
        """Return the rows as an event says them; whoever says one of them says all."""
        asked_at, source = self.asked_at, Source.ANSWER
        return [
            Change(table, values, source, event_id, event_time, asked_at)
            for table, values in self.rows
        ]


def decoded(line: bytes) -> SharedRows:
    """Read the *line* of `SharedRows`; raises TypeError, ValueError or KeyError."""
    stored = orjson.loads(line)
    rows = [(table, values) for table, values in stored["rows"]]
    if not all(isinstance(table, str) and isinstance(values, dict) for table, values in rows):
        raise TypeError("a row is an object of a table")
    if not isinstance(stored["asked_at"], int):
        raise TypeError("a time is a whole number")
    return SharedRows(rows, stored["asked_at"], line)


def apart(changes: Iterable[Change]) -> tuple[list[Change], dict[bytes, Change]]:
    """Return the changes that are an event's own, and the lines of the others with one of each."""
    own: list[Change] = []
    shared: dict[bytes, Change] = {}
    for change in changes:
        values = change.values
        if type(values) is SharedValues:
            shared.setdefault(values.line, change)
        else:
            own.append(change)
    return own, shared
