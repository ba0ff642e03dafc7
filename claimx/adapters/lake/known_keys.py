"""
The keys of a table's files, kept from one flush to the next.

Ids come in no order, so no statistics say which file may hold one: without this, each flush reads
every file again. A data file never changes, and the log names those that are in a version, so what
was read of one holds for as long as it is in the table.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from claimx.adapters.lake.keys import met, sets_of

MOST_KEYS = 200_000
"""Of one table: some 8 MB, with ids of 36 characters."""

_Columns: TypeAlias = "tuple[pa.Array[Any], ...]"


class KnownKeys:
    """
    Of one table; not for several threads at once.

    Keys of a file are kept while there are at most *most* in all. Those of files that nobody asks
    about any more make room; where that is not enough, a file is not looked into.
    """

    def __init__(self, most: int = MOST_KEYS) -> None:
        self._most = most
        self._kept: dict[str, _Columns] = {}
        self._keys = 0

    def __len__(self) -> int:
        return self._keys

    def files_with(
        self, filesystem: Any, files: Mapping[str, int | None], wanted: Mapping[str, Sequence[str]]
    ) -> list[str]:
        """
        Return those of *files* that may have a row with the key columns as *wanted*.

        *files* are paths, read through *filesystem* unless known, and how many rows each has. Each
        file that is left out has no row whose key columns all hold one of the values wanted of
        them; one that could not be looked into is never left out.
        """
        sets, found = sets_of(wanted), []
        for path, rows in files.items():
            columns = self._kept.get(path)
            if columns is None and rows is not None and self._makes_room(rows, files):
                columns = self._keep(path, _read(filesystem, path, list(wanted)))
            if columns is None or pc.any(met(columns, sets)).as_py():
                found.append(path)
        return found

    def learn(self, path: str, columns: Sequence[pa.ChunkedArray[Any]]) -> None:
        """Know the key columns of a file that is just being added, if there is room."""
        if path not in self._kept and self._keys + len(columns[0]) <= self._most:
            self._keep(path, _texts(columns))

    def forget(self, path: str) -> None:
        """Know nothing of a file that is no more in the table: it would take others' room."""
        columns = self._kept.pop(path, None)
        if columns is not None:
            self._keys -= len(columns[0])

    def _keep(self, path: str, columns: _Columns) -> _Columns:
        self._kept[path] = columns
        self._keys += len(columns[0])
        return columns

    def _makes_room(self, rows: int, asked: Container[str]) -> bool:
        if rows > self._most:
            return False
        if self._keys + rows > self._most:
            for path in [path for path in self._kept if path not in asked]:
                self.forget(path)
        return self._keys + rows <= self._most


def _read(filesystem: Any, path: str, names: list[str]) -> _Columns:
    with pq.ParquetFile(filesystem.open_input_file(path), pre_buffer=False) as file:
        rows = file.read(columns=names, use_threads=False)
    return _texts([rows.column(name) for name in names])


def _texts(columns: Sequence[pa.ChunkedArray[Any]]) -> _Columns:
    # files that delta-rs wrote may give their texts another type
    none = pa.array([], pa.string())
    texts = [column.cast(pa.string()) for column in columns]
    return tuple(pa.concat_arrays([none, *column.chunks]) for column in texts)
