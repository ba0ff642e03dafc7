"""
The keys of a table's files, kept from one flush to the next.

Ids come in no order, so no statistics say which file may hold one: without this, each flush reads
every file again. A data file never changes, and the log names those that are in a version, so what
was read of one holds for as long as it is in the table.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

MOST_BYTES = 8 * 1024 * 1024
"""Of one table's keys: 200,000 ids of 36 characters."""

_Columns: TypeAlias = "tuple[pa.Array[Any], ...]"


class KnownKeys:
    """
    Of one table; not for several threads at once.

    At most *most_bytes* are kept, those of the files that were asked about last; the keys of a file
    that has more are read each time.
    """

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._kept: dict[str, _Columns] = {}
        self._bytes = 0

    @property
    def bytes(self) -> int:
        """What the kept keys take."""
        return self._bytes

    def files_with(
        self, filesystem: Any, paths: Iterable[str], wanted: Mapping[str, Sequence[str]]
    ) -> list[str]:
        """
        Return those of *paths* that may have a row with the key columns as *wanted*.

        Each other file has none whose key columns all hold one of the values wanted of them. Files
        whose keys are not known are read through *filesystem*.
        """
        sets = [pa.array(values, pa.string()) for values in wanted.values()]
        names = list(wanted)
        return [path for path in paths if _meet(self._columns(filesystem, path, names), sets)]

    def _columns(self, filesystem: Any, path: str, names: list[str]) -> _Columns:
        columns = self._kept.pop(path, None)
        if columns is None:
            columns = _read(filesystem, path, names)
            self._bytes += _size(columns)
        self._kept[path] = columns
        while self._bytes > self._most_bytes:  # the oldest goes; this one too, if it is too large
            oldest = next(iter(self._kept))
            self._bytes -= _size(self._kept.pop(oldest))
        return columns


def _read(filesystem: Any, path: str, names: list[str]) -> _Columns:
    with pq.ParquetFile(filesystem.open_input_file(path), pre_buffer=False) as file:
        rows = file.read(columns=names, use_threads=False)
    # files that a merge wrote give their texts another type than appended ones
    none = pa.array([], pa.string())
    texts = [rows.column(name).cast(pa.string()) for name in names]
    return tuple(pa.concat_arrays([none, *column.chunks]) for column in texts)


def _meet(columns: _Columns, sets: Sequence[Any]) -> bool:
    met: Any = pc.is_in(columns[0], value_set=sets[0])
    for column, values in zip(columns[1:], sets[1:], strict=True):
        met = pc.and_(met, pc.is_in(column, value_set=values))
    return bool(pc.any(met).as_py())


def _size(columns: _Columns) -> int:
    return sum(column.nbytes for column in columns)
