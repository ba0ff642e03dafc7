"""A poll whose ledger was lost, or put back to an older copy: what it takes whose word for."""

from __future__ import annotations

from typing import Any

from poll_trouble import AtNewRows, having_read
from polling_world import NOON, Around, World, event_row
from protocol.stores import MemoryStore

from claimx.adapters.memory.ledger import MemoryLedger
from claimx.domain.errors import Unavailable
from claimx.domain.polling import LIVE
from claimx.domain.records import DeadFilter
from claimx.domain.times import from_seconds
from claimx.services.poll import poll_once
from claimx.services.poll_report import Stop
from claimx.services.recover import FORGOT


def test_a_note_of_another_life_of_the_ledger_counts_for_nothing():
    """What a poller has read of late rows is lost with an older copy; so is that it had read it."""
    world = World()
    world.happened("e1", seconds_ago=50)
    poll_once(world.runtime())
    world.ingest()
    older = world.ledger.checkpoint(LIVE)
    world.happened("e2", seconds_ago=20)
    poll_once(world.runtime())

    assert not world.ledger.note_read(LIVE, older, "{}")
    assert world.ledger.noted_read(LIVE)[1] != "{}"


def test_a_lake_that_is_away_stops_no_poll():
    world = World()
    world.happened("e1", seconds_ago=50)
    poll_once(world.runtime())
    world.ingest()
    world.clock += 30
    world.happened("e2", seconds_ago=10)

    report = poll_once(world.runtime(make_lake=_LakeAway))

    assert (report.stopped, report.fresh, report.known) == (Stop.DRY, 1, 0)


def test_after_redis_was_lost_events_of_the_lake_are_dropped():
    """Domain page, section 5: the window is read again, and what the lake has is not done again."""
    world = World()
    for n in range(5):
        world.happened(f"e{n}", seconds_ago=50 - n)
    poll_once(world.runtime())
    world.ingest()
    world.finished("e0", "e3", at=NOON - 50)
    world.forget_redis()
    world.clock += 30

    report = poll_once(world.runtime())
    world.ingest()

    assert report.known == 2
    assert world.admitted([f"e{n}" for n in range(5)]) == {"e1", "e2", "e4"}
    assert world.metrics.values["duplicates", ("lake",)] == 2


def test_after_redis_was_lost_a_lake_that_is_away_stops_nothing():
    """They are done again, to the same rows."""
    world = World()
    world.happened("e1", seconds_ago=50)

    report = poll_once(world.runtime(make_lake=_LakeAway))

    assert report.fresh == 1


def test_of_a_healthy_pollers_new_rows_the_lake_is_not_asked():
    """A look-up reads the ids of a whole day; twice a minute that is too much for nothing."""
    world = World()
    poll_once(world.runtime())
    world.clock += 60
    world.happened("e1", seconds_ago=10)

    report = poll_once(world.runtime(make_lake=_LakeNotAsked))

    assert report.fresh == 1


def test_doubled_rows_of_one_page_are_stored_once():
    world = World()
    world.source.add([event_row("e1"), event_row("e1", project_id=8)], from_seconds(NOON - 9))

    report = poll_once(world.runtime())

    assert (report.fresh, report.known) == (1, 1)


def _store_of(world: World) -> MemoryStore:
    """Return what copies the world's ledger and puts the copies back."""
    store = MemoryStore(world.now)
    store.ledger = world.ledger
    return store


def put_back_under(world: World) -> Around:
    """
    A ledger for a poller that begins now and stands still.

    Another poller goes on until the first one asks what the ledger has seen; then a copy of now is
    put back, whose checkpoint is the one that the first has read.
    """
    store, saved = _store_of(world), []

    def go_on() -> None:
        saved.append(store.save())
        world.clock += world.limits.reader_lease + 1
        poll_once(world.runtime("other"))
        world.ingest()

    return Around(world.ledger, before=go_on, after=lambda: store.load(saved[0]))


def test_rows_left_out_on_the_word_of_a_ledger_that_was_put_back_are_read_again():
    """A malformed row is neither in the lake nor a dead letter of the older copy: only here."""
    world = World()
    world.happened("before", seconds_ago=200)
    poll_once(world.runtime())
    world.ingest()
    before = world.ledger.checkpoint(LIVE)
    world.happened("good", seconds_ago=100)
    world.source.add([event_row("bad") | {"event_type": 7}], from_seconds(NOON - 50))

    standing = poll_once(world.runtime(ledger=put_back_under(world)))
    assert (standing.stopped, standing.known) == (Stop.FAILED, 2)
    assert "no longer knows" in standing.error
    assert world.ledger.checkpoint(LIVE) == before
    poll_once(world.runtime())
    world.ingest()

    assert world.admitted(["before", "good"]) == {"before", "good"}
    assert len(world.ledger.dead_letters(DeadFilter())) == 1


def test_a_late_row_left_out_on_such_a_ledgers_word_is_read_again():
    """The checkpoint has passed it: its second must not count as read."""
    world = having_read("before", seconds_ago=100)
    world.happened("late", seconds_ago=150)

    standing = poll_once(world.runtime(ledger=put_back_under(world)))
    assert (standing.stopped, standing.fresh) == (Stop.DRY, 0)
    assert world.admitted(["late"]) == set()
    poll_once(world.runtime())
    world.ingest()

    assert world.admitted(["before", "late"]) == {"before", "late"}


def test_a_late_row_left_out_on_such_a_ledgers_word_is_no_longer_passed_by():
    """New rows may lie so far ahead that no later poll looks where it is, noted as read or not."""
    world = having_read("before", seconds_ago=1000)
    before = world.ledger.checkpoint(LIVE)
    world.happened("late", seconds_ago=1010)
    world.happened("new", seconds_ago=100)

    standing = poll_once(world.runtime(ledger=put_back_under(world)))
    assert standing.stopped is Stop.FAILED
    assert world.ledger.checkpoint(LIVE) == before
    poll_once(world.runtime())
    world.ingest()

    assert world.admitted(["late", "new"]) == {"late", "new"}


def test_a_poll_takes_no_note_of_a_later_checkpoint_than_its_own_for_what_was_read():
    """A copy that has its checkpoint, but not what the note speaks of, may be put back under it."""
    world = having_read("before", seconds_ago=100)
    world.happened("late", seconds_ago=150)
    store = _store_of(world)
    saved = store.save()

    def another_reads_on() -> None:
        world.clock += world.limits.reader_lease + 1
        assert poll_once(world.runtime("other")).fresh == 1
        world.ingest()

    source = AtNewRows(
        world.source, world.ledger.checkpoint(LIVE).source_time, lambda: store.load(saved)
    )
    ledger = _OnceItToldTheCheckpoint(world.ledger, another_reads_on)
    poll_once(world.runtime(ledger=ledger, make_source=lambda: source))
    assert world.admitted(["late"]) == set()
    poll_once(world.runtime())
    world.ingest()

    assert world.admitted(["late"]) == {"late"}


class _OnceItToldTheCheckpoint:
    """A ledger to which something happens just after it told a poll the live checkpoint."""

    def __init__(self, ledger: MemoryLedger, happens: Any) -> None:
        self._ledger = ledger
        self._happens = happens

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    def checkpoint(self, cursor: str) -> Any:
        return self._told(cursor, self._ledger.checkpoint(cursor))

    def noted_read(self, cursor: str) -> Any:
        return self._told(cursor, self._ledger.noted_read(cursor))

    def _told(self, cursor: str, found: Any) -> Any:
        if cursor == LIVE:
            happens, self._happens = self._happens, lambda: None
            happens()
        return found


class _LakeAway:
    def known_events(self, *_: Any) -> set[str]:
        raise Unavailable("the lake is away")

    def recent_events(self, *_: Any) -> list[str]:
        raise Unavailable("the lake is away")


class _LakeNotAsked:
    def known_events(self, *_: Any) -> set[str]:
        raise AssertionError("asked")


def test_a_source_idle_for_longer_than_ids_are_remembered_is_no_sign_of_a_lost_ledger():
    """What it may forget by itself would else be looked for in the lake every two minutes."""
    world = World(dedup_seconds=7200.0)
    world.happened("e1", seconds_ago=50)
    poll_once(world.runtime())
    world.ingest()
    world.finished("e1", at=NOON - 50)
    for _ in range(3):
        world.clock += 3 * 3600

        poll_once(world.runtime())

        assert world.ledger.checkpoint(FORGOT) is None
