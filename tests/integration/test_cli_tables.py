"""The tables as an operator meets them: ``claimx tables``."""

from __future__ import annotations

from functools import partial

import cli_runner
import pyarrow as pa
import pytest
from cli_runner import ROOT, Answer
from deltalake import DeltaTable, Schema
from large_world import MANY, T0, asked, lake_in, stored, table_of

from claimx.adapters.gates import RedisGates
from claimx.adapters.lake.schema import arrow_schema
from claimx.cli.table_page import tables_page
from claimx.domain.tables import MEDIA, PROJECTS, TABLES, TASKS

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


@pytest.fixture
def claimx(tmp_path, redis_url):
    """Runs a command on the tables of a folder."""
    where = {"CLAIMX_LAKE_PATH": str(tmp_path), "REDIS_URL": redis_url}
    return partial(cli_runner.claimx, "tables", **where)


def test_the_tables_page_is_what_the_declarations_say():
    """`make docs` writes docs/tables.md."""
    assert (ROOT / "docs/tables.md").read_text() == tables_page()


def test_all_nine_are_listed_with_what_they_hold_and_what_waits(claimx, tmp_path):
    table_of(tmp_path, MANY)
    lake_in(tmp_path).upsert(MEDIA, [asked(1, at=5), asked(MANY, at=5)], T0)

    found = {row["name"]: row for row in claimx("ls", "-o", "json").rows("tables")}

    assert list(found) == list(TABLES)
    media = found[MEDIA.name]
    assert (media["rows"], media["files"], media["waiting"]) == (MANY, 1, 2)
    assert (media["reader"], media["writer"]) == (1, 2)
    assert media["last_commit"].endswith("Z")
    assert found[PROJECTS.name]["version"] == -1, "there is none, and that is no error"


def test_a_table_that_is_not_there_is_told(claimx, tmp_path):
    answer = claimx("show", PROJECTS.name)

    assert answer.status == 3
    assert str(tmp_path / PROJECTS.name) in answer.err


@pytest.mark.parametrize("command", ["ls", "diff", "compact", "vacuum", "fold"])
def test_a_path_without_any_table_is_told(claimx, tmp_path, command):
    """A mistyped path looked like tables that are well."""
    answer = claimx(command)

    assert answer.status == 3
    for name in TABLES:
        assert f"{name}: there is no table at {(tmp_path / name).as_uri()}" in answer.err
    assert "or the path is another" in answer.err


def test_tables_that_are_not_there_keep_nothing_from_the_others(claimx, tmp_path):
    lake_in(tmp_path).ensure(MEDIA)

    diff, compact = claimx("diff", MEDIA.name, TASKS.name), claimx("compact")

    assert (diff.status, compact.status) == (0, 0)
    assert diff.err.splitlines() == [
        f"{TASKS.name}: there is no table at {(tmp_path / TASKS.name).as_uri()}",
        "nothing differs",
    ]
    done = [line for line in compact.err.splitlines() if "files made fewer" in line]
    assert done == [f"{MEDIA.name}: 0 files made fewer, 0 removed"]


def test_what_waits_is_brought_in_on_demand(claimx, tmp_path):
    table_of(tmp_path, MANY)
    lake_in(tmp_path).upsert(MEDIA, [asked(1, at=5), asked(MANY, at=5)], T0)

    answer = claimx("fold")

    assert answer.status == 0, answer
    assert answer.err.splitlines()[-1] == f"{MEDIA.name}: 1 rows added, 1 changed"
    assert stored(tmp_path)["m000001"]["file_name"] == "asked at 5"
    assert claimx("fold", MEDIA.name) == Answer(0, "", "nothing waits\n")


def test_a_table_that_a_writer_is_at_is_left_alone(claimx, tmp_path, redis_client):
    table_of(tmp_path, MANY)
    lake_in(tmp_path).upsert(MEDIA, [asked(1, at=5)], T0)
    assert RedisGates(redis_client).lock(f"fold:{MEDIA.name}", "a writer", 60) is not None

    answer = claimx("fold", MEDIA.name)

    assert answer.status == 8
    assert "another process" in answer.err


def test_differences_from_the_declaration_are_named(claimx, tmp_path):
    fields = [field for field in arrow_schema(TASKS) if field.name != "task_url"]
    fields = [pa.field("mfn", pa.int64()) if one.name == "mfn" else one for one in fields]
    fields.append(pa.field("verdict", pa.string()))
    DeltaTable.create(str(tmp_path / TASKS.name), Schema.from_arrow(pa.schema(fields)))

    answer = claimx("diff", "-o", "json")

    assert answer.status == 7
    lines = {row["difference"].partition(":")[0]: row for row in answer.rows("differences")}
    assert lines.keys() == {"task_url", "mfn", "verdict"}
    assert "int64 in the lake, declared string" in lines["mfn"]["difference"]


def test_a_table_that_not_every_reader_can_read_is_told(claimx, tmp_path):
    DeltaTable.create(
        str(tmp_path / MEDIA.name),
        Schema.from_arrow(arrow_schema(MEDIA)),
        configuration={"delta.enableDeletionVectors": "true"},
    )

    (row,) = claimx("diff", MEDIA.name, "-o", "json").rows("differences")

    assert "asks for protocol 3/7" in row["difference"]
    assert "deletionVectors" in row["difference"]


def test_a_table_as_declared_has_no_differences(claimx, tmp_path):
    lake_in(tmp_path).ensure(MEDIA)

    assert claimx("diff", MEDIA.name).status == 0


def test_history_tells_the_newest_commits(claimx, tmp_path):
    lake = lake_in(tmp_path)
    for at in range(3):
        lake.upsert(MEDIA, [asked(at, at=at)], T0 + at)

    commits = claimx("history", MEDIA.name, "--limit", "2", "-o", "json").rows("commits")

    assert [commit["version"] for commit in commits] == [3, 2]
    assert {commit["operation"] for commit in commits} == {"WRITE"}
    assert claimx("history", PROJECTS.name).status == 3


def test_upkeep_is_done_by_command(claimx, tmp_path):
    lake = lake_in(tmp_path)
    for at in range(105):
        lake.upsert(MEDIA, [asked(at, at=at)], T0 + at)

    answer = claimx("compact", MEDIA.name)

    assert answer.status == 0, answer
    assert answer.err.startswith(f"{MEDIA.name}: 105 files made fewer")
    assert claimx("vacuum", MEDIA.name).status == 0
    assert len(stored(tmp_path)) == 105


def test_the_declared_columns_and_the_view_are_printed(claimx):
    columns = claimx("schema", MEDIA.name, "-o", "json").rows("columns")

    assert [column["column"] for column in columns] == list(MEDIA.column_names)
    assert claimx("view", MEDIA.name).out.startswith("WITH newest AS (")
    assert claimx("view", "claimx_events").status == 3
