"""What the status says of the poll."""

from __future__ import annotations

import json

import pytest
from celery import Celery
from polling_world import NOON, World, event_row

from claimx.adapters.memory.ledger_records import MOST_LOSSES
from claimx.cli.demo_run import reading
from claimx.domain.errors import ErrorCategory, Unavailable
from claimx.domain.polling import LIVE
from claimx.domain.records import Buried, Failure, Stage
from claimx.domain.times import from_seconds
from claimx.services.poll import poll_once
from claimx.services.poll_report import note_end
from claimx.services.status import export_depths, export_gauges, take_status
from claimx.tasks.operations import redrive
from claimx.telemetry.metrics import RecordedMetrics


def test_an_idle_source_is_no_lag():
    """The checkpoint stays at the last row, however long ago that was; the poller has read on."""
    world = World()
    world.happened("e1", seconds_ago=3000)
    poll_once(world.runtime())
    world.clock += 600
    poll_once(world.runtime())

    world.clock += 20

    lag = take_status(world.runtime()).poll_lag_seconds
    assert lag == pytest.approx(20 + world.limits.poll_settle)


def test_a_source_that_fails_is_lag():
    world = World()
    poll_once(world.runtime())
    world.clock += 600
    world.source.failures.append(Unavailable("Kusto cannot be reached"))

    poll_once(world.runtime())

    lag = take_status(world.runtime()).poll_lag_seconds
    assert lag == pytest.approx(600 + world.limits.poll_settle)


def test_a_failed_poll_is_told_until_one_does_not_fail():
    """Nothing is in flight then, and the lag alone does not say what is waited for."""
    world = World()
    world.source.failures.append(Unavailable("Kusto cannot be reached"))
    note_end(world.gates, poll_once(world.runtime()))
    failed = take_status(world.runtime())
    world.gates.lock(f"poll:{LIVE}", "another", 30.0)
    note_end(world.gates, poll_once(world.runtime()))
    busy = take_status(world.runtime())
    world.gates.unlock(f"poll:{LIVE}", "another")

    note_end(world.gates, poll_once(world.runtime()))

    assert failed.poll_failure == busy.poll_failure == "Kusto cannot be reached"
    assert failed.problems == take_status(world.runtime()).problems  # the next one tries again
    assert take_status(world.runtime()).poll_failure is None


def test_why_a_poll_failed_is_told_without_secrets():
    """Foreign words may quote a link, and a note is shown wherever the status is."""
    world = World()
    world.source.failures.append(Unavailable("https://u:p@host/x?sig=secret is away"))

    note_end(world.gates, poll_once(world.runtime()))

    assert take_status(world.runtime()).poll_failure == "https://***@host/x?*** is away"


def test_the_demo_says_what_a_standstill_waits_for():
    world = World(poll_settle=1.0)
    before = take_status(world.runtime())
    note_end(world.gates, poll_once(world.runtime()))
    world.clock += 19
    world.source.failures.append(Unavailable("Kusto cannot be reached"))
    note_end(world.gates, poll_once(world.runtime()))

    told = reading(take_status(world.runtime()), interval=2.0)

    assert reading(before, interval=2.0) == "not polled yet"
    assert told == (
        "read up to 20 s ago; the last poll failed, the next comes within 2 s:"
        " Kusto cannot be reached"
    )


def test_a_dry_run_makes_no_lag_good():
    world = World()

    poll_once(world.runtime(), dry_run=True)

    assert take_status(world.runtime()).poll_lag_seconds is None


def test_what_is_set_aside_is_told_with_what_is_left_of_it():
    """The lag is that of live events; without this line nobody would see the rest."""
    world = World(poll_start=86_400.0, far_pages=1, poll_settle=0.0)
    for n in range(23):
        world.happened(f"old{n}", seconds_ago=86_400 - 3600 * n - 1)
    world.happened("of late", seconds_ago=0)
    poll_once(world.runtime())
    world.catch_up(seconds=0.0)

    status = take_status(world.runtime())

    assert status.poll_lag_seconds == 0
    assert status.catch_up == [
        {
            "since": "2025-12-31T12:00:00.000000Z",
            "until": "2026-01-01T12:00:00.000000Z",
            "share": 0.0,
            "left_seconds": 86_400.0,
            "rows_left": 24,
        }
    ]


def test_depths_are_what_the_stages_hold():
    """A stage that empties goes back to zero, or its alarm would never end."""
    world = World()
    world.source.add([event_row("e1"), event_row("e2")], from_seconds(NOON - 60))
    runtime = world.runtime()
    poll_once(runtime)
    export_depths(runtime)
    before = dict(runtime.metrics.values)

    world.ingest()
    export_depths(runtime)

    assert before["depth", ("ingest",)] == 1
    assert runtime.metrics.values["depth", ("ingest",)] == 0
    assert runtime.metrics.values["depth", ("enrich",)] == 2


def test_what_the_ledger_buries_by_itself_is_in_the_gauge():
    """No worker lives to count it, and an alert on dead letters would miss it."""
    world = World()
    world.happened("e1", seconds_ago=60)
    runtime = world.runtime()
    poll_once(runtime)
    world.ingest()
    for _ in range(MOST_LOSSES + 1):
        world.ledger.claim(Stage.ENRICH, ["e:e1"], 10)
        world.clock += 11
    export_depths(runtime)
    buried = dict(runtime.metrics.values)
    world.ledger.requeue(["e:e1"])

    export_depths(runtime)

    assert buried["dead_letters", ("event",)] == 1
    assert runtime.metrics.values["dead_letters", ("event",)] == 0


def test_each_tick_tells_how_things_stand():
    world = World()
    poll_once(world.runtime())
    told = world.runtime(metrics=RecordedMetrics())
    with Celery("test", set_as_current=False) as app:
        app.claimx_runtime = lambda: told
        app.tasks[redrive.name]()

    names = {name for name, _ in told.metrics.values}
    assert names >= {"depth", "dead_letters", "poll_until_seconds", "reconcile_missing"}


def test_whoever_tells_how_things_stand_tells_what_others_did_since():
    """Each of several machines reconciles now and then: what one found was told until its turn."""
    world = World()
    world.happened("e1", seconds_ago=60)
    here, there = world.runtime(), world.runtime("two", metrics=RecordedMetrics())
    poll_once(there)
    missing = json.dumps({"counts": {"claimx_media": {"missing": 3}}, "ids": {}})
    there.gates.put_note("reconcile", "a..b", missing, 60.0)
    export_gauges(here)
    before = dict(here.metrics.values)
    world.clock += 300
    poll_once(there)
    there.gates.drop_notes("reconcile", ["a..b"])

    export_gauges(here)

    after = here.metrics.values
    media = ("reconcile_missing", ("claimx_media",))
    assert (before[media], after[media]) == (3, 0)
    assert after["poll_until_seconds", ()] - before["poll_until_seconds", ()] == 300


def test_a_dead_page_is_told_with_what_to_do():
    """Its events are not admitted yet: the invariant holds, and nothing else counts them."""
    world = World()
    world.happened("e1", seconds_ago=60)
    poll_once(world.runtime())
    (page,) = world.ledger.claim(Stage.INGEST, world.hints.taken(Stage.INGEST), 60)
    failure = Failure(ErrorCategory.UNKNOWN, "ValueError", "", Stage.INGEST, world.clock)
    world.ledger.settle([Buried(page, failure)])

    status = take_status(world.runtime())

    assert status.dead == {"page": 1, "event": 0, "media": 0}
    (told,) = (one for one in status.problems if "page" in one)
    assert told.startswith("dead pages: 1, with up to 10 events")
    assert "claimx dlq requeue --kind page" in told
    world.ledger.requeue([page.id])
    assert not any("page" in one for one in take_status(world.runtime()).problems)
