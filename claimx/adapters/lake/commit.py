"""One exact commit: read, decide, write as compare-and-set, and again after a conflict."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

from deltalake import (
    CommitProperties,
    DeltaTable,
    PostCommitHookProperties,
    Transaction,
    WriterProperties,
    write_deltalake,
)

from claimx.adapters.lake.handles import Conflict, Handle, our_errors
from claimx.adapters.lake.scan import filesystem_of, may_hold, one_of, scan
from claimx.adapters.lake.schema import from_arrow, to_arrow
from claimx.domain.changes import Values
from claimx.domain.columns import Table
from claimx.domain.errors import Unavailable
from claimx.domain.upsert import Key

T = TypeVar("T")

APP = "claimx"
MAX_CONFLICTS = 12
_BACK_OFF_SECONDS = 0.05
_MAX_BACK_OFF_SECONDS = 2.0

# Expired logs are removed by maintenance alone: on OneLake the hook fails after the commit.
HOOKS = PostCommitHookProperties(create_checkpoint=True, cleanup_expired_logs=False)
WRITER = WriterProperties(compression="ZSTD")


@dataclass(slots=True)
class Plan:
    """
    The rows to write: new ones and full replacements.

    *unchanged* and *logged* only count: rows that stay, and changes that go to a log.
    """

    inserted: list[Values] = field(default_factory=list)
    updated: list[Values] = field(default_factory=list)
    unchanged: int = 0
    logged: int = 0


Choose: TypeAlias = Callable[[DeltaTable], Collection[str]]
"""Gives the files of a version that are to be searched for keys."""

Decide: TypeAlias = Callable[[Mapping[Key, Values]], Plan]


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

        Raises UnfitError before anything is written, Unavailable or TokenRejected when the outcome
        is unknown or other writers won too often.
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
            found = commit(snapshot, _next_transaction(snapshot, retries=0))
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
        files = choose(snapshot) if choose else None
        plan = decide(read_keys(handle, snapshot, table, keys, files))
        if not plan.inserted and not plan.updated:
            return plan, snapshot.version()
        batch = to_arrow(table, [*plan.inserted, *plan.updated])
        properties = _next_transaction(snapshot)
        if plan.updated:
            on = " AND ".join(f"t.{name} = s.{name}" for name in table.key)
            snapshot.merge(
                batch,
                on,
                source_alias="s",
                target_alias="t",
                streamed_exec=False,  # only then the source's range of keys prunes files
                writer_properties=WRITER,
                commit_properties=properties,
                post_commithook_properties=HOOKS,
            ).when_matched_update_all().when_not_matched_insert_all().execute()
        else:
            write_deltalake(
                snapshot,
                batch,
                mode="append",
                schema_mode="merge",  # the table may have columns that a newer release declared
                writer_properties=WRITER,
                commit_properties=properties,
                post_commithook_properties=HOOKS,
            )
        handle.committed()
        return plan, snapshot.version()


def _next_transaction(snapshot: DeltaTable, retries: int | None = None) -> CommitProperties:
    current = snapshot.transaction_version(APP)
    number = 1 if current is None else current + 1
    return CommitProperties(app_transactions=[Transaction(APP, number)], max_commit_retries=retries)


def read_keys(
    handle: Handle,
    snapshot: DeltaTable,
    table: Table,
    keys: Collection[Key],
    files: Collection[str] | None = None,
) -> dict[Key, Values]:
    """
    Return the rows of *keys* in *snapshot*, the newest of *handle*; only files with one are read.

    Of an insert-only table only the keys are read: what stands there stays.
    """
    if not keys:
        return {}
    wanted = {
        name: sorted({key[position] for key in keys}) for position, name in enumerate(table.key)
    }
    candidates = may_hold(snapshot, wanted)
    if files is not None:
        candidates = {path: rows for path, rows in candidates.items() if path in files}
    if not candidates:
        return {}
    there = handle.known_keys.files_with(filesystem_of(snapshot), candidates, wanted)
    if not there:
        return {}
    columns = table.key if table.insert_only else table.column_names
    condition: Any = None
    for name, values in wanted.items():
        part = one_of(name, values)
        condition = part if condition is None else condition & part
    found = scan(snapshot, table, columns=columns, condition=condition, files=there)
    rows = {tuple(row[name] for name in table.key): row for row in from_arrow(table, found)}
    return {key: rows[key] for key in keys if key in rows}
