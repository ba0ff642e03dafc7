"""
Any program leaves the same rows, and the same answers, in memory and in Delta tables.

In small tables of two writers, and in large ones that are folded now and then. All nine tables take
part, with values from the edges of their types, projects that MFN events name, and policyholders
from three sources. What one table alone holds is in `test_upsert.py`, others who meddle are in
`test_lake_beside_others.py`.
"""

from __future__ import annotations

import itertools
import math
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lakes import T0, paths_below

from claimx.adapters.lake import DeltaLake, Sizes
from claimx.adapters.memory.lake import MemoryLake
from claimx.domain.changes import Change, Source, Values
from claimx.domain.columns import Column, ColumnType, Rule, Table
from claimx.domain.tables import (
    ATTACHMENTS,
    CONTACTS,
    EVENTS,
    MEDIA,
    POLICYHOLDER,
    PROJECTS,
    TABLES,
)
from claimx.domain.times import EARLIEST, LATEST

LARGE = Sizes(direct=-1, piece=2, most_of_piece=4, changes=3)
NAMED_LATER = ("master_file_name", "updated_at", "event_id")
IDS = ["p", "q", "日" * 70, "\U00020bb7x", "\U0010ffff" * 70, "z" * 100]
DAY = 86_400_000_000
BEGIN = T0 + 1000 * DAY

TEXTS = [None, "A", "B", "", "O'Hara", "\U00020bb7野家", "z" * 300, "\n", "\u202e", "e\u0301"]
EDGES: dict[ColumnType, list[Any]] = {
    ColumnType.TEXT: TEXTS,
    ColumnType.INTEGER: [None, 0, 1, -1, 2**63 - 1, -(2**63)],
    ColumnType.DOUBLE: [None, 0.0, -0.0, 1.5, math.inf, -math.inf, math.nan, 5, 2**70],
    ColumnType.BOOLEAN: [None, True, False],
    ColumnType.TIME: [None, 0, 1, -1, EARLIEST, LATEST, T0, T0 + 1, T0 + DAY],
}
KEYS: dict[str, list[str]] = {
    "project_id": ["p", "q"],
    "contact_email": ["a@b.c", "d@e.f"],
    "contact_type": [POLICYHOLDER, "CLAIM_REP"],
}
moments = st.builds(lambda at, unit: T0 + at * unit, st.integers(0, 60), st.sampled_from([1, DAY]))
times = moments | st.sampled_from([EARLIEST, 0, LATEST])
event_ids = st.sampled_from("abcdefgh")


def keys_of(table: Table) -> st.SearchStrategy[Values]:
    parts = {name: KEYS[name] if table is CONTACTS else IDS for name in table.key}
    return st.fixed_dictionaries({name: st.sampled_from(some) for name, some in parts.items()})


def spoken_of(table: Table) -> list[Column]:
    kept = (Rule.KEY, Rule.BOOKKEEPING)
    return [one for one in table.columns if one.rule not in kept and one.type in EDGES]


def values_of(table: Table, *, whole: bool = False) -> st.SearchStrategy[Values]:
    edges = {one.name: st.sampled_from(EDGES[one.type]) for one in spoken_of(table)}
    return st.fixed_dictionaries(edges) if whole else st.fixed_dictionaries({}, optional=edges)


@st.composite
def changes_of(draw, table: Table) -> Change:
    key, at, event_id = draw(keys_of(table)), draw(moments), draw(event_ids)
    if table is EVENTS:
        values = key | draw(values_of(table))
        return Change(table.name, values, Source.RESULT, key["event_id"], draw(times))
    if table is ATTACHMENTS:
        status = draw(st.sampled_from(["completed", "failed"]))
        values = key | draw(values_of(table)) | {"status": status}
        values["uploaded_at"] = at if status == "completed" else None
        return Change(table.name, values, Source.RESULT, event_id, at, at)
    # of a file an answer says all: what waits beside a large table is told apart by that
    values = key | draw(values_of(table, whole=table is MEDIA))
    source = Source.ANSWER
    if table is PROJECTS and draw(st.booleans()):
        fact = draw(st.sampled_from(["policyholder_invited_at", "xa_autolink_fail_at"]))
        return Change(table.name, key | {fact: at}, Source.EVENT, event_id, at)
    if table is CONTACTS and key["contact_type"] == POLICYHOLDER:
        source = draw(st.sampled_from([Source.ANSWER, Source.LINK]))
        values["is_primary_contact"] = source is Source.ANSWER
        if source is Source.LINK:
            values.pop("master_file_name", None)
            values["task_assignment_id"] = draw(st.sampled_from("78"))
    return Change(table.name, values, source, event_id, at, at)


@st.composite
def naming(draw) -> list[Change]:
    """What an MFN event says: of its project, and of who is its policyholder then."""
    at, event_id = draw(moments), draw(event_ids)
    project, email = draw(st.sampled_from("pq")), draw(st.sampled_from(KEYS["contact_email"]))
    who = {"contact_email": email, "contact_type": POLICYHOLDER}
    told = {"project_id": project, "master_file_name": draw(st.sampled_from("XYZ"))}
    return [
        Change(PROJECTS.name, told, Source.EVENT, event_id, at),
        Change(CONTACTS.name, told | who, Source.EVENT, event_id, at),
    ]


def batches_of(*tables: Table) -> st.SearchStrategy[list[Change]]:
    return st.sampled_from(tables).flatmap(
        lambda table: st.lists(changes_of(table), min_size=1, max_size=5)
    )


def program_of(batches: st.SearchStrategy[list[Change]], most: int) -> st.SearchStrategy[Any]:
    steps = st.tuples(batches, st.integers(0, 1), st.booleans())
    return st.lists(steps, min_size=2, max_size=most)


programs = {
    "all": program_of(batches_of(*TABLES.values()), 10),
    "names": program_of(batches_of(CONTACTS) | batches_of(PROJECTS, CONTACTS) | naming(), 12),
}


class Lakes:
    """One lake in memory, and writers of small and of large tables."""

    def __init__(self, folder: Path) -> None:
        self.memory = MemoryLake()
        self.small = [DeltaLake(paths_below(folder / "small")) for _ in range(2)]
        self.large = [
            DeltaLake(paths_below(folder / "large"), sizes=LARGE, spill_folder=folder / "spill")
            for _ in range(2)
        ]
        self.now = BEGIN

    def say(self, changes: list[Change], who: int, folds: bool) -> None:
        table = TABLES[changes[0].table]
        self.now += 1
        right = self.memory.upsert(table, changes, self.now)
        small = self.small[who].upsert(table, changes, self.now)
        large = self.large[who].upsert(table, changes, self.now)
        if table is PROJECTS or (folds and not table.insert_only):  # names come with a fold
            self.large[1 - who].large.fold(table)
        assert right.refused == small.refused == large.refused == ()
        counts = (right.inserted, right.updated, right.unchanged)
        assert (small.inserted, small.updated, small.unchanged) == counts
        assert rows_of(self.small[1 - who], table) == rows_of(self.memory, table)
        apart = NAMED_LATER if table is CONTACTS else ()
        assert rows_of(self.large[who], table, apart) == rows_of(self.memory, table, apart)


def rows_of(lake: Any, table: Table, apart: tuple[str, ...] = ()) -> list[Values]:
    return ordered([{n: v for n, v in row.items() if n not in apart} for row in lake.rows(table)])


def ordered(rows: list[Values]) -> list[Values]:
    """Return rows in one order, a double that is no number as what equals itself."""
    found = [
        {name: "nan" if value != value else value for name, value in row.items()}  # noqa: PLR0124
        for row in rows
    ]
    return sorted(found, key=lambda row: [str(value) for value in row.values()])


RUN = settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.mark.parametrize("kind", programs)
@RUN
@given(st.data())
def test_any_program_leaves_the_same_rows(kind, data):
    program = data.draw(programs[kind])
    with tempfile.TemporaryDirectory() as folder:
        lakes = Lakes(Path(folder))
        for changes, who, folds in program:
            # what an MFN event says goes to two tables
            for _, some in itertools.groupby(changes, key=lambda change: change.table):
                lakes.say(list(some), who, folds)


AUDITED = [EVENTS, MEDIA, ATTACHMENTS]
bounds = st.none() | times
flushes = st.integers(0, 8).map(lambda number: BEGIN + number)


@RUN
@given(
    st.lists(batches_of(EVENTS, *AUDITED), min_size=2, max_size=6),
    st.booleans(),
    st.data(),
)
def test_whatever_is_asked_has_the_same_answer(program, folds, data):
    with tempfile.TemporaryDirectory() as folder:
        lakes = Lakes(Path(folder))
        for changes in program:
            lakes.say(changes, 0, folds)
        for _ in range(3):
            since, until = sorted((data.draw(times), data.draw(times)))
            limit, behind = data.draw(st.integers(1, 4)), data.draw(st.sampled_from(["", *IDS]))
            ids = data.draw(st.lists(st.sampled_from([*IDS, "nobody"]), unique=True))
            span, failed_too = (data.draw(bounds), data.draw(bounds)), data.draw(st.booleans())
            written = sorted((data.draw(flushes), data.draw(flushes)))
            asked = (since, until, limit, behind, ids, span, failed_too, written)
            right = answers(lakes.memory, *asked)
            assert answers(lakes.small[1], *asked) == right
            assert answers(lakes.large[1], *asked) == right


def answers(lake, since, until, limit, behind, ids, span, failed_too, written) -> dict[str, Any]:
    """Return what the pipeline asks; days are few where it asks by day."""
    audit, days = lake.audit, min(until, since + 3 * DAY)
    media = lake.unattached_media(
        limit, behind, span[0], enriched_after=span[1], failed_too=failed_too
    )
    return {
        "known": lake.known_events(ids, since, days),
        "recent": lake.recent_events(since, until, limit),
        "unattached": ordered(media),
        "events": ordered(audit.events(ids, since, until)),
        "other": audit.other_events(ids, since, until, limit, behind),
        "repeated": [audit.repeated(one, since, until, limit, behind) for one in AUDITED],
        "lost": audit.attachments_without_media(*written, limit, behind),
        "there": [audit.media_in(one, ids) for one in (MEDIA, ATTACHMENTS)],
    }
