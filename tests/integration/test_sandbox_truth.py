"""
The sandbox's truth and the pipeline's rules, written apart from each other, come to the same lake.

The world's rows are read over Kusto and handled over HTTP; only queues, retries and Delta are left
out. Where the two differ, one of them misreads the domain page.
"""

from __future__ import annotations

import asyncio
import time
from datetime import date

import pytest

import claimx.handlers  # noqa: F401 - registers the handlers
from claimx.adapters.api_token import TokenSource
from claimx.adapters.claimx_api import HTTPClaimXApi
from claimx.adapters.kusto import KustoSource
from claimx.adapters.memory.gates import MemoryGates
from claimx.adapters.memory.lake import MemoryLake
from claimx.domain import times
from claimx.domain.changes import Enrichment
from claimx.domain.columns import ColumnType
from claimx.domain.errors import ErrorCategory, category_of
from claimx.domain.polling import TIME
from claimx.domain.tables import ATTACHMENTS, TABLES
from claimx.handlers.registry import handler_for
from claimx.sandbox.server import Sandbox
from claimx.sandbox.truth import compare
from claimx.sandbox.world import World
from claimx.services.calls import CountedApi, ProjectAnswers, ProjectChecks
from claimx.services.enrich import event_row
from claimx.services.source_rows import read_row
from claimx.telemetry.metrics import RecordedMetrics

pytestmark = pytest.mark.integration

TRIES = 5


class Run:
    """Handles every row once, as the stages would, and keeps what came of it."""

    def __init__(self, sandbox):
        self.sandbox = sandbox
        self.gates = MemoryGates(time.time)
        self.changes = []
        self.media = set()
        self.dead = {}
        self.seen = set()

    def rows(self):
        source = KustoSource(
            self.sandbox.kusto_url,
            self.sandbox.kusto.database,
            self.sandbox.kusto.table,
            None,
            20.0,
            self.gates,
        )
        after = times.from_seconds(self.sandbox.world.at.timestamp() - 3600)
        until = times.from_seconds(time.time())
        while page := source.page(after, until, 500):
            yield from page
            after = max(row[TIME] for row in page)
        source.close()

    async def all(self):
        api = HTTPClaimXApi(
            self.sandbox.api_url,
            TokenSource(self.sandbox.api.token),
            self.gates,
            RecordedMetrics(),
            holder="test",
        )
        checks = ProjectChecks(api, self.gates, ProjectAnswers(time.time, 300))
        limit = asyncio.Semaphore(20)

        async def one(row):
            async with limit:
                await self.handle(row, api, checks)

        await asyncio.gather(*(one(row) for row in self.rows()))
        await api.close()

    async def handle(self, row, api, checks):
        _, event = read_row(row)
        if isinstance(event, Exception):
            key = row.get("event_id") or row.get("eventId")
            self.dead[key] = ("ingest", category_of(event))
            return
        if event.event_id in self.seen:
            return
        self.seen.add(event.event_id)
        handled = handler_for(event.type)
        for tries in range(1, TRIES + 1):
            found, counted = Enrichment(), CountedApi(api, checks)
            try:
                if handled is not None:
                    await handled[1](event, counted, found)
            except Exception as error:  # noqa: BLE001 - judged by its category, as the stage does
                category = category_of(error)
                if category is ErrorCategory.TRANSIENT and tries < TRIES:
                    continue
                self.dead[event.event_id] = ("enrich", category)
            else:
                self.changes.append(
                    event_row(
                        event,
                        handler=handled[0] if handled else None,
                        api_calls=counted.calls,
                        attempts=tries,
                        processed_at=times.from_seconds(time.time()),
                    )
                )
            self.changes.extend(found.changes)
            self.media |= {item.media_id for item in found.media}
            return

    def tables(self):
        lake = MemoryLake()
        for table in TABLES.values():
            lake.ensure(table)
            mine = [change for change in self.changes if change.table == table.name]
            lake.upsert(table, mine, times.from_seconds(time.time()))
        return {
            name: [readable(table, row) for row in lake.tables[name].values()]
            for name, table in TABLES.items()
        }


def readable(table, row):
    """Return the row as a Delta reader gives it."""
    given = dict(row)
    for column in table.columns:
        value = given.get(column.name)
        if value is not None and column.type is ColumnType.TIME:
            given[column.name] = times.to_datetime(value)
        if value is not None and column.type is ColumnType.DAY:
            given[column.name] = date.fromisoformat(value)
    return given


@pytest.mark.parametrize("seed", [3, 9])
def test_handlers_and_truth_agree_on_every_row(tmp_path, seed):
    world = World(seed, 700, time.time() - 60)
    with Sandbox(world, tmp_path) as sandbox:
        run = Run(sandbox)
        asyncio.run(run.all())

    expected = {k: v for k, v in world.expected(faults=False).items() if k != ATTACHMENTS.name}
    assert [str(difference) for difference in compare(expected, run.tables())] == []
    truth = world.truth
    assert set(run.dead) == set(truth.dead)
    for key, (stage, category) in run.dead.items():
        assert stage in truth.dead[key].stages
        assert category in truth.dead[key].categories
    assert run.media == {key for (key,) in truth.tables[ATTACHMENTS.name]}
