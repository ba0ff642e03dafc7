"""Reconcile from beat walks settled time once, and what it finds stays known until it is mended."""

from __future__ import annotations

import itertools
from datetime import datetime

import pytest
from reconcile_world import Pipeline
from structlog.testing import capture_logs

from claimx.domain.errors import Unavailable
from claimx.domain.tables import ATTACHMENTS, EVENTS, MEDIA
from claimx.domain.times import from_datetime, from_seconds
from claimx.services.reconcile import (
    Ending,
    keep,
    notes,
    pieces,
    reconcile,
    reconcile_settled,
    settled,
)
from claimx.services.reconcile.report import Finding, Found, ReconcileReport
from claimx.services.status import take_status

HOUR = 3600.0


class Beaten(Pipeline):
    """Polled every hour, with an event that brings a file in each, and reconciled by beat."""

    def __init__(self, hours: int = 6) -> None:
        super().__init__()
        self.poll()
        self.walked: list[tuple[float, float]] = []
        self.begun = self.clock
        for n in range(hours):
            self.hour(f"e{n}", f"m{n}")
        # the stretch before was looked at
        before = self.moment(settled.BEHIND_SECONDS + HOUR)
        self.ledger.store_page(settled.CURSOR, None, before, [])

    def hour(self, event_id: str, media_id: str) -> None:
        self.clock += HOUR
        self.added(event_id, media_id, ago=60)
        self.through()

    def beat(self, holder: str = "one", **instead) -> ReconcileReport | None:
        def sleep(seconds: float) -> None:
            self.clock += seconds

        report = reconcile_settled(self.runtime(holder, **instead), sleep=sleep)
        if report is not None:
            self.walked.append((report.since, report.until))
        return report

    def gauge(self, finding: str, table: str) -> float:
        return self.metrics.values[f"reconcile_{finding}", (table,)]

    def sentences(self) -> list[str]:
        found = take_status(self.runtime()).problems
        return [one for one in found if one.startswith("reconcile")]


@pytest.fixture
def world():
    return Beaten()


def test_a_healthy_pipeline_shows_nothing_and_tells_how_far_it_has_looked(world):
    for _ in range(3):
        world.beat()
        world.hour("later", "m later")

    assert world.sentences() == []
    assert {world.gauge(f, t) for f in Finding for t in (EVENTS.name, MEDIA.name)} == {0}
    reached = world.metrics.values["reconcile_until_seconds", ()]
    assert reached == pytest.approx(world.walked[-1][1] / 1e6)
    assert world.clock - reached >= settled.BEHIND_SECONDS


def test_each_stretch_of_settled_time_is_walked_once(world):
    for n in range(10):
        world.hour(f"f{n}", f"n{n}")
        world.beat()

    assert len(world.walked) == 10
    assert all(a[1] + 1 == b[0] for a, b in itertools.pairwise(world.walked))
    assert world.walked[-1][1] == pytest.approx(from_seconds(world.clock - 2 * HOUR), abs=10)


def test_after_a_pause_it_catches_up_by_two_hours_a_run(world):
    world.beat()
    for n in range(7):
        world.hour(f"f{n}", f"n{n}")

    for _ in range(5):
        world.beat()

    lengths = [round((until - since) / 3.6e9) for since, until in world.walked]
    assert lengths == [1, 2, 2, 2, 1]


def test_what_is_too_long_ago_is_left_out_and_told(world, capsys):
    world.beat()
    for n in range(40):
        world.hour(f"f{n}", f"n{n}")

    report = world.beat()

    assert world.clock - report.since / 1e6 == pytest.approx(settled.FURTHEST_SECONDS)
    assert "not reconciled" in capsys.readouterr().out


def test_after_a_loss_of_redis_it_begins_a_day_back_and_finds_what_nobody_reads_again(world):
    world.hour("e6", "m6")
    world.poll()
    world.created("under way", ago=3 * HOUR)
    world.forget_redis()
    world.poll()

    reports = [world.beat() for _ in range(13)]

    assert world.clock - reports[0].since / 1e6 == pytest.approx(settled.FURTHEST_SECONDS)
    assert reports[-1] is None
    (note,) = notes.open_notes(world.runtime())
    assert note.ids == {EVENTS.name: ["under way"]}


def test_a_new_pipeline_is_not_blamed_for_what_was_before_it():
    world = Pipeline()
    world.created(*(f"old{n}" for n in range(5)), ago=12 * HOUR)
    world.created("e1", ago=600)
    world.through()
    world.clock += 4 * HOUR

    for _ in range(12):
        reconcile_settled(world.runtime(), sleep=lambda _: None)

    assert notes.open_notes(world.runtime()) == []


def test_when_nothing_is_due_nothing_is_looked_at(world):
    world.beat()

    assert world.beat() is None


def test_where_the_poller_has_not_come_it_waits(world):
    world.beat()
    world.clock += 9 * HOUR

    reports = [world.beat() for _ in range(4)]

    assert [one.ending for one in reports] == [Ending.COMPLETE] + [Ending.NOTHING] * 3
    world.hour("f", "n")
    assert world.beat().ending is Ending.COMPLETE


def test_what_it_finds_is_told_with_the_command_and_never_mended(world, capsys):
    world.lose(EVENTS, "e3")
    world.lose(ATTACHMENTS, "m3")
    world.double(MEDIA, "m3")
    admitted = world.counters

    world.beat()

    (sentence,) = world.sentences()
    assert "1 missing in claimx_events (e3)" in sentence
    assert "1 doubled in claimx_media (m3)" in sentence
    assert sentence.endswith("--fix")
    assert "reconcile found what must not be" in capsys.readouterr().out
    assert world.gauge("missing", EVENTS.name) == 1
    assert world.gauge("missing", ATTACHMENTS.name) == 1
    assert world.gauge("doubled", MEDIA.name) == 1
    assert world.counters == admitted


def test_it_stays_known_when_later_stretches_are_well(world):
    world.lose(EVENTS, "e3")
    for n in range(3):
        world.beat()
        world.hour(f"f{n}", f"n{n}")

    assert len(world.sentences()) == 1
    assert world.gauge("missing", EVENTS.name) == 1


def test_it_is_forgotten_when_its_stretch_was_seen_to_be_well(world):
    world.lose(EVENTS, "e3")
    world.beat()
    (note,) = notes.open_notes(world.runtime())

    keep(world.runtime(), world.reconcile(8 * HOUR, fix=True))

    assert world.sentences() == []
    world.hour("f", "n")
    world.beat()
    assert world.gauge("missing", EVENTS.name) == 0
    assert note.since in note.command


def test_a_second_look_at_the_same_stretch_replaces_what_the_first_found(world):
    for lost, found in (("e3", ["e3"]), ("e4", ["e3", "e4"])):
        world.lose(EVENTS, lost)
        keep(world.runtime(), world.reconcile(8 * HOUR))

        (note,) = notes.open_notes(world.runtime())
        assert note.ids == {EVENTS.name: found}


def test_looks_that_begin_later_and_later_tell_a_finding_once(world):
    """``--from 3h`` names another range each time, and each left a problem of its own."""
    world.lose(EVENTS, "e3")
    world.lose(ATTACHMENTS, "m4")
    for _ in range(3):
        keep(world.runtime(), world.reconcile(8 * HOUR))
        world.clock += 600

    (sentence,) = world.sentences()
    keep(world.runtime(), world.reconcile(8 * HOUR, fix=True))

    assert "e3" in sentence
    assert "m4" in sentence
    assert world.sentences() == []


def test_nor_do_they_tell_twice_what_has_no_place_in_the_source(world):
    world.double(MEDIA, "m3")
    for _ in range(3):
        keep(world.runtime(), world.reconcile(8 * HOUR))
        world.clock += 600

    assert len(world.sentences()) == 1


def test_the_command_of_a_note_finds_what_the_note_tells(world):
    """Its stretch is no longer than where the findings lie."""
    world.lose(EVENTS, "e3")
    world.lose(MEDIA, "m2")
    world.lose(ATTACHMENTS, "m2", "m4")
    world.stray(EVENTS, event_id="x", ingested_at=world.moment(HOUR), event_type="PROJECT_CREATED")
    first = keep(world.runtime(), world.reconcile(8 * HOUR))
    found = world.found
    world.told.clear()

    since, until = (from_datetime(datetime.fromisoformat(t)) for t in (first.since, first.until))
    again = reconcile(world.runtime(), since, until, sleep=world.wait, told=world.tell)

    assert world.clock - since / 1e6 < 7 * HOUR
    assert world.found == found
    assert keep(world.runtime(), again) == first


def test_what_lies_before_a_range_is_forgotten_when_the_range_is_well(world):
    """Extra rows count from five minutes before: an event's own time is before its ingestion."""
    early = world.moment(2 * HOUR + 120)
    world.stray(EVENTS, event_id="x", ingested_at=early, event_type="PROJECT_CREATED")
    keep(world.runtime(), world.reconcile(2 * HOUR))
    before = world.sentences()
    world.lake.strays.clear()

    keep(world.runtime(), world.reconcile(2 * HOUR))

    assert "extra" in before[0]
    assert world.sentences() == []


def test_a_note_is_over_after_a_week_though_others_are_kept_since(world):
    """They lie in one place of the store, which ends a week after the last of them came."""
    world.lose(EVENTS, "e3")
    keep(world.runtime(), world.reconcile(8 * HOUR))
    for _ in range(8):
        world.clock += 24 * HOUR
        report = ReconcileReport(*[from_seconds(world.clock)] * 3)
        report.add(Found(EVENTS.name, Finding.EXTRA, f"x{world.clock}"), admitted=False)
        keep(world.runtime(), report)

    kept = notes.open_notes(world.runtime())

    assert len(kept) == 7 + 1
    assert not any("e3" in str(note) for note in kept)
    assert len(world.gates.notes(notes.TOPIC)) == len(kept)


def test_a_look_at_a_part_of_its_stretch_is_not_enough(world):
    world.lose(EVENTS, "e3")
    report = world.beat()

    later = world.reconcile(world.clock - report.until / 1e6 + 1)
    keep(world.runtime(), later)

    assert later.off == 0
    assert len(world.sentences()) == 1


def test_nor_is_a_look_that_failed(world):
    world.lose(EVENTS, "e3")
    world.beat()
    world.source.failures.extend([Unavailable("503")] * 3)

    keep(world.runtime(), world.reconcile(20 * HOUR))

    assert len(world.sentences()) == 1


def test_a_stretch_that_failed_is_looked_at_again(world):
    world.source.failures.extend([Unavailable("503")] * 3)

    assert world.beat().ending is Ending.FAILED
    assert world.beat().ending is Ending.COMPLETE
    assert world.walked[0][0] == pytest.approx(world.walked[1][0], abs=20_000_000)


def test_a_long_stretch_is_gone_on_with_where_time_was_up(world, monkeypatch):
    monkeypatch.setattr(pieces, "PAGE_ROWS", 1)
    monkeypatch.setattr(pieces, "PIECE_ROWS", 1)
    monkeypatch.setattr(settled, "WALK_SECONDS", 1e-9)
    world.created(*(f"x{n}" for n in range(5)), ago=3 * HOUR)
    world.beat()
    (first,) = world.walked

    for _ in range(10):
        world.clock += 1
        world.beat()

    assert first[1] < from_seconds(world.clock - 2 * HOUR - 60)
    assert all(a[1] + 1 == b[0] for a, b in itertools.pairwise(world.walked))
    assert world.walked[-1][1] == pytest.approx(from_seconds(world.clock - 2 * HOUR), abs=2e6)


def test_a_worker_that_ends_stops_at_the_next_piece(world, monkeypatch):
    monkeypatch.setattr(pieces, "PAGE_ROWS", 1)
    monkeypatch.setattr(pieces, "PIECE_ROWS", 1)
    world.created("x", "y", "z", ago=3 * HOUR)

    assert world.beat(stopping=lambda: True).ending is Ending.TIME


class TimeLimit(Exception):
    """What a worker raises in a task that takes too long."""


class Endless:
    """A lake whose media tables nobody gets through in the time of a task."""

    def __init__(self, lake):
        self._lake = lake

    def __getattr__(self, name):
        return getattr(self._lake, name)

    def unattached_media(self, *_, **__):
        raise TimeLimit


def test_a_stretch_that_no_run_gets_through_is_left_out_and_told(world, capsys):
    """Each run died where the last one had, and none was ever reconciled again."""
    endless = {"make_lake": lambda: Endless(world.lake)}
    for _ in range(settled.MOST_TRIES):
        with pytest.raises(TimeLimit):
            world.beat(**endless)
    at_first = world.ledger.checkpoint(settled.CURSOR)
    world.hour("f", "n")
    world.hour("g", "o")

    with pytest.raises(TimeLimit):
        world.beat(**endless)

    moved = world.ledger.checkpoint(settled.CURSOR).source_time - at_first.source_time
    assert moved == pytest.approx(2 * HOUR * 1e6, abs=10)
    (sentence,) = world.sentences()
    assert "has not looked at" in sentence
    assert sentence.split(": ", 1)[1] in capsys.readouterr().out
    assert world.beat().ending is Ending.COMPLETE, "the next stretch has its own tries"


def test_what_was_left_out_is_forgotten_once_somebody_has_looked_at_it(world):
    for _ in range(settled.MOST_TRIES):
        with pytest.raises(TimeLimit):
            world.beat(make_lake=lambda: Endless(world.lake))
    world.beat()
    before = world.sentences()

    keep(world.runtime(), world.reconcile(12 * HOUR))

    assert len(before) == 1
    assert world.sentences() == []


def test_runs_that_end_are_no_tries(world):
    for _ in range(settled.MOST_TRIES + 1):
        world.source.failures.extend([Unavailable("503")] * 3)
        world.beat()

    assert world.sentences() == []
    assert world.beat().ending is Ending.COMPLETE


def test_only_one_process_looks_at_a_time(world):
    world.gates.lock(settled.LEASE, "another", 60)

    assert world.beat() is None
    world.clock += 61
    assert world.beat() is not None


@pytest.mark.parametrize("away", ["the gates", "the ledger"])
def test_who_cannot_ask_where_the_last_run_ended_leaves_it_to_the_next(world, away):
    """Redis is away: no traceback of a task that beat sends again anyway."""

    class Ledger:
        def checkpoint(self, cursor):
            raise Unavailable(f"where is {cursor}?")

    world.gates.away = away == "the gates"
    with capture_logs() as told:
        assert world.beat(ledger=Ledger()) is None

    assert [line["event"] for line in told] == ["not reconciled; the next run tries again"]
    world.gates.away = False
    assert world.beat().ending is Ending.COMPLETE


def test_a_note_names_what_is_left_and_not_what_was_admitted():
    """Where there is no room for all, the first ones are those that were."""
    world = Beaten(0)
    report = ReconcileReport(10, 20, 20, Ending.PRESSURE)
    for n in range(9):
        found = Found(EVENTS.name, Finding.MISSING, f"e{n}", at=10 + n)
        report.add(found, admitted=n < 7)

    note = keep(world.runtime(), report)

    assert note.counts == {EVENTS.name: {Finding.MISSING: 2}}
    assert note.ids == {EVENTS.name: ["e7", "e8"]}
    assert report.stretch == (17, 18)


def test_notes_have_a_bound_and_the_newest_stay():
    world = Beaten(0)
    for n in range(notes.MOST_NOTES + 5):
        report = ReconcileReport(n * 10, n * 10 + 5, n * 10 + 5)
        report.add(Found(EVENTS.name, Finding.EXTRA, f"e{n}"), admitted=False)
        keep(world.runtime(), report)

    kept = notes.open_notes(world.runtime())

    assert len(kept) == notes.MOST_NOTES
    keep(world.runtime(), ReconcileReport(10_000, 10_005, 10_005))  # all is well there
    assert notes.open_notes(world.runtime()) == kept
    assert kept[-1].ids == {EVENTS.name: [f"e{notes.MOST_NOTES + 4}"]}
    sentences = world.sentences()
    assert len(sentences) == 4
    assert "--fix" not in sentences[0], "there is nothing to admit"
    assert str(notes.MOST_NOTES - 3) in sentences[-1]


def test_a_note_of_another_release_is_passed_over():
    world = Beaten(0)
    for text in (
        *("", "{}", '{"counts": 1, "ids": []}', "null", "[" * 100_000),
        '{"counts": {"claimx_events": 3}, "ids": {}}',
        '{"counts": {"claimx_events": {"missing": "x"}}, "ids": {}}',
        '{"counts": {"claimx_events": {"missing": 1}}, "ids": {"claimx_events": 5}}',
    ):
        world.gates.put_note(notes.TOPIC, f"a..b{text}", text, 60)

    assert world.sentences() == []
