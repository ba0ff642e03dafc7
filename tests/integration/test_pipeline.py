"""The whole pipeline on its own processes: what ends in the lake is the truth about the world."""

from __future__ import annotations

import json
import subprocess

import pytest
from pipeline_rig import ROOT, Rig, assert_as_it_must_be

from claimx.domain.tables import TABLES

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(180),
    pytest.mark.xdist_group("pipeline"),
]


def test_a_bad_day_ends_with_the_truth_in_every_table(tmp_path):
    """Typical faults and one of everything that goes wrong, through beat, worker and writer."""
    with Rig(tmp_path, "--events", "600", "--seed", "11", "--faults", "typical") as rig:
        rig.processes()

        rig.until_done(100)

        assert_as_it_must_be(rig)
