"""
Bringing what a change log holds into its table: piece by piece, some of them in one exact commit.

A piece is small enough to be rewritten in memory. A table that lies otherwise (it grew, or somebody
else made it) is laid out anew on the way. Whatever ends a fold half-way, the log still holds all
of it: what is in the table already is decided once more, and changes nothing.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa
import structlog
from deltalake import CommitProperties, DeltaTable
from deltalake.transaction import AddAction

from claimx.adapters.lake.change_log import ChangeLog, Pending
from claimx.adapters.lake.commit import Committer
from claimx.adapters.lake.exchangeable import check_exchangeable, check_names
from claimx.adapters.lake.files import discard, replace, whole_schema
from claimx.adapters.lake.handles import Handle
from claimx.adapters.lake.laying_out import laid_out
from claimx.adapters.lake.layout import Piece, Sizes, files_in, pieces_of
from claimx.adapters.lake.plan import Decide, Plan
from claimx.adapters.lake.rewriting import parts_of, patched, written
from claimx.adapters.lake.scan import actions_of, text
from claimx.adapters.lake.spill import bounds_from
from claimx.domain.columns import Table
from claimx.domain.ports.lake import Folded
from claimx.domain.upsert import Key, Said

log = structlog.get_logger(__name__)

GROUP = 16  # pieces exchanged in one commit: else a fold of a great table were hundreds
Removed: TypeAlias = list[Mapping[str, Any]]
Decider: TypeAlias = Callable[[Mapping[Key, Said]], Decide]
"""Gives what decides about the rows of these keys."""


@dataclass(frozen=True, slots=True)
class _Part:
    """A piece, and where what is said of it begins and ends among sorted changes."""

    piece: Piece
    begin: int
    end: int


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
        finally:
            pa.default_memory_pool().release_unused()  # a flush needs a tenth of it
        return self.done

    def _run(self, pending: Pending) -> None:
        key = self.table.key[0]
        bounds = bounds_from(
            self.log.sample(pending), max(1, round(pending.rows / self.sizes.changes))
        )
        for low, high in zip([None, *bounds], [*bounds, None], strict=True):
            rows = self.log.read(pending.files, condition=_between(key, low, high)).sort_by(key)
            self._bring_in(rows)
            pa.default_memory_pool().release_unused()
        self.log.forget(pending.files)
        self.done.ended = True
        self.done.changes = pending.rows

    def _check(self) -> None:
        if not self.go_on():
            raise _Told

    def _bring_in(self, rows: pa.Table) -> None:
        """Bring changes in, sorted by key."""
        keys = _Texts(rows.column(self.table.key[0]))
        at, tried = 0, -1
        while at < len(keys):
            self._check()
            look = partial(self._group, keys=keys, at=at)
            first = self.committer.read(self.handle, self.table, look)[0].piece
            # very many rows may share the first part of their key: those stay together
            if first.rows > self.sizes.most_of_piece and tried < at:
                self._commit(partial(self._lay_out, first))
                self.done.laid_out += 1
                tried = at
                continue
            at = self._rewrite(rows, keys, at, at_any_size=tried == at)

    def _group(self, snapshot: DeltaTable, keys: _Texts, at: int) -> list[_Part]:
        """Return the next pieces that something is said of, as far as they go into one commit."""
        found: list[_Part] = []
        for piece in pieces_of(actions_of(snapshot), self.table.key[0], self.sizes.piece):
            end = len(keys) if piece.high is None else bisect_left(keys, piece.high, at)
            if end == at:
                continue
            if found and piece.rows > self.sizes.most_of_piece:
                break
            found.append(_Part(piece, at, end))
            at = end
            if len(found) == GROUP or at == len(keys) or piece.rows > self.sizes.most_of_piece:
                break
        return found

    def _rewrite(self, rows: pa.Table, keys: _Texts, at: int, *, at_any_size: bool) -> int:
        """
        Bring the changes of some pieces in; returns up to where.

        That is *at* itself when others made the first piece too large meanwhile. The pieces are
        those of the very version that is rewritten: a file may lie across the bounds of two that
        an older one had, and would be written once with each.
        """
        group: list[_Part] = []
        plans: list[Plan] = []

        def write(snapshot: DeltaTable, new: list[AddAction]) -> Removed:
            group[:] = self._group(snapshot, keys, at)
            plans.clear()
            removed: Removed = []
            if group[0].piece.rows > self.sizes.most_of_piece and not at_any_size:
                group.clear()
                return removed
            for one in group:
                self._check()
                said = rows.slice(one.begin, one.end - one.begin)
                old, plan = self._rewrite_piece(snapshot, one.piece, said, new)
                removed += old
                plans.append(plan)
            return removed

        self._commit(write)
        self.done.pieces += len(group)
        self.done.inserted += sum(len(plan.inserted) for plan in plans)
        self.done.updated += sum(len(plan.updated) for plan in plans)
        return group[-1].end if group else at

    def _rewrite_piece(
        self, snapshot: DeltaTable, piece: Piece, said: pa.Table, new: list[AddAction]
    ) -> tuple[Removed, Plan]:
        check_exchangeable(snapshot, self.table)
        groups = self.log.by_key(said)
        old = files_in(actions_of(snapshot), self.table.key[0], piece.low, piece.high)
        check_names(self.table, [one["path"] for one in old])
        parts = parts_of(snapshot, [one["path"] for one in old])
        patch = patched(self.table, parts, groups.keys(), self.decider(groups))
        if patch.plan.empty:
            return [], patch.plan
        rows = pa.concat_tables([*patch.kept, patch.new])
        new += written(snapshot, self.table, rows, self.sizes.piece)
        return old, patch.plan

    def _lay_out(self, piece: Piece, snapshot: DeltaTable, new: list[AddAction]) -> Removed:
        """Write a piece that memory does not hold as several that it does."""
        check_exchangeable(snapshot, self.table)
        log.info("a table is laid out anew", table=self.table.name, rows=piece.rows)
        old = files_in(actions_of(snapshot), self.table.key[0], piece.low, piece.high)
        check_names(self.table, [one["path"] for one in old])
        laid_out(
            snapshot,
            self.table,
            whole_schema(snapshot),
            [one["path"] for one in old],
            rows=piece.rows,
            piece_rows=self.sizes.piece,
            folder=self.spill_folder,
            check=self._check,
            new=new,
        )
        return old

    def _commit(self, write: Callable[[DeltaTable, list[AddAction]], Removed]) -> None:
        """Exchange what *write* says for the files that it adds; see `Committer.exchange`."""

        def commit(snapshot: DeltaTable, properties: CommitProperties) -> None:
            new: list[AddAction] = []
            try:
                old = write(snapshot, new)
            except BaseException:
                discard(snapshot, (one.path for one in new))
                raise
            # from here on they may be in the table, whatever is answered: a commit whose answer was
            # lost looks like a conflict with another's
            if old or new:
                replace(snapshot, self.table, old, new, properties)

        self.committer.exchange(self.handle, self.table, commit)


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
