"""A small table that counts as large, made by somebody else."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from deltalake import DeltaTable, write_deltalake

from claimx.adapters.lake import DeltaLake, Sizes
from claimx.adapters.lake.schema import properties, to_arrow
from claimx.domain.changes import Change, Source
from claimx.domain.tables import MEDIA, TABLES

T0 = 1_790_000_000_000_000
MANY = 800
ANSWERS = 5000
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


def stored(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the rows of ``claimx_media`` as another reader sees them, by id."""
    rows = DeltaTable(str(folder / MEDIA.name)).to_pyarrow_table().to_pylist()
    return {row["media_id"]: row for row in rows}
