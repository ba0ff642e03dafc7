"""Media whose download Redis had forgotten come back from the lake (domain page, section 5)."""

from __future__ import annotations

import asyncio

import pytest
from polling_world import World
from structlog.testing import capture_logs

from claimx.adapters.memory.claimx_api import MemoryClaimXApi
from claimx.adapters.memory.ledger import MemoryLedger
from claimx.adapters.memory.media import MemoryMediaFetcher, temporary_cache
from claimx.domain.changes import Change, Source
from claimx.domain.errors import Unavailable
from claimx.domain.media import Rules
from claimx.domain.records import Buried, Kind, NewRecord, Stage, media_record_id
from claimx.domain.tables import ATTACHMENTS, MEDIA
from claimx.domain.times import from_seconds
from claimx.services import recover
from claimx.services.download import DownloadStage
from claimx.services.poll import poll_once
from claimx.services.recover import (
    FIRST_PAUSE_SECONDS,
    RECOVERED,
    SETTLE_SECONDS,
    Recovery,
    note_forgotten,
    recover_media,
)
from claimx.services.settle import failure_of
from claimx.settings import DEFAULT_EXTENSIONS

LINK = "https://www.claimxperience.com/media/1.jpg?sign=invented"


class MediaWorld(World):
    """A world that was polled, lost its Redis, and is polled again."""

    def __init__(self, **limits) -> None:
        super().__init__(**limits)
        poll_once(self.runtime())

    def media(self, *ids: str, seconds_ago: float = 60.0, **values) -> None:
        at = from_seconds(self.clock - seconds_ago)
        values = {"project_id": "7", "downloadable": True, "file_name": "R.jpg"} | values
        values |= {"file_type": "IMAGE"}
        changes = [
            Change(MEDIA.name, {"media_id": one, **values}, Source.ANSWER, "e1", at, at)
            for one in ids
        ]
        self.lake.upsert(MEDIA, changes, at)

    def attached(self, *ids: str, status: str = "completed") -> None:
        at = from_seconds(self.clock)
        changes = [
            Change(
                ATTACHMENTS.name, {"media_id": one, "status": status}, Source.RESULT, "e1", at, at
            )
            for one in ids
        ]
        self.lake.upsert(ATTACHMENTS, changes, at)

    def lose_redis(self) -> None:
        self.forget_redis()
        poll_once(self.runtime())

    def recover(self, **instead) -> recover.RecoverReport:
        return recover_media(self.runtime(**instead))

    def waiting(self) -> set[str]:
        return {id_ for ids in self._due().values() for id_ in ids}

    def _due(self):
        self.clock += 6  # the redriver looks at new records after its grace
        return self.ledger.due(10_000)


@pytest.fixture
def world():
    return MediaWorld()


@pytest.fixture
def lost(world):
    """Of four media files that an old ledger knew, one was finished and one had failed."""
    world.media("done", "failed", "open1", "open2")
    world.attached("done")
    world.attached("failed", status="failed")
    world.lose_redis()
    return world


class _Away:
    def unattached_media(self, *_, **__):
        raise Unavailable("503", status=503)


class Counting(MemoryLedger):
    """Counts what it is asked."""

    reads = 0

    def checkpoint(self, cursor):
        self.reads += 1
        return super().checkpoint(cursor)


def test_media_without_a_completed_attachment_are_admitted_again(lost):
    """The dead letter of the one that had failed is lost, so nobody could requeue it."""
    report = lost.recover()

    assert (report.ended, report.offered) == (Recovery.DONE, 3)
    assert lost.waiting() == {"m:failed", "m:open1", "m:open2"}


def test_only_what_the_ledger_had_forgotten_is_told_as_lost(lost):
    """At a first start it offers what is under way anyway: nobody must be woken up for that."""
    with capture_logs() as told:
        first = lost.recover()
        lost.clock += FIRST_PAUSE_SECONDS
        again = lost.recover()

    assert (first.forgotten, again.offered, again.forgotten) == (3, 3, 0)
    assert [line["media"] for line in told if "lost its records" in line["event"]] == [3]


def test_they_ask_for_a_fresh_link_and_are_downloaded(lost):
    lost.recover()
    api = MemoryClaimXApi(lost.now)
    api.media_items = {"7": [{"mediaID": "open1", "fullDownloadLink": LINK}]}
    fetcher = MemoryMediaFetcher(
        temporary_cache(), {LINK: b"\xff\xd8\xff"}, Rules.of(DEFAULT_EXTENSIONS), lost.now
    )

    asyncio.run(
        DownloadStage(lost.runtime(), api, fetcher, fetcher.cache.node).run(
            [media_record_id("open1")]
        )
    )

    record, _ = lost.ledger.find("m:open1")
    assert record.stage is Stage.UPLOAD
    wanted = {"project_id": "7", "file_name": "R.jpg", "media_type": "IMAGE", "event_id": "e1"}
    assert wanted.items() <= record.data.items()
    assert record.data["link"] == LINK


def test_a_ledger_that_was_never_polled_with_is_left_alone():
    world = World()

    assert recover_media(world.runtime()).ended is Recovery.NOT_NEEDED


def test_an_intact_ledger_costs_three_reads_and_no_look_at_the_lake(lost):
    lost.ledger = Counting(lost.now)
    poll_once(lost.runtime())
    for _ in range(200):
        lost.recover()
        lost.clock += 10
    lost.ledger.reads = 0

    def no_lake():
        raise AssertionError("the lake was asked")

    assert lost.recover(make_lake=no_lake).ended is Recovery.NOT_NEEDED
    assert lost.ledger.reads == 3


def test_nothing_is_doubled_however_often_it_runs(lost):
    for _ in range(20):
        lost.recover()
        lost.clock += FIRST_PAUSE_SECONDS

    assert lost.counters["media.admitted"] == 3


def test_a_record_at_any_stage_is_left_as_it_is(lost):
    lost.recover()
    (record,) = lost.ledger.claim(Stage.DOWNLOAD, ["m:open1"], 60)

    lost.clock += FIRST_PAUSE_SECONDS
    lost.recover()

    assert lost.ledger.renew([record], 60) == {"m:open1"}


def test_what_the_ledger_knows_is_left_alone_whatever_clock_its_row_was_written_by(lost):
    """A worker's clock may be fast: what it found before the loss must come back all the same."""
    lost.media("fast", seconds_ago=-3600)

    assert lost.recover().offered == 4
    (record,) = lost.ledger.claim(Stage.DOWNLOAD, ["m:fast"], 60)
    lost.clock += FIRST_PAUSE_SECONDS
    lost.recover()

    assert lost.ledger.renew([record], 60) == {"m:fast"}
    assert lost.counters["media.admitted"] == 4


def test_what_a_writer_commits_after_the_loss_is_found_by_a_later_pass(lost):
    assert lost.recover().offered == 3

    lost.clock += FIRST_PAUSE_SECONDS
    lost.media("late", seconds_ago=2 * FIRST_PAUSE_SECONDS)
    lost.recover()

    assert "m:late" in lost.waiting()


def test_passes_become_rare_and_end_after_the_settling_time(lost):
    born = lost.clock
    passes = []
    while lost.clock < born + 3 * SETTLE_SECONDS:
        if lost.recover().ended is Recovery.DONE:
            passes.append(lost.clock - born)
        lost.clock += 10

    assert passes == [0, 30, 60, 120, 240, 480, SETTLE_SECONDS]


def test_a_second_loss_is_recovered_as_well(lost):
    lost.recover()
    lost.clock += 2 * SETTLE_SECONDS
    lost.lose_redis()

    assert lost.recover().offered == 3


def test_an_older_copy_put_back_is_recovered_once_the_poller_says_so(world):
    """Its birth is long past, and events that it has lost are dropped because the lake has them."""
    world.clock += 2 * SETTLE_SECONDS
    world.recover()
    world.media("open")
    world.clock += SETTLE_SECONDS

    assert world.recover().ended is Recovery.NOT_NEEDED
    note_forgotten(world.runtime())

    assert world.recover().offered == 1


@pytest.mark.parametrize(
    ("ingested", "own_time"), [(900, 900), (20, 100)], ids=["dropped", "left out by the query"]
)
def test_the_poller_sees_that_an_older_copy_was_put_back(world, ingested, own_time):
    """The lake has an event that this ledger has never admitted."""
    world.clock += 3600
    world.happened("e0", 1000 if ingested > 30 else 30)
    poll_once(world.runtime())
    world.ingest()
    assert world.ledger.checkpoint(recover.FORGOT) is None
    world.happened("e1", ingested)
    world.finished("e1", at=world.clock - own_time)

    poll_once(world.runtime())

    assert world.ledger.checkpoint(recover.FORGOT) is not None
    assert world.admitted(["e1"]) == set()


def test_a_loss_whose_note_was_lost_as_well_is_noted_again(world):
    """Redis is put back once more between the note and the page that gave rise to it."""

    class PutBackOnceMore(MemoryLedger):
        notes = 0

        def store_page(self, cursor, *args, **options):
            before = dict(self._cursors)
            stored = super().store_page(cursor, *args, **options)
            if cursor == recover.FORGOT:
                self.notes += 1
                self._cursors = before if self.notes == 1 else self._cursors
            return stored

    world.ledger = PutBackOnceMore(world.now)
    poll_once(world.runtime())
    world.clock += 3600
    world.happened("e0", 2000)
    poll_once(world.runtime())
    world.ingest()
    world.happened("forgotten", 900)
    world.finished("forgotten", at=world.clock - 900)
    world.happened("far ahead", 30)

    for _ in range(2):
        poll_once(world.runtime())
        world.ingest()

    assert world.ledger.checkpoint(recover.FORGOT) is not None
    assert world.admitted(["forgotten", "far ahead"]) == {"far ahead"}


def test_a_second_loss_soon_after_the_first_is_one_of_its_own(world):
    """Media that were found between the two belong to the second alone."""
    world.clock += 3600
    world.happened("e0", 2000)
    poll_once(world.runtime())
    world.ingest()
    note_forgotten(world.runtime())
    world.recover()
    world.clock += 400
    world.media("between", seconds_ago=5)
    world.happened("e1", 900)
    world.finished("e1", at=world.clock - 900)

    poll_once(world.runtime())
    world.recover()

    assert "m:between" in world.waiting()


def test_a_healthy_poller_notes_no_loss(world):
    for n in range(20):
        world.clock += 30
        world.happened(f"e{n}", 20)
        poll_once(world.runtime())
        world.ingest()
        world.finished(f"e{n}")

    assert world.ledger.checkpoint(recover.FORGOT) is None


def test_a_loss_is_noted_once_in_a_while(world):
    noted = set()
    for _ in range(100):
        note_forgotten(world.runtime())
        noted.add(world.ledger.checkpoint(recover.FORGOT))
        world.clock += 10

    assert len(noted) == 9


def test_half_of_what_may_be_in_flight_is_left_to_live_events():
    world = MediaWorld(max_in_flight=10)
    world.media(*(f"{n:02}" for n in range(12)))
    world.lose_redis()

    first, again = world.recover(), world.recover()

    assert (first.ended, first.offered) == (Recovery.PRESSURE, 5)
    assert (again.ended, again.offered) == (Recovery.PRESSURE, 0)
    assert world.ledger.active() == 5
    assert world.ledger.checkpoint(RECOVERED).source_time == 0


def test_what_did_not_fit_comes_when_there_is_room():
    world = MediaWorld(max_in_flight=10)
    ids = {f"{n:02}" for n in range(12)}
    world.media(*ids)
    world.lose_redis()

    for _ in range(4):
        world.recover()
        for record in world.ledger.claim(Stage.DOWNLOAD, [*map(media_record_id, ids)], 60):
            world.attached(record.id[2:])
            world.ledger._records.by_id.pop(record.id)  # as if it had been through every stage

    assert world.counters["media.admitted"] == 12
    assert world.recover().ended is Recovery.NOT_NEEDED


def test_many_are_taken_page_by_page(lost, monkeypatch):
    monkeypatch.setattr(recover, "ROWS_AT_A_TIME", 3)
    monkeypatch.setattr(recover, "RECORDS_A_STEP", 2)
    lost.media(*(f"{n:02}" for n in range(10)))

    report = lost.recover()

    assert (report.ended, report.offered) == (Recovery.DONE, 13)
    assert lost.counters["media.admitted"] == 13


def test_a_pass_ends_when_its_time_is_up(lost):
    class Slow:
        def unattached_media(self, *args, **options):
            lost.clock += recover.PASS_SECONDS
            return lost.lake.unattached_media(*args, **options)

    assert lost.recover(make_lake=Slow).ended is Recovery.TIME
    assert lost.recover().ended is Recovery.DONE


class TimeLimit(Exception):
    """What a worker raises in a task that takes too long."""


def test_a_look_that_dies_is_followed_by_looks_at_the_last_week(lost):
    """Each run died of the same, and what had been under way was never fetched."""

    class Endless:
        def unattached_media(self, *args, enriched_after=None, **options):
            if enriched_after is None:
                raise TimeLimit
            return lost.lake.unattached_media(*args, enriched_after=enriched_after, **options)

    lost.media("long ago", seconds_ago=30 * 86_400)
    for _ in range(recover.MOST_TRIES):
        with pytest.raises(TimeLimit):
            lost.recover(make_lake=Endless)

    with capture_logs() as told:
        first = lost.recover(make_lake=Endless)
        lost.clock += FIRST_PAUSE_SECONDS
        again = lost.recover(make_lake=Endless)

    assert (first.ended, again.ended) == (Recovery.DONE, Recovery.DONE)
    assert lost.waiting() == {"m:failed", "m:open1", "m:open2"}
    assert any("stay so" in line["event"] for line in told)


def test_a_run_that_fails_is_followed_by_a_look_at_all(lost):
    lost.media("long ago", seconds_ago=30 * 86_400)
    failed = [lost.recover(make_lake=_Away) for _ in range(recover.MOST_TRIES)]

    lost.recover()

    assert {one.ended for one in failed} == {Recovery.FAILED}
    assert "m:long ago" in lost.waiting()


def test_the_next_loss_is_followed_by_a_look_at_all(lost):
    class Dying:
        def unattached_media(self, *_, **__):
            raise TimeLimit

    for _ in range(recover.MOST_TRIES):
        with pytest.raises(TimeLimit):
            lost.recover(make_lake=Dying)
    lost.media("long ago", seconds_ago=30 * 86_400)
    lost.clock += 3600
    note_forgotten(lost.runtime())

    lost.recover()

    assert "m:long ago" in lost.waiting()


def test_a_row_without_a_project_is_told_and_holds_up_nobody(lost):
    lost.media("nobody's", project_id=None)

    with capture_logs() as told:
        report = lost.recover()

    assert (report.ended, report.offered, report.unusable) == (Recovery.DONE, 3, 1)
    assert [line["rows"] for line in told if "name no project" in line["event"]] == [1]


def test_only_one_process_does_it_at_a_time(lost):
    lost.gates.lock("recover", "another", 60)

    assert lost.recover().ended is Recovery.BUSY


def test_its_lease_is_given_back_whatever_ended_it(lost):
    """It is for minutes, in which no other process would go on."""
    lost.recover(holder="one")
    assert lost.gates.lock("recover", "two", 1) is not None
    lost.clock += 31

    failed = lost.recover(holder="one", make_lake=_Away)

    assert failed.ended is Recovery.FAILED
    assert lost.recover(holder="three").ended is Recovery.DONE


def test_the_least_mark_that_can_be_set_lets_one_come_at_a_time():
    world = MediaWorld(max_in_flight=1)
    world.media("1", "2")
    world.lose_redis()

    report = world.recover()

    assert (report.ended, report.offered, world.ledger.active()) == (Recovery.PRESSURE, 1, 1)


def test_one_step_of_the_ledger_takes_so_many_and_no_more(lost):
    """Redis does nothing else meanwhile."""
    steps: list[int] = []

    class Noting(MemoryLedger):
        def store_page(self, cursor, expected, move_to, pages, *more):
            steps.append(len(pages))
            return super().store_page(cursor, expected, move_to, pages, *more)

    lost.ledger = Noting(lost.now)
    poll_once(lost.runtime())
    lost.media(*(f"{n:04}" for n in range(recover.RECORDS_A_STEP + 1)))

    report = lost.recover()

    assert (report.ended, report.offered) == (Recovery.DONE, recover.RECORDS_A_STEP + 4)
    assert max(steps) == recover.RECORDS_A_STEP


def test_one_that_cannot_ask_for_the_lease_is_a_failure_that_the_next_run_mends(lost):
    lost.gates.away = True
    failed = lost.recover()
    lost.gates.away = False

    assert (failed.ended, "whose the lease recover is" in failed.error) == (Recovery.FAILED, True)
    assert lost.recover().ended is Recovery.DONE


def test_a_process_that_was_overtaken_stops(lost):
    class Overtaken(MemoryLedger):
        def store_page(self, cursor, expected, move_to, pages, fence=0, *more):
            if pages:
                super().store_page(cursor, expected, move_to, [], fence + 1)
            return super().store_page(cursor, expected, move_to, pages, fence, *more)

    lost.ledger = Overtaken(lost.now)
    poll_once(lost.runtime())

    assert lost.recover().ended is Recovery.SUPERSEDED


def test_one_that_was_overtaken_at_its_end_is_not_done(lost):
    """What the other one meets is its own: this one may have walked over an older lake."""

    class Overtaken(MemoryLedger):
        def store_page(self, cursor, expected, move_to, pages, fence=0, *more):
            if cursor == RECOVERED and not pages:
                super().store_page(cursor, expected, 0, [], fence + 1)
            return super().store_page(cursor, expected, move_to, pages, fence, *more)

    lost.ledger = Overtaken(lost.now)
    poll_once(lost.runtime())

    assert lost.recover().ended is Recovery.SUPERSEDED


def test_a_lake_that_is_away_is_asked_again_by_the_next_run(lost):
    assert lost.recover(make_lake=_Away).ended is Recovery.FAILED
    assert lost.recover().ended is Recovery.DONE


def test_a_dead_record_stays_dead(lost):
    """Its failed row may not be in the lake yet."""
    lost.ledger.store_page(
        "x", None, 1, [NewRecord("m:open1", Kind.MEDIA, Stage.DOWNLOAD, {}, "t")]
    )
    (record,) = lost.ledger.claim(Stage.DOWNLOAD, ["m:open1"], 60)
    failure = failure_of(record.stage, Unavailable("gone"), 1.0)
    lost.ledger.settle([Buried(record, failure)])

    lost.recover()

    assert lost.ledger.census().dead[Kind.MEDIA] == 1
