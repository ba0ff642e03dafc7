"""Reconcile names what is missing, extra or doubled, and nothing else; fixing doubles nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
from reconcile_world import PROJECT, Pipeline, named

from claimx.adapters.memory.ledger import MemoryLedger
from claimx.adapters.memory.source import MemorySource
from claimx.domain.errors import ErrorCategory, Refused, Unavailable
from claimx.domain.records import DeadFilter, Kind, Stage
from claimx.domain.tables import ATTACHMENTS, EVENTS, MEDIA
from claimx.domain.times import from_seconds
from claimx.services.lease import AWAY_SECONDS, LONGEST_PAUSE_SECONDS
from claimx.services.reconcile import Ending, Finding, admission, pieces, strangers
from claimx.services.reconcile.events import named_media

DAY = 86_400.0


@pytest.fixture
def done():
    """A pipeline that has finished three events, of which one brought two media files."""
    made = Pipeline()
    made.created("e1", "e2")
    made.added("e3", "m1", "m2")
    made.through()
    return made


class AwayFor:
    """
    A ledger that goes away, at the *number*th question, for so many seconds.

    With *acts* it carries that one out, and only the answer is lost.
    """

    def __init__(self, world, number, seconds, *, acts=False):
        self._world, self._number, self._seconds, self._acts = world, number, seconds, acts
        self.since, self.asked = float("inf"), 0

    def __getattr__(self, name):
        def answer(*arguments):
            self.asked += 1
            if self.asked == self._number + 1:
                self.since = self._world.clock
                if self._acts:
                    getattr(self._world.ledger, name)(*arguments)
            if 0 <= self._world.clock - self.since < self._seconds:
                raise Unavailable("Redis is away")
            return getattr(self._world.ledger, name)(*arguments)

        return answer


class TestAHealthyPipeline:
    def test_all_is_well_when_everything_is_there(self, done):
        report = done.reconcile()

        assert (report.ending, report.off, done.found) == (Ending.COMPLETE, 0, [])
        assert (report.rows, report.events, report.finished) == (3, 3, 3)

    @pytest.mark.parametrize("stages", range(5))
    def test_what_is_under_way_is_no_finding_at_any_stage(self, stages):
        """A busy pipeline never shows a false alarm."""
        world = Pipeline()
        world.created("e1", None, ago=60)
        world.added("e2", "m1", ago=60)
        world.poll()
        steps = [world.ingest, world.enrich, world.fetch, world.write]
        for step in steps[:stages]:
            step()
        world.on_sleep = world.ingest  # pages are taken in while it waits for them

        report = world.reconcile()

        assert (report.off, report.unread, report.unsure) == (0, 0, 0)
        assert report.in_flight + report.finished == 3

    def test_the_dead_are_counted_apart(self, done):
        done.created("lost", ago=1000, project_id=8)  # which the API does not know
        done.created(None, ago=1000, event_type=None)
        done.added("e4", "m3", ago=1000)
        done.poll()
        done.ingest()
        done.enrich()
        done.write()
        done.fetch(dies=True)

        report = done.reconcile()

        assert (report.off, report.dead, report.media_dead) == (0, 2, 1)

    def test_media_that_failed_have_their_row_and_those_without_a_link_need_none(self, done):
        done.added("e4", "m3", "m4", ago=1000)
        done.api.media_items[PROJECT][-1]["fullDownloadLink"] = None
        done.poll()
        done.ingest()
        done.enrich()
        done.fetch(dies=True)
        done.write()

        assert done.reconcile().off == 0

    def test_an_event_that_is_finished_between_two_looks_is_found_in_one_of_them(self, done):
        """The ledger is asked first: what it does not have any more, the lake has by then."""

        class Finishing(MemoryLedger):
            def states(self, ids):
                found = super().states(ids)
                done.write()
                return found

        for _ in range(2):
            done.ledger.__class__ = Finishing
            done.created("e9", ago=60)
            done.poll()
            done.ingest()
            done.enrich()

            assert done.reconcile().off == 0

    def test_a_file_that_is_finished_between_two_looks_is_none(self, done):
        class Finishing(MemoryLedger):
            def states(self, ids):
                if any(one.startswith("m:") for one in ids):
                    done.fetch()
                    done.write()
                return super().states(ids)

        done.added("e4", "m3", ago=60)
        done.poll()
        done.ingest()
        done.enrich()
        done.write()
        done.ledger.__class__ = Finishing

        assert done.reconcile().off == 0

    def test_what_the_poller_has_not_come_to_is_left_to_it(self, done):
        done.clock += 1000
        done.created("late", ago=1)
        done.created("new", ago=100)

        report = done.reconcile()

        assert report.off == 0
        assert report.until < from_seconds(done.clock - 1000)

    def test_what_shows_up_within_the_overlap_is_left_to_it_too(self, done):
        """The next poll reads that far back."""
        done.created("late", ago=1800 - 60)  # ingested a minute before e3, visible only now
        done.clock += 30
        done.poll()  # idle but for the overlap; nothing is ingested

        report = done.reconcile()

        assert (report.off, report.unread) == (0, 1)

    def test_pages_that_stay_leave_their_events_unjudged(self):
        world = Pipeline()
        world.created("e1", ago=5000)
        world.created("e2", ago=1800)
        world.poll()

        report = world.reconcile()

        assert (report.off, report.unread) == (0, 2)

    def test_before_the_first_poll_there_is_nothing_to_judge(self):
        assert Pipeline().reconcile().ending is Ending.NOTHING

    def test_a_source_that_gave_nothing_since_redis_was_lost_is_judged_all_the_same(self, done):
        done.lose(EVENTS, "e1")
        done.forget_redis()
        done.clock += 7200
        done.poll()

        done.reconcile(ago=4 * 3600)

        assert done.found == named(("events", "missing", "e1"))

    def test_events_from_before_the_pipelines_time_count_only_when_asked_for(self):
        world = Pipeline()
        world.created("before", "before too", ago=6000)
        world.created("e1", ago=1800)
        world.through()

        assert world.reconcile(lenient=True).early == 2
        assert world.found == []
        world.reconcile()
        assert {one for *_, one in world.found} == {"before", "before too"}

    def test_after_a_loss_of_redis_the_lake_tells_when_the_pipelines_time_began(self):
        world = Pipeline()
        world.created("before", ago=6000)
        world.created("e1", ago=3500)
        world.created("lost", ago=3400)
        world.through()
        world.lose(EVENTS, "lost")
        world.forget_redis()
        world.clock += 3000
        world.created("e9", ago=60)
        world.through()

        report = world.reconcile(ago=3 * 3600, lenient=True)

        assert world.found == named(("events", "missing", "lost"))
        assert report.early == 1


class TestMissingEvents:
    def test_an_event_that_is_nowhere_is_missing_though_it_is_remembered(self, done):
        """Just that is what reconcile is for."""
        done.lose(EVENTS, "e2")

        report = done.reconcile()

        assert done.ledger.seen(["e:e2"]) == {"e:e2"}
        assert done.found == named(("events", "missing", "e2"))
        assert (report.off, report.finished) == (1, 2)

    def test_fixing_admits_exactly_the_missing_and_all_is_well_again(self, done):
        before = done.rows()
        done.lose(EVENTS, "e1", "e3")

        report = done.reconcile(fix=True)

        assert done.admitted == ["e:e1", "e:e3"]
        assert (report.off, report.admitted) == (0, {Kind.EVENT: 2})
        done.finish()
        assert done.rows() == before
        assert done.reconcile().off == 0
        assert done.ledger.census().missing(Kind.EVENT) == 0
        assert done.counters["event.admitted"] == 5

    def test_without_fix_nothing_changes(self, done):
        done.lose(EVENTS, "e1")
        before = done.counters

        done.reconcile()

        assert done.counters == before
        assert done.ledger.active() == 0

    def test_an_event_without_an_id_comes_back_under_the_same(self, done):
        done.created(None, ago=900)
        done.poll()
        done.finish()
        (hashed,) = {row["event_id"] for row in done.lake.rows(EVENTS)} - {"e1", "e2", "e3"}
        done.lose(EVENTS, hashed)

        done.reconcile(fix=True)
        done.finish()

        assert done.admitted == [f"e:{hashed}"]
        assert hashed in done.rows()[EVENTS.name]

    def test_rows_of_one_id_are_one_event_however_far_apart(self, done, monkeypatch):
        monkeypatch.setattr(pieces, "PAGE_ROWS", 1)
        monkeypatch.setattr(pieces, "PIECE_ROWS", 1)
        done.created("e1", "e1", ago=1000)
        done.lose(EVENTS, "e1")

        report = done.reconcile(fix=True)

        assert done.found == named(("events", "missing", "e1"))
        assert report.admitted == {Kind.EVENT: 1}

    def test_a_malformed_row_whose_letter_is_lost_is_buried_again(self, done):
        done.created("bad", ago=1000, event_type=None)
        done.created("e9", ago=100)
        done.poll()
        done.ingest()
        (letter,) = done.ledger.dead_letters(DeadFilter())
        done.forget_redis()
        done.poll()
        done.hints.taken(Stage.INGEST)
        done.ledger._records.by_id.clear()  # the page, too

        report = done.reconcile(fix=True)

        assert done.admitted == [letter.id]
        assert report.ids(EVENTS.name, Finding.MISSING) == [letter.id[2:]]
        done.clock += 6
        done.redrive()
        done.ingest()
        (again,) = done.ledger.dead_letters(DeadFilter())
        assert (again.id, again.failure.error) == (letter.id, letter.failure.error)

    def test_an_event_whose_row_lies_on_another_day_is_there(self, done):
        """The lake writer looks two days around, so it would not insert it again either."""
        row = done.lake.tables[EVENTS.name].pop(("e1",))
        time = row["ingested_at"] - from_seconds(2 * DAY)
        done.stray(EVENTS, **row | {"ingested_at": time, "event_date": "2025-12-30"})

        assert done.reconcile().off == 0

    def test_an_own_time_may_be_any_that_a_calendar_has(self, done):
        times = ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999Z", "1970-01-01T00:00:00Z")
        names = [f"t{n}" for n in range(len(times))]
        for name, time in zip(names, times, strict=True):
            done.created(name, ago=900, ingested_at=time)
        done.poll()
        done.finish()
        assert done.reconcile().off == 0
        done.lose(EVENTS, *names)

        done.reconcile()

        assert done.found == named(*(("events", "missing", name) for name in names))

    def test_a_late_row_that_no_poll_has_read_is_missing(self, done):
        done.clock += 3000
        done.created("e9", ago=10)
        done.poll()
        done.finish()
        done.created("too late", ago=1800)

        done.reconcile()

        assert done.found == named(("events", "missing", "too late"))

    def test_media_that_a_finished_event_names_and_no_row_has_bring_their_event_back(self, done):
        before = done.rows()
        done.lose(MEDIA, "m2")
        done.lose(ATTACHMENTS, "m2")

        report = done.reconcile(fix=True)

        assert done.found == named(("media", "missing", "m2"))
        assert (done.admitted, report.off) == (["e:e3"], 0)
        done.finish()
        done.reconcile(fix=True)  # the file counted as fetched a moment ago
        done.finish()
        assert done.rows() == before
        assert done.reconcile().off == 0

    @pytest.mark.parametrize(
        "text", ["", "null", "[", "3", '["m1", 2, null]', '"m1"', "[" * 100_000, "9" * 5000]
    )
    def test_media_ids_that_others_wrote_stop_nothing(self, text):
        row = {"event_type": "PROJECT_FILE_ADDED", "media_ids": text, "media_id": None}

        assert named_media(row) in ([], ["m1"])

    def test_of_two_contents_of_one_id_the_first_names_its_media(self, done):
        done.added("e3", "m9", ago=1000)
        done.poll()
        done.finish()

        assert done.reconcile().off == 0


class TestExtraEvents:
    def test_a_row_of_no_event_of_the_source_is_extra(self, done):
        done.double(EVENTS, "e1", event_id="ghost")

        done.reconcile()

        assert done.found == named(("events", "extra", "ghost"))

    def test_its_own_time_may_be_somewhat_before_the_range(self, done):
        """As that of any event that is ingested in the range's first moments."""
        done.double(EVENTS, "e1", event_id="ghost")

        done.reconcile(ago=1700)

        assert done.found == named(("events", "extra", "ghost"))

    def test_events_ingested_somewhat_later_are_met_without_asking_for_them(self, done):
        """A look through the whole source for each of them would cost it dearly."""

        class NeverAsked(MemorySource):
            def having(self, ids):
                raise AssertionError(ids)

        done.source = NeverAsked(done.now, _rows=done.source._rows)
        own = done.clock - 400
        for name, ago in (("later", 200), ("sooner", 300)):
            done.created(name, ago=ago, ingested_at=own)
        done.poll()
        done.finish()

        assert done.reconcile(until=350).off == 0

    def test_extra_is_only_named(self, done):
        done.double(EVENTS, "e1", event_id="ghost")

        report = done.reconcile(fix=True)

        assert (report.off, done.admitted) == (1, [])

    def test_an_event_whose_own_time_is_long_before_its_ingestion_is_none(self, done):
        own = done.clock - 5000
        for name, ago in (("slow", 20), ("slower", 60)):
            done.created(name, ago=ago, ingested_at=own)
        done.poll()
        done.finish()

        assert done.reconcile(ago=5100, until=4900).off == 0
        assert done.found == []

    def test_nor_is_one_without_an_id(self, done):
        done.created(None, ago=20, ingested_at=done.clock - 5000)
        done.poll()
        done.finish()

        report = done.reconcile(ago=5100, until=4900)

        assert (report.off, report.unsure, done.found) == (0, 0, [])

    def test_a_hash_of_no_row_is_extra_like_any_other(self, done):
        done.double(EVENTS, "e1", event_id="0" * 64)

        done.reconcile()

        assert done.found == named(("events", "extra", "0" * 64))

    def test_what_the_source_may_have_let_go_of_is_not_called_extra(self, done):
        done.double(EVENTS, "e1", event_id="old", ingested_at=done.moment(5000))

        report = done.reconcile()

        assert (report.off, report.unsure) == (0, 1)

    def test_a_row_without_a_time_is_none_of_ours(self, done):
        done.stray(EVENTS, event_id="ghost")

        done.reconcile()

        assert done.found == named(("events", "extra", "ghost"))

    def test_more_than_can_be_asked_for_are_counted(self, done, monkeypatch):
        monkeypatch.setattr(strangers, "MOST_HELD", 4)
        monkeypatch.setattr(strangers, "MOST_ASKED", 2)
        monkeypatch.setattr(strangers, "IDS_A_QUERY", 1)
        for n in range(6):
            done.double(EVENTS, "e1", event_id=f"ghost{n}")

        report = done.reconcile()

        assert (report.off, report.unsure) == (2, 4)


class TestDoubled:
    @pytest.mark.parametrize(("table", "key"), [(EVENTS, "e2"), (MEDIA, "m1"), (ATTACHMENTS, "m2")])
    def test_two_rows_of_one_key_are_named_and_not_touched(self, done, table, key):
        done.double(table, key)
        done.double(table, key)
        before = done.rows()

        report = done.reconcile(fix=True)

        assert done.found == named((table.name[7:], "doubled", key))
        assert (report.off, done.rows()) == (1, before)

    def test_an_event_is_doubled_on_another_time_of_the_range_too(self, done):
        done.double(EVENTS, "e2", ingested_at=done.moment(3000))

        done.reconcile()

        assert done.found == named(("events", "doubled", "e2"))


class TestAttachments:
    def test_downloadable_media_without_a_row_or_record_are_missing(self, done):
        done.lose(ATTACHMENTS, "m1")

        report = done.reconcile()

        assert done.found == named(("attachments", "missing", "m1"))
        assert report.off == 1

    def test_fixing_fetches_them_by_a_fresh_link(self, done):
        before = done.rows()
        done.lose(ATTACHMENTS, "m1", "m2")

        report = done.reconcile(fix=True)

        assert (done.admitted, report.off) == (["m:m1", "m:m2"], 0)
        assert done.ledger.find("m:m1")[0].data["refresh"] is True
        done.finish()
        assert done.rows() == before
        assert done.ledger.census().missing(Kind.MEDIA) == 0

    def test_a_worker_whose_clock_is_behind_hides_none(self, done):
        """Its data seem to be older than their event."""
        done.lose(ATTACHMENTS, "m1")
        done.lake.tables[MEDIA.name][("m1",)]["last_enriched_at"] = done.moment(1900)

        done.reconcile(ago=1850)

        assert done.found == named(("attachments", "missing", "m1"))

    def test_only_media_of_the_ranges_events_count(self, done):
        done.clock += 3600
        done.added("e4", "m3", ago=100)
        done.poll()
        done.finish()
        done.lose(ATTACHMENTS, "m1", "m3")

        done.reconcile(ago=3600 * 1.6, until=3600)
        assert done.found == named(("attachments", "missing", "m1"))
        done.reconcile(ago=600)
        assert done.found == named(("attachments", "missing", "m3"))

    def test_media_count_with_any_event_of_the_range_that_names_them(self, done):
        """Their row names the newest event, which may lie behind the range."""
        done.clock += 3600
        done.added("e4", "m1", ago=100)
        done.poll()
        done.finish()
        done.lose(ATTACHMENTS, "m1")

        done.reconcile(ago=3600 * 1.6, until=3600)

        assert done.found == named(("attachments", "missing", "m1"))

    def test_media_of_no_project_are_named_and_cannot_be_fetched(self, done):
        done.lose(ATTACHMENTS, "m1")
        done.lake.tables[MEDIA.name][("m1",)]["project_id"] = None

        report = done.reconcile(fix=True)

        assert done.found == named(("attachments", "missing", "m1"))
        assert (report.off, done.admitted) == (1, [])

    def test_what_there_is_no_room_to_hold_counts_by_its_own_time(self, done):
        done.limits = replace(done.limits, held_media=1)
        done.lose(ATTACHMENTS, "m1", "m2")
        done.poll()

        done.reconcile()
        assert done.found == named(
            ("attachments", "missing", "m1"), ("attachments", "missing", "m2")
        )
        done.reconcile(until=100)
        assert done.found == named(("attachments", "missing", "m1"))

    def test_an_attachment_of_no_media_is_extra(self, done):
        done.lake.tables[ATTACHMENTS.name][("ghost",)] = {
            **done.lake.tables[ATTACHMENTS.name][("m1",)],
            "media_id": "ghost",
        }

        done.reconcile()

        assert done.found == named(("attachments", "extra", "ghost"))

    def test_not_while_its_event_is_still_to_be_written(self, done):
        done.added("e4", "m3", ago=60)
        done.poll()
        done.ingest()
        done.enrich()
        done.lake.fail_next[MEDIA.name] = [Unavailable("503")]
        done.fetch()
        done.write()
        assert "m3" in done.rows()[ATTACHMENTS.name]
        assert "m3" not in done.rows()[MEDIA.name]

        assert done.reconcile().off == 0


class TestFixing:
    def test_it_races_with_another_and_each_event_is_admitted_once(self, done):
        done.lose(EVENTS, "e1", "e2")

        class Raced(MemoryLedger):
            def readmit(self, job, records, fence):
                super().readmit("another", records[:1], fence)
                return super().readmit(job, records, fence)

        done.ledger.__class__ = Raced
        report = done.reconcile(fix=True)

        assert report.admitted == {Kind.EVENT: 1}
        assert report.off == 1, "the other's is told, and not as ours"
        done.finish()
        assert done.counters["event.admitted"] == 5
        assert done.rows()[EVENTS.name] == {"e1": 1, "e2": 1, "e3": 1}

    def test_an_event_that_was_finished_after_the_look_stays_one_row(self, done):
        """The lake decides by key, and the counters stay those of the invariant."""
        kept = done.lake.tables[EVENTS.name][("e1",)]
        done.lose(EVENTS, "e1")

        class Late(MemoryLedger):
            def readmit(self, job, records, fence):
                done.lake.tables[EVENTS.name][("e1",)] = kept
                return super().readmit(job, records, fence)

        done.ledger.__class__ = Late
        done.reconcile(fix=True)
        done.finish()

        assert done.rows()[EVENTS.name]["e1"] == 1
        assert done.lake.tables[EVENTS.name][("e1",)] == kept
        assert done.ledger.census().missing(Kind.EVENT) == 0

    def test_only_one_process_fixes_at_a_time(self, done):
        done.lose(EVENTS, "e1")
        done.gates.lock(admission.LEASE, "another", 60)

        assert done.reconcile(fix=True).ending is Ending.BUSY
        assert done.reconcile().off == 1, "anybody may look"
        assert done.ledger.active() == 0

    def test_who_was_overtaken_admits_nothing_more(self, done):
        done.lose(EVENTS, "e1")
        done.ledger.readmit(admission.JOB, [], 10**15)

        report = done.reconcile(fix=True)

        assert (report.ending, report.off) == (Ending.SUPERSEDED, 1)

    def test_who_lost_the_lease_stops_after_its_step(self, done, monkeypatch):
        monkeypatch.setattr(admission, "RECORDS_A_STEP", 1)
        done.lose(EVENTS, "e1", "e2")

        class Slow(MemoryLedger):
            def readmit(self, job, records, fence):
                done.clock += admission.LEASE_SECONDS
                done.gates.lock(admission.LEASE, "another", 1e6)
                return super().readmit(job, records, fence)

        done.ledger.__class__ = Slow
        report = done.reconcile(fix=True)

        assert (report.ending, len(done.admitted), report.off) == (Ending.SUPERSEDED, 1, 1)

    def test_a_lease_that_was_taken_over_ends_it_at_once(self, done, monkeypatch):
        monkeypatch.setattr(pieces, "PAGE_ROWS", 1)
        monkeypatch.setattr(pieces, "PIECE_ROWS", 1)

        def taken_over(_report) -> None:
            done.gates.unlock(admission.LEASE, "reconciler")
            assert done.gates.lock(admission.LEASE, "another", 60) is not None

        before = done.clock
        report = done.reconcile(fix=True, progress=taken_over)

        assert report.ending is Ending.SUPERSEDED
        assert 0 < report.finished < 3
        assert done.clock == before, "nothing was waited for"

    def test_a_redis_that_is_away_for_a_minute_is_waited_for(self, done, monkeypatch):
        monkeypatch.setattr(pieces, "PAGE_ROWS", 1)
        monkeypatch.setattr(pieces, "PIECE_ROWS", 1)
        done.lose(EVENTS, "e1", "e2")
        until = []

        def away(_report) -> None:
            if not until:
                until.append(done.clock + 60)
                done.gates.away = True

        def back() -> None:
            done.gates.away = bool(until) and done.clock < until[0]

        done.on_sleep = back
        report = done.reconcile(fix=True, progress=away)

        assert (report.ending, report.off) == (Ending.COMPLETE, 0)
        assert 0 <= done.clock - until[0] <= LONGEST_PAUSE_SECONDS

    @pytest.mark.parametrize("acts", [False, True], ids=["before it acts", "after it acted"])
    @pytest.mark.parametrize("asked", range(14))
    def test_a_ledger_that_is_away_for_a_minute_is_waited_for_wherever_it_is_asked(
        self, done, asked, acts
    ):
        done.lose(EVENTS, "e1", "e2")
        done.lose(ATTACHMENTS, "m1")
        away = AwayFor(done, asked, 60, acts=acts)

        report = done.reconcile(fix=True, ledger=away)

        assert away.asked > asked, "it was away"
        assert (report.ending, report.off) == (Ending.COMPLETE, 0)
        assert sum(report.admitted.values()) == 3
        assert 60 <= done.clock - away.since <= 60 + LONGEST_PAUSE_SECONDS

    def test_a_ledger_that_stays_away_ends_it_with_what_was_found(self, done):
        done.lose(EVENTS, "e1", "e2")
        away = AwayFor(done, 5, float("inf"))

        report = done.reconcile(fix=True, ledger=away)

        assert (report.ending, "waited for 120 s" in report.error) == (Ending.FAILED, True)
        assert done.clock - away.since == pytest.approx(AWAY_SECONDS, abs=0.5)

    def test_a_redis_that_stays_away_ends_it_with_the_reason(self, done):
        done.lose(EVENTS, "e1")
        done.gates.away = True
        before = done.clock

        report = done.reconcile(fix=True)

        assert (report.ending, report.category) == (Ending.FAILED, ErrorCategory.TRANSIENT)
        assert "whose the lease reconcile:fix is (waited for 120 s)" in report.error
        assert done.clock - before == pytest.approx(AWAY_SECONDS, abs=0.5)

    def test_one_that_fails_as_it_begins_keeps_no_lease(self, done):
        """For two minutes nobody else could have fixed anything."""
        done.lose(EVENTS, "e1")

        class Uncounted(MemoryLedger):
            def active(self, *kinds):
                raise Refused(f"no {kinds}")

        done.ledger.__class__ = Uncounted
        failed = done.reconcile(fix=True)

        assert failed.ending is Ending.FAILED
        assert done.gates.lock(admission.LEASE, "another", 60) is not None

    def test_the_lease_is_given_back(self, done):
        done.reconcile(fix=True)

        assert done.gates.lock(admission.LEASE, "another", 60) is not None

    def test_half_of_what_may_be_in_flight_is_left_to_live_events(self):
        world = Pipeline(max_in_flight=4)
        world.created(*"abcdef")
        world.through()
        world.lose(EVENTS, *"abcdef")
        held = []

        def workers() -> None:
            held.append(world.ledger.active())
            world.finish()

        world.on_sleep = workers
        report = world.reconcile(fix=True)

        assert report.admitted == {Kind.EVENT: 6}
        assert held
        assert max(held) == 2

    def test_without_room_for_long_it_ends_and_says_so(self):
        world = Pipeline(max_in_flight=2)
        world.created(*"abc")
        world.through()
        world.lose(EVENTS, *"abc")

        report = world.reconcile(fix=True)

        assert (report.ending, report.admitted) == (Ending.PRESSURE, {Kind.EVENT: 1})
        assert report.counts["claimx_events", Finding.MISSING] == 3

    def test_many_are_taken_step_by_step(self, monkeypatch):
        monkeypatch.setattr(admission, "RECORDS_A_STEP", 2)
        monkeypatch.setattr(pieces, "PAGE_ROWS", 4)
        monkeypatch.setattr(pieces, "PIECE_ROWS", 6)
        world = Pipeline()
        names = [f"{n:02}" for n in range(25)]
        world.created(*names)
        world.poll()
        while world.pages or world.ledger.active():
            world.finish()
            world.poll()
        world.lose(EVENTS, *names)

        report = world.reconcile(fix=True)

        assert world.admitted == [f"e:{name}" for name in names]
        assert report.rows == 25


class TestEnds:
    def test_a_source_that_stumbles_is_asked_again(self, done):
        done.source.failures.extend([Unavailable("503"), Unavailable("429", retry_after=20)])
        before = done.clock

        report = done.reconcile()

        assert (report.ending, report.finished) == (Ending.COMPLETE, 3)
        assert done.clock - before == 22

    @pytest.mark.parametrize(
        "failures", [[Unavailable("503")] * 3, [Refused("no such table")]], ids=["away", "refused"]
    )
    def test_one_that_is_away_ends_it_with_what_was_found(self, done, failures):
        done.lose(ATTACHMENTS, "m1")
        done.source.failures.extend(failures)

        report = done.reconcile()

        assert (report.ending, report.error) == (Ending.FAILED, str(failures[0]))

    def test_an_interrupt_keeps_what_was_found(self, done, monkeypatch):
        monkeypatch.setattr(pieces, "PAGE_ROWS", 1)
        monkeypatch.setattr(pieces, "PIECE_ROWS", 1)
        done.lose(EVENTS, "e1")

        def interrupt(report) -> None:
            if report.finished == 1:
                raise KeyboardInterrupt

        report = done.reconcile(progress=interrupt)

        assert (report.ending, report.off) == (Ending.INTERRUPTED, 1)
        assert report.since < report.reached < report.until

    def test_when_time_is_up_the_rest_is_judged_up_to_there(self, done, monkeypatch):
        monkeypatch.setattr(pieces, "PAGE_ROWS", 1)
        monkeypatch.setattr(pieces, "PIECE_ROWS", 1)
        done.lose(EVENTS, "e1", "e2")
        done.double(EVENTS, "e3", event_id="ghost")
        done.double(MEDIA, "m1")

        def slow(_report) -> None:
            done.clock += 10

        report = done.reconcile(seconds=5, progress=slow, following=True)

        assert report.ending is Ending.TIME
        assert report.until == report.reached
        assert {one[2] for one in done.found} <= {"e1", "ghost"}
        assert ("events", "missing", "e1") in done.found

    def test_a_range_that_ends_before_it_begins_is_refused(self, done):
        with pytest.raises(ValueError, match="before it begins"):
            done.reconcile(ago=10, until=20)

    def test_both_ends_belong_to_the_range(self, done):
        at = {row["_ingestion_time"]: row["event_id"] for row in done.source._shown()}
        done.lose(EVENTS, "e1", "e2", "e3")
        first, last = min(at), max(at)
        ago = [done.clock - one / 1e6 for one in (first, last)]

        done.reconcile(*ago)

        assert {one[2] for one in done.found} == {"e1", "e2", "e3"}
        done.reconcile(ago[0] - 1e-6, ago[1] + 1e-6)
        assert {one[2] for one in done.found} < {"e1", "e2", "e3"}


class TestWhatThePollHasSetAside:
    def test_what_is_not_caught_up_yet_is_left_out(self):
        """A million events that nobody has come to would be a million false alarms."""
        world = Pipeline(poll_start=DAY, far_pages=2, max_in_flight=20)
        world.created(*(f"old{n}" for n in range(40)), ago=DAY - 600)
        world.poll()

        before = world.reconcile(ago=DAY)
        world.catch_up()
        world.finish()
        amid = world.reconcile(ago=DAY)
        world.until(lambda: world.caught_up(world.finish))
        world.finish()
        done = world.reconcile(ago=2 * DAY)

        assert (before.off, before.events) == (0, 0)
        assert (amid.ending, amid.off) == (Ending.COMPLETE, 0)
        assert 0 < amid.events < 40
        assert (done.ending, done.off, done.events) == (Ending.COMPLETE, 0, 40)
