"""Rows sorted into ranges of keys on disk: all of them, each in its range, and nothing is left."""

from __future__ import annotations

import os
import time

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claimx.adapters.lake.spill import Spill, bounds_from, sample_of
from claimx.domain.errors import Unavailable

SCHEMA = pa.schema([("id", pa.string()), ("value", pa.int64())])

keys = st.lists(st.text("abcxyzäß€😀", max_size=4), max_size=60)


def batches(ids: list[str], size: int = 7) -> list[pa.RecordBatch]:
    table = pa.table({"id": ids, "value": list(range(len(ids)))}, schema=SCHEMA)
    return table.to_batches(max_chunksize=size)


@settings(deadline=None)
@given(keys, st.lists(st.text("abcxyzäß€😀", max_size=4), max_size=5, unique=True))
def test_every_row_is_in_the_range_of_its_key(tmp_path_factory, ids, bounds):
    with Spill(tmp_path_factory.mktemp("spill"), SCHEMA, "id", sorted(bounds)) as spill:
        spill.fill(batches(ids))
        read = [spill.read(at).to_pylist() for at in range(len(spill.ranges))]

    for (low, high), rows in zip(spill.ranges, read, strict=True):
        assert all(low is None or low <= row["id"] for row in rows)
        assert all(high is None or row["id"] < high for row in rows)
    found = sorted((row["id"], row["value"]) for rows in read for row in rows)
    assert found == sorted(zip(ids, range(len(ids)), strict=True))


def test_rows_beyond_what_is_held_at_a_time_are_kept_as_well(tmp_path):
    ids = [f"{n * 7 % 100:03d}" for n in range(100)]

    with Spill(tmp_path, SCHEMA, "id", ["030", "060"], rows_at_a_time=10) as spill:
        spill.fill(batches(ids))
        counts = [spill.read(at).num_rows for at in range(3)]

    assert counts == [30, 30, 40]


def test_ranges_are_of_about_one_size():
    ids = [f"{n * 7919 % 10_000:05d}" for n in range(10_000)]
    sample = sample_of((pa.array(ids[at : at + 1000]) for at in range(0, 10_000, 1000)), 10_000)

    assert bounds_from(sample, 4) == ["02500", "05000", "07500"]


def test_one_key_for_all_rows_is_one_range():
    assert bounds_from(pa.array(["a"] * 100), 5) == ["a"]
    assert bounds_from(pa.array([], pa.string()), 5) == []


def test_nothing_is_left_whatever_happens(tmp_path):
    def failing():
        yield from batches(["a", "z"])
        raise RuntimeError

    with pytest.raises(RuntimeError), Spill(tmp_path, SCHEMA, "id", ["m"]) as spill:
        spill.fill(failing())

    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_goes_and_what_another_is_at_stays(tmp_path):
    dead, alive = tmp_path / "spill-dead", tmp_path / "spill-alive"
    long_ago = time.time() - 7200
    for folder in (dead, alive):
        folder.mkdir()
        (folder / "00000.arrow").write_bytes(b"rows")
        os.utime(folder / "00000.arrow", (long_ago, long_ago))
        os.utime(folder, (long_ago, long_ago))
    (alive / "00001.arrow").write_bytes(b"rows")

    with Spill(tmp_path, SCHEMA, "id", []):
        assert not dead.exists()
        assert alive.exists()


def test_what_another_removes_while_it_is_looked_at_is_no_failure(tmp_path):
    """As a writer beside this one does, whose layout of another table ends then."""
    (tmp_path / "spill-gone").symlink_to(tmp_path / "nowhere")  # in the list, and not there

    with Spill(tmp_path, SCHEMA, "id", []) as spill:
        spill.fill(batches(["a"]))
        assert spill.read(0).num_rows == 1


def test_a_disk_that_takes_nothing_is_told_with_its_place(tmp_path):
    """The operator reads where room is needed, and why there is none."""
    place = tmp_path / "a file"
    place.write_text("no folder")

    with (
        pytest.raises(Unavailable, match=rf"{place}.*Not a directory"),
        Spill(place, SCHEMA, "id", []),
    ):
        pass
