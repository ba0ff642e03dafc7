"""
Bringing what a change log holds into its table: piece by piece, each in one exact commit.

A piece is small enough to be rewritten in memory. A table that lies otherwise (it grew, or somebody
else made it) is laid out anew on the way. Whatever ends a fold half-way, the log still holds all
of it: what is in the table already is decided once more, and changes nothing.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
import structlog
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError
from deltalake.transaction import AddAction

from claimx.adapters.lake.change_log import ChangeLog, Pending
from claimx.adapters.lake.commit import Committer, Decide, Plan
from claimx.adapters.lake.files import actions_of, batches_of, discard, replace, whole_schema
from claimx.adapters.lake.handles import Handle
from claimx.adapters.lake.layout import Piece, Sizes, files_in, pieces_of
from claimx.adapters.lake.rewriting import patched, rows_of, written
from claimx.adapters.lake.scan import text
from claimx.adapters.lake.spill import Spill, bounds_from, sample_of
from claimx.domain.ports.lake import Folded
from claimx.domain.tables import Table
from claimx.domain.upsert import Key, Said

log = structlog.get_logger(__name__)

Decider: TypeAlias = Callable[[Mapping[Key, Said]], Decide]
"""Gives what decides about the rows of these keys."""


class _Told(BaseException):
    """The fold is to stop; no failure of the lake, which every Exception here is taken for."""


@dataclass(slots=True)
class Fold:
    """
    One fold of *log* into its table.

    *decider* gives what decides about a group of changes, *go_on* is asked between two commits.
    Raises as `Committer.commit` does. Not for two at once on one table, which would only waste
    work: whoever commits second finds that the table has moved, and begins that piece again.
    """

    log: ChangeLog
    handle: Handle
    committer: Committer
    decider: Decider
    spill_folder: Path
    go_on: Callable[[], bool] = lambda: True
    sizes: Sizes = field(default_factory=Sizes)
    done: Folded = field(default_factory=Folded)

    @property
    def table(self) -> Table:
        """The table."""
        return self.log.table

    def run(self, pending: Pending) -> Folded:
        """Bring in what *pending* names, then remove it from the log."""
        try:
            self._run(pending)
        except _Told:
            log.info("a fold was told to stop", table=self.table.name, pieces=self.done.pieces)
        return self.done

    def _run(self, pending: Pending) -> None:
        key = self.table.key[0]
        keys = self.log.read(pending.files, [key]).column(key)
        ordered = keys.take(pc.array_sort_indices(keys)) if len(keys) else keys
        for low, high in _waves(ordered, self.sizes.changes):
            rows = self.log.read(pending.files, condition=_between(key, low, high)).sort_by(key)
            self._bring_in(rows)
        self.log.forget(pending.files)
        self.done.ended = True
        self.done.changes = pending.rows

    def _check(self) -> None:
        if not self.go_on():
            raise _Told

    def _bring_in(self, rows: pa.Table) -> None:
        """Bring changes in, sorted by key."""
        keys = rows.column(self.table.key[0])
        at, laid_out = 0, -1
        while at < len(keys):
            self._check()
            piece = self._piece_of(keys[at].as_py())
            # very many rows may share the first part of their key: those stay together
            if piece.rows > self.sizes.most_of_piece and laid_out < at:
                self._lay_out(piece)
                laid_out = at
                continue
            end = len(keys) if piece.high is None else bisect_left(_Texts(keys), piece.high, at)
            self._rewrite(piece, rows.slice(at, end - at))
            at = end

    def _piece_of(self, key: str) -> Piece:
        """Return the piece that a key belongs to, in the table's newest version."""

        def look(snapshot: DeltaTable) -> list[Piece]:
            return pieces_of(actions_of(snapshot), self.table.key[0], self.sizes.piece)

        pieces = self.committer.read(self.handle, self.table, look)
        return next(one for one in pieces if one.high is None or key < one.high)

    def _rewrite(self, piece: Piece, said: pa.Table) -> None:
        groups = self.log.by_key(said)
        decide = self.decider(groups)

        def commit(snapshot: DeltaTable, properties: Any) -> Plan:
            schema = whole_schema(snapshot)
            old = files_in(actions_of(snapshot), self.table.key[0], piece.low, piece.high)
            rows = rows_of(snapshot, schema, [one["path"] for one in old])
            rows, plan = patched(self.table, rows, groups.keys(), decide)
            if plan.inserted or plan.updated:
                new = written(snapshot, self.table, rows, self.sizes.piece)
                _exchange(snapshot, self.table, old, new, properties)
            return plan

        plan = self.committer.exchange(self.handle, self.table, commit)
        self.done.pieces += 1
        self.done.inserted += len(plan.inserted)
        self.done.updated += len(plan.updated)

    def _lay_out(self, piece: Piece) -> None:
        """Write a piece that memory does not hold as several that it does."""
        log.info("a table is laid out anew", table=self.table.name, rows=piece.rows)

        def commit(snapshot: DeltaTable, properties: Any) -> None:
            key, schema = self.table.key[0], whole_schema(snapshot)
            old = files_in(actions_of(snapshot), key, piece.low, piece.high)
            paths = [one["path"] for one in old]
            ranges = max(1, round(piece.rows / self.sizes.piece))
            keys = pa.schema([schema.field(key)])
            sample = sample_of(
                (one.column(0) for path in paths for one in batches_of(snapshot, path, keys)),
                piece.rows,
            )
            bounds = bounds_from(sample, ranges)
            new: list[AddAction] = []
            with Spill(self.spill_folder, schema, key, bounds) as spill:
                spill.fill(self._told(snapshot, paths, schema))
                for at in range(len(spill.ranges)):
                    self._check()
                    new += written(snapshot, self.table, spill.read(at), self.sizes.piece)
            _exchange(snapshot, self.table, old, new, properties)

        self.committer.exchange(self.handle, self.table, commit)
        self.done.laid_out += 1

    def _told(
        self, snapshot: DeltaTable, paths: Sequence[str], schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        for path in paths:
            for batch in batches_of(snapshot, path, schema):
                self._check()
                yield batch


def _exchange(
    snapshot: DeltaTable,
    table: Table,
    old: Sequence[Mapping[str, Any]],
    new: Sequence[AddAction],
    properties: Any,
) -> None:
    try:
        replace(snapshot, table, old, new, properties)
    except CommitFailedError:  # known to have written nothing
        discard(snapshot, new)
        raise


def _waves(keys: Any, size: int) -> Iterator[tuple[str | None, str | None]]:
    """Yield ranges of sorted *keys* that hold about *size* of them each."""
    bounds = sorted({str(keys[at].as_py()) for at in range(size, len(keys), size)})
    yield from zip([None, *bounds], [*bounds, None], strict=True)


def _between(key: str, low: str | None, high: str | None) -> Any:
    condition: Any = None
    if low is not None:
        condition = text(key) >= low
    if high is not None:
        below = text(key) < high
        condition = below if condition is None else condition & below
    return condition


class _Texts(Sequence[str]):
    """A column of texts as what `bisect` needs."""

    def __init__(self, column: Any) -> None:
        self._column = column

    def __len__(self) -> int:
        return len(self._column)

    def __getitem__(self, at: Any) -> Any:
        return self._column[at].as_py()
