"""Tables of others whose files have names that are not plain."""

from __future__ import annotations

from pathlib import Path

import pytest
from deltalake import DeltaTable
from lakes import paths_below
from large_world import T0, asked

from claimx.adapters.lake import DeltaLake, Sizes
from claimx.adapters.lake.upkeep import SMALL_FILES
from claimx.domain.errors import NotAllowed
from claimx.domain.tables import MEDIA

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]


def renamed(folder: Path, name: str, in_the_log: str) -> None:
    """Give the table's one file another name."""
    (path,) = folder.glob("*.parquet")
    path.rename(folder / name)
    log = folder / "_delta_log" / f"{1:020}.json"
    log.write_text(log.read_text().replace(path.name, in_the_log))


@pytest.mark.parametrize(
    ("name", "in_the_log"),
    [("März.parquet", "März.parquet"), ("a 1.parquet", "a%201.parquet"), ("a#.parquet",) * 2],
)
@pytest.mark.parametrize("most_of_piece", [None, 40, 1], ids=["flush", "fold", "layout"])
def test_files_whose_names_may_be_written_in_two_ways_are_left_alone(
    tmp_path, most_of_piece, name, in_the_log
):
    """Spark's log has letters as they are. Removed by its URI such a file stays, with its rows."""
    DeltaLake(paths_below(tmp_path)).upsert(MEDIA, [asked(1, 5), asked(2, 5)], T0)
    renamed(tmp_path / MEDIA.name, name, in_the_log)
    sizes = Sizes(-1, 1, most_of_piece, 100) if most_of_piece else None
    lake = DeltaLake(paths_below(tmp_path), sizes=sizes, spill_folder=tmp_path / "spill")

    def write() -> None:
        lake.upsert(MEDIA, [asked(1, 9)], T0)
        lake.large.fold(MEDIA)

    with pytest.raises(NotAllowed, match=r"may be written in two ways \(1\)"):
        write()

    stored = DeltaTable(tmp_path / MEDIA.name).to_pyarrow_table().to_pylist()
    assert {row["media_id"]: row["file_name"] for row in stored} == {
        "m000001": "asked at 5",
        "m000002": "asked at 5",
    }
    assert len(stored) == 2


def test_such_files_are_not_compacted(tmp_path):
    """Deltalake would do so, and leave the file where it is."""
    lake = DeltaLake(paths_below(tmp_path))
    lake.upsert(MEDIA, [asked(0, 5)], T0)
    renamed(tmp_path / MEDIA.name, "März.parquet", "März.parquet")
    for number in range(1, SMALL_FILES):
        lake.upsert(MEDIA, [asked(number, 5)], T0)

    done = lake.maintain(MEDIA)

    assert done.compacted_files == 0
    assert "compaction failed: claimx_media: has files with letters" in done.problems[0]
    assert DeltaTable(tmp_path / MEDIA.name).to_pyarrow_table().num_rows == SMALL_FILES
