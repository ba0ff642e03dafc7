"""One exact commit: read, decide, write as compare-and-set, and again after a conflict."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake

from claimx.adapters.lake.exchangeable import check_declared, check_exchangeable
from claimx.adapters.lake.files import HOOKS, WRITER, replace
from claimx.adapters.lake.handles import Conflict, Handle, our_errors
from claimx.adapters.lake.lookup import Choose, files_with, read_keys
from claimx.adapters.lake.plan import Decide, Plan
from claimx.adapters.lake.rewriting import Patched, parts_of, patched, written
from claimx.adapters.lake.schema import to_arrow
from claimx.domain.columns import Table
from claimx.domain.errors import Unavailable
from claimx.domain.upsert import Key

T = TypeVar("T")

APP = "claimx"
MAX_CONFLICTS = 12
_FILE_ROWS = 200_000  # of a file that a flush writes, and up to half more
_BACK_OFF_SECONDS = 0.05
_MAX_BACK_OFF_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Committer:
    """
    Commits to one table at a time.

    Every commit carries the next version of one app transaction, read from the snapshot that the
    rows were read from. Two writers that read the same snapshot collide, whatever they write:
    plain appends never would, and both would insert the same key.
    """

    sleep: Callable[[float], None]
    chance: Callable[[], float]

    def commit(
        self,
        handle: Handle,
        table: Table,
        keys: Collection[Key],
        decide: Decide,
        choose: Choose | None = None,
    ) -> tuple[Plan, int]:
        """
        Read the rows of *keys* (in the files of *choose*, if given), let *decide* plan, commit.

        Returns the plan and the version.

        Raises UnfitError, NotAllowed (`check_exchangeable`) or ColumnsGone before anything is
        written, Unavailable or TokenRejected when the outcome is unknown or other writers won too
        often.
        """
        return self._again(handle, table, lambda: self._once(handle, table, keys, decide, choose))

    def exchange(
        self,
        handle: Handle,
        table: Table,
        commit: Callable[[DeltaTable, CommitProperties], T],
    ) -> T:
        """
        Let *commit* read a snapshot and commit with the properties given; again after a conflict.

        Any commit in between is one, a compaction as well. By itself delta-rs commits again upon
        one that only rearranges files, which takes out files that are gone already: what stood in
        them would be there twice. Raises as `commit` does.
        """

        def once() -> T:
            snapshot = handle.fresh()
            found = commit(snapshot, _transaction(_next_number(handle, snapshot), retries=0))
            handle.committed()
            return found

        return self._again(handle, table, once)

    def read(self, handle: Handle, table: Table, look: Callable[[DeltaTable], T]) -> T:
        """Return what *look* makes of the table's newest version; raises as `commit` does."""
        return self._again(handle, table, lambda: look(handle.fresh()))

    def _again(self, handle: Handle, table: Table, once: Callable[[], T]) -> T:
        for conflicts in range(MAX_CONFLICTS):
            try:
                with our_errors(table.name, handle):
                    return once()
            except Conflict:
                delay = min(_MAX_BACK_OFF_SECONDS, _BACK_OFF_SECONDS * 2**conflicts)
                self.sleep(delay * (0.5 + self.chance()))
        raise Unavailable(f"{table.name}: other writers won {MAX_CONFLICTS} times in a row")

    def _once(
        self,
        handle: Handle,
        table: Table,
        keys: Collection[Key],
        decide: Decide,
        choose: Choose | None,
    ) -> tuple[Plan, int]:
        snapshot = handle.fresh()
        version = snapshot.version()
        if table.insert_only:
            check_declared(snapshot, table)
            plan = decide(read_keys(handle, snapshot, table, keys, choose))
            if plan.empty:
                return plan, version
            number = _next_number(handle, snapshot)
            _append(snapshot, table, plan, number)
            version = snapshot.version()
        else:
            check_exchangeable(snapshot, table)  # before any file is read: columns may be mapped
            files = files_with(handle, snapshot, table, keys, choose)
            parts = parts_of(snapshot, files, handle.known_rows)
            patch = patched(table, parts, keys, decide)
            plan = patch.plan
            if plan.empty:
                return plan, version
            number = _next_number(handle, snapshot)
            _exchange(handle, snapshot, table, list(files.values()), patch, number)
            version += 1  # nothing came in between
        handle.committed(version, number)
        return plan, version


def _append(snapshot: DeltaTable, table: Table, plan: Plan, number: int) -> None:
    write_deltalake(
        snapshot,
        to_arrow(table, plan.inserted),
        mode="append",
        schema_mode="merge",  # the table may have columns that a newer release declared
        writer_properties=WRITER,
        commit_properties=_transaction(number, retries=0),
        post_commithook_properties=HOOKS,
    )


def _exchange(
    handle: Handle,
    snapshot: DeltaTable,
    table: Table,
    files: Sequence[Mapping[str, Any]],
    patch: Patched,
    number: int,
) -> None:
    """
    Write the rows of the changed *files* as they are now, with the new ones.

    As one file, unless they are very many: the names of projects have no log to outgrow into.
    """
    removed = [files[at] for at in patch.changed]
    rows = pa.concat_tables([*(patch.kept[at] for at in patch.changed), patch.new])
    added = written(snapshot, table, rows, _FILE_ROWS)
    replace(snapshot, table, removed, added, _transaction(number, retries=0))
    for one in removed:
        handle.known_keys.forget(one["path"])
        handle.known_rows.forget(one["path"])
    if len(added) == 1:
        handle.known_keys.learn(added[0].path, [rows.column(name) for name in table.key])
        handle.known_rows.learn(added[0].path, rows)


def _next_number(handle: Handle, snapshot: DeltaTable) -> int:
    """Return the number of the next app transaction; deltalake reads commits again to tell it."""
    current = handle.number_at(snapshot.version())
    if current is None:
        current = snapshot.transaction_version(APP) or 0
    return current + 1


def _transaction(number: int, retries: int | None = None) -> CommitProperties:
    return CommitProperties(app_transactions=[Transaction(APP, number)], max_commit_retries=retries)
