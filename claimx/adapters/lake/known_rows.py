"""The rows of files that a writer wrote a moment ago, kept for the flush that exchanges them."""

from __future__ import annotations

import pyarrow as pa

MOST_BYTES = 4 * 1024 * 1024
"""Of one table: some 9,000 projects or 30,000 contacts."""


class KnownRows:
    """
    Of one table; not for several threads at once.

    A small table is one file, which nearly every flush exchanges: it would read what the one before
    has written. A data file never changes, so its rows hold for as long as it is in the table. At
    most *most* bytes are kept, the newest files first.
    """

    def __init__(self, most: int = MOST_BYTES) -> None:
        self._most = most
        self._kept: dict[str, pa.Table] = {}

    def of(self, path: str, schema: pa.Schema) -> pa.Table | None:
        """Return the rows of a file of the table if they are known and have this *schema*."""
        rows = self._kept.get(path)
        return rows if rows is not None and rows.schema == schema else None

    def learn(self, path: str, rows: pa.Table) -> None:
        """Know the rows of a file that is just being added; older ones make room."""
        if rows.get_total_buffer_size() > self._most:
            return
        whole = rows.combine_chunks()  # else each flush would add pieces to all columns
        self._kept[path] = whole
        held = sum(one.get_total_buffer_size() for one in self._kept.values())
        for other in list(self._kept):
            if held <= self._most:
                break
            held -= self._kept.pop(other).get_total_buffer_size()

    def forget(self, path: str) -> None:
        """Know nothing of a file that is no more in the table."""
        self._kept.pop(path, None)
