"""``claimx doctor``: what is wrong, why it matters, and what to do."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import pyarrow as pa
import pytest
from cli_runner import claimx
from deltalake import DeltaTable, Schema
from deltalake.transaction import AddAction
from large_world import T0, asked, lake_in

from claimx.adapters.lake import Sizes
from claimx.adapters.lake.schema import arrow_schema
from claimx.domain.changes import Change, Source
from claimx.domain.columns import Table
from claimx.domain.tables import EVENTS, MEDIA, TABLES, TASKS
from claimx.domain.times import from_seconds

ROOT = Path(__file__).parents[2]
LARGE = Sizes(direct=-1)

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


class Answer(NamedTuple):
    """What it found, by subject; a subject of which more is wrong has a line for each."""

    status: int
    found: dict[str, list[str]]
    out: str
    err: str


@pytest.fixture
def doctor(tmp_path, redis_url):
    """Runs it on the tables of a folder."""
    where = {"CLAIMX_LAKE_PATH": str(tmp_path), "REDIS_URL": redis_url}

    def run(*words: str, **settings: str) -> Answer:
        done = claimx("doctor", *words, **where | settings)
        found: dict[str, list[str]] = {}
        if "json" in words and done.out:
            for one in done.rows("diagnoses"):
                assert one["why"]
                assert one["remedy"]
                found.setdefault(one["subject"], []).append(one["wrong"])
        return Answer(done.status, found, done.out, done.err)

    return run


@pytest.fixture
def lake(tmp_path):
    """All nine tables, as the writer makes them."""
    lake = lake_in(tmp_path)
    for table in TABLES.values():
        lake.ensure(table)
    return lake


LAKE = ("--only", "lake", "-o", "json")


def made_otherwise(folder: Path, table: Table, schema: pa.Schema, **properties: str) -> None:
    """Let somebody else have made a table."""
    shutil.rmtree(folder / table.name)
    DeltaTable.create(str(folder / table.name), Schema.from_arrow(schema), configuration=properties)


@pytest.mark.usefixtures("lake")
def test_tables_of_our_own_making_are_well(doctor):
    answer = doctor(*LAKE)

    assert (answer.status, answer.found) == (0, {})
    assert "nothing is wrong (lake)" in answer.err


@pytest.mark.usefixtures("lake")
def test_what_the_sql_endpoint_cannot_read_is_told_once(doctor, tmp_path):
    """It leaves such columns and tables out, and says nothing about it."""
    fields = [
        pa.field(one.name, pa.timestamp("us")) if one.name == "date_assigned" else one
        for one in arrow_schema(TASKS)
    ]
    vectors = {"delta.enableDeletionVectors": "true"}
    made_otherwise(tmp_path, MEDIA, arrow_schema(MEDIA), **vectors)
    made_otherwise(tmp_path, TASKS, pa.schema(fields))

    status, found, _, _ = doctor(*LAKE)

    assert status == 7
    assert found.keys() == {MEDIA.name, TASKS.name}
    (media,), (protocol, column) = found[MEDIA.name], sorted(found[TASKS.name])
    assert "asks for protocol 3/7" in media
    assert "deletionVectors" in media
    assert "timestampNtz" in protocol
    assert "date_assigned" in column
    assert "without a zone" in column


@pytest.mark.usefixtures("lake")
def test_columns_that_are_mapped_by_id_are_told(doctor, tmp_path):
    """The SQL endpoint reads them as empty."""
    mapped = {"delta.columnMapping.mode": "id"}
    made_otherwise(tmp_path, MEDIA, arrow_schema(MEDIA), **mapped)

    mapping, protocol = sorted(doctor(*LAKE).found[MEDIA.name], reverse=True)

    assert mapping == "has columns that are mapped by id"
    assert "asks for protocol 2/5" in protocol


@pytest.mark.usefixtures("lake")
def test_rules_that_the_writer_cannot_keep_to_are_told(doctor, tmp_path):
    """Its rows wait until somebody takes them out."""
    made_otherwise(tmp_path, MEDIA, arrow_schema(MEDIA), **{"delta.appendOnly": "true"})

    (said,) = doctor(*LAKE).found[MEDIA.name]

    assert said == "has delta.appendOnly: not set by the writer"


@pytest.mark.usefixtures("lake")
def test_a_table_that_only_other_writers_cannot_take_is_well(doctor, tmp_path):
    """Version 4 for writers, such as of change data feed, keeps no reader away."""
    feed = {"delta.enableChangeDataFeed": "true"}
    made_otherwise(tmp_path, MEDIA, arrow_schema(MEDIA), **feed)

    assert doctor(*LAKE).found == {}


@pytest.mark.usefixtures("lake")
def test_columns_and_partitions_that_keep_the_writer_away_are_told(doctor, tmp_path):
    fields = [
        pa.field(one.name, pa.int64()) if one.name == "task_name" else one
        for one in arrow_schema(TASKS)
    ]
    made_otherwise(tmp_path, TASKS, pa.schema(fields))
    made_otherwise(tmp_path, EVENTS, arrow_schema(EVENTS))

    found = doctor(*LAKE).found

    assert found == {
        TASKS.name: ["task_name: int64 in the lake, declared string"],
        EVENTS.name: ["partitioned by (), declared ('event_date',)"],
    }


def test_a_path_without_tables_is_told(doctor, tmp_path):
    """A mistyped path looked well."""
    status, found, _, _ = doctor(*LAKE, CLAIMX_LAKE_PATH=str(tmp_path / "mistyped"))

    assert status == 7
    assert found.keys() == TABLES.keys()
    assert all("mistyped" in line for (line,) in found.values())


def test_changes_that_nobody_folds_are_told(doctor, lake, tmp_path):
    """A writer folds after half a minute; these have waited since the year of the test's world."""
    assert lake.rows(MEDIA) == []
    lake_in(tmp_path, LARGE).upsert(MEDIA, [asked(1, at=1)], T0)

    ((line,),) = doctor(*LAKE).found.values()

    assert "changes that wait" in line


@pytest.mark.usefixtures("lake")
def test_changes_that_have_just_come_are_well(doctor, tmp_path):
    lake_in(tmp_path, LARGE).upsert(MEDIA, [asked(1, at=1)], from_seconds(time.time()))

    assert doctor(*LAKE).found == {}


@pytest.mark.usefixtures("lake")
def test_small_files_are_counted_by_partition(doctor, tmp_path):
    """Maintenance leaves a day alone that has fewer than a hundred, however many days there are."""
    few, many = 90, 1001
    add_files(tmp_path / EVENTS.name, few, days=12)
    add_files(tmp_path / MEDIA.name, many)

    assert doctor(*LAKE).found == {MEDIA.name: ["has 1,001 small files"]}


def test_files_that_somebody_removed_are_told(doctor, lake, tmp_path):
    """The writer fails at the table over and over, and nothing was wrong with it."""
    for number in range(3):
        values = {"event_id": f"e{number}"}
        lake.upsert(EVENTS, [Change(EVENTS.name, values, Source.RESULT, f"e{number}", T0)], T0)
    lake.upsert(MEDIA, [asked(1, at=1)], T0)
    next((tmp_path / EVENTS.name).rglob("*.parquet")).unlink()

    assert doctor(*LAKE).found == {EVENTS.name: ["lacks 1 of 3 files that its log names"]}


def add_files(folder: Path, count: int, days: int = 0) -> None:
    """Commit so many files of a row each, which nobody reads."""
    table = DeltaTable(str(folder))
    partitions = [{"event_date": f"2026-01-{day + 1:02d}"} for day in range(days)] or [{}]
    adds = [
        AddAction(f"f{uuid4()}.parquet", 100, values, 0, True, '{"numRecords": 1}')
        for values in partitions
        for _ in range(count)
    ]
    for one in adds:
        (folder / one.path).touch()
    table.create_write_transaction(
        adds, "append", table.schema(), table.metadata().partition_columns
    )


def test_a_redis_that_does_not_answer_is_told_beside_the_rest(doctor, lake):
    assert lake.rows(MEDIA) == []

    status, found, _, _ = doctor("-o", "json", REDIS_URL="redis://127.0.0.1:1/0")

    assert status == 7
    assert found.keys() == {"REDIS_URL"}
    assert "leads nowhere" in found["REDIS_URL"][0]


def test_settings_that_are_missing_hide_nothing_else(doctor):
    """A host of beat or Flower has no paths of tables."""
    status, found, _, _ = doctor(
        "-o", "json", REDIS_URL="redis://127.0.0.1:1/0", CLAIMX_LAKE_PATH=""
    )

    assert status == 7
    assert "leads nowhere" in found["REDIS_URL"][0]
    assert ["CLAIMX_LAKE_PATH" in line for line in found["settings"]] == [True]


def test_an_address_that_is_none_is_refused_without_being_repeated(doctor):
    answer = doctor("-o", "json", REDIS_URL="redis://:se/cret@127.0.0.1:x/0")

    assert answer.status == 4
    assert answer.err.startswith("claimx: REDIS_URL")
    assert "cret" not in answer.err


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "cannot be read"), ("", "is empty"), ("a\0b", "a header cannot carry"), ("dG9w", "")],
)
def test_a_token_file_without_a_token_is_told(doctor, tmp_path, content, said):
    """All looked well, and every event waited."""
    file = tmp_path / "token"
    if content is not None:
        file.write_text(content)

    answer = doctor("--only", "api", "-o", "json", CLAIMX_API_TOKEN_FILE=str(file))

    told = answer.found.get("CLAIMX_API_TOKEN_FILE", [])
    assert answer.status == (7 if said else 0)
    assert [said in line and str(file) in line for line in told] == [True] * bool(said)


def test_settings_are_valid_without_the_token_file_but_not_without_a_word(tmp_path):
    """It may be mounted later, so it is no error."""
    done = claimx("config", "validate", CLAIMX_API_TOKEN_FILE=str(tmp_path / "token"))

    assert done.status == 0
    warning, verdict = done.err.splitlines()
    assert warning.startswith("warning: CLAIMX_API_TOKEN_FILE cannot be read")
    assert verdict == "settings are valid"


def test_people_are_told_in_three_lines(doctor, tmp_path):
    """What comes from tables that others made may hold escapes of a terminal."""
    answer = doctor("--only", "lake", CLAIMX_LAKE_PATH=f"{tmp_path}/\x1b[31mred")

    told = answer.out.splitlines()[:3]
    assert told[0].startswith("lake: claimx_")
    assert [line.partition(":")[0] for line in told[1:]] == ["  why it matters", "  what to do"]
    assert "\x1b" not in answer.out


@pytest.mark.parametrize("names", ["redis,moon", ",", ""])
def test_an_area_that_is_none_is_refused(doctor, names):
    answer = doctor("--only", names)

    assert answer.status == 2
    assert "there are redis, lake" in answer.err
