"""Maintenance of one Delta table: fewer files, no replaced files, a short log."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog
from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError

from claimx.adapters.lake.exchangeable import check_names
from claimx.adapters.lake.files import HOOKS, WRITER
from claimx.adapters.lake.handles import Conflict, Handle, our_errors
from claimx.adapters.lake.scan import actions_of
from claimx.domain.columns import Table
from claimx.domain.errors import ClaimXError
from claimx.domain.times import age

log = structlog.get_logger(__name__)

SMALL_FILES = 100
SMALL_BYTES = 32 * 1024 * 1024
TARGET_BYTES = 128 * 1024 * 1024
FULL_RETENTION_HOURS = 48  # a file not in the log may belong to a writer that has yet to commit
FOLDED_RETENTION_HOURS = 1  # a fold of a great table leaves gigabytes behind
_STAGING_SECONDS = 24 * 3600.0
_TRIES = 3


@dataclass(frozen=True, slots=True)
class Maintained:
    """What was done to a table; *problems* names the steps that failed, for the operator."""

    compacted_files: int = 0
    removed_files: int = 0
    problems: tuple[str, ...] = field(default=())

    def __add__(self, other: Maintained) -> Maintained:
        """Sum up."""
        return Maintained(
            self.compacted_files + other.compacted_files,
            self.removed_files + other.removed_files,
            self.problems + other.problems,
        )


def maintain_table(
    handle: Handle, table: Table, *, full: bool = False, folded: bool = False
) -> Maintained:
    """
    Compact where at least 100 small files lie, vacuum, checkpoint, and cut the log.

    The files of a *folded* table, or of its log, have the size that folds need and are replaced
    over and over: they stay as they are, and replaced ones go after an hour already.
    *full* also removes files that no log names and that are two days old (a killed writer's).
    Each step stands alone: one that fails is a problem to report, not a reason to stop. Writers
    go on meanwhile; a merge that meets the compaction is decided again.
    """
    problems: list[str] = []

    def step(name: str, action: Callable[[DeltaTable], int]) -> int:
        for attempt in range(_TRIES):
            try:
                with our_errors(table.name, handle):
                    return action(handle.fresh())
            except Conflict:  # a writer was faster; only the last lost race is worth telling
                if attempt == _TRIES - 1:
                    problems.append(f"{table.name}: {name} kept meeting writers")
            except ClaimXError as error:
                problems.append(f"{table.name}: {name} failed: {error}")
                break
        return 0

    with handle.lock:
        try:
            with our_errors(table.name, handle):
                handle.fresh()
        except TableNotFoundError:
            return Maintained()
        except ClaimXError as error:
            return Maintained(problems=(f"{table.name}: cannot be opened: {error}",))
        compacted = 0
        if not folded:
            compacted = step("compaction", lambda snapshot: _compact(snapshot, table))
        removed = step("vacuum", lambda snapshot: _vacuum(snapshot, full=full, folded=folded))
        step("checkpoint", _checkpoint)
        step("log cleanup", _cut_log)
        handle.drop()
    if handle.folder:
        removed += _sweep_staging(handle.folder)
    done = Maintained(compacted, removed, tuple(problems))
    log.info(
        "table maintained",
        table=table.name,
        compacted_files=done.compacted_files,
        removed_files=done.removed_files,
        problems=list(done.problems),
    )
    return done


def _compact(snapshot: DeltaTable, table: Table) -> int:
    actions = actions_of(snapshot)
    column = f"partition.{table.partition_by[0]}" if table.partition_by else None
    small = Counter(
        action[column] if column else None
        for action in actions
        if action["size_bytes"] < SMALL_BYTES
    )
    removed = 0
    for partition, count in small.items():
        if count < SMALL_FILES:
            continue
        check_names(table, (action["path"] for action in actions))
        where: list[Any] | None = None
        if column:
            where = [(table.partition_by[0], "=", str(partition))]
        metrics = snapshot.optimize.compact(
            partition_filters=where,
            target_size=TARGET_BYTES,
            writer_properties=WRITER,
            post_commithook_properties=HOOKS,
        )
        removed += int(metrics["numFilesRemoved"])
    return removed


def _vacuum(snapshot: DeltaTable, *, full: bool, folded: bool) -> int:
    # without hours the table's own retention counts: our tables have one, others' the usual week
    ours = "delta.deletedFileRetentionDuration" in snapshot.metadata().configuration
    hours = FULL_RETENTION_HOURS if full and ours else None
    removed = snapshot.vacuum(
        FOLDED_RETENTION_HOURS if folded and not full else hours,
        dry_run=False,
        enforce_retention_duration=not folded,
        full=full,
        post_commithook_properties=HOOKS,
    )
    return len(removed)


def _checkpoint(snapshot: DeltaTable) -> int:
    snapshot.create_checkpoint()
    return 0


def _cut_log(snapshot: DeltaTable) -> int:
    snapshot.cleanup_metadata()
    return 0


def _sweep_staging(folder: Path) -> int:
    """Remove what a killed writer left of files it never finished; vacuum does not list them."""
    removed = 0
    for path in folder.rglob("*.parquet#*"):
        try:
            if age(path.stat().st_mtime, time.time()) > _STAGING_SECONDS:
                path.unlink()
                removed += 1
        except OSError as error:
            log.debug("staging file stays", name=path.name, error=type(error).__name__)
    return removed
