"""The whole pipeline with a table that is large from the start."""

from __future__ import annotations

from pathlib import Path

import pytest
from deltalake import DeltaTable
from large_world import table_of
from pipeline_rig import Rig, assert_dead_as_expected

from claimx.adapters.lake import Sizes
from claimx.adapters.lake.change_log import SUFFIX
from claimx.domain.tables import MEDIA
from claimx.sandbox.truth import compare, read_lake, verify_files

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(180),
    pytest.mark.xdist_group("pipeline"),
]

MANY = Sizes().direct + 1


def test_a_writer_that_is_killed_and_told_to_leave_folds_what_the_truth_says(tmp_path):
    """Its media go by way of the log; nobody has set anything, and an operator brings them in."""
    with Rig(tmp_path, "--events", "300", "--seed", "21") as rig:
        table_of(rig.lake, MANY)
        first = DeltaTable(str(rig.lake / MEDIA.name)).version()
        rig.processes()
        rig.until("the first media", (rig.lake / f"{MEDIA.name}{SUFFIX}").exists, 60)
        next(one for one in rig.running if one.name == "writer").kill()
        rig.process("writer")
        rig.until_done(100)
        # a machine may be so slow that a fold was due meanwhile
        folded = "a large table took in what waited" in rig.text_of_log("writer")
        assert folded or DeltaTable(str(rig.lake / MEDIA.name)).version() == first

        writer = next(one for one in reversed(rig.running) if one.name == "writer")
        writer.terminate()
        assert writer.wait(25) == 0
        rig.until("the fold", lambda: rig.claimx("tables", "fold").status == 0, 60)

        found = rig.claimx("tables", "ls", "-o", "json").document["tables"]
        assert {table["waiting"] for table in found} == {0}
        tables = read_lake(rig.lake)
        others = [row for row in tables[MEDIA.name] if row["media_id"].startswith("m")]
        assert len(others) == MANY
        ours = [row for row in tables[MEDIA.name] if not row["media_id"].startswith("m")]
        tables[MEDIA.name] = ours
        assert compare(rig.world.truth.tables, tables) == []
        media = Path(rig.sandbox.announced["media_folder"])
        assert verify_files(rig.world, tables, media) == []
        assert_dead_as_expected(rig.world, rig.letters())
