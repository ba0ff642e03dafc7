"""
Whether a lake holds what it must after a run, for every contender alike.

In each table the keys of the sandbox's truth and no others; each event once and *enriched*; each
file once, *completed*, with its hash and as long as it is. Rows of other tables may come several
times, as some contenders only append.
Read with Arrow alone: deltalake must not be used where processes are started.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow.parquet as pq

from claimx.domain.errors import Unavailable
from claimx.domain.tables import ATTACHMENTS, EVENTS, TABLES
from claimx.sandbox.world import World
from pipelines.commits import CommitLog
from pipelines.job import Job

Key: TypeAlias = tuple[str, ...]

STATUS = {EVENTS.name: "enriched", ATTACHMENTS.name: "completed"}
SHOWN = 3  # keys of a difference
PATIENCE_SECONDS = 10.0
LOOK_SECONDS = 0.5
_AT = 1_790_000_000  # ids do not depend on when a world is


def wait_for_all(job: Job, tables: Path, seconds: float = PATIENCE_SECONDS) -> None:
    """
    As `check`, but wait up to so many *seconds* for rows of the tables that no run is measured by.

    Who appends as soon as a table has 2000 rows may have the last event in before its other rows.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            check(job, tables)
        except Unavailable:
            if time.monotonic() > deadline:
                raise
            time.sleep(LOOK_SECONDS)
        else:
            return


def check(job: Job, tables: Path) -> None:
    """Raise Unavailable when the lake in the folder *tables* is not what the job must lead to."""
    known = {**job.world, "at": _AT}
    wanted, stored = _truth(json.dumps(known, sort_keys=True))
    for name, keys in wanted.items():
        if name == ATTACHMENTS.name and not job.files:
            continue
        columns = list(TABLES[name].key)
        found = Counter(_keys(tables / name, columns))
        problems = {"missing": keys - found.keys(), "surplus": found.keys() - keys}
        if name in STATUS:
            problems["doubled"] = {key for key, times in found.items() if times > 1}
            problems[f"not {STATUS[name]}"] = {
                tuple(key)
                for *key, status in _keys(tables / name, [*columns, "status"])
                if status != STATUS[name]
            }
        _refuse(name, problems)
    if job.files:
        _check_files(job, tables / ATTACHMENTS.name, stored)


def _check_files(job: Job, table: Path, stored: Mapping[str, Key]) -> None:
    other, cut = set(), set()
    for media_id, path, *told in _keys(table, ["media_id", "blob_path", "bytes", "sha256"]):
        if tuple(told) != stored[media_id]:
            other.add((media_id,))
        file = job.files_folder / path
        if not job.onelake and not (file.is_file() and str(file.stat().st_size) == told[0]):
            cut.add((media_id,))
    _refuse("files", {"other than at their host": other, "missing or cut": cut})


def _refuse(name: str, problems: Mapping[str, set[Key]]) -> None:
    for what, keys in problems.items():
        if keys:
            raise Unavailable(f"{name}: {len(keys)} {what}, such as {sorted(keys)[:SHOWN]}")


def _keys(table: Path, columns: list[str]) -> list[Key]:
    """Return what the rows of a table have in *columns*, as text."""
    log = CommitLog(table)
    log.read()
    found: list[Key] = []
    for path in log.data_files:
        read = pq.read_table(path, columns=columns, partitioning=None)
        found += zip(*(map(str, read.column(name).to_pylist()) for name in columns), strict=True)
    return found


@lru_cache(maxsize=8)
def _truth(world: str) -> tuple[dict[str, set[Key]], dict[str, Key]]:
    """Return the keys of each table, and length and hash of each file, of a world as JSON."""
    truth = World(**json.loads(world)).truth
    keys: dict[str, Any] = {name: set(rows) for name, rows in truth.tables.items()}
    files = truth.tables[ATTACHMENTS.name]
    return keys, {key[0]: (str(row["bytes"]), row["sha256"]) for key, row in files.items()}
