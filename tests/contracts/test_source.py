"""
What every `EventSource` promises: the one in memory, and Eventhouse over the sandbox.

That one also with its next page read ahead, as processes have it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from claimx.adapters.kusto import KustoSource
from claimx.adapters.memory.gates import MemoryGates
from claimx.adapters.memory.source import MemorySource
from claimx.adapters.read_ahead import ClosableSource, ReadAhead
from claimx.domain.ports.source import EventSource
from claimx.domain.times import from_datetime
from claimx.sandbox.kusto import KustoCluster
from claimx.sandbox.rows import SourceRow as SandboxRow

START = datetime(2026, 1, 1, tzinfo=UTC)
BASE = from_datetime(START)
HOUR = 3_600_000_000


@dataclass
class Table:
    """Rows to be served: values, microseconds after START, the 100 ns digit."""

    rows: list[tuple[dict[str, Any], int, int]] = field(default_factory=list)

    def add(self, event_id: str | None, at: int, tick: int = 0, **values: Any) -> None:
        values = {"event_type": "X", **values}
        if event_id is not None:
            values.setdefault("event_id", event_id)
        self.rows.append((values, at, tick))


Serve = Callable[[Table], EventSource]


@pytest.fixture(params=["memory", "kusto", "kusto, read ahead"])
def serve(request) -> Iterator[Serve]:
    """What makes a source of a table."""
    if request.param == "memory":
        yield _in_memory
        return
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    clusters: list[KustoCluster] = []
    sources: list[ClosableSource] = []

    def behind_http(table: Table) -> EventSource:
        rows = [
            SandboxRow(values, START + timedelta(microseconds=at), tick, 0.0)
            for values, at, tick in table.rows
        ]
        cluster = KustoCluster(rows, "db", "ClaimXEvents")
        clusters.append(cluster)

        async def listen() -> None:
            await cluster.listen()

        asyncio.run_coroutine_threadsafe(listen(), loop).result(10)
        gates = MemoryGates(lambda: 0.0)
        source = KustoSource(cluster.url, "db", "ClaimXEvents", None, 20.0, gates)
        sources.append(source if request.param == "kusto" else ReadAhead(lambda: source, 30.0))
        return sources[-1]

    yield behind_http
    for source in sources:
        source.close()
    for cluster in clusters:
        asyncio.run_coroutine_threadsafe(cluster.close(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


def _in_memory(table: Table) -> EventSource:
    source = MemorySource()
    for values, at, _ in table.rows:
        source.add([values], BASE + at)
    return source


def ids(rows: list[dict[str, Any]]) -> list[str]:
    return [row.get("event_id") or row.get("eventId") or "" for row in rows]


def test_rows_come_oldest_first_with_their_time(serve):
    table = Table()
    for name, at in (("b", 2_000_000), ("a", 1_000_000), ("c", 3_000_001)):
        table.add(name, at)

    rows = serve(table).page(BASE, BASE + HOUR, 10)

    assert ids(rows) == ["a", "b", "c"]
    assert [row["_ingestion_time"] - BASE for row in rows] == [1_000_000, 2_000_000, 3_000_001]
    assert all(type(row["_ingestion_time"]) is int for row in rows)


def test_the_window_excludes_its_begin_and_includes_its_end(serve):
    table = Table()
    for at in range(4):
        table.add(f"e{at}", at)

    rows = serve(table).page(BASE + 1, BASE + 2, 10)

    assert ids(rows) == ["e2"]


def test_every_tick_of_a_microsecond_is_in_that_microsecond(serve):
    """Two windows that meet at a microsecond share no row and lose none."""
    table = Table()
    for tick in range(10):
        table.add(f"e{tick}", 5, tick)
    source = serve(table)

    before = source.page(BASE, BASE + 4, 100)
    of_it = source.page(BASE + 4, BASE + 5, 100)
    after = source.page(BASE + 5, BASE + HOUR, 100)

    assert (len(before), len(of_it), len(after)) == (0, 10, 0)
    assert {row["_ingestion_time"] for row in of_it} == {BASE + 5}


def test_a_page_never_ends_within_one_ingestion_time(serve):
    table = Table()
    for n in range(2):
        table.add(f"a{n}", 10)
    for n in range(3):
        table.add(f"b{n}", 20, tick=n)
    source = serve(table)

    first = source.page(BASE, BASE + HOUR, 3)
    second = source.page(first[-1]["_ingestion_time"], BASE + HOUR, 3)

    assert sorted(ids(first)) == ["a0", "a1"]
    assert sorted(ids(second)) == ["b0", "b1", "b2"]


def test_an_ingestion_time_larger_than_the_page_comes_whole(serve):
    table = Table()
    for n in range(7):
        table.add(f"a{n}", 10, tick=n)
    table.add("b", 11)

    rows = serve(table).page(BASE, BASE + HOUR, 2)

    assert sorted(ids(rows)) == [f"a{n}" for n in range(7)]


def test_a_whole_page_at_the_end_is_not_mistaken_for_a_cut_one(serve):
    table = Table()
    for n in range(3):
        table.add(f"a{n}", n)
    source = serve(table)

    assert len(source.page(BASE - 1, BASE + HOUR, 3)) == 3
    assert source.page(BASE + 2, BASE + HOUR, 3) == []


def test_excluded_ids_are_left_out_and_rows_without_an_id_never_are(serve):
    table = Table()
    table.add("a", 1)
    table.add("b", 2)
    table.add(None, 3)
    table.add(None, 4, eventId="c")
    table.add(None, 5, eventId="d")

    rows = serve(table).page(BASE, BASE + HOUR, 10, ["a", "c", "", 'x"]) | take 0 //'])

    assert ids(rows) == ["b", "", "d"]


def test_an_excluded_row_does_not_count_for_the_page(serve):
    """Else a page of known rows would look like a dry source."""
    table = Table()
    for n in range(6):
        table.add(f"e{n}", n + 1)

    rows = serve(table).page(BASE, BASE + HOUR, 2, ["e0", "e1", "e2", "e3"])

    assert ids(rows) == ["e4", "e5"]


def test_many_ids_can_be_excluded(serve):
    table = Table()
    for n in range(20):
        table.add(f"e{n}", n)

    rows = serve(table).page(BASE - 1, BASE + HOUR, 10, [f"e{n}" for n in range(1, 5000)])

    assert ids(rows) == ["e0"]


def test_values_are_json_as_the_source_has_them(serve):
    table = Table()
    table.add("a", 1, project_id=42, media_ids=["1", 2], payload={"x": [None, 1.5]})

    [row] = serve(table).page(BASE, BASE + HOUR, 10)

    assert row["project_id"] == 42
    assert row["media_ids"] == ["1", 2]
    assert row["payload"] == {"x": [None, 1.5]}


@pytest.mark.parametrize(("after", "until", "limit"), [(10, 10, 5), (10, 5, 5), (0, 10, 0)])
def test_an_empty_window_or_limit_gives_nothing(serve, after, until, limit):
    table = Table()
    table.add("a", 7)

    assert serve(table).page(BASE + after, BASE + until, limit) == []


def test_an_empty_table_gives_nothing(serve):
    source = serve(Table())

    assert source.page(BASE, BASE + HOUR, 10) == []
    assert source.count(BASE, BASE + HOUR) == 0


def test_a_count_is_of_the_rows_that_pages_would_give(serve):
    table = Table()
    for at in range(5):
        table.add(f"e{at}", at, tick=9)
    table.add(None, 3)
    source = serve(table)

    counts = [source.count(BASE + after, BASE + until) for after, until in ((0, 4), (1, 3), (2, 2))]

    assert counts == [5, 3, 0]


def test_rows_without_an_id_of_their_own_can_be_paged_alone(serve):
    table = Table()
    table.add("a", 1)
    table.add(None, 2)
    table.add(None, 3, eventId="b")
    table.add(None, 4)
    table.add("", 5)
    source = serve(table)

    rows = source.nameless(BASE, BASE + HOUR, 10)

    assert [row["_ingestion_time"] - BASE for row in rows] == [2, 4, 5]
    assert len(source.nameless(BASE, BASE + HOUR, 2)) == 2
    assert source.nameless(BASE + 5, BASE + HOUR, 10) == []


def test_rows_are_found_by_their_own_ids_whenever_they_came(serve):
    table = Table()
    table.add("a", 1)
    table.add("b", 2)
    table.add(None, 3)
    table.add(None, HOUR * 50, eventId="c")
    table.add("a", HOUR * 90)
    source = serve(table)

    rows = source.having(["a", "c", "nobody", "", 'x"]) | take 0 //'])

    assert ids(rows) == ["a", "c", "a"]
    assert source.having([]) == []


def test_thousands_of_ids_can_be_looked_for(serve):
    table = Table()
    for n in range(20):
        table.add(f"e{n}", n)

    rows = serve(table).having([f"e{n}" for n in range(10, 5000)])

    assert len(rows) == 10


def test_the_oldest_row_tells_how_far_back_the_source_goes(serve):
    table = Table()
    table.add("b", 7, tick=3)
    table.add(None, 5)
    source = serve(table)

    assert source.oldest(BASE + HOUR) == BASE + 5
    assert source.oldest(BASE + 5) == BASE + 5
    assert source.oldest(BASE + 4) is None
    assert serve(Table()).oldest(BASE) is None
