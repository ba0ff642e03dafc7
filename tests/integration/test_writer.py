"""The lake writer as it runs: Redis below it, Delta tables above it."""

from __future__ import annotations

import subprocess
import sys
import time
from types import SimpleNamespace

import pyarrow as pa
import pytest
from deltalake import DeltaTable, Schema

from claimx.adapters.lake import DeltaLake
from claimx.adapters.ledger import RedisLedger
from claimx.adapters.memory.gates import MemoryGates
from claimx.domain.changes import Change, Source
from claimx.domain.codec import encode_changes
from claimx.domain.records import Advance, DeadFilter, Kind, NewRecord, Stage
from claimx.domain.tables import EVENTS, MEDIA, PROJECTS, TABLES
from claimx.services.write import LakeWriter
from claimx.telemetry.metrics import RecordedMetrics
from claimx.writer import _ensure_tables

pytestmark = pytest.mark.integration

T0 = 1_790_000_000_000_000
STEPS = 60


@pytest.fixture
def ledger(redis_client):
    return RedisLedger(redis_client, takeover_seconds=0.5)


@pytest.fixture
def lake(tmp_path):
    return DeltaLake({name: str(tmp_path / name) for name in TABLES})


@pytest.fixture
def make_writer(ledger, lake):
    gates, writers = MemoryGates(time.monotonic), []

    def make(name: str, **options) -> LakeWriter:
        options = {"batch_rows": 40, "batch_seconds": 0.2, "lease_seconds": 1.0} | options
        writer = LakeWriter(
            ledger,
            lake,
            gates,
            RecordedMetrics(),
            time.time,
            sleep=time.sleep,
            consumer=name,
            **options,
        )
        writers.append(writer)
        return writer

    yield make
    for writer in writers:
        writer.close()


def enriched(ledger, rows: dict[str, list[Change]]) -> None:
    """Bring events to WRITE with what was found for them."""
    page = NewRecord("p:1", Kind.PAGE, Stage.INGEST, {}, "t")
    ledger.store_page("live", None, T0, [page])
    (held,) = ledger.claim(Stage.INGEST, [page.id], 30.0)
    data = {"status": "enriched"}
    events = [NewRecord(name, Kind.EVENT, Stage.ENRICH, data, "t") for name in rows]
    ledger.admit(held, events, [], 3600.0)
    records = ledger.claim(Stage.ENRICH, list(rows), 30.0)
    ledger.settle(
        [Advance(one, Stage.WRITE, one.data, encode_changes(rows[one.id])) for one in records]
    )


def changes_of(number: int) -> list[Change]:
    event = {"event_id": f"{number:03}", "ingested_at": T0 + number}
    project = {"project_id": f"p{number % 5}", "status": f"{number}"}
    media = {"media_id": f"m{number % 30}", "project_id": f"p{number % 5}"}
    return [
        Change(EVENTS.name, event, Source.RESULT, event["event_id"], T0 + number),
        Change(PROJECTS.name, project, Source.ANSWER, event["event_id"], T0, T0 + number),
        Change(MEDIA.name, media, Source.ANSWER, event["event_id"], T0, T0 + number),
    ]


def work(ledger, *writers: LakeWriter) -> None:
    """Let writers and the redriver take turns until nothing is active."""
    for _ in range(STEPS):
        ledger.due(1000)
        for writer in writers:
            writer.step()
        if ledger.active() == 0:
            return


def test_events_reach_the_tables_once_and_the_ledger_adds_up(ledger, lake, make_writer):
    enriched(ledger, {f"e:{number}": changes_of(number) for number in range(100)})

    work(ledger, make_writer("w1"), make_writer("w2"))

    census = ledger.census()
    assert census.counters["event.recorded"] == 100
    assert (census.missing(Kind.EVENT), census.stream_length) == (0, 0)
    assert sorted(row["event_id"] for row in lake.rows(EVENTS)) == [f"{n:03}" for n in range(100)]
    projects = {row["project_id"]: row["status"] for row in lake.rows(PROJECTS)}
    assert projects == {"p0": "95", "p1": "96", "p2": "97", "p3": "98", "p4": "99"}
    assert len(lake.rows(MEDIA)) == 30


def test_what_a_dead_writer_held_is_written_by_the_next(ledger, lake, make_writer):
    enriched(ledger, {f"e:{number}": changes_of(number) for number in range(10)})
    dead = make_writer("dead", batch_seconds=600.0)
    dead.step()
    assert dead.buffered == 10

    work(ledger, make_writer("heir"))

    assert len(lake.rows(EVENTS)) == 10
    assert ledger.census().counters["event.recorded"] == 10


def test_a_row_that_cannot_be_stored_is_a_dead_letter_that_says_why(ledger, lake, make_writer):
    bad = Change(PROJECTS.name, {"project_id": "p", "year_built": "?"}, Source.ANSWER, "e", T0, T0)
    enriched(ledger, {"e:bad": [bad, *changes_of(1)], "e:good": changes_of(2)})

    work(ledger, make_writer("w"))

    (letter,) = ledger.dead_letters(DeadFilter())
    assert letter.id == "e:bad"
    assert letter.failure.message == (
        "claimx_projects.year_built: expected a whole number, found str"
    )
    assert [row["event_id"] for row in lake.rows(EVENTS)] == ["002"]


def test_a_table_of_another_schema_stops_alone_and_its_rows_wait(
    ledger, lake, make_writer, tmp_path
):
    """Somebody made it with a column of another type; what it says goes to the log, and to diff."""
    fields = [pa.field("media_id", pa.string()), pa.field("latitude", pa.string())]
    DeltaTable.create(str(tmp_path / MEDIA.name), Schema.from_arrow(pa.schema(fields)))
    _ensure_tables(SimpleNamespace(lake=lake), [], lambda: None)
    enriched(ledger, {f"e:{n}": changes_of(n) for n in range(20)})
    writer = make_writer("a")

    for _ in range(STEPS // 4):
        writer.step()

    assert len(lake.rows(PROJECTS)) == 5, "the others go on"
    assert lake.rows(EVENTS) == [], "none of these events is finished"
    assert ledger.dead_letters(DeadFilter()) == []

    (tmp_path / MEDIA.name).rename(tmp_path / "moved away")
    deadline = time.monotonic() + 60
    while len(lake.rows(EVENTS)) < 20 and time.monotonic() < deadline:
        ledger.due(1000)
        writer.step()

    assert len(lake.rows(EVENTS)) == 20
    assert len(lake.rows(MEDIA)) == 20


FOLDS_TOO_LONG = """
import socket, sys, time
from types import SimpleNamespace as Named
from deltalake import DeltaTable
from claimx import writer
from claimx.services import folding

folding._LOOK_SECONDS, writer._LEAVE_SECONDS = 0.01, 0.3
silent = socket.create_server(("127.0.0.1", 0))
options = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "region": "x"}
options |= {"endpoint": f"http://127.0.0.1:{silent.getsockname()[1]}", "allow_http": "true"}
options |= {"timeout": "2s", "max_retries": "0"}

def backlog(_table):
    DeltaTable("s3://lake/table", storage_options=options)

class Last:
    "Keeps the interpreter, which is ending, until deltalake has come back."

    def __del__(self, wait=time.sleep):
        wait(4)

lake = Named(large=Named(backlog=backlog))
begun = writer._Folding(Named(lake=lake, gates=None, metrics=None, now=time.time, holder="me"))
held = silent.accept()
sys.last = Last()
begun.stop()
begun.leave()
"""


def test_a_writer_that_leaves_in_the_midst_of_a_fold_ends_well():
    """The thread came back from Rust into an interpreter that was ending, and crashed it."""
    done = subprocess.run(
        [sys.executable, "-c", FOLDS_TOO_LONG],
        check=False,
        capture_output=True,
        text=True,
        timeout=100,
    )

    assert (done.returncode, done.stderr) == (0, "")
