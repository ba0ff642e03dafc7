"""A process that is to end begins nothing, and gives back what it cannot finish."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time

import pytest

from claimx.adapters import leaving, leaving_step
from claimx.adapters.memory.gates import MemoryGates
from claimx.adapters.memory.hints import MemoryHints
from claimx.adapters.memory.ledger import MemoryLedger
from claimx.domain.records import Advance, Kind, NewRecord, Outcome, Record, Stage, State
from claimx.domain.retry import RetryPolicy
from claimx.services import chunk
from claimx.services.chunk import Chunk, claim
from claimx.services.runtime import Limits, Runtime
from claimx.telemetry.metrics import RecordedMetrics

IDS = ("e:1", "e:2", "e:3")


class Process:
    """A worker process in memory with three admitted events."""

    def __init__(self) -> None:
        self.told = False
        self.ledger = MemoryLedger(lambda: 0.0)
        self.runtime = Runtime(
            ledger=self.ledger,
            gates=MemoryGates(lambda: 0.0),
            hints=MemoryHints(),
            metrics=RecordedMetrics(),
            retry=RetryPolicy(),
            limits=Limits(),
            now=lambda: 0.0,
            jitter=lambda: 0.0,
            holder="test",
            make_lake=lambda: pytest.fail("no lake here"),
            make_source=lambda: pytest.fail("no source here"),
            stopping=lambda: self.told,
        )
        page = NewRecord("p:1", Kind.PAGE, Stage.INGEST, {"rows": []}, "t")
        self.ledger.store_page("live", None, 1, [page])
        (held,) = self.ledger.claim(Stage.INGEST, [page.id], 30)
        events = [NewRecord(name, Kind.EVENT, Stage.ENRICH, {}, "t") for name in IDS]
        self.ledger.admit(held, events, [], 60)

    def where(self) -> dict[str, tuple[Stage, State]]:
        found = {name: self.ledger.find(name) for name in IDS}
        return {name: (one[0].stage, one[0].state) for name, one in found.items() if one}


def test_a_process_that_is_to_end_claims_nothing():
    process = Process()
    process.told = True

    assert asyncio.run(claim(process.runtime, Stage.ENRICH, IDS)) == []
    assert set(process.where().values()) == {(Stage.ENRICH, State.READY)}


def test_what_runs_is_settled_and_what_waits_is_given_back(monkeypatch):
    """The first is done in time, the second never would be, the third has not begun."""
    monkeypatch.setattr(chunk, "WIND_UP_SECONDS", 0.2)
    process, begun = Process(), []

    async def work(record: Record) -> Outcome:
        begun.append(record.id)
        if record.id == "e:2":
            await asyncio.Event().wait()
        await asyncio.sleep(0.02)
        process.told = True
        await asyncio.sleep(0.02)
        return Advance(record, Stage.WRITE, {})

    async def run():
        records = await claim(process.runtime, Stage.ENRICH, IDS)
        return await Chunk(process.runtime, Stage.ENRICH, work, concurrency=2).run(records)

    counts = asyncio.run(run())

    assert begun == ["e:1", "e:2"]
    assert (counts.processed, counts.released) == (1, 2)
    assert process.where() == {
        "e:1": (Stage.WRITE, State.READY),
        "e:2": (Stage.ENRICH, State.READY),
        "e:3": (Stage.ENRICH, State.READY),
    }


def test_the_flag_is_seen_once_it_is_raised_and_gone_with_its_folder(tmp_path, monkeypatch):
    folder = tmp_path / "worker"
    folder.mkdir()
    monkeypatch.delenv(leaving._FLAG, raising=False)
    before_preparing = leaving.begun()
    monkeypatch.setenv(leaving._FLAG, "")
    leaving.prepare(folder)
    prepared = leaving.begun()

    leaving.begin()
    raised = leaving.begun()
    leaving.clean_up()

    assert (before_preparing, prepared, raised) == (False, False, True)
    assert not folder.exists()


def test_the_flag_is_raised_though_its_folder_was_cleared_away(tmp_path, monkeypatch):
    """Raised from a signal's handler, an error would end the worker's loop in any place."""
    folder = tmp_path / "worker"
    folder.mkdir()
    monkeypatch.setenv(leaving._FLAG, "")
    leaving.prepare(folder)
    folder.rmdir()

    leaving.begin()

    assert leaving.begun()


def test_a_flag_that_cannot_be_raised_stops_nobody(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv(leaving._FLAG, "")
    leaving.prepare(tmp_path / "file")

    leaving.begin()

    assert not leaving.begun()


def test_a_child_that_has_just_ended_saves_no_other_from_being_killed():
    ended = subprocess.Popen([sys.executable, "-c", ""])
    busy = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    ended.wait(20)

    leaving_step.kill([ended, busy])

    assert busy.wait(20) == -signal.SIGKILL


ORPHAN = """
import os, sys, time
from pathlib import Path
from claimx.adapters import leaving, leaving_step

folder = Path(sys.argv[1])
leaving.prepare(folder)
if os.fork() == 0:
    (folder / "before").write_text(str(leaving.begun()))
    deadline = time.monotonic() + 20
    while not leaving.begun() and time.monotonic() < deadline:
        time.sleep(0.02)
    (folder / "after").write_text(str(leaving.begun()))
    os._exit(0)
print(leaving.begun(), flush=True)
time.sleep(30)
"""


def test_a_child_whose_worker_was_killed_is_about_to_end(tmp_path):
    """It gives back what it holds instead of working on it to the end: others are free to."""
    with subprocess.Popen(
        [sys.executable, "-c", ORPHAN, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as worker:
        assert worker.stdout.readline() == "False\n"
        until((tmp_path / "before").exists)
        worker.kill()
        worker.wait(10)
        until((tmp_path / "after").exists)
        until(lambda: (tmp_path / "after").read_text() != "")

    assert (tmp_path / "before").read_text() == "False"
    assert (tmp_path / "after").read_text() == "True"


def until(there) -> None:
    deadline = time.monotonic() + 20
    while not there():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_who_asks_for_every_record_looks_rarely(tmp_path, monkeypatch):
    """A look at the file system for each event was some 3 % of ENRICH."""
    monkeypatch.delenv(leaving._FLAG, raising=False)
    leaving.prepare(tmp_path)
    now = 100.0
    stopping = leaving.watch(lambda: now)

    before = stopping()
    leaving.begin()
    at_once = stopping()
    now += leaving.LOOK_SECONDS
    later = stopping()
    (tmp_path / "leaving").unlink()
    lowered = stopping()

    assert (before, at_once, later, lowered) == (False, False, True, False)
