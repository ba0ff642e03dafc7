"""A small table that counts as large, made by somebody else."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from deltalake import DeltaTable, write_deltalake

from claimx.adapters.lake import DeltaLake, Sizes
from claimx.adapters.lake.schema import properties, to_arrow
from claimx.domain.changes import Change, Source
from claimx.domain.columns import ColumnType, Rule, Table
from claimx.domain.tables import ATTACHMENTS, EVENTS, MEDIA, TABLES

T0 = 1_790_000_000_000_000
MANY = 800
DRAWN = 900
BATCHES, BATCH, MOMENTS = 8, 60, 5000
SIZES = Sizes(direct=500, piece=100, most_of_piece=200, changes=150)


def lake_in(folder: Path, sizes: Sizes = SIZES) -> DeltaLake:
    """Return the lake of a folder, as another process has it."""
    paths = {name: str(folder / name) for name in TABLES}
    return DeltaLake(paths, spill_folder=folder / "spill", sizes=sizes)


def table_of(folder: Path, rows: int) -> None:
    """Make ``claimx_media`` with so many rows, in no order."""
    numbers = list(range(rows))
    random.Random(5).shuffle(numbers)
    values = [
        dict.fromkeys(MEDIA.column_names)
        | {"media_id": f"m{n:06d}", "file_name": "made elsewhere", "downloadable": True}
        | {"last_enriched_at": T0 - 1, "created_at": T0 - 1, "updated_at": T0 - 1}
        | {"event_id": "e"}
        for n in numbers
    ]
    write_deltalake(
        str(folder / MEDIA.name), to_arrow(MEDIA, values), configuration=properties(MEDIA)
    )


def asked(number: int, at: int) -> Change:
    """Return what an answer says of a media item that was asked for at a time."""
    values: dict[str, Any] = {"media_id": f"m{number:06d}", "file_name": f"asked at {at}"}
    values["downloadable"] = True
    return Change(MEDIA.name, values, Source.ANSWER, f"e{at}", T0 + at, T0 + at)


def drawn(seed: int) -> list[list[int]]:
    """Return the batches of a writer: moments, of which each is of the row by its rest."""
    rng = random.Random(seed)
    return [[rng.randrange(MOMENTS) for _ in range(BATCH)] for _ in range(BATCHES)]


def said(table: Table, number: int, at: int) -> Change:
    """Return what is said of a row of any table at a time; an event says the same at all times."""
    key = {name: f"{name}-{number}" for name in table.key}
    if table is EVENTS:
        values = key | {"ingested_at": T0 + number, "status": "enriched"}
        return Change(table.name, values, Source.RESULT, values["event_id"], T0 + number)
    column = told_in(table)
    if table is ATTACHMENTS:
        values = key | {"status": "completed", "uploaded_at": T0 + at, column: f"asked at {at}"}
        return Change(table.name, values, Source.RESULT, f"e{at}", T0 + at, T0 + at)
    values = key | {column: f"asked at {at}"}
    return Change(table.name, values, Source.ANSWER, f"e{at}", T0 + at, T0 + at)


def told_in(table: Table) -> str:
    """Return the column in which `said` tells when it was asked."""
    texts = (one for one in table.columns if one.type is ColumnType.TEXT)
    return next(one.name for one in texts if one.rule is Rule.ANSWER)


def stored(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the rows of ``claimx_media`` as another reader sees them, by id."""
    rows = DeltaTable(str(folder / MEDIA.name)).to_pyarrow_table().to_pylist()
    return {row["media_id"]: row for row in rows}
