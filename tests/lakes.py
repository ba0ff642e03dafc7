"""Lakes on folders, and what tests of them say of projects."""

from __future__ import annotations

import json
import time
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


def removed(minutes_ago: int, by: list[Path]) -> set[str]:
    """Let these commits have removed their files so many minutes ago; returns the files."""
    then = int(time.time() - 60 * minutes_ago) * 1000
    found = set()
    for commit in by:
        lines = [json.loads(line) for line in commit.read_text().splitlines()]
        for line in lines:
            if "remove" in line:
                line["remove"]["deletionTimestamp"] = then
                found.add(line["remove"]["path"])
        commit.write_text("\n".join(json.dumps(line) for line in lines))
    return found
