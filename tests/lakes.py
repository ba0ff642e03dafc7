"""Lakes on folders, and what tests of them say of projects."""

from __future__ import annotations

from pathlib import Path

from claimx.adapters.lake import DeltaLake
from claimx.domain.changes import Change, Source
from claimx.domain.tables import PROJECTS, TABLES

T0 = 1_790_000_000_000_000


def paths_below(folder: Path) -> dict[str, str]:
    """Return where each table lies that is kept in *folder*."""
    return {name: str(folder / name) for name in TABLES}


def lake_in(folder: Path) -> DeltaLake:
    """Return a lake in *folder* that waits for nothing between two tries."""
    return DeltaLake(paths_below(folder), sleep=lambda _: None, chance=lambda: 0.0)


def named(at: int, project: str = "p") -> Change:
    """Return what an MFN event of *project* says at *at*."""
    values = {"project_id": project, "master_file_name": f"MFN {at}"}
    return Change(PROJECTS.name, values, Source.EVENT, f"f{at}", T0 + at)


def answered(at: int, project: str = "p") -> Change:
    """Return what the API says of *project* at *at*, with a name that an MFN event's outlives."""
    values = {"project_id": project, "master_file_name": f"API {at}"}
    return Change(PROJECTS.name, values, Source.ANSWER, f"a{at}", T0, T0 + at)
