"""Pages of earlier polls: of two rows with one id the first stands."""

from __future__ import annotations

from polling_world import NOON, World, event_row

from claimx.domain.times import from_seconds
from claimx.services.backfill import backfill
from claimx.services.pages import PATIENCE_SECONDS
from claimx.services.poll import poll_once
from claimx.services.poll_report import Stop


def test_of_two_rows_with_one_id_the_first_stands_whatever_page_they_are_on():
    """Pages are admitted side by side, so the later row must not even be stored."""
    world = World(poll_batch=1)
    world.source.add([event_row("e1")], from_seconds(NOON - 60))
    world.source.add([event_row("e1", event_type="PROJECT_NOTE_ADDED")], from_seconds(NOON - 50))

    report = poll_once(world.runtime())

    assert (report.pages, report.fresh, report.known) == (2, 1, 1)


def test_a_poll_waits_for_the_pages_of_the_last_one():
    """What they hold is not seen yet: it would be stored again, and could be overtaken."""
    world = World()
    world.source.add([event_row("e1")], from_seconds(NOON - 60))
    poll_once(world.runtime())

    waiting = poll_once(world.runtime())
    world.ingest()
    after = poll_once(world.runtime())

    assert waiting.stopped is Stop.INGEST
    assert after.stopped is Stop.DRY


def test_a_poll_with_patience_goes_on_once_the_pages_are_admitted():
    """Pages stored just before a tick would cost all of the time until the next one."""
    world = World()
    world.source.add([event_row("e1")], from_seconds(NOON - 60))
    poll_once(world.runtime())
    world.source.add([event_row("e2")], from_seconds(NOON - 50))
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            world.ingest()

    report = poll_once(world.runtime(), sleep=sleep)

    assert (report.stopped, report.fresh, len(pauses)) == (Stop.DRY, 1, 3)


def test_the_patience_of_a_poll_ends_long_before_its_lease():
    """Workers may all be down; and a poller without its lease would read beside another."""
    world = World()
    world.source.add([event_row("e1")], from_seconds(NOON - 60))
    poll_once(world.runtime())
    pauses: list[float] = []

    report = poll_once(world.runtime(), sleep=pauses.append)

    assert report.stopped is Stop.INGEST
    assert 0 < sum(pauses) < world.limits.reader_lease / 2


def test_a_poll_waits_for_young_pages_though_others_have_lain_for_long():
    """Old pages come back with an older copy of Redis; a later row must not overtake even then."""
    world = World()
    world.happened("e1", seconds_ago=60)
    poll_once(world.runtime())
    world.wait(PATIENCE_SECONDS + 1)
    world.happened("e2", seconds_ago=10)

    beside_an_old_page = poll_once(world.runtime())
    beside_a_young_page = poll_once(world.runtime())
    world.wait(PATIENCE_SECONDS)
    beside_old_pages = poll_once(world.runtime())

    assert beside_an_old_page.stopped is Stop.DRY
    assert beside_a_young_page.stopped is Stop.INGEST
    assert beside_old_pages.stopped is Stop.DRY


def test_pages_of_another_cursor_hold_up_no_poll():
    """A backfill keeps some pages waiting all the time; live events would never be read."""
    world = World(poll_settle=0.0)
    world.happened("old", seconds_ago=9000)
    backfill(
        world.runtime("backfill"),
        from_seconds(NOON - 10_000),
        from_seconds(NOON - 8000),
        sleep=lambda _: None,
    )
    world.happened("new", seconds_ago=10)

    report = poll_once(world.runtime())

    assert world.pages == 2
    assert (report.stopped, report.fresh) == (Stop.DRY, 1)
