"""Ids of one table held against another's, or against themselves, in memory with a bound."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from claimx.adapters.lake.scan import Span, text
from claimx.domain.columns import Table

WINDOW = 2_000_000  # ids compared at once, of some 40 bytes each; larger tables take several rounds

Ids: TypeAlias = "pa.Array[Any]"
Take: TypeAlias = Callable[[Iterator[Ids]], None]


class Read(Protocol):
    """Gives the ids (the key) of a table's rows that meet a condition to *take*, in pieces."""

    def __call__(self, table: Table, condition: Any, take: Take, span: Span | None = None) -> None:
        """A condition of None takes every row; *span* is one more, and skips files."""


@dataclass(frozen=True, slots=True)
class Side:
    """Some rows of a table."""

    table: Table
    condition: Any = None
    span: Span | None = None


def ids_without(
    read: Read, side: Side, other: Side, limit: int, after: str, window: int = WINDOW
) -> list[str]:
    """
    Return up to *limit* ids of *side* behind *after*, in order, that *other* has no row of.

    Fewer than *limit* means that there are no more. The side is read before the other: what both
    get in between counts as there.
    """
    found: list[str] = []
    while True:
        candidates = _first_of(read, side, after, window)
        ids = candidates.ids()
        if not len(ids):
            return found
        others = text(other.table.key[0])
        condition = (others > after) & (others <= ids[-1])
        if other.condition is not None:
            condition &= other.condition
        met = _Met(ids, window)
        read(other.table, condition, met.take, other.span)
        found += met.others()[: limit - len(found)]
        if not candidates.cut or len(found) >= limit:
            return found
        after = str(ids[-1])


def ids_beside(read: Read, side: Side, known: Ids, limit: int, after: str) -> list[str]:
    """Return up to *limit* ids of *side* behind *after*, in order, that are not among *known*."""
    first = First(limit, distinct=True)

    def take(pieces: Iterator[Ids]) -> None:
        first.take(ids.filter(pc.invert(pc.is_in(ids, value_set=known))) for ids in pieces)

    read(side.table, _behind(side, after), take, side.span)
    return [str(one) for one in first.ids().to_pylist()]


def repeated_ids(read: Read, side: Side, limit: int, after: str, window: int = WINDOW) -> list[str]:
    """
    Return up to *limit* ids behind *after*, in order, that *side* has more than one row of.

    *window* is two at least: whatever fills it must be doubled to be seen.
    """
    found: list[str] = []
    while True:
        first = _first_of(read, side, after, window)
        ids = first.ids()
        if not len(ids):
            return found
        if first.cut:
            # the rows of the last id may be cut apart: it begins the next round, unless it is alone
            before = ids.filter(pc.less(ids, ids[-1]))
            ids = before if len(before) else ids
        again = ids.slice(1).filter(pc.equal(ids.slice(1), ids.slice(0, len(ids) - 1))).unique()
        found += [str(one) for one in again.to_pylist()][: limit - len(found)]
        if not first.cut or len(found) >= limit:
            return found
        after = str(ids[-1])


def _first_of(read: Read, side: Side, after: str, window: int) -> First:
    first = First(window)
    read(side.table, _behind(side, after), first.take, side.span)
    return first


def _behind(side: Side, after: str) -> Any:
    condition: Any = text(side.table.key[0]) > after
    return condition if side.condition is None else condition & side.condition


class First:
    """
    The first *size* of all ids, in order; *cut*: there were more.

    As often as they come, or *distinct*.
    """

    def __init__(self, size: int, *, distinct: bool = False) -> None:
        self.cut = False
        self._distinct = distinct
        self._size = size
        self._parts: list[Ids] = []
        self._held = 0
        self._last: Any = None

    def take(self, pieces: Iterator[Ids]) -> None:
        """Meet some of them."""
        for ids in pieces:
            # once full, most of what comes lies behind the last id and costs one comparison
            part = ids if self._last is None else ids.filter(pc.less_equal(ids, self._last))
            self._parts.append(part)
            self._held += len(part)
            if self._held > 2 * self._size:
                self._shrink()

    def ids(self) -> Ids:
        """Return them."""
        self._shrink()
        return self._parts[0]

    def _shrink(self) -> None:
        whole = pa.concat_arrays(self._parts) if self._parts else pa.array([], pa.string())
        whole = whole.unique() if self._distinct else whole
        whole = whole.take(pc.array_sort_indices(whole))
        if len(whole) > self._size:
            self.cut = True
            # a copy: a slice would keep all of it in memory
            whole = pa.concat_arrays([whole.slice(0, self._size), pa.array([], whole.type)])
            self._last = whole[-1]
        self._parts, self._held = [whole], len(whole)


class _Met:
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
        return [str(one) for one in self._ids.filter(pc.invert(self._met)).unique().to_pylist()]

    def _mark(self, parts: list[Ids]) -> None:
        if parts:
            met = pc.is_in(self._ids, value_set=pa.concat_arrays(parts))
            self._met = pc.or_(self._met, met)
