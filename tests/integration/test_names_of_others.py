"""Writers that know names from their last flush, beside others that give new ones."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lakes import T0, answered, lake_in, named, paths_below

from claimx.adapters.lake import DeltaLake, Sizes
from claimx.domain.tables import PROJECTS

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


def names_in(lake: DeltaLake) -> dict[str, Any]:
    return {row["project_id"]: row["master_file_name"] for row in lake.rows(PROJECTS)}


def test_a_name_that_another_writer_changed_between_two_flushes_is_seen(tmp_path):
    lake, other = lake_in(tmp_path), lake_in(tmp_path)
    lake.upsert(PROJECTS, [named(3)], T0)
    lake.upsert(PROJECTS, [answered(4)], T0)
    other.upsert(PROJECTS, [named(8)], T0)

    lake.upsert(PROJECTS, [answered(9)], T0)

    assert names_in(lake) == {"p": "MFN 8"}


def test_a_name_that_another_writer_gave_to_a_project_without_one_is_seen(tmp_path):
    lake, other = lake_in(tmp_path), lake_in(tmp_path)
    lake.upsert(PROJECTS, [named(1, "q")], T0)
    for at in (2, 3):
        lake.upsert(PROJECTS, [answered(at)], T0)
    other.upsert(PROJECTS, [named(8)], T0)

    lake.upsert(PROJECTS, [answered(9)], T0)

    assert names_in(lake) == {"p": "MFN 8", "q": "MFN 1"}


def test_a_name_of_another_writer_is_seen_also_after_a_commit_of_our_own(tmp_path):
    lake, other = lake_in(tmp_path), lake_in(tmp_path)
    lake.upsert(PROJECTS, [named(1, "q"), answered(2)], T0)
    lake.upsert(PROJECTS, [answered(3)], T0)
    other.upsert(PROJECTS, [named(8)], T0)
    lake.upsert(PROJECTS, [named(9, "r")], T0)

    lake.upsert(PROJECTS, [answered(9)], T0)

    assert names_in(lake) == {"p": "MFN 8", "q": "MFN 1", "r": "MFN 9"}


def test_a_name_that_we_know_is_not_looked_for_in_files(tmp_path):
    """Each flush would read the whole file of all names, for answers that bring an older name."""
    lake = lake_in(tmp_path)
    lake.upsert(PROJECTS, [named(3), answered(2, "q")], T0)
    lake.upsert(PROJECTS, [answered(4), answered(4, "q")], T0)
    for file in (tmp_path / PROJECTS.name / "_names").glob("*.parquet"):
        file.rename(file.with_suffix(".away"))

    lake.upsert(PROJECTS, [answered(9), answered(9, "q")], T0)

    assert names_in(lake) == {"p": "MFN 3", "q": "API 9"}


def test_names_of_a_table_that_was_removed_are_not_those_of_the_next(tmp_path):
    lake = lake_in(tmp_path)
    lake.upsert(PROJECTS, [named(3)], T0)
    lake.upsert(PROJECTS, [answered(4)], T0)
    shutil.rmtree(tmp_path / PROJECTS.name)

    for at in (5, 9):
        lake.upsert(PROJECTS, [answered(at)], T0)

    assert names_in(lake) == {"p": "API 9"}


def test_names_in_tables_that_another_writer_made_anew_are_seen(tmp_path):
    """Nothing is read of names that are known, so nothing fails that would tell of the new ones."""
    lake = lake_in(tmp_path)
    lake.upsert(PROJECTS, [named(3), answered(1, "q")], T0)
    for at in (4, 5):
        lake.upsert(PROJECTS, [answered(at), answered(at, "q")], T0)
    shutil.rmtree(tmp_path / PROJECTS.name)
    lake_in(tmp_path).upsert(PROJECTS, [named(8), named(8, "q")], T0)

    lake.upsert(PROJECTS, [answered(9), answered(9, "q")], T0)

    assert names_in(lake) == {"p": "MFN 8", "q": "MFN 8"}


def test_names_in_a_table_that_was_put_back_are_those_that_another_writer_gives_then(tmp_path):
    """Its id is the old one, and so is the version that another writer brings it to."""
    lake, other = lake_in(tmp_path), lake_in(tmp_path)
    lake.upsert(PROJECTS, [named(1)], T0)
    shutil.copytree(tmp_path / PROJECTS.name, tmp_path / "copy")
    for said in (named(2), answered(3)):
        lake.upsert(PROJECTS, [said], T0)
    shutil.rmtree(tmp_path / PROJECTS.name)
    shutil.move(tmp_path / "copy", tmp_path / PROJECTS.name)
    other.upsert(PROJECTS, [named(8)], T0)

    lake.upsert(PROJECTS, [answered(9)], T0)

    assert names_in(lake) == {"p": "MFN 8"}


def test_a_project_that_somebody_deleted_comes_back_with_the_name_of_its_mfn_event(tmp_path):
    """Once the API's name stood in the row no later answer with that name would change it."""
    lake = lake_in(tmp_path)
    lake.upsert(PROJECTS, [named(3), answered(2), answered(2, "q")], T0)
    DeltaTable(tmp_path / PROJECTS.name).delete()

    lake.upsert(PROJECTS, [answered(5), answered(5, "q")], T0)

    assert names_in(lake) == {"p": "MFN 3", "q": "API 5"}


@pytest.mark.parametrize("gone", ["_names", "."], ids=["names", "projects as well"])
def test_names_that_somebody_removed_are_made_again_by_a_fold(tmp_path, gone):
    """No flush into a large table asks for them: all that waits would wait until the next start."""
    sizes = Sizes(direct=-1, piece=20, most_of_piece=40, changes=100)
    lake = DeltaLake(paths_below(tmp_path), sizes=sizes)
    lake.upsert(PROJECTS, [named(3)], T0)
    lake.large.fold(PROJECTS)
    lake.upsert(PROJECTS, [named(8), answered(9)], T0)
    shutil.rmtree(tmp_path / PROJECTS.name / gone)

    folded = lake.large.fold(PROJECTS)
    lake.upsert(PROJECTS, [answered(10)], T0)
    lake.large.fold(PROJECTS)

    assert folded.ended
    assert names_in(lake) == {"p": "MFN 8"}


steps = st.tuples(
    st.sampled_from([0, 1]), st.sampled_from([named, answered]), st.sampled_from(["p", "q"])
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(steps, max_size=10), st.data())
def test_two_writers_leave_the_newest_mfn_events_name_else_the_newest_answers(said, data):
    times = data.draw(st.permutations(range(1, len(said) + 1)))
    with tempfile.TemporaryDirectory() as folder:
        lakes = [lake_in(Path(folder)), lake_in(Path(folder))]
        expected: dict[str, tuple[bool, int]] = {}
        for (writer, kind, project), at in zip(said, times, strict=True):
            lakes[writer].upsert(PROJECTS, [kind(at, project)], T0)
            rank = (kind is named, at)
            expected[project] = max(rank, expected.get(project, rank))

        found = names_in(lakes[0])

    assert found == {one: f"{'MFN' if mfn else 'API'} {at}" for one, (mfn, at) in expected.items()}
