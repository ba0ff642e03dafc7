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
    """The values of one of `SharedRows`, and whose they are."""

    __slots__ = ("of",)

    of: SharedRows


class SharedRows:
    """
    What one answer, asked for at *asked_at*, says of *rows*; never changed once it is made.

    *encoded* is what `SharedRows.encoded` gave, where that is known.
    """

    __slots__ = ("_encoded", "asked_at", "rows")

    def __init__(self, rows: Iterable[Row], asked_at: Micros, encoded: bytes = b"") -> None:
        self.asked_at = asked_at
        self._encoded = encoded
        self.rows: list[tuple[str, SharedValues]] = []
        for table, values in rows:
            ours = SharedValues(values)
            ours.of = self
            self.rows.append((table, ours))

    def __len__(self) -> int:
        return len(self.rows)

    def changes(self, event_id: str, event_time: Micros) -> list[Change]:
        """Return the rows as an event says them."""
        asked_at, source = self.asked_at, Source.ANSWER
        return [
            Change(table, values, source, event_id, event_time, asked_at)
            for table, values in self.rows
        ]

    def encoded(self) -> bytes:
        """Return it as one line of JSON."""
        if not self._encoded:
            self._encoded = orjson.dumps({"asked_at": self.asked_at, "rows": self.rows})
        return self._encoded


def decoded(line: bytes) -> SharedRows:
    """Read what `SharedRows.encoded` gave; raises TypeError, ValueError or KeyError."""
    stored = orjson.loads(line)
    rows = [(table, values) for table, values in stored["rows"]]
    if not all(isinstance(table, str) and isinstance(values, dict) for table, values in rows):
        raise TypeError("a row is an object of a table")
    return SharedRows(rows, stored["asked_at"], line)


def apart(changes: Sequence[Change]) -> tuple[list[Change], list[SharedRows]]:
    """Return the changes that are an event's own, and the shared rows among the others."""
    own: list[Change] = []
    shared: dict[int, SharedRows] = {}
    for change in changes:
        values = change.values
        if type(values) is SharedValues:
            shared[id(values.of)] = values.of
        else:
            own.append(change)
    return own, list(shared.values())
