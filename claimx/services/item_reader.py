"""From a claimed record to what the lake writer holds of it."""

from __future__ import annotations

from claimx.domain.codec import decode_stored
from claimx.domain.errors import Malformed
from claimx.domain.records import Record
from claimx.domain.shared_rows import SharedRows
from claimx.domain.tables import TABLES
from claimx.services.flush import Item


class ItemReader:
    """
    Reads records of one batch; rows that several of them share are parsed and counted once.

    It keeps every line of shared rows until `forget`, as the items themselves do.
    """

    def __init__(self) -> None:
        self._shared: dict[bytes, SharedRows] = {}
        self._counted: set[int] = set()  # which of them count among the batch's rows already

    def read(self, entry: str, record: Record) -> tuple[Item, list[str]]:
        """
        Return the item, and for each row that it adds to the batch the table's name.

        Raises Malformed for rows that cannot be read or have no table.
        """
        stored = decode_stored(record.rows, self._shared)
        tables = [change.table for change in stored.own]
        new = [rows for rows in stored.shared if id(rows) not in self._counted]
        for rows in new:
            tables += [table for table, _ in rows.rows]
        if unknown := set(tables) - TABLES.keys():
            raise Malformed(f"no table {min(unknown)!r}")
        self._counted.update(map(id, new))
        said_by = (stored.event_time, stored.event_id)
        rows_added = max(1, len(tables))
        return Item(entry, record, stored.own, stored.shared, said_by, rows_added), tables

    def forget(self) -> None:
        """Begin a new batch."""
        self._shared.clear()
        self._counted.clear()
