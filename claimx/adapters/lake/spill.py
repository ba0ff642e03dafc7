"""
A table's rows sorted into ranges of keys on local disk, because memory does not hold them.

It takes about as much of the disk as the table's rows take uncompressed, and a few rows of memory
for each range.
"""

from __future__ import annotations

import shutil
import time
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

import pyarrow as pa
import pyarrow.compute as pc

from claimx.domain.errors import Unavailable

ROWS_AT_A_TIME = 131_072
_PREFIX = "spill-"
_LEFT_SECONDS = 3600.0  # nobody who is alive writes nothing for so long
_SAMPLED = 200_000  # keys from which the ranges are taken
_OPTIONS = pa.ipc.IpcWriteOptions(compression="lz4")


def bounds_from(sample: pa.Array[Any], ranges: int) -> list[str]:
    """Return the keys that part a sorted sample into about so many ranges of one size."""
    count = len(sample)
    found = {str(sample[count * at // ranges].as_py()) for at in range(1, ranges)} if count else ()
    return sorted(found)


def sample_of(keys: Iterable[pa.Array[Any]], rows: int) -> pa.Array[Any]:
    """Return every so-many-th of all keys, sorted; *rows* is how many there are."""
    step = max(1, rows // _SAMPLED)
    parts = [one.take(pa.array(range(0, len(one), step), pa.int64())) for one in keys if len(one)]
    whole = pa.concat_arrays(parts) if parts else pa.array([], pa.string())
    return whole.take(pc.array_sort_indices(whole))


class Spill:
    """
    Ranges between *bounds*, each a file in a folder of its own below *folder*.

    Use it as a context: the folder is removed at the end, and what a killed process has left by the
    next that comes. Raises Unavailable when the disk takes no more.
    """

    def __init__(
        self,
        folder: Path,
        schema: pa.Schema,
        key: str,
        bounds: Sequence[str],
        rows_at_a_time: int = ROWS_AT_A_TIME,
    ) -> None:
        self._above = folder
        self._folder = folder / f"{_PREFIX}{uuid4().hex}"
        self._schema = schema
        self._key = key
        self._bounds = list(bounds)
        self._rows_at_a_time = rows_at_a_time
        self._writers: list[Any] = []

    def __enter__(self) -> Self:
        """Make the folder."""
        with self._written():
            self._folder.mkdir(parents=True)
        for left in self._above.glob(f"{_PREFIX}*"):
            if time.time() - _touched(left) > _LEFT_SECONDS:
                shutil.rmtree(left, ignore_errors=True)
        return self

    def __exit__(self, *_: object) -> None:
        """Remove it."""
        with suppress(OSError):
            self._close()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def ranges(self) -> list[tuple[str | None, str | None]]:
        """The ranges: from, to (excluded); None is no bound."""
        return list(zip([None, *self._bounds], [*self._bounds, None], strict=True))

    def fill(self, batches: Iterable[pa.RecordBatch]) -> None:
        """Sort all rows into their ranges."""
        with self._written():
            self._writers = [
                pa.ipc.new_file(str(self._path(at)), self._schema, options=_OPTIONS)
                for at in range(len(self._bounds) + 1)
            ]
        for rows in _gathered(batches, self._rows_at_a_time):
            ordered = rows.sort_by(self._key).combine_chunks()
            with self._written():
                self._sort_in(ordered)
        with self._written():
            self._close()

    def read(self, at: int) -> pa.Table:
        """Return the rows of one range and forget them."""
        path = self._path(at)
        with pa.ipc.open_file(str(path)) as file:
            rows = file.read_all()
        path.unlink()
        return rows

    def _sort_in(self, rows: pa.Table) -> None:
        keys = _Sorted(rows.column(self._key))
        begin = 0
        for at, writer in enumerate(self._writers):
            last = at == len(self._bounds)
            end = len(keys) if last else bisect_left(keys, self._bounds[at], begin)
            if end > begin:
                writer.write_table(rows.slice(begin, end - begin))
            begin = end

    def _close(self) -> None:
        writers, self._writers = self._writers, []
        for writer in writers:
            writer.close()

    @contextmanager
    def _written(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            why = error.strerror or type(error).__name__
            raise Unavailable(f"no rows can be sorted below {self._above}: {why}") from error

    def _path(self, at: int) -> Path:
        return self._folder / f"{at:05d}.arrow"


def _touched(folder: Path) -> float:
    """Return when something in a folder was last written."""
    moments = []
    with suppress(OSError):  # its owner is at it, or has just removed it
        for path in (folder, *folder.iterdir()):
            with suppress(OSError):
                moments.append(path.stat().st_mtime)
    return max(moments, default=time.time())


class _Sorted(Sequence[str]):
    """A sorted column as what `bisect` needs; a row without a key comes first."""

    def __init__(self, column: Any) -> None:
        self._column = column

    def __len__(self) -> int:
        return len(self._column)

    def __getitem__(self, at: Any) -> Any:
        return self._column[at].as_py() or ""


def _gathered(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.Table]:
    held: list[pa.RecordBatch] = []
    count = 0
    for batch in batches:
        held.append(batch)
        count += batch.num_rows
        if count >= rows:
            yield pa.Table.from_batches(held)
            held, count = [], 0
    if held:
        yield pa.Table.from_batches(held)
