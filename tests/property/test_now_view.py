"""The SQL for "right now" shows what the next fold will make of a table."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from deltalake import DeltaTable
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from claimx.adapters.lake import DeltaLake, Sizes
from claimx.adapters.lake.change_log import SUFFIX
from claimx.domain.changes import Change, Source
from claimx.domain.columns import Rule, Table
from claimx.domain.now_view import now_view
from claimx.domain.tables import ATTACHMENTS, MEDIA, PROJECTS, TABLES

T0 = 1_790_000_000_000_000
moments = st.integers(0, 40)
words = st.none() | st.sampled_from(["A", "B", "C"])
keys = st.sampled_from(["p", "q", "r"])


@st.composite
def project(draw) -> Change:
    at, key = draw(moments), {"project_id": draw(keys)}
    kind = draw(st.sampled_from(["answer", "invited", "xa", "mfn"]))
    if kind == "answer":
        values = key | {"status": draw(words), "city": draw(words)}
        return Change(PROJECTS.name, values, Source.ANSWER, f"a{at:02d}", T0 + at, T0 + 100 + at)
    facts: dict[str, dict[str, Any]] = {
        "invited": {"policyholder_invited_at": T0 + at},
        "xa": {"xa_autolink_fail": True, "xa_autolink_fail_at": T0 + at},
        "mfn": {"master_file_name": f"MFN of {key['project_id']}"},
    }
    return Change(PROJECTS.name, key | facts[kind], Source.EVENT, f"f{at:02d}", T0 + at)


@st.composite
def media(draw) -> Change:
    at = draw(moments)
    values = {"media_id": draw(keys), "file_name": draw(words), "downloadable": draw(st.booleans())}
    values["task_assignment_id"] = draw(st.none() | st.just(f"task of {values['media_id']}"))
    return Change(MEDIA.name, values, Source.ANSWER, f"a{at:02d}", T0 + at, T0 + at)


@st.composite
def results(draw) -> list[Change]:
    """Tries come one after the other: a file is not tried again before its failure is known."""
    found = []
    for number in range(draw(st.integers(1, 8))):
        at = T0 + 2000 * number
        status = draw(st.sampled_from(["completed", "failed"]))
        values = {"media_id": draw(keys), "status": status, "bytes": number, "error": None}
        values |= {"uploaded_at": at} if status == "completed" else {"error": f"e{number}"}
        found.append(Change(ATTACHMENTS.name, values, Source.RESULT, f"e{number}", at, at))
    return found


def changes_of(one: st.SearchStrategy[Change]) -> st.SearchStrategy[list[Change]]:
    def moment(change: Change) -> tuple[object, ...]:
        return (*(change.values[name] for name in TABLES[change.table].key), change.event_time)

    return st.lists(one, min_size=1, max_size=8, unique_by=moment)


cases = st.one_of(
    st.tuples(st.just(PROJECTS), changes_of(project())),
    st.tuples(st.just(MEDIA), changes_of(media())),
    st.tuples(st.just(ATTACHMENTS), results()),
)


def shown(table: Table, folder: Path) -> list[dict[str, Any]]:
    """Return what DuckDB makes of the view over both Delta tables."""
    connection = duckdb.connect()
    for name in (table.name, f"{table.name}{SUFFIX}"):
        connection.register(name, pa.table(DeltaTable(str(folder / name)).to_pyarrow_table()))
    found = connection.execute(now_view(table, table.name, f"{table.name}{SUFFIX}"))
    names = [column[0] for column in found.description]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def told(table: Table, rows: list[dict[str, Any]]) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Return the values that are no bookkeeping, by key."""
    kept = [column.name for column in table.columns if column.rule is not Rule.BOOKKEEPING]
    return {
        tuple(row[name] for name in table.key): {name: row[name] for name in kept} for row in rows
    }


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(cases, st.data())
def test_the_view_shows_now_what_a_fold_will_make_of_the_table(case, data):
    """Every answer here is a full one; others are the edge that the module names."""
    table, changes = case
    cut = data.draw(st.integers(0, len(changes)), "folded before")
    with tempfile.TemporaryDirectory() as folder:
        lake = DeltaLake(
            {name: f"{folder}/{name}" for name in TABLES}, sizes=Sizes(direct=-1, piece=3)
        )
        lake.ensure(table)
        for number, change in enumerate(changes):
            if number == cut:
                lake.large.fold(table)
            lake.upsert(table, [change], T0 + 1000 + 2000 * number)

        before = shown(table, Path(folder))
        lake.large.fold(table)
        after = DeltaTable(f"{folder}/{table.name}").to_pyarrow_table().to_pylist()

    assert len(before) == len(after)
    assert told(table, before) == told(table, after)
