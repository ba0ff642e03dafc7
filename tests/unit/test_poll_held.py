"""Pages of few new rows: a poll stores several in one step, and none of them waits for long."""

from __future__ import annotations

import pytest
from polling_world import NOON, World, event_row

from claimx.domain.errors import Unavailable
from claimx.domain.times import from_seconds
from claimx.services.pages import Sifted
from claimx.services.poll import poll_once
from claimx.services.poll_pages import HELD_PAGES, HELD_SECONDS, Held
from claimx.services.poll_report import Stop


def doubled(pages: int) -> World:
    """A source of full pages with one new row each; the others have come before."""
    world = World(poll_batch=40)
    for second in range(pages):
        rows = [event_row(f"e{second}"), *[event_row(f"e{max(0, second - 1)}")] * 39]
        world.source.add(rows, from_seconds(NOON - 600 + second))
    return world


class Faulty:
    """The world's source, which takes *seconds* a page and fails at the page number *fails*."""

    def __init__(self, world: World, *, seconds: float = 0.0, fails: int = 0) -> None:
        self._world = world
        self._seconds = seconds
        self._fails = fails
        self.pages = 0

    def page(self, *asked):
        self.pages += 1
        self._world.wait(self._seconds)
        if self.pages == self._fails:
            raise Unavailable("the source is away")
        return self._world.source.page(*asked)

    def __getattr__(self, name):
        return getattr(self._world.source, name)


def test_pages_of_doubles_are_stored_together():
    """Each step of the ledger costs the messages that carry its rows from stage to stage."""
    world = doubled(HELD_PAGES)

    report = poll_once(world.runtime())

    assert (report.pages, report.fresh, report.records) == (HELD_PAGES, HELD_PAGES, 1)
    assert report.checkpoint.source_time == from_seconds(NOON - 600 + HELD_PAGES - 1)
    world.ingest()
    assert world.admitted(f"e{n}" for n in range(HELD_PAGES)) == {
        f"e{n}" for n in range(HELD_PAGES)
    }


def test_no_more_pages_wait_than_may():
    world = doubled(2 * HELD_PAGES + 1)

    assert poll_once(world.runtime()).records == 3


def test_a_page_that_is_mostly_new_waits_for_no_other():
    world = World()
    for second in range(4):
        rows = [event_row(f"e{second}-{number}") for number in range(10)]
        world.source.add(rows, from_seconds(NOON - 600 + second))

    assert poll_once(world.runtime()).records == 4


def test_what_is_new_in_a_page_that_is_not_full_waits_for_no_other():
    """It is the source's last, of every ordinary poll; the next query may hang for minutes."""
    world = World(poll_batch=40)
    world.source.add([event_row(f"e{number}") for number in range(5)], from_seconds(NOON - 600))
    world.source.add([event_row("e9"), *[event_row("e0")] * 5], from_seconds(NOON - 500))
    stored = []

    class Watched(Faulty):
        def page(self, *asked):
            stored.append(world.pages)
            return super().page(*asked)

    report = poll_once(world.runtime(make_source=lambda: Watched(world)))

    assert (report.fresh, report.pages) == (6, 1)
    assert stored == [0, 1]


def test_half_of_a_cut_page_being_new_is_enough():
    """A page is short where Kusto's own limits cut it; eight such may be very large."""
    held = Held(0)
    held.add(Sifted(fresh=[({}, 1)] * 5), list(range(12)), 0.0)
    before = held.is_enough(0.0, 20)

    held.add(Sifted(fresh=[({}, 1)] * 7), list(range(12, 24)), 0.0)

    assert (before, held.is_enough(0.0, 20)) == (False, True)


def test_of_a_slow_source_each_page_is_stored_when_it_comes():
    """What is new is not to wait for the source to answer many times."""
    world = doubled(4)
    source = Faulty(world, seconds=HELD_SECONDS)

    report = poll_once(world.runtime(make_source=lambda: source))

    assert report.records == 2, "a page and the one behind it"


@pytest.mark.parametrize("fails", [1, 2, 5])
def test_what_was_read_before_the_source_failed_is_stored(fails):
    """Read again each time, a source that fails now and then would get no further."""
    world = doubled(6)
    source = Faulty(world, fails=fails)

    report = poll_once(world.runtime(make_source=lambda: source))

    assert report.error
    assert report.records == (1 if fails > 1 else 0)
    world.ingest()
    assert poll_once(world.runtime("next")).fresh == 6 - (fails - 1)
    world.ingest()
    assert len(world.admitted(f"e{n}" for n in range(6))) == 6


def test_an_overlap_of_known_rows_and_few_late_ones_is_read_to_its_end():
    """Ids that are checked with a late row's page are no reason to leave the rest of it."""
    world = World(poll_overlap=300.0, poll_batch=20, ids_a_step=20)
    for number in range(200):
        world.happened(f"e{number}", seconds_ago=250 - number)
    poll_once(world.runtime())
    world.ingest()
    for number in range(10):
        world.happened(f"late{number}", seconds_ago=244.5 - 20 * number)

    report = poll_once(world.runtime())

    assert (report.fresh, report.stopped) == (10, Stop.DRY)


def test_pages_that_wait_are_not_stored_by_a_poller_that_was_overtaken():
    """It lost its lease while it read; they are the other's, which reads them itself."""
    world = doubled(4)

    class Overtaken(Faulty):
        def page(self, *asked):
            rows = super().page(*asked)
            if self.pages == 3:
                world.clock += world.limits.reader_lease + 1
                poll_once(world.runtime("other"))
            return rows

    report = poll_once(world.runtime("slow", make_source=lambda: Overtaken(world)))
    world.ingest()

    assert (report.stopped, report.records) == (Stop.SUPERSEDED, 0)
    assert world.counters["event.admitted"] == 4
