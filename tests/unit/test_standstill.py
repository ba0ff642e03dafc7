"""A stage that stands still: the poll stops at its mark, says by what, and goes on by itself."""

from __future__ import annotations

from typing import Any

import pytest
from ledger_rig import FAILURE
from polling_world import World
from structlog.testing import capture_logs

from claimx.domain.records import Advance, Kind, NewRecord, Retried, Stage
from claimx.services.poll import poll_once
from claimx.services.poll_report import PollReport, Stop
from claimx.services.standstill import AGAIN_SECONDS, STANDING_SECONDS, jam_of
from claimx.services.status import take_status

PAUSES = "back-pressure: the poll pauses until work in flight is done"
STILL = "back-pressure: the poll still pauses"
OVER = "back-pressure is over: the poll goes on"
MARK = 100


class Jammed(World):
    """A poll every 30 s, of twenty events a second; the workers do what they are told."""

    def __init__(self, **limits: Any) -> None:
        super().__init__(**{"max_in_flight": MARK, "poll_start": 60.0} | limits)
        self.events = 0
        self.lines: list[dict[str, Any]] = []
        for role in ("beat", "writer"):
            self.gates.beat(role, f"{role}:1", {}, 1e9)
        self.gates.beat("worker", "worker:1", {"queues": "ingest,enrich,record"}, 1e9)

    def poll(self, events: int = 60) -> PollReport:
        """Let half a minute pass, with some new events."""
        self.wait(30)
        for _ in range(events):
            self.events += 1
            self.happened(f"e{self.events}", seconds_ago=10)
        with capture_logs() as logs:
            report = poll_once(self.runtime())
        self.lines += [line for line in logs if "back-pressure" in line["event"]]
        self.ingest()
        return report

    def work(self, many: int) -> None:
        """Finish some events."""
        records = [r for r in self.ledger._records.by_id.values() if r.stage is Stage.ENRICH]
        for record in records[:many]:
            self.finished(record.id.removeprefix("e:"))
            del self.ledger._records.by_id[record.id]
            self.ledger._records.counters["event.recorded"] += 1

    @property
    def told(self) -> list[str]:
        return [line["event"] for line in self.lines]


def test_it_is_told_once_when_it_begins_again_every_few_minutes_and_when_it_is_over():
    world = Jammed()
    world.until(lambda: world.poll().stopped is Stop.PRESSURE)
    assert world.told == [PAUSES]
    for _ in range(int(AGAIN_SECONDS / 30) - 1):
        world.poll(0)
    assert world.told == [PAUSES]

    world.poll(0)
    assert world.told == [PAUSES, STILL]
    world.work(world.ledger.active())
    world.until(lambda: world.poll(0).stopped is Stop.DRY)

    assert world.told == [PAUSES, STILL, OVER]
    world.poll(0)
    assert world.told == [PAUSES, STILL, OVER]


def test_the_line_names_the_stage_how_many_wait_there_since_when_and_what_to_do():
    world = Jammed()
    world.until(lambda: world.poll(20).stopped is Stop.PRESSURE)

    [line] = world.lines
    assert (line["held_by"], line["log_level"]) == ("enrich", "warning")
    assert (line["waiting"], line["in_flight"]) == (80, 100), "twenty rows are still in pages"
    assert line["oldest_seconds"] > 0
    assert line["since"].startswith("2026-01-01T12:")
    assert (line["limit"], line["setting"]) == (MARK, "CLAIMX_MAX_IN_FLIGHT")
    assert line["advice"] == "more comes than is done: add workers for the queue enrich"


def test_the_status_shows_it_as_a_problem_with_the_same_facts():
    world = Jammed()
    assert take_status(world.runtime()).problems == []
    world.until(lambda: world.poll().stopped is Stop.PRESSURE)

    [problem] = take_status(world.runtime()).problems

    in_flight = world.ledger.active()
    assert problem.startswith("the poll pauses since 2026-01-01T12:")
    assert f"({in_flight} in flight, CLAIMX_MAX_IN_FLIGHT={MARK})" in problem
    assert f"the stage enrich holds things up: {in_flight} records are there" in problem
    assert problem.endswith("add workers for the queue enrich")


def test_it_resumes_below_nine_tenths_of_the_mark():
    """At the mark it would begin and end with each record that is done."""
    world = Jammed()
    world.until(lambda: world.poll(20).stopped is Stop.PRESSURE)
    world.work(world.ledger.active() - 90)

    held = world.poll(1)
    world.work(1)
    freed = world.poll(0)

    assert (held.stopped, held.rows) == (Stop.PRESSURE, 0)
    assert freed.rows > 0


def test_a_steady_overload_is_one_pause_and_not_one_a_poll():
    """Each poll takes what there is room for, and is stopped again: nothing new to tell."""
    world = Jammed()
    for _ in range(9):
        world.poll(60)
        world.work(20)

    assert world.told == [PAUSES]


def test_a_poll_that_is_held_and_freed_in_turn_tells_it_once_in_a_while():
    """Two lines in five minutes, whatever happens; the status shows it at once all the same."""
    world = Jammed()
    for _ in range(8):
        world.poll(120)
        world.work(world.ledger.active())
        world.poll(0)

    assert world.told == [PAUSES, OVER] * 2


def test_rows_that_nobody_ingests_are_told_as_rows():
    world = Jammed(poll_batch=10)
    world.gates.beat("worker", "worker:1", {"queues": "enrich"}, 1e9)
    for _ in range(150):
        world.events += 1
        world.happened(f"e{world.events}", seconds_ago=10 - world.events / 100)

    with capture_logs() as logs:
        report = poll_once(world.runtime())

    [line] = [line for line in logs if line["event"] == PAUSES]
    assert report.stopped is Stop.PRESSURE
    assert (line["held_by"], line["waiting"]) == ("ingest", 100)
    assert line["advice"].startswith("no worker serves its queue: start one with -Q ingest")


# --- what holds things up


def at_stage(stage: Stage) -> World:
    """Twenty media files at a stage, beside one event."""
    world = Jammed()
    world.happened("parent", seconds_ago=10)
    poll_once(world.runtime())
    world.ingest()
    (parent,) = world.ledger.claim(Stage.ENRICH, ["e:parent"], 30)
    files = [NewRecord(f"m:{n}", Kind.MEDIA, Stage.DOWNLOAD, {}, "t") for n in range(20)]
    world.ledger.settle([Advance(parent, Stage.WRITE, {}, b"rows", tuple(files))])
    if stage is not Stage.DOWNLOAD:
        held = world.ledger.claim(Stage.DOWNLOAD, [one.id for one in files], 30)
        world.ledger.settle([Advance(one, stage, {}) for one in held])
    return world


def advice(world: World) -> str:
    return jam_of(world.runtime(), world.ledger.census()).advice


def test_the_stage_with_the_most_records_is_named():
    world = at_stage(Stage.UPLOAD)
    world.wait(40)

    jam = jam_of(world.runtime(), world.ledger.census())

    assert (jam.stage, jam.waiting, jam.in_flight) == (Stage.UPLOAD, 20, 21)
    assert jam.oldest_seconds == pytest.approx(40)


@pytest.mark.parametrize("stage", [Stage.DOWNLOAD, Stage.UPLOAD])
def test_a_queue_that_no_worker_serves_is_told(stage):
    world = at_stage(stage)

    assert advice(world) == (
        f"no worker serves its queue: start one with -Q {stage}, or without -Q for all"
    )


def test_a_worker_that_does_not_say_what_it_serves_may_serve_it():
    world = at_stage(Stage.DOWNLOAD)
    world.gates.beat("worker", "worker:2", {}, 1e9)

    assert advice(world) == "more comes than is done: add workers for the queue download"


def test_a_missing_writer_is_told():
    world = at_stage(Stage.WRITE)
    world.gates = type(world.gates)(world.now)

    assert advice(world) == "no writer is running: start one with its Procfile line"


def test_a_slow_writer_is_told():
    assert advice(at_stage(Stage.WRITE)).startswith("more comes than is written")


@pytest.mark.parametrize(
    ("stage", "circuit"),
    [
        (Stage.DOWNLOAD, "media:files.example"),
        (Stage.DOWNLOAD, "api"),
        (Stage.UPLOAD, "onelake"),
    ],
)
def test_an_open_circuit_is_told(stage, circuit):
    world = at_stage(stage)
    world.gates.beat("worker", "worker:2", {}, 1e9)
    world.gates.circuit("kusto").report(0, 5)
    world.gates.circuit(circuit).report(0, 5)

    assert advice(world) == (
        f"the circuit {circuit} is open: it goes on by itself when that answers again"
    )


def test_a_token_that_is_refused_is_told():
    world = at_stage(Stage.DOWNLOAD)
    world.gates.beat("worker", "worker:2", {}, 1e9)
    world.gates.circuit("auth").report(0, 1)

    assert advice(world).startswith("the API refuses the token")


def test_what_mostly_fails_is_told():
    world = at_stage(Stage.DOWNLOAD)
    world.gates.beat("worker", "worker:2", {}, 1e9)
    held = world.ledger.claim(Stage.DOWNLOAD, [f"m:{n}" for n in range(15)], 30)
    world.ledger.settle([Retried(one, 60, FAILURE) for one in held])

    assert advice(world).startswith("most of them have failed and come again")


# --- the catch-up


def test_a_catch_up_that_stands_still_is_told_too():
    """With few live events the poll would take hours to come to its mark."""
    world = Jammed(poll_start=86_400.0, far_pages=1, max_in_flight=40)
    for n in range(200):
        world.happened(f"old{n}", seconds_ago=86_000 - n)
    poll_once(world.runtime())
    lines: list[str] = []

    def run() -> None:
        with capture_logs() as logs:
            world.catch_up()
        lines.extend(line["event"] for line in logs if "back-pressure" in line["event"])
        world.ingest()

    for _ in range(int(STANDING_SECONDS / 5)):
        run()
        world.wait(5)
    [problem] = take_status(world.runtime()).problems
    world.work(world.ledger.active())
    world.until(lambda: world.caught_up(lambda: world.work(world.ledger.active())))

    assert lines == ["back-pressure: the catch-up pauses until work in flight is done"]
    assert problem.startswith("the catch-up pauses since ")
    assert "the stage enrich holds things up: 20 records are there" in problem
    assert take_status(world.runtime()).problems == []


def test_a_catch_up_that_waits_for_its_workers_is_no_standstill():
    world = Jammed(poll_start=86_400.0, far_pages=1, max_in_flight=40)
    for n in range(200):
        world.happened(f"old{n}", seconds_ago=86_000 - n)
    poll_once(world.runtime())

    with capture_logs() as logs:
        world.until(lambda: world.caught_up(lambda: world.work(5), pause=20))

    assert not [line for line in logs if "back-pressure" in line["event"]]
