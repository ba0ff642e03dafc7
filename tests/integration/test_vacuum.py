"""What maintenance removes of small tables, and when."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from deltalake import DeltaTable
from lakes import T0, answered, lake_in, removed

from claimx.domain.tables import PROJECTS

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]

HOUR = 3600


class Replaced:
    """A table whose one file was replaced over and over, and files that nobody has committed."""

    def __init__(self, folder: Path, *hours: int) -> None:
        lake = lake_in(folder)
        lake.upsert(PROJECTS, [answered(1)], T0)
        self.folder = folder / PROJECTS.name
        self.by_hours: dict[int, str] = {}
        for at, ago in enumerate(hours, 2):
            lake.upsert(PROJECTS, [answered(at)], T0)
            commit = self.folder / "_delta_log" / f"{at:020}.json"
            (self.by_hours[ago],) = removed(minutes_ago=60 * ago, by=[commit])
            (self.folder / f"part-uncommitted-{ago}.parquet").touch()
            then = time.time() - ago * HOUR
            os.utime(self.folder / f"part-uncommitted-{ago}.parquet", (then, then))

    def maintain(self, *, full: bool) -> tuple[list[int], list[int]]:
        """Return how old the replaced and the uncommitted files are that are left."""
        done = lake_in(self.folder.parent).maintain(PROJECTS, full=full)
        assert done.problems == ()
        assert lake_in(self.folder.parent).rows(PROJECTS)
        named = {f"part-uncommitted-{ago}.parquet": ago for ago in self.by_hours}
        return (
            [ago for ago, path in self.by_hours.items() if (self.folder / path).exists()],
            [ago for path, ago in named.items() if (self.folder / path).exists()],
        )


def test_what_was_replaced_goes_after_half_a_day(tmp_path):
    table = Replaced(tmp_path, 11, 13, 47, 49)

    assert table.maintain(full=False) == ([11], [11, 13, 47, 49])


def test_what_a_killed_writer_left_goes_after_two_days_when_all_is_looked_through(tmp_path):
    table = Replaced(tmp_path, 11, 47, 49)

    assert table.maintain(full=True) == ([11, 47], [11, 47])


@pytest.mark.parametrize("full", [True, False])
def test_a_table_of_others_keeps_its_files_for_a_week(tmp_path, full):
    """It may have readers who travel in time, and nobody has told us of less."""
    table = Replaced(tmp_path, 49, 167, 169)
    table_of_others(table.folder)

    replaced, uncommitted = table.maintain(full=full)

    assert (replaced, uncommitted) == ([49, 167], [49, 167] if full else [49, 167, 169])


def table_of_others(folder: Path) -> None:
    """Take the properties out of it that the writer gives a table."""
    first = folder / "_delta_log" / f"{0:020}.json"
    lines = [json.loads(line) for line in first.read_text().splitlines()]
    (properties,) = (one["metaData"]["configuration"] for one in lines if "metaData" in one)
    del properties["delta.deletedFileRetentionDuration"]
    first.write_text("\n".join(json.dumps(line) for line in lines))
    assert "delta.deletedFileRetentionDuration" not in DeltaTable(folder).metadata().configuration
