"""Which media have no attachment row: an anti-join of two tables of any size in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from claimx.adapters.lake.scan import text
from claimx.domain.tables import ATTACHMENTS, MEDIA, Table
from claimx.domain.times import Micros

WINDOW = 2_000_000  # ids compared at once, of some 40 bytes each; larger tables take several rounds

Ids: TypeAlias = "pa.Array[Any]"
Read: TypeAlias = Callable[[Table, Any, Callable[[Iterator[Ids]], None]], None]
"""Gives the ids (``media_id``) of a table's rows that meet a condition to a callable, in pieces."""


def unattached_ids(
    read: Read, limit: int, after: str, enriched_until: Micros | None, window: int = WINDOW
) -> list[str]:
    """
    Return up to *limit* ids behind *after*, in order; see `Lake.unattached_media`.

    The media are read before the attachments: what is finished in between counts as finished.
    """
    found: list[str] = []
    while True:
        candidates = _First(window)
        read(MEDIA, _candidate(after, enriched_until), candidates.take)
        ids = candidates.ids()
        if not len(ids):
            return found
        first_to_last = (text("media_id") > after) & (text("media_id") <= ids[-1])
        attached = _Attached(ids, window)
        read(ATTACHMENTS, first_to_last, attached.take)
        found += attached.others()[: limit - len(found)]
        if not candidates.cut or len(found) >= limit:
            return found
        after = str(ids[-1])


def _candidate(after: str, enriched_until: Micros | None) -> Any:
    condition: Any = (pc.field("downloadable") == pa.scalar(True)) & (text("media_id") > after)
    if enriched_until is not None:
        moment: Any = pc.field("last_enriched_at")
        in_time = moment <= pa.scalar(enriched_until, pa.timestamp("us", tz="UTC"))
        condition &= in_time | moment.is_null()
    return condition


class _First:
    """The first *size* of all ids, in order; *cut* says that there were more."""

    def __init__(self, size: int) -> None:
        self.cut = False
        self._size = size
        self._parts: list[Ids] = []
        self._held = 0
        self._last: Any = None

    def take(self, pieces: Iterator[Ids]) -> None:
        for ids in pieces:
            # once full, most of what comes lies behind the last id and costs one comparison
            part = ids if self._last is None else ids.filter(pc.less_equal(ids, self._last))
            self._parts.append(part)
            self._held += len(part)
            if self._held > 2 * self._size:
                self._shrink()

    def ids(self) -> Ids:
        self._shrink()
        return self._parts[0]

    def _shrink(self) -> None:
        whole = pa.concat_arrays(self._parts) if self._parts else pa.array([], pa.string())
        whole = whole.take(pc.array_sort_indices(whole))
        if len(whole) > self._size:
            self.cut = True
            # a copy: a slice would keep all of it in memory
            whole = pa.concat_arrays([whole.slice(0, self._size), pa.array([], whole.type)])
            self._last = whole[-1]
        self._parts, self._held = [whole], len(whole)


class _Attached:
    """Which of *ids* have been met."""

    def __init__(self, ids: Ids, size: int) -> None:
        self._ids = ids
        self._size = size
        self._met: Any = pa.repeat(pa.scalar(False), len(ids))

    def take(self, pieces: Iterator[Ids]) -> None:
        parts: list[Ids] = []
        held = 0
        for ids in pieces:
            parts.append(ids)
            held += len(ids)
            if held >= self._size:
                self._mark(parts)
                parts, held = [], 0
        self._mark(parts)

    def others(self) -> list[str]:
        return [str(one) for one in self._ids.filter(pc.invert(self._met)).to_pylist()]

    def _mark(self, parts: list[Ids]) -> None:
        if parts:
            met = pc.is_in(self._ids, value_set=pa.concat_arrays(parts))
            self._met = pc.or_(self._met, met)
