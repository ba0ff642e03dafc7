"""``claimx doctor``: what is wrong, why it matters, and what to do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, Schema
from large_world import T0, asked, lake_in

from claimx.adapters.lake import Sizes
from claimx.adapters.lake.schema import arrow_schema
from claimx.domain.tables import MEDIA, TABLES, TASKS

ROOT = Path(__file__).parents[2]
LARGE = Sizes(direct=-1)

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


@pytest.fixture
def doctor(tmp_path, redis_url):
    """Runs it on the tables of a folder; returns its exit code and what it found, by subject."""
    environment = os.environ | {"CLAIMX_LAKE_PATH": str(tmp_path), "REDIS_URL": redis_url}

    def run(*words: str, **settings: str):
        done = subprocess.run(
            [sys.executable, "-m", "claimx", "doctor", *words, "-o", "json"],
            env=environment | settings,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        found = json.loads(done.stdout)["diagnoses"] if done.stdout else []
        assert all(one["why"] and one["remedy"] for one in found)
        told = {one["subject"]: "" for one in found}
        for one in found:
            told[one["subject"]] += one["wrong"] + "\n"
        return done.returncode, told

    return run


def create(folder: Path, schema: pa.Schema, **configuration: str) -> None:
    DeltaTable.create(str(folder), Schema.from_arrow(schema), configuration=configuration)


def test_tables_of_our_own_making_are_well(doctor, tmp_path):
    lake = lake_in(tmp_path)
    for table in TABLES.values():
        lake.ensure(table)

    assert doctor("--only", "lake") == (0, {})


def test_what_the_sql_endpoint_cannot_read_is_told(doctor, tmp_path):
    """It leaves such columns and tables out, and says nothing about it."""
    fields = [
        pa.field(one.name, pa.timestamp("us")) if one.name == "date_assigned" else one
        for one in arrow_schema(TASKS)
    ]
    vectors = {"delta.enableDeletionVectors": "true"}
    create(tmp_path / MEDIA.name, arrow_schema(MEDIA), **vectors)
    create(tmp_path / TASKS.name, pa.schema(fields))

    status, found = doctor("--only", "lake")

    assert status == 7
    assert found.keys() == {MEDIA.name, TASKS.name}
    assert "asks for protocol 3/7" in found[MEDIA.name]
    assert "deletionVectors" in found[MEDIA.name]
    assert "date_assigned is a time without a zone" in found[TASKS.name]


def test_changes_that_nobody_folds_are_told(doctor, tmp_path):
    """A writer folds after half a minute; these have waited since the year of the test's world."""
    lake = lake_in(tmp_path, LARGE)
    lake.upsert(MEDIA, [asked(1, at=1)], T0)
    assert time.time() * 1e6 > T0

    assert "1 changes have waited" in doctor("--only", "lake")[1][MEDIA.name]


def test_a_redis_that_does_not_answer_is_told(doctor):
    status, found = doctor("--only", "redis", REDIS_URL="redis://127.0.0.1:1/0")

    assert status == 7
    assert "does not answer" in found["REDIS_URL"]


def test_an_area_that_is_none_is_refused(doctor):
    assert doctor("--only", "redis,moon")[0] == 2
