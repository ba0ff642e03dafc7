"""
Two writers that keep what they know of a table, beside people who do to it what they like.

Held against a dict to which the same was done. Deaths between two steps of a flush are in
`test_upsert_crashes.py`, names that MFN events give in
`tests/integration/test_names_of_others.py`.
"""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, Field, write_deltalake
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lakes import T0, lake_in

from claimx.adapters.lake import DeltaLake
from claimx.adapters.lake.known_keys import KnownKeys
from claimx.adapters.lake.known_rows import KnownRows
from claimx.adapters.lake.rewriting import parts_of, written
from claimx.adapters.lake.scan import actions_of
from claimx.adapters.lake.schema import to_arrow
from claimx.domain.changes import Change, Source, Values
from claimx.domain.columns import Table
from claimx.domain.errors import Unavailable
from claimx.domain.tables import ATTACHMENTS, CONTACTS, EVENTS, MEDIA
from claimx.domain.upsert import Key, by_key, merge, partition_day

CORRECTED = {MEDIA: "file_name", ATTACHMENTS: "error", EVENTS: "handler", CONTACTS: "first_name"}
DAY = 86_400_000_000


def key_values(table: Table, number: int) -> Values:
    if table is CONTACTS:
        # whose parts, each for itself, are those of others
        parts = (f"p{number % 2}", f"{number // 2}@a.b", "CLAIM_REP")
        return dict(zip(table.key, parts, strict=True))
    return {table.key[0]: f"k{number}"}


def said(table: Table, number: int, at: int, word: str | None) -> Change:
    values = key_values(table, number)
    if table is EVENTS:
        values |= {"ingested_at": T0 + number * DAY, "handler": word}
        return Change(table.name, values, Source.RESULT, f"k{number}", T0 + number * DAY)
    if table is ATTACHMENTS:
        values |= {"status": "completed", "uploaded_at": T0 + at} if word else {"status": "failed"}
        values |= {"error": None if word else f"error {at}", "bytes": at}
        return Change(table.name, values, Source.RESULT, f"e{at}", T0 + at, T0 + at)
    values[CORRECTED[table]] = word
    return Change(table.name, values, Source.ANSWER, f"e{at}", T0, T0 + at)


class World:
    """A table, its writers, and what it must hold."""

    def __init__(self, table: Table, folder: Path, most_keys: int, most_bytes: int) -> None:
        self.table, self.folder = table, folder
        self.path = folder / table.name
        self.most = (most_keys, most_bytes)
        self.writers = [self.writer(), self.writer()]
        self.rows: dict[Key, Values] = {}
        self.marked: set[Key] = set()
        self.at: dict[int, tuple[dict[Key, Values], set[Key]]] = {}  # by version
        self.copied: tuple[Any, ...] = ()
        self.now = T0 + 1000

    def writer(self) -> DeltaLake:
        lake = lake_in(self.folder)
        handle = lake._handles[self.table.name]
        handle.known_keys, handle.known_rows = KnownKeys(self.most[0]), KnownRows(self.most[1])
        return lake

    @property
    def delta(self) -> DeltaTable:
        return DeltaTable(self.path)

    def key(self, number: int) -> Key:
        return tuple(key_values(self.table, number).values())

    def where(self, number: int) -> str:
        parts = key_values(self.table, number).items()
        return " AND ".join(f"{name} = '{value}'" for name, value in parts)

    # what writers do

    def flush(self, who: int, told: list[Any], meanwhile: Callable[[], None] | None = None) -> None:
        """Write a batch; *meanwhile* something happens after it has read and before it writes."""
        changes = [said(self.table, *one) for one in told]
        self.now += 1
        now = self.now
        changed = self.merged(changes, now) != self.rows
        if meanwhile:
            happen_once(self.writers[who], meanwhile)
        for tries in range(3):
            try:
                self.writers[who].upsert(self.table, changes, now)
                break
            except Unavailable:  # as the writer does, which then applies it again
                assert tries < 2
        if changed or not meanwhile:  # else it had nothing to write, and was over before
            self.rows = self.merged(changes, now)

    def merged(self, changes: list[Change], now: int) -> dict[Key, Values]:
        found = dict(self.rows)
        for key, group in by_key(self.table, changes).items():
            found[key] = merge(self.table, found.get(key), group, now)
        return found

    def fresh(self, number: int) -> None:
        """A writer ends, and another takes its place."""
        self.writers[number % 2] = self.writer()

    def die(self, number: int) -> None:
        """A writer dies behind the files that it wrote and before their commit."""
        if self.table is not EVENTS:
            rows = parts_of(self.delta, [one["path"] for one in actions_of(self.delta)])
            written(self.delta, self.table, pa.concat_tables(rows), 100)
        self.fresh(number)

    def maintain(self, number: int) -> None:
        """Our own upkeep."""
        assert not self.writer().maintain(self.table, full=number % 2 == 0).problems

    # what others do

    def delete(self, number: int) -> None:
        self.delta.delete(self.where(number))
        self.rows.pop(self.key(number), None)
        self.marked.discard(self.key(number))

    def correct(self, number: int) -> None:
        column = CORRECTED[self.table]
        self.delta.update({column: "'corrected'"}, predicate=self.where(number))
        if self.key(number) in self.rows:
            self.rows[self.key(number)] = self.rows[self.key(number)] | {column: "corrected"}

    def append(self, number: int) -> None:
        if self.key(number) in self.rows:
            return
        row = dict.fromkeys(self.table.column_names) | said(self.table, number, 0, "A").values
        if self.table is EVENTS:
            row["event_date"] = partition_day(EVENTS, row, T0)
        write_deltalake(self.delta, to_arrow(self.table, [row]), mode="append", schema_mode="merge")
        self.rows[self.key(number)] = row

    def mark(self, number: int) -> None:
        """Write into a column of their own; where no such row is, only the column is added."""
        if "extra" not in {field.name for field in self.delta.schema().fields}:
            self.delta.alter.add_columns([Field("extra", "string")])
        self.delta.update({"extra": "'theirs'"}, predicate=self.where(number))
        if self.key(number) in self.rows:
            self.marked.add(self.key(number))

    def compact(self, number: int) -> None:
        if number % 2:
            self.delta.optimize.compact()
        else:
            self.delta.optimize.z_order(list(self.table.key))

    def rewrite(self, number: int) -> None:
        stored = self.delta.to_pyarrow_table()
        if number % 2:
            stored = stored.take(pa.array(range(stored.num_rows - 1, -1, -1), pa.int64()))
        write_deltalake(self.delta, stored, mode="overwrite")

    def vacuum(self, _: int) -> None:
        self.delta.vacuum(0, dry_run=False, enforce_retention_duration=False)
        self.at.clear()

    def restore(self, number: int) -> None:
        versions = sorted(self.at)[:-1]
        if versions:
            version = versions[-1 - number % len(versions)]
            self.delta.restore(version)
            rows, marked = self.at[version]
            self.rows, self.marked = dict(rows), set(marked)

    def drop(self, _: int) -> None:
        shutil.rmtree(self.path)
        self.rows, self.marked = {}, set()
        self.at.clear()

    def copy(self, _: int) -> None:
        shutil.rmtree(self.folder / "copy", ignore_errors=True)
        shutil.copytree(self.path, self.folder / "copy")
        self.copied = (dict(self.rows), set(self.marked), dict(self.at))

    def put_back(self, _: int) -> None:
        if self.copied:
            shutil.rmtree(self.path)
            shutil.copytree(self.folder / "copy", self.path)
            rows, marked, at = self.copied
            self.rows, self.marked, self.at = dict(rows), set(marked), dict(at)

    def check(self, *readers: DeltaLake) -> None:
        """Hold the table, as *readers* and as others read it, against what it must hold."""
        if not self.path.exists():
            assert not self.rows
            return
        right = in_order(self.table, list(self.rows.values()))
        for lake in readers:
            assert in_order(self.table, lake.rows(self.table)) == right
        stored = self.delta.to_pyarrow_table().to_pylist()
        theirs = {tuple(row[name] for name in self.table.key) for row in stored if row.get("extra")}
        assert theirs == self.marked
        for lake in self.writers:
            handle = lake._handles[self.table.name]
            kept = handle.known_rows._kept.values()
            assert len(handle.known_keys) <= self.most[0]
            assert sum(one.get_total_buffer_size() for one in kept) <= self.most[1]
        self.at[self.delta.version()] = (dict(self.rows), set(self.marked))


def in_order(table: Table, rows: list[Values]) -> list[Values]:
    return sorted(rows, key=lambda row: [row[name] for name in table.key])


def happen_once(lake: DeltaLake, action: Callable[[], None]) -> None:
    """Let *action* happen between the next commit's reading and its writing."""
    of, left = lake._deciding.of, [action]

    def meddled(*arguments: Any) -> Any:
        decide = of(*arguments)

        def decided(stored: Any) -> Any:
            plan = decide(stored)
            if left:
                left.pop()()
            return plan

        return decided

    lake._deciding.of = meddled  # type: ignore[method-assign]


OTHERS = ["delete", "correct", "append", "mark", "compact", "rewrite", "vacuum", "restore"]
ALONE = ["drop", "copy", "put_back", "fresh", "die", "maintain"]

numbers = st.integers(0, 3)
who = st.integers(0, 1)
batches = st.lists(
    st.tuples(numbers, st.integers(0, 40), st.sampled_from(["A", "B", None])),
    min_size=1,
    max_size=5,
)
flushes = st.tuples(st.just("flush"), who, batches)
others = st.tuples(st.sampled_from(OTHERS), numbers)
beside = st.tuples(st.just("flush"), who, batches, others | flushes)
alone = st.tuples(st.sampled_from(ALONE), numbers)


@pytest.mark.parametrize("table", [MEDIA, CONTACTS, ATTACHMENTS, EVENTS], ids=lambda one: one.name)
@settings(
    max_examples=10,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(
    first=flushes,
    steps=st.lists(flushes | flushes | beside | others | alone, min_size=4, max_size=10),
    most_keys=st.sampled_from([0, 3, 200_000]),
    most_bytes=st.sampled_from([0, 1500, 4_000_000]),
)
def test_a_table_holds_what_was_said_and_done(table, first, steps, most_keys, most_bytes):
    with tempfile.TemporaryDirectory() as folder:
        world = World(table, Path(folder), most_keys, most_bytes)
        for step in [first, *steps]:
            run(world, step)
            world.check(world.writer())  # the two are not to hear of it
        world.check(*world.writers)


@pytest.mark.parametrize("table", [CONTACTS, EVENTS], ids=lambda one: one.name)
@pytest.mark.parametrize("what", OTHERS)
def test_whatever_others_do_before_a_flush_or_in_the_midst_of_it(table, what, tmp_path):
    """Each of it, and not only what chance brings together: to a row that is there, and to none."""
    for turn, (number, amid) in enumerate(itertools.product((0, 3), (False, True))):
        world = World(table, tmp_path / f"{turn}", 200_000, 4_000_000)
        for at in (1, 2):
            world.flush(0, [(0, at, "A"), (at, at, "A")])
            world.check()
        told = [(0, 9, "B"), (3, 9, "B")]

        if amid:
            world.flush(0, told, lambda: getattr(world, what)(number))  # noqa: B023 - called at once
        else:
            getattr(world, what)(number)
            world.flush(0, told)

        world.check(*world.writers)


def run(world: World, step: Any) -> None:
    """Do a step; others have nothing to do where there is no table."""
    match step:
        case ("flush", who, told):
            world.flush(who, told)
        case ("flush", who, told, ("flush", _, others_told)) if world.path.exists():
            world.flush(who, told, lambda: world.flush(1 - who, others_told))
        case ("flush", who, told, (what, number)) if world.path.exists():
            world.flush(who, told, lambda: getattr(world, what)(number))
        case (what, number) if world.path.exists():
            getattr(world, what)(number)
        case _:
            pass
