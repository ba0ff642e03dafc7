"""All nine tables, written with edge values, read back by DuckDB value by value."""

from __future__ import annotations

import json
import os
import subprocess
from datetime import date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from deltalake import DeltaTable

from claimx.adapters.lake import DeltaLake, Sizes, upkeep
from claimx.adapters.lake.schema import from_arrow
from claimx.domain.changes import Change, Source
from claimx.domain.columns import Column, ColumnType, Rule, Table
from claimx.domain.tables import EVENTS, PROJECTS, TABLES
from claimx.domain.times import from_datetime, to_datetime

REPOSITORY = Path(__file__).parents[2]
SCRIPT = REPOSITORY / "tests" / "reader" / "read_delta.py"
T0 = 1_790_000_000_000_000
DAY = 86_400_000_000

YEAR_1 = -62_135_596_800_000_000
YEAR_9999 = 253_402_300_799_999_999

EDGES: dict[ColumnType, list[Any]] = {
    ColumnType.TEXT: ["", "plain", "日本語 👩‍🚀", 'O\'Hara "x" \\ \t\n', "x" * 70_000, None],
    ColumnType.INTEGER: [0, -1, 2**63 - 1, -(2**63), 1999, None],
    ColumnType.DOUBLE: [0.0, -122.41941550000001, 5e-324, 1.7976931348623157e308, 48.5, None],
    ColumnType.BOOLEAN: [True, False, True, False, None, None],
    ColumnType.TIME: [0, YEAR_1, YEAR_9999, T0 + 1, T0 + 999_999, None],
}
DUCKDB_TYPES = {
    ColumnType.TEXT: "VARCHAR",
    ColumnType.INTEGER: "BIGINT",
    ColumnType.DOUBLE: "DOUBLE",
    ColumnType.BOOLEAN: "BOOLEAN",
    ColumnType.TIME: "TIMESTAMP WITH TIME ZONE",
    ColumnType.DAY: "DATE",
}


def reader_python() -> str:
    """Return the reader's interpreter; an environment that is missing is a failure, not a skip."""
    found = os.environ.get("CLAIMX_READER_PYTHON", str(REPOSITORY / ".venv-reader/bin/python"))
    if not Path(found).exists():
        pytest.fail(
            f"{found} is missing: `make reader` creates the environment of the second reader"
        )
    return found


def read_back(folders: list[str]) -> dict[str, Any]:
    done = subprocess.run(
        [reader_python(), str(SCRIPT), *folders], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def edge_changes(table: Table) -> list[Change]:
    """Return a change for each edge value, every column at its own place in the row of edges."""
    changes = []
    for number in range(len(EDGES[ColumnType.TEXT])):
        values = {
            column.name: _edge(column, number + shift)
            for shift, column in enumerate(table.columns)
            if column.rule is not Rule.BOOKKEEPING and column.type is not ColumnType.DAY
        }
        values |= {name: f"{name} {number} é" for name in table.key}
        source, at = (Source.RESULT, None) if table is EVENTS else (Source.ANSWER, T0 + number)
        if table is EVENTS:
            values["ingested_at"] = T0 + number * DAY
        changes.append(Change(table.name, values, source, f"event {number}", T0, at))
    return changes


def _edge(column: Column, number: int) -> Any:
    edges = EDGES[column.type]
    return edges[number % len(edges)]


def sorted_rows(table: Table, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: [row[name] for name in table.key])


@pytest.fixture
def lake(tmp_path):
    return DeltaLake({name: str(tmp_path / name) for name in TABLES})


@pytest.fixture(params=["merged at once", "by way of a log", "twice by way of a log"])
def filled(request, tmp_path):
    """All tables with edge values, whoever wrote their files: deltalake, or a fold."""
    folds = {"merged at once": 0, "by way of a log": 1}.get(request.param, 2)
    sizes = Sizes(direct=-1, piece=2, most_of_piece=4) if folds else None
    lake = DeltaLake({name: str(tmp_path / name) for name in TABLES}, sizes=sizes)
    for table in TABLES.values():
        lake.upsert(table, edge_changes(table)[: folds * 2], T0)
        if folds > 1 and not table.insert_only:
            lake.large.fold(table)
        written = lake.upsert(table, edge_changes(table), T0)
        assert written.refused == ()
        if folds and not table.insert_only:
            assert lake.large.fold(table).ended
    return lake


def by_polars(folder: Path, _table: Table) -> list[dict[str, Any]]:
    rows = pl.read_delta(str(folder)).to_dicts()
    return [{name: _as_kept(value) for name, value in row.items()} for row in rows]


def by_pyarrow(folder: Path, table: Table) -> list[dict[str, Any]]:
    return from_arrow(table, DeltaTable(str(folder)).to_pyarrow_dataset().to_table())


def by_deltalake(folder: Path, table: Table) -> list[dict[str, Any]]:
    return from_arrow(table, DeltaTable(str(folder)).to_pyarrow_table())


def _as_kept(value: Any) -> Any:
    if isinstance(value, datetime):
        return from_datetime(value)
    return value.isoformat() if isinstance(value, date) else value


@pytest.mark.parametrize("read", [by_polars, by_pyarrow, by_deltalake])
def test_other_readers_see_the_same_rows(filled, tmp_path, read):
    for name, table in TABLES.items():
        expected = sorted_rows(table, filled.rows(table))
        assert len(expected) == 6
        assert sorted_rows(table, read(tmp_path / name, table)) == expected, name


def test_every_table_is_read_back_value_by_value(filled, tmp_path):

    found = read_back([str(tmp_path / name) for name in TABLES])

    for name, table in TABLES.items():
        read = found[str(tmp_path / name)]
        assert read["columns"] == {c.name: DUCKDB_TYPES[c.type] for c in table.columns}
        expected = {change.values[table.key[0]]: change.values for change in edge_changes(table)}
        assert len(read["rows"]) == len(expected) == 6
        for row in read["rows"]:
            for column, value in expected[row[table.key[0]]].items():
                assert row[column] == value, f"{name}.{column}"
            assert row["created_at"] == row["updated_at"] == T0
        assert sorted_rows(table, read["rows"]) == sorted_rows(table, filled.rows(table))


def test_updated_compacted_and_vacuumed_tables_are_read_back(lake, tmp_path, monkeypatch):
    monkeypatch.setattr(upkeep, "SMALL_FILES", 3)
    for at in range(25):  # past a checkpoint
        project = {"project_id": f"p{at % 7}", "status": f"{at}", "year_built": at}
        event = {"event_id": f"e{at % 20}", "ingested_at": T0 + (at % 3) * DAY}
        lake.upsert(
            PROJECTS,
            [
                Change(PROJECTS.name, project, Source.ANSWER, "a", T0, T0 + at),
                Change(
                    PROJECTS.name,
                    {"project_id": "p1", "master_file_name": f"MFN {at}"},
                    Source.EVENT,
                    f"f{at}",
                    T0 + at,
                ),
            ],
            T0 + at,
        )
        lake.upsert(EVENTS, [Change(EVENTS.name, event, Source.RESULT, "e", T0)], T0 + at)
    for table in (PROJECTS, EVENTS):
        assert lake.maintain(table, full=True).problems == ()

    found = read_back([str(tmp_path / table.name) for table in (PROJECTS, EVENTS)])

    for table, rows in ((PROJECTS, 7), (EVENTS, 20)):
        read = found[str(tmp_path / table.name)]["rows"]
        assert len(read) == rows
        assert sorted_rows(table, read) == sorted_rows(table, lake.rows(table))
    named = {row["project_id"]: row for row in found[str(tmp_path / PROJECTS.name)]["rows"]}
    assert (named["p1"]["master_file_name"], named["p1"]["status"]) == ("MFN 24", "22")


def test_the_edges_of_time_are_what_they_say():
    assert to_datetime(YEAR_1).year == 1
    assert to_datetime(YEAR_9999).year == 9999
    assert from_datetime(to_datetime(YEAR_9999)) == YEAR_9999
