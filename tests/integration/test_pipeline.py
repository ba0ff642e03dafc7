"""The whole pipeline on its own processes: what ends in the lake is the truth about the world."""

from __future__ import annotations

import pytest
from pipeline_rig import Rig, assert_as_it_must_be
from test_reader import read_back, sorted_rows

from claimx.adapters.lake import DeltaLake
from claimx.domain.tables import TABLES

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(180),
    pytest.mark.xdist_group("pipeline"),
]


def assert_a_second_reader_agrees(rig: Rig) -> None:
    """DuckDB reads from the tables what deltalake reads."""
    lake = DeltaLake({name: str(rig.lake / name) for name in TABLES})
    found = read_back([str(rig.lake / name) for name in TABLES])
    for name, table in TABLES.items():
        rows = found[str(rig.lake / name)]["rows"]
        assert rows, name
        assert sorted_rows(table, rows) == sorted_rows(table, lake.rows(table)), name


def test_a_bad_day_ends_with_the_truth_in_every_table(tmp_path):
    """Typical faults and one of everything that goes wrong, through beat, worker and writer."""
    with Rig(tmp_path, "--events", "600", "--seed", "11", "--faults", "typical") as rig:
        rig.processes()

        rig.until_done(100)

        assert_as_it_must_be(rig)
        assert_a_second_reader_agrees(rig)


def test_tables_and_media_lie_on_one_onelake_endpoint(tmp_path):
    """Production's addresses: both behind abfss://, here on a stand-in for the file endpoint."""
    world = ("--events", "200", "--seed", "12", "--faults", "typical")
    with Rig(tmp_path, *world, on_onelake=True) as rig:
        rig.processes()

        rig.until_done(100)

        assert_as_it_must_be(rig)
        assert_a_second_reader_agrees(rig)
