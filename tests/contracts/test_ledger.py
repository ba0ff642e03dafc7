"""The contract of `claimx.domain.ports.ledger.Ledger`, for every implementation."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
import redis
from ledger_check import problems
from ledger_rig import (
    BROKEN,
    DAY,
    FAILURE,
    Rig,
    event,
    media,
    memory_rig,
    page,
    redis_rig,
)

from claimx.adapters.ledger import RedisLedger
from claimx.adapters.ledger.scripts import source_of
from claimx.domain.cursors import Checkpoint, Gap, Mark
from claimx.domain.errors import ErrorCategory, Malformed, Unavailable
from claimx.domain.ports.ledger import DeadOnArrival
from claimx.domain.records import (
    Advance,
    Buried,
    DeadFilter,
    Kind,
    NewRecord,
    Record,
    Retried,
    Stage,
    State,
    Waited,
)
from claimx.domain.requeueing import way_back


@pytest.fixture(params=["memory", "redis"])
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    if request.param == "memory":
        made = memory_rig()
    else:
        made = redis_rig(request.getfixturevalue("redis_client"))
    yield made
    for kind in Kind:  # whatever a test did: nothing went astray, and all the counts agree
        assert made.ledger.census().missing(kind) == 0
    census = made.ledger.census()
    for stage in Stage:
        assert sum(census.stages[stage].values()) == sum(census.by_attempts[stage].values())
    assert sum(sum(states.values()) for states in census.stages.values()) == sum(
        census.active.values()
    )
    assert made.ledger.active() == census.active[Kind.EVENT] + census.active[Kind.MEDIA]
    assert [made.ledger.active(kind) for kind in Kind] == [census.active[kind] for kind in Kind]
    assert len(made.ledger.dead_letters(DeadFilter())) == sum(census.dead.values())
    if request.param == "redis":
        found = problems(request.getfixturevalue("redis_client"), now=made.clock.now)
        # the writer lets no dead record wait, though the ledger lets it
        assert [one for one in found if "waiting since" not in one] == []


def whats(rig: Rig, record_id: str) -> list[str]:
    found = rig.ledger.find(record_id)
    assert found
    return [note["what"] for note in found[1]]


def state_of(rig: Rig, record_id: str) -> State:
    found = rig.ledger.find(record_id)
    assert found
    return found[0].state


def media_at(rig: Rig, name: str, **data) -> Record:
    """A claimed media record at DOWNLOAD."""
    parent = rig.one(f"parent-of-{name}")
    rig.ledger.settle([Advance(parent, Stage.WRITE, {}, b"r", spawn=(media(name, **data),))])
    (record,) = rig.claim(Stage.DOWNLOAD, f"m:{name}")
    return record


def test_a_ledger_that_is_well_answers(rig):
    rig.ledger.ping()


def test_records_of_an_earlier_release_are_told_and_not_forgotten(redis_client):
    """That release can still finish them; this one cannot read them (ADR 0014)."""
    ledger = RedisLedger(redis_client)
    root = "{claimx:0}"
    redis_client.hset(f"{root}:r:e:1", "m", b"as it was")
    redis_client.zadd(f"{root}:look:enrich", {"e:1": 1.0})

    for _ in range(2):
        with pytest.raises(Unavailable, match="records of an earlier release"):
            ledger.due(10)

    assert redis_client.zscore(f"{root}:look:enrich", "e:1") == 1.0
    assert redis_client.hget(f"{root}:r:e:1", "m") == b"as it was"


# --- checkpoints and pages


def test_the_ledger_tells_its_own_time(rig):
    """What processes note in it as moments must be comparable, whatever their own clocks say."""
    assert rig.ledger.now() == rig.clock.now


def test_a_ledger_in_redis_goes_by_the_servers_clock(redis_client):
    seconds, micros = redis_client.time()

    found = RedisLedger(redis_client).now()

    assert seconds + micros / 1e6 <= found < seconds + 60


def test_a_cursor_has_no_checkpoint_before_its_first_move(rig):
    assert rig.ledger.checkpoint("live") is None


def test_a_page_is_stored_and_the_checkpoint_moved(rig):
    moved = rig.ledger.store_page("live", None, 1_790_000_000_123_456, [page("a", rows=[1])])

    assert moved == rig.ledger.checkpoint("live")
    assert moved.source_time == 1_790_000_000_123_456
    (record,) = rig.claim(Stage.INGEST, "p:a")
    assert (record.kind, record.data) == (Kind.PAGE, {"rows": [1]})


def test_of_two_pollers_that_decided_on_one_checkpoint_the_second_stores_nothing(rig):
    first = rig.ledger.store_page("live", None, 10, [])
    second = rig.second().store_page("live", first, 20, [page("a")])

    assert rig.second().store_page("live", first, 30, [page("b")]) is None
    assert rig.ledger.store_page("live", None, 30, [page("b")]) is None
    assert rig.ledger.checkpoint("live") == second
    assert rig.ledger.find("p:b") is None


def test_a_poller_that_outlived_its_store_does_not_move_what_others_reached_since(rig):
    """
    An older copy is put back under a poller that goes on, and another gets to the same version.

    What the first one read follows on a place where this ledger has never been: rows between the
    two places would be skipped.
    """
    elsewhere = rig.ledger.store_page("live", None, 20, [])
    was_at = Checkpoint(30, elsewhere.version)

    assert rig.ledger.store_page("live", was_at, 40, [page("a")]) is None
    assert rig.ledger.checkpoint("live") == elsewhere
    assert rig.ledger.find("p:a") is None


def test_two_pasts_of_a_cursor_do_not_come_to_the_same_checkpoint(rig):
    """
    An older copy is put back under a poller that stands still, and others go the same way again.

    What it holds must not pass for theirs: they may know less than it did. Two cursors stand for
    the two pasts, the second a moment later.
    """

    def life(cursor):
        at = rig.ledger.store_page(cursor, None, 10, [], marks=[Mark(f"{cursor} mark", 1, 5)])
        further = rig.ledger.store_page(cursor, at, 20, [])
        aside = rig.ledger.set_aside(cursor, further, Gap(20, 500), 1)
        reader = Gap(20, 500).reader
        rig.ledger.store_page(reader, None, 300, [])
        last = rig.ledger.set_aside(cursor, aside, Gap(100, 600), 1)
        assert rig.ledger.checkpoint(reader).source_time == 100, "the reader goes back"
        at_rest = map(rig.ledger.checkpoint, (f"{cursor} mark", reader))
        return {at, further, aside, last, *at_rest}

    one = life("one")
    rig.clock.pass_(0.001)

    assert not one & life("other")


def test_a_version_grows_where_the_clock_was_set_back(rig):
    first = rig.ledger.store_page("live", None, 10, [], marks=[Mark("marked", 1, 5)])
    marked = rig.ledger.checkpoint("marked")
    rig.clock.pass_(-3600)

    second = rig.ledger.store_page("live", first, 20, [], marks=[Mark("marked", 6, 7)])

    assert second.version > first.version
    assert rig.ledger.checkpoint("marked").version > marked.version


def test_a_page_is_not_passed_on_the_word_of_a_ledger_that_has_forgotten_since(rig):
    """
    A poller leaves out what `seen` names and stands still; an older copy with its checkpoint comes.

    Were the checkpoint to move, the copy would be past rows that it has never seen: a malformed one
    would be neither in the lake nor a dead letter.
    """
    rig.admit("a", "b")
    ids = ["e:a", "e:b", "e:a"]
    at = rig.ledger.checkpoint("p1")
    passed = rig.ledger.store_page("live", None, 10, [], left_out=ids)
    mark = Mark("other", least=1, move_to=1)

    rest = [page("c")], 0, [mark]
    assert rig.ledger.store_page("live", passed, 20, *rest, left_out=[*ids, "e:x"]) is None
    rig.clock.pass_(DAY + 1)
    assert rig.ledger.store_page("live", passed, 20, *rest, left_out=ids) is None

    assert rig.ledger.checkpoint("live") == passed
    assert rig.ledger.checkpoint("p1") == at
    assert rig.ledger.checkpoint("other") is None, "nothing else was moved, or stored"
    assert rig.ledger.find("p:c") is None


@pytest.mark.parametrize("place", range(3))
def test_each_row_that_was_left_out_must_be_known_wherever_it_stands(rig, place):
    rig.admit("a", "b")
    left_out = ["e:a", "e:b"]
    left_out.insert(place, "e:x")
    at = rig.ledger.store_page("live", None, 10, [])

    assert rig.ledger.store_page("live", at, 20, [page("c")], left_out=left_out) is None
    assert not rig.ledger.note_read("live", at, "read", left_out)
    marks = [Mark("one", 1, 7), Mark("two", 1, 8)]
    known = ["e:b", "e:a"]
    assert rig.ledger.store_page("live", at, 20, [page("c")], marks=marks, left_out=known)
    moved = [rig.ledger.checkpoint(name).source_time for name in ("live", "one", "two")]
    assert moved == [20, 7, 8]
    assert len(rig.claim(Stage.INGEST, "p:c")) == 1


def test_a_greater_fence_shuts_out_a_smaller_one(rig):
    moved = rig.ledger.store_page("live", None, 10, [], fence=5)

    assert rig.ledger.store_page("live", moved, 20, [page("a")], fence=4) is None
    assert rig.ledger.store_page("live", moved, 20, [], fence=5)
    assert rig.ledger.store_page("other", None, 20, [], fence=1), "each cursor has its own fence"


def test_a_checkpoint_never_moves_backwards(rig):
    moved = rig.ledger.store_page("live", None, 100, [])

    again = rig.ledger.store_page("live", moved, 50, [page("a")])

    assert again.source_time == 100
    assert again.version > moved.version
    assert rig.ledger.find("p:a")


def test_a_note_stays_with_its_cursor_when_the_checkpoint_goes_on(rig):
    assert rig.ledger.noted_read("live") == (None, None)
    moved = rig.ledger.store_page("live", None, 10, [])

    assert rig.ledger.note_read("live", moved, '{"é": 1}')
    further = rig.ledger.store_page("live", moved, 20, [])

    assert rig.second().noted_read("live") == (further, '{"é": 1}')
    assert rig.ledger.noted_read("other") == (None, None)


def test_a_note_that_was_made_at_another_checkpoint_is_not_kept(rig):
    """
    Whoever moved it, or put an older copy back, knows nothing of what the note is about.

    The version alone may come round again, and so may the time.
    """
    assert not rig.ledger.note_read("live", Checkpoint(10, 1), "early")
    first = rig.ledger.store_page("live", None, 10, [])
    second = rig.ledger.store_page("live", first, 10, [])
    assert rig.ledger.note_read("live", second, "kept")

    assert not rig.ledger.note_read("live", first, "late")
    assert not rig.ledger.note_read("live", Checkpoint(11, second.version), "from another life")
    assert rig.ledger.noted_read("live")[1] == "kept"


def test_a_note_of_rows_that_were_left_out_is_kept_while_the_ledger_knows_them(rig):
    """A copy that has forgotten them would take them for read, and nobody would look again."""
    rig.admit("a", "b")
    moved = rig.ledger.store_page("live", None, 10, [])

    assert rig.ledger.note_read("live", moved, "kept", ["e:a", "e:b"])
    assert not rig.ledger.note_read("live", moved, "strange", ["e:a", "e:x"])
    rig.clock.pass_(DAY + 1)
    assert not rig.ledger.note_read("live", moved, "late", ["e:a"])

    assert rig.ledger.noted_read("live")[1] == "kept"


def test_marks_are_moved_with_the_checkpoint_when_they_lag_behind(rig):
    before = rig.ledger.store_page("noted", None, 70, [])

    assert rig.ledger.store_page("live", None, 10, [], marks=[Mark("noted", 60, 100)])
    assert rig.ledger.checkpoint("noted") == before
    assert rig.ledger.store_page("live", None, 20, [], marks=[Mark("noted", 80, 100)]) is None
    assert rig.ledger.checkpoint("noted") == before, "whoever was too late moves nothing"

    at = rig.ledger.checkpoint("live")
    marks = [Mark("noted", 80, 100), Mark("new", 0, 5)]
    assert rig.ledger.store_page("live", at, 20, [page("a")], marks=marks)

    noted = rig.ledger.checkpoint("noted")
    assert noted.source_time == 100
    assert noted.version > before.version
    assert rig.ledger.checkpoint("new").source_time == 5
    assert len(rig.claim(Stage.INGEST, "p:a")) == 1
    assert rig.ledger.store_page("noted", noted, 110, []).source_time == 110


@pytest.mark.parametrize("revive", [False, True])
def test_media_that_come_with_a_checkpoint_are_admitted_like_those_that_an_event_found(rig, revive):
    """As recovery does: what died stays dead, unless it is said to be new."""
    rig.ledger.settle([Buried(media_at(rig, "dead"), FAILURE)])
    files = [media("new", n=1), media("dead", revive=revive, n=2)]

    assert rig.ledger.store_page("recover", None, 0, files)

    new = rig.ledger.find("m:new")[0]
    assert (new.kind, new.stage, new.state) == (Kind.MEDIA, Stage.DOWNLOAD, State.READY)
    assert (new.data, new.trace) == ({"link": "new", "n": 1}, "trace new")
    assert state_of(rig, "m:dead") is (State.READY if revive else State.DEAD)
    assert ("n" in rig.ledger.find("m:dead")[0].data) is revive


def test_a_page_never_replaces_one_of_its_name(rig):
    """A cursor that an operator set back counts its pages anew while old ones may still wait."""
    rig.ledger.store_page("live", None, 1, [page("a", rows=[1])])
    rig.ledger.store_page("back", None, 1, [page("a", rows=[2])])

    rig.clock.pass_(6)
    (ids,) = rig.ledger.due(10).values()
    rows = sorted(record.data["rows"] for record in rig.claim(Stage.INGEST, *ids))

    assert rows == [[1], [2]]


def test_media_can_be_admitted_beside_a_cursor_and_only_once(rig):
    rig.ledger.store_page("reconcile", None, 1, [media("1")])
    rig.ledger.store_page("reconcile2", None, 1, [media("1")])

    assert rig.ledger.census().counters["media.admitted"] == 1


def test_a_cursors_pages_are_told_apart_from_others_with_their_ages(rig):
    """A backfill's pages must not look as if the live poll had left them."""
    rig.ledger.store_page("live", None, 1, [page("live:1:0"), page("live:1:1")])
    rig.clock.pass_(7)
    rig.ledger.store_page("livelier", None, 1, [page("livelier:1:0")])
    rig.clock.pass_(3)
    rig.claim(Stage.INGEST, "p:live:1:0")

    assert rig.ledger.waiting_pages("live", 9) == pytest.approx([10, 10])
    assert rig.ledger.waiting_pages("livelier", 9) == pytest.approx([3])
    assert rig.ledger.waiting_pages("backfill", 9) == []
    assert len(rig.ledger.waiting_pages("live", 1)) == 1


def test_a_page_that_was_ingested_waits_no_more(rig):
    rig.ledger.store_page("live", None, 1, [page("live:1:0")])
    (held,) = rig.claim(Stage.INGEST, "p:live:1:0")

    rig.ledger.admit(held, [event("a")], [], DAY)

    assert rig.ledger.waiting_pages("live", 9) == []


# --- what a cursor sets aside


def test_a_gap_is_kept_in_the_step_that_moves_the_checkpoint(rig):
    moved = rig.ledger.store_page("live", None, 100, [])

    aside = rig.ledger.set_aside("live", moved, Gap(90, 500, 12), 8)

    assert aside == rig.second().checkpoint("live") == Checkpoint(500, aside.version)
    assert aside.version > moved.version
    assert rig.second().gaps("live") == [Gap(90, 500, 12)]
    assert rig.ledger.gaps("backfill") == []


def test_of_two_pollers_that_set_aside_the_second_keeps_and_moves_nothing(rig):
    """It decided on a checkpoint that is no longer, or holds a lease that ran out."""
    moved = rig.ledger.store_page("live", None, 100, [], fence=5)
    aside = rig.ledger.set_aside("live", moved, Gap(100, 500), 8, fence=6)

    assert rig.second().set_aside("live", moved, Gap(100, 600), 8, fence=7) is None
    assert rig.second().set_aside("live", None, Gap(0, 600), 8, fence=7) is None
    assert rig.second().set_aside("live", aside, Gap(100, 600), 8, fence=5) is None
    assert rig.second().store_page("live", moved, 600, [page("a")], fence=7) is None
    assert rig.ledger.gaps("live") == [Gap(100, 500)]
    assert rig.ledger.checkpoint("live") == aside


def test_the_first_start_may_set_aside(rig):
    assert rig.ledger.set_aside("live", None, Gap(5, 500), 8).source_time == 500


def test_gaps_come_oldest_first_and_are_closed_one_by_one(rig):
    at = rig.ledger.set_aside("live", None, Gap(900, 1000), 8)
    at = rig.ledger.set_aside("live", at, Gap(1500, 2000, 3), 8)
    rig.ledger.store_page(Gap(900, 0).reader, None, 950, [])

    read = rig.ledger.checkpoint(Gap(900, 0).reader)
    assert rig.ledger.close_gap("live", Gap(900, 1000), read)

    assert rig.ledger.gaps("live") == [Gap(1500, 2000, 3)]
    assert rig.ledger.checkpoint(Gap(900, 0).reader) is None, "its reader is forgotten with it"
    assert not rig.ledger.close_gap("live", Gap(900, 1000), None)


def test_a_gap_stays_when_its_reader_is_not_where_it_was_read_to(rig):
    """An older copy was put back before it is closed: its pages are lost, and are read again."""
    rig.ledger.set_aside("live", None, Gap(900, 1000), 8)
    reader = Gap(900, 1000).reader
    earlier = rig.ledger.store_page(reader, None, 930, [])
    read = rig.ledger.store_page(reader, earlier, 990, [])

    for wrong in (None, earlier, Checkpoint(991, read.version)):
        assert not rig.ledger.close_gap("live", Gap(900, 1000), wrong)

    assert rig.ledger.gaps("live") == [Gap(900, 1000)]
    assert rig.ledger.close_gap("live", Gap(900, 1000), read)


def test_a_gap_is_set_aside_only_from_the_very_checkpoint_that_was_decided_on(rig):
    """As pages are: after an older copy was put back, other moves may lead to the same version."""
    at = rig.ledger.store_page("live", None, 100, [])

    assert rig.ledger.set_aside("live", Checkpoint(90, at.version), Gap(90, 500), 8) is None
    assert rig.ledger.gaps("live") == []


def test_setting_aside_moves_no_checkpoint_back(rig):
    at = rig.ledger.store_page("live", None, 600, [])

    moved = rig.ledger.set_aside("live", at, Gap(90, 500), 8)

    assert moved.source_time == 600
    assert rig.ledger.checkpoint("live") == moved


def test_what_is_left_of_a_gap_can_be_noted(rig):
    rig.ledger.set_aside("live", None, Gap(5, 500, 70), 8)

    assert rig.ledger.recount_gap("live", Gap(5, 500), 40)
    assert rig.ledger.gaps("live") == [Gap(5, 500, 40)]
    assert not rig.ledger.recount_gap("live", Gap(6, 500), 1)
    assert not rig.ledger.recount_gap("live", Gap(5, 499), 1)


def test_too_many_gaps_are_one_with_what_lies_between(rig):
    """Reading again what was read between two of them is cheap: it is known."""
    at = None
    for begin in (100, 300, 500):
        at = rig.ledger.set_aside("live", at, Gap(begin, begin + 50, 1), 2)

    assert rig.ledger.gaps("live") == [Gap(100, 150, 1), Gap(300, 550, 2)]


def test_one_gap_too_many_goes_into_the_newest_whichever_was_kept_last(rig):
    """Into an older one, it would cover what lies between, and be read before what is older."""
    at = None
    for begin in (300, 500, 100):
        at = rig.ledger.set_aside("live", at, Gap(begin, begin + 50, 1), 3)

    rig.ledger.set_aside("live", at, Gap(510, 520, 1), 3)

    assert rig.ledger.gaps("live") == [Gap(100, 150, 1), Gap(300, 350, 1), Gap(500, 550, 2)]


def test_a_gap_that_was_extended_is_not_closed_by_who_read_it_before(rig):
    at = rig.ledger.set_aside("live", None, Gap(100, 150), 1)
    rig.ledger.store_page(Gap(100, 0).reader, None, 150, [])
    rig.ledger.set_aside("live", at, Gap(300, 350), 1)

    assert not rig.ledger.close_gap(
        "live", Gap(100, 150), rig.ledger.checkpoint(Gap(100, 150).reader)
    )
    assert rig.ledger.gaps("live") == [Gap(100, 350)]
    assert rig.ledger.checkpoint(Gap(100, 0).reader).source_time == 150, "it goes on from there"


def test_a_reader_that_is_past_the_begin_of_what_comes_to_its_gap_goes_back(rig):
    """The overlap of the live poll, for rows that came late, reaches into the gap before it."""
    at = rig.ledger.set_aside("live", None, Gap(100, 150), 1)
    read = rig.ledger.store_page(Gap(100, 0).reader, None, 150, [])
    rig.ledger.set_aside("live", at, Gap(120, 350), 1)

    assert rig.ledger.gaps("live") == [Gap(100, 350)]
    assert rig.ledger.checkpoint(Gap(100, 0).reader).source_time == 120
    assert rig.ledger.store_page(Gap(100, 0).reader, read, 160, [page("stale")]) is None


def test_a_gap_that_begins_with_a_kept_one_extends_it(rig):
    at = rig.ledger.set_aside("live", None, Gap(100, 150, 5), 8)
    rig.ledger.set_aside("live", at, Gap(100, 350, 6), 8)

    assert rig.ledger.gaps("live") == [Gap(100, 350, 11)]


def test_a_gap_is_read_from_its_begin_whatever_an_older_one_has_left(rig):
    """A reader that was very late stored its first page after the gap was closed."""
    rig.ledger.store_page(Gap(100, 0).reader, None, 140, [])

    rig.ledger.set_aside("live", None, Gap(100, 150), 8)

    assert rig.ledger.checkpoint(Gap(100, 0).reader) is None


def test_a_gap_that_begins_before_the_newest_of_too_many_takes_its_place(rig):
    at = rig.ledger.set_aside("live", None, Gap(100, 150, 5), 1)
    rig.ledger.store_page(Gap(100, 0).reader, None, 150, [])
    rig.ledger.set_aside("live", at, Gap(90, 350, 6), 1)

    assert rig.ledger.gaps("live") == [Gap(90, 350, 11)]
    assert rig.ledger.checkpoint(Gap(90, 0).reader) is None
    assert rig.ledger.checkpoint(Gap(100, 0).reader) is None


# --- admission


def test_a_page_becomes_its_events_in_order_and_is_gone(rig):
    held = rig.page()

    admitted = rig.ledger.admit(held, [event("b"), event("a")], [], DAY)

    assert admitted.ids == ("e:b", "e:a")
    assert (admitted.duplicates, admitted.malformed) == (0, 0)
    assert rig.ledger.find(held.id) is None
    assert rig.ledger.active() == 2
    record, history = rig.ledger.find("e:a")
    assert (record.stage, record.state, record.trace) == (Stage.ENRICH, State.READY, "trace-a")
    assert record.admitted_at == pytest.approx(rig.clock.now, abs=1e-3)
    assert [note["what"] for note in history] == ["admitted"]


def test_an_event_seen_within_the_window_is_only_counted(rig):
    rig.admit("a")

    admitted = rig.ledger.admit(rig.page(), [event("a"), event("b")], [], DAY)

    assert (admitted.ids, admitted.duplicates) == (("e:b",), 1)
    assert rig.ledger.census().counters["event.duplicate"] == 1


def test_an_event_that_was_finished_is_known_until_the_window_ends(rig):
    record = rig.one("a")
    rig.ledger.settle([Advance(record, Stage.WRITE, {}, b"rows")])
    rig.ledger.finish(rig.write(), DAY)
    assert rig.admit("a") == []

    rig.clock.pass_(DAY + 1)

    assert rig.admit("a") == ["e:a"]


def test_an_event_that_was_finished_is_known_late_in_the_window_and_once_more_is_not_longer(rig):
    """Its id lies in another slice of time than those that come now."""
    rig.ledger.settle([Advance(rig.one("a"), Stage.WRITE, {}, b"rows")])
    rig.ledger.finish(rig.write(), DAY)

    rig.clock.pass_(DAY - 1)
    assert rig.admit("a") == []
    rig.clock.pass_(2)
    assert rig.admit("a") == ["e:a"]


def test_an_event_that_is_still_under_way_after_the_window_is_a_duplicate(rig):
    rig.admit("a")
    rig.clock.pass_(DAY + 1)

    assert rig.admit("a") == []


def test_seen_names_what_was_admitted_within_the_window(rig):
    rig.admit("a", "b")

    assert rig.ledger.seen(["e:a", "e:c", "e:b"]) == {"e:a", "e:b"}
    assert rig.ledger.seen([]) == set()
    rig.clock.pass_(DAY + 1)
    assert rig.ledger.seen(["e:a"]) == set()


def test_a_malformed_row_is_dead_on_arrival_and_counted_once(rig):
    dead = DeadOnArrival(event("x", Stage.INGEST, row=1), BROKEN)

    first = rig.ledger.admit(rig.page(), [], [dead], DAY)
    second = rig.ledger.admit(rig.page(), [], [dead], DAY)

    assert (first.ids, first.malformed, first.duplicates) == ((), 1, 0)
    assert (second.malformed, second.duplicates) == (0, 1)
    (letter,) = rig.ledger.dead_letters(DeadFilter())
    assert (letter.id, letter.kind, letter.stage) == ("e:x", Kind.EVENT, Stage.INGEST)
    assert letter.failure == BROKEN
    assert letter.data["row"] == 1
    assert rig.ledger.seen(["e:x"]) == {"e:x"}
    rig.clock.pass_(60)
    assert rig.ledger.due(10) == {}


@pytest.mark.parametrize("seconds", [0.001, 1.0, 87_600 * 3600.0])
def test_an_id_is_remembered_for_the_shortest_and_the_longest_time_that_can_be_set(rig, seconds):
    """Redis fails an expiry beyond its reckoning in mid-step: an id stays, without a record."""
    admitted = rig.ledger.admit(rig.page(), [event("a"), event("b")], [], seconds)

    assert admitted
    assert admitted.ids == ("e:a", "e:b")
    assert rig.ledger.seen(["e:a", "e:b"]) == {"e:a", "e:b"}


def test_a_page_whose_lease_is_lost_admits_nothing(rig):
    held = rig.page()
    rig.clock.pass_(31)
    (again,) = rig.claim(Stage.INGEST, held.id)

    assert rig.ledger.admit(held, [event("a")], [], DAY) is None
    assert rig.ledger.find("e:a") is None
    assert rig.ledger.admit(again, [event("a")], [], DAY).ids == ("e:a",)
    assert rig.ledger.admit(again, [event("b")], [], DAY) is None, "the page is gone"


def test_a_page_of_2000_rows_is_one_step(rig):
    names = [str(n) for n in range(2000)]

    assert len(rig.admit(*names)) == 2000
    assert len(rig.claim(Stage.ENRICH, *(f"e:{name}" for name in names))) == 2000
    assert len(rig.ledger.seen([f"e:{name}" for name in names])) == 2000


def test_a_page_may_hold_more_events_than_one_command_reads_records_of(rig):
    """All are looked up at once, and a command of Lua takes some thousands of arguments."""
    names = [str(n) for n in range(4100)]
    events = [event(name) for name in names]
    first = rig.ledger.admit(rig.page(), events, [], 0.001)
    rig.clock.pass_(1)
    assert rig.ledger.seen(["e:0"]) == set(), "only its record says that it was met"

    again = rig.ledger.admit(rig.page(), [event("new"), *events[::-1]], [], 0.001)

    assert first
    assert again
    assert len(first.ids) == 4100
    assert (again.ids, again.duplicates) == (("e:new",), 4100)


# --- claims and leases


def test_of_two_claimers_one_gets_the_record(rig):
    rig.admit("a")

    first = rig.ledger.claim(Stage.ENRICH, ["e:a", "e:a"], 30)
    second = rig.second().claim(Stage.ENRICH, ["e:a"], 30)

    assert [record.id for record in first] == ["e:a"]
    assert first[0].lease
    assert (first[0].state, first[0].data) == (State.LEASED, {"event_id": "a"})
    assert second == []


def test_racing_claimers_share_the_records_out(rig):
    names = [str(n) for n in range(200)]
    ids = rig.admit(*names)
    ledgers = [rig.second() for _ in range(4)]

    with ThreadPoolExecutor(4) as pool:
        shares = list(pool.map(lambda one: one.claim(Stage.ENRICH, ids, 30), ledgers))

    assert sorted(record.id for share in shares for record in share) == sorted(ids)


def test_what_is_elsewhere_unknown_or_not_due_is_left_out(rig):
    record = rig.one("a")
    rig.ledger.settle([Retried(record, 60, FAILURE)])

    assert rig.claim(Stage.ENRICH, "e:a", "e:unknown") == []
    assert rig.claim(Stage.DOWNLOAD, "e:a") == []
    rig.clock.pass_(60)
    assert len(rig.claim(Stage.ENRICH, "e:a")) == 1


def test_a_lease_that_ran_out_is_given_anew_and_the_old_one_is_worth_nothing(rig):
    record = rig.one("a")
    rig.clock.pass_(31)

    (again,) = rig.claim(Stage.ENRICH, "e:a")

    assert again.lease != record.lease
    assert rig.ledger.settle([Advance(record, Stage.WRITE, {}, b"late")]) == [False]
    assert rig.ledger.renew([record], 30) == set()
    rig.ledger.release([record])
    assert state_of(rig, "e:a") is State.LEASED
    assert "lost" in whats(rig, "e:a")


def test_a_record_is_free_from_the_moment_on_when_its_lease_ends(rig):
    """The redriver sends its hint then, and one that came to nothing would cost a grace."""
    rig.admit("a")
    rig.claim(Stage.ENRICH, "e:a", seconds=10)
    rig.clock.pass_(10)

    assert rig.ledger.due(9) == {(Stage.ENRICH, ""): ["e:a"]}
    assert len(rig.claim(Stage.ENRICH, "e:a")) == 1


def test_a_late_outcome_counts_while_nobody_else_took_the_record(rig):
    record = rig.one("a")
    rig.clock.pass_(31)

    assert rig.ledger.settle([Advance(record, Stage.WRITE, {}, b"r")]) == [True]


def test_ten_lost_leases_in_a_stage_bury_the_record(rig):
    rig.admit("a")
    for _ in range(10):
        assert len(rig.claim(Stage.ENRICH, "e:a", seconds=10)) == 1
        rig.clock.pass_(11)

    assert rig.claim(Stage.ENRICH, "e:a") == []

    (letter,) = rig.ledger.dead_letters(DeadFilter(category=ErrorCategory.UNKNOWN))
    assert letter.failure.reason == "lost by its workers"
    assert letter.failure.stage is Stage.ENRICH
    assert letter.died_at == pytest.approx(rig.clock.now, abs=1e-3)


def test_losses_are_counted_for_each_stage_alone(rig):
    rig.admit("a")
    for _ in range(9):
        rig.claim(Stage.ENRICH, "e:a", seconds=10)
        rig.clock.pass_(11)
    (record,) = rig.claim(Stage.ENRICH, "e:a")
    rig.ledger.settle([Advance(record, Stage.WRITE, {}, b"r")])

    for _ in range(9):
        rig.claim(Stage.WRITE, "e:a", seconds=10)
        rig.clock.pass_(11)

    assert len(rig.claim(Stage.WRITE, "e:a")) == 1


def test_rows_that_kill_ten_writers_are_put_aside_with_their_record(rig):
    record = rig.one("a")
    rig.ledger.settle([Advance(record, Stage.WRITE, {}, b"poison")])
    for _ in range(10):
        rig.claim(Stage.WRITE, "e:a", seconds=10)
        rig.clock.pass_(11)

    assert rig.claim(Stage.WRITE, "e:a") == []
    assert rig.ledger.census().stream_length == 0
    rig.ledger.requeue(["e:a"])
    ((_, again),) = rig.write()
    assert again.rows == b"poison"


def test_renewing_keeps_a_lease_and_says_which_are_held(rig):
    record, other = rig.one("a"), rig.one("b")
    rig.ledger.settle([Retried(other, 1, FAILURE)])
    rig.clock.pass_(25)

    assert rig.ledger.renew([record, other], 30) == {"e:a"}
    rig.clock.pass_(25)

    assert rig.claim(Stage.ENRICH, "e:a") == []
    assert rig.ledger.due(10) == {(Stage.ENRICH, ""): ["e:b"]}


def test_a_released_record_is_as_it_was(rig):
    record = rig.one("a")
    rig.ledger.settle([Waited(record, 5, FAILURE)])
    rig.clock.pass_(5)
    (record,) = rig.claim(Stage.ENRICH, "e:a")

    rig.ledger.release([record])

    assert state_of(rig, "e:a") is State.WAITING
    assert rig.ledger.due(10) == {(Stage.ENRICH, ""): ["e:a"]}
    (again,) = rig.claim(Stage.ENRICH, "e:a")
    assert (again.attempts, again.tries) == (record.attempts, record.tries)
    assert again.waited_seconds == pytest.approx(5, abs=1e-3)


# --- outcomes


def test_an_outcome_is_carried_out_once(rig):
    record = rig.one("a")

    assert rig.ledger.settle([]) == []
    advance = Advance(record, Stage.WRITE, {"a": 1}, b"rows", spawn=(media("1"),))
    assert rig.ledger.settle([advance, advance]) == [True, False]
    assert rig.ledger.settle([advance]) == [False]

    assert [record_id for _, record_id in rig.read()] == ["e:a"]
    assert rig.ledger.census().counters["media.admitted"] == 1


def test_outcomes_keep_their_places(rig):
    a, b, c = rig.one("a"), rig.one("b"), rig.one("c")
    stale = replace(b, lease="another")

    done = rig.ledger.settle(
        [
            Buried(replace(a, lease=""), FAILURE, spawn=(media("no"), media("none")), data={}),
            Advance(stale, Stage.WRITE, {}, b"r", spawn=(media("no"), media("none"))),
            Retried(c, 1, FAILURE),
            Advance(b, Stage.WRITE, {"n": 1}, b"r", spawn=(media("1"), media("2"))),
            Buried(a, FAILURE),
        ]
    )

    assert done == [False, False, True, True, True]
    assert rig.ledger.states(["m:no", "m:none"]) == {}
    assert rig.ledger.census().active[Kind.MEDIA] == 2


def test_attempts_are_a_stages_tries_a_records(rig):
    record = media_at(rig, "1")
    assert (record.attempts, record.tries) == (0, 0)
    rig.ledger.settle([Retried(record, 0, FAILURE)])
    (record,) = rig.claim(Stage.DOWNLOAD, "m:1")
    assert (record.attempts, record.tries) == (1, 1)

    rig.ledger.settle([Advance(record, Stage.UPLOAD, {"cached": {"node": "n1"}}, affinity="n1")])

    (record,) = rig.claim(Stage.UPLOAD, "m:1")
    assert (record.attempts, record.tries) == (0, 2)
    assert record.data == {"cached": {"node": "n1"}}


def test_a_record_can_go_back_to_an_earlier_stage(rig):
    record = media_at(rig, "1")
    rig.ledger.settle([Advance(record, Stage.UPLOAD, {"cached": 1}, affinity="n1")])
    (record,) = rig.claim(Stage.UPLOAD, "m:1")

    assert rig.ledger.settle([Advance(record, Stage.DOWNLOAD, {})]) == [True]

    (record,) = rig.claim(Stage.DOWNLOAD, "m:1")
    assert record.data == {}


def test_an_advance_can_be_put_off(rig):
    record = media_at(rig, "1")
    rig.ledger.settle([Advance(record, Stage.DOWNLOAD, {}, delay=20)])

    assert rig.claim(Stage.DOWNLOAD, "m:1") == []
    rig.clock.pass_(20)
    assert rig.ledger.due(9)[Stage.DOWNLOAD, ""] == ["m:1"]
    assert len(rig.claim(Stage.DOWNLOAD, "m:1")) == 1


def test_rows_that_are_put_off_are_on_the_stream_when_they_are_due(rig):
    rig.ledger.settle([Advance(rig.one("a"), Stage.WRITE, {}, b"rows", delay=20)])
    assert rig.read() == []
    rig.clock.pass_(19)
    rig.ledger.due(9)
    assert rig.read() == []

    rig.clock.pass_(1)
    rig.ledger.due(9)

    ((_, held),) = rig.write()
    assert held.rows == b"rows"


def test_retries_spend_attempts_and_waits_do_not(rig):
    record = rig.one("a")
    rig.ledger.settle([Retried(record, 10, FAILURE, data={"n": 1})])
    assert state_of(rig, "e:a") is State.RETRYING
    rig.clock.pass_(10)
    (record,) = rig.claim(Stage.ENRICH, "e:a")
    assert (record.attempts, record.data) == (1, {"n": 1})

    rig.ledger.settle([Waited(record, 10, FAILURE)])

    assert state_of(rig, "e:a") is State.WAITING
    rig.clock.pass_(10)
    (record,) = rig.claim(Stage.ENRICH, "e:a")
    assert (record.attempts, record.data) == (1, {"n": 1})
    rig.ledger.settle([Waited(record, 10, FAILURE, data={"n": 2})])
    assert rig.ledger.find("e:a")[0].data == {"n": 2}


def test_a_wait_that_has_just_begun_is_of_no_age_and_not_younger(rig):
    """A moment that is rounded on its way lies before one that is not."""
    record = rig.one("a")
    rig.clock.pass_(0.123456 + 0.0000004)  # down to a microsecond, it is before itself

    rig.ledger.settle([Waited(record, 0, FAILURE)])

    (again,) = rig.claim(Stage.ENRICH, "e:a")
    assert again.waited_seconds == rig.ledger.find("e:a")[0].waited_seconds == 0.0


def test_the_age_of_a_wait_runs_until_something_else_happens(rig):
    record = rig.one("a")
    for waited in (0, 10, 20):
        assert record.waited_seconds == pytest.approx(waited, abs=1e-3)
        rig.ledger.settle([Waited(record, 10, FAILURE)])
        rig.clock.pass_(10)
        (record,) = rig.claim(Stage.ENRICH, "e:a")

    rig.ledger.settle([Retried(record, 0, FAILURE)])

    (record,) = rig.claim(Stage.ENRICH, "e:a")
    assert record.waited_seconds == 0


def test_the_history_tells_what_happened_and_is_bounded(rig):
    record = rig.one("a")
    for _ in range(40):
        rig.ledger.settle([Retried(record, 1.5, FAILURE)])
        rig.clock.pass_(2)
        (record,) = rig.claim(Stage.ENRICH, "e:a")
    rig.ledger.settle([Buried(record, BROKEN)])

    (letter,) = rig.ledger.dead_letters(DeadFilter())
    first, *_, retried, last = letter.history
    assert len(letter.history) == 20
    assert first["what"] == "admitted"
    assert retried["what"] == "retried"
    assert (retried["stage"], retried["category"]) == ("enrich", "TRANSIENT")
    assert (retried["error"], retried["delay"], retried["status"]) == ("Throttled", 1.5, 429)
    assert last["what"] == "buried"
    assert last["at"] == pytest.approx(rig.clock.now, abs=2e-3)
    assert letter.attempts == 40


@pytest.mark.parametrize(
    "data",
    [
        {"empty": [], "none": None, "deep": {"list": [{}, []]}},
        {"text": 'Zoë \u202e \x00 \\ " \n 🏠', "great": 2**80, "float": 1.5, "int": 2**53 + 1},
        {"surrogate": "\ud800", "large": "x" * 300_000},
        {},
    ],
)
def test_data_come_back_as_they_were(rig, data):
    record = rig.one("a")

    rig.ledger.settle([Retried(record, 0, FAILURE, data=data)])

    (record,) = rig.claim(Stage.ENRICH, "e:a")
    assert record.data == data


def test_what_is_no_json_is_refused_by_name_and_nothing_is_carried_out(rig):
    record, other = rig.one("a"), rig.one("b")

    with pytest.raises(Malformed, match="e:a"):
        rig.ledger.settle(
            [Buried(other, FAILURE), Advance(record, Stage.WRITE, {"x": object()}, b"")]
        )

    assert state_of(rig, "e:b") is State.LEASED


# --- spawned media


def test_media_are_admitted_with_the_event_that_found_them(rig):
    record = rig.one("a")

    rig.ledger.settle([Advance(record, Stage.WRITE, {}, b"r", spawn=(media("1", size=3),))])

    (found,) = rig.claim(Stage.DOWNLOAD, "m:1")
    assert (found.kind, found.trace) == (Kind.MEDIA, "trace 1")
    assert found.data == {"link": "1", "size": 3}


def test_media_under_way_are_not_admitted_again_even_to_be_revived(rig):
    record = media_at(rig, "1")
    other = rig.one("b")

    rig.ledger.settle(
        [Advance(other, Stage.WRITE, {}, b"r", spawn=(media("1", revive=True, fresh=1),))]
    )

    census = rig.ledger.census()
    assert census.counters["media.admitted"] == 1
    assert census.counters["media.duplicate"] == 1
    assert rig.ledger.find("m:1")[0].data == {"link": "1"}
    assert rig.ledger.renew([record], 30) == {"m:1"}


def test_completed_media_are_known_for_a_while_and_failed_ones_are_not(rig):
    for name, status in (("1", "completed"), ("2", "failed")):
        record = media_at(rig, name)
        done = {"status": status}
        rig.ledger.settle([Advance(record, Stage.WRITE, done, b"r")])
    rig.ledger.finish(rig.write(), known_seconds=100)

    for step, expected in (("b", {"m:2"}), ("c", {"m:1", "m:2"})):
        record = rig.one(step)
        spawn = (media("1", revive=True), media("2", revive=True))
        rig.ledger.settle([Advance(record, Stage.WRITE, {}, b"r", spawn=spawn)])
        assert {f"m:{n}" for n in "12" if rig.ledger.find(f"m:{n}")} == expected
        rig.clock.pass_(101)


@pytest.mark.parametrize("revive", [True, False])
def test_dead_media_come_back_only_when_that_is_asked_for(rig, revive):
    record = media_at(rig, "1")
    rig.ledger.settle([Retried(record, 0, FAILURE)])
    (record,) = rig.claim(Stage.DOWNLOAD, "m:1")
    rig.ledger.settle([Buried(record, FAILURE, rows=b"failed row")])
    other = rig.one("b")

    rig.ledger.settle(
        [Advance(other, Stage.WRITE, {}, b"r", spawn=(media("1", revive=revive, new=1),))]
    )

    claimed = rig.claim(Stage.DOWNLOAD, "m:1")
    assert [r.data for r in claimed] == ([{"link": "1", "new": 1}] if revive else [])
    assert [r.attempts for r in claimed] == ([0] if revive else [])
    written = {record_id for _, record_id in rig.read()}
    assert ("m:1" in written) is not revive, "rows of the former life are dropped"


def test_a_record_that_goes_back_from_the_writer_leaves_its_rows_behind(rig):
    rig.ledger.settle([Advance(rig.one("a"), Stage.WRITE, {}, b"r")])
    ((_, held),) = rig.write()

    assert rig.ledger.settle([Advance(held, Stage.ENRICH, {})]) == [True]

    assert rig.ledger.find("e:a")[0].rows == b""
    assert rig.read() == []


def test_one_call_may_bury_a_media_file_and_bring_it_back_and_the_other_way_round(rig):
    """What a call has done to a record is what its next outcome finds."""
    buried_first, revived_first = media_at(rig, "1"), media_at(rig, "2")
    rig.ledger.settle([Buried(revived_first, FAILURE, rows=b"failed row")])
    fresh = media("1", revive=True, new=1), media("2", revive=True, new=2)
    rig.admit("a")
    rig.clock.pass_(5)
    dead_again = {record.id: record for _, record in rig.write()}["m:2"]
    event_again = rig.claim(Stage.ENRICH, "e:a")[0]
    outcomes = [
        Buried(buried_first, FAILURE, rows=b"failed row", data={"old": 1}),
        Advance(event_again, Stage.WRITE, {}, b"r", spawn=(*fresh, *fresh)),
        Waited(dead_again, 5, FAILURE, data={"old": 2}),
        Advance(event_again, Stage.WRITE, {"twice": 1}, b"twice"),
    ]

    assert rig.ledger.settle(outcomes) == [True, True, False, False]

    for name, new in (("m:1", 1), ("m:2", 2)):
        record, _ = rig.ledger.find(name)
        assert (record.stage, record.state, record.rows) == (Stage.DOWNLOAD, State.READY, b"")
        assert record.data == {"link": name[2:], "new": new}
        assert whats(rig, name) == ["admitted", "buried", "revived"]
    assert rig.ledger.dead_letters(DeadFilter()) == []
    assert rig.ledger.find("e:a")[0].rows == b"r"


# --- due


def test_a_new_record_needs_no_hint_until_its_own_had_time_to_arrive(rig):
    rig.admit("a")

    assert rig.ledger.due(10) == {}
    rig.clock.pass_(6)
    assert rig.ledger.due(10) == {(Stage.ENRICH, ""): ["e:a"]}


def test_what_was_returned_is_not_returned_again_for_some_seconds(rig):
    rig.admit("a")
    rig.clock.pass_(6)
    rig.ledger.due(10)

    assert rig.ledger.due(10) == {}
    assert rig.second().due(10) == {}
    rig.clock.pass_(6)
    assert rig.ledger.due(10) == {(Stage.ENRICH, ""): ["e:a"]}


def test_a_hint_given_out_does_not_change_when_a_record_is_due(rig):
    rig.admit("a")
    rig.clock.pass_(6)
    rig.ledger.due(10)

    assert len(rig.claim(Stage.ENRICH, "e:a")) == 1


def test_lost_leases_and_retries_are_due_when_their_time_comes(rig):
    rig.one("lost")
    rig.ledger.settle([Retried(rig.one("retried"), 20, FAILURE)])
    rig.ledger.settle([Waited(rig.one("waited"), 25, FAILURE)])

    rig.clock.pass_(19)
    assert rig.ledger.due(10) == {}
    rig.clock.pass_(12)
    assert rig.ledger.due(10) == {(Stage.ENRICH, ""): ["e:lost", "e:retried", "e:waited"]}


def test_ids_are_given_by_stage_and_node_and_within_the_limit(rig):
    for name, node in (("1", "n1"), ("2", "n2"), ("3", "n1")):
        record = media_at(rig, name)
        rig.ledger.settle([Advance(record, Stage.UPLOAD, {}, affinity=node)])
        rig.clock.pass_(1)
    rig.admit("late")
    rig.clock.pass_(6)

    assert rig.ledger.due(2) == {(Stage.UPLOAD, "n1"): ["m:1"], (Stage.UPLOAD, "n2"): ["m:2"]}
    assert rig.ledger.due(10) == {
        (Stage.UPLOAD, "n1"): ["m:3"],
        (Stage.ENRICH, ""): ["e:late"],
    }


def test_many_due_records_are_given_in_one_call(rig):
    ids = rig.admit(*(str(n) for n in range(1300)))
    rig.clock.pass_(6)

    assert len(rig.ledger.due(1200)[Stage.ENRICH, ""]) == 1200
    assert len(rig.ledger.due(1200)[Stage.ENRICH, ""]) == 100
    assert len(ids) == 1300


def test_a_stage_with_very_many_due_records_holds_up_no_other(rig):
    """A retry of an event must not wait until a hundred thousand downloads had their turn."""
    parent = rig.one("parent")
    files = tuple(media(str(n)) for n in range(40))
    rig.ledger.settle([Advance(parent, Stage.WRITE, {}, b"r", spawn=files)])
    rig.clock.pass_(6)
    rig.admit("late")
    rig.clock.pass_(6)

    found = rig.ledger.due(10)

    assert found[Stage.ENRICH, ""] == ["e:late"]
    assert len(found[Stage.DOWNLOAD, ""]) == 9
    assert len(rig.ledger.due(100)[Stage.DOWNLOAD, ""]) == 31


def test_of_one_stage_the_oldest_are_given_first(rig):
    for name in ("a", "b", "c"):
        rig.admit(name)
        rig.clock.pass_(1)
    rig.clock.pass_(6)

    assert rig.ledger.due(1) == {(Stage.ENRICH, ""): ["e:a"]}
    assert rig.ledger.due(5) == {(Stage.ENRICH, ""): ["e:b", "e:c"]}


# --- the lake stream


def test_rows_reach_a_writer_and_finishing_ends_the_record(rig):
    record = rig.one("a")
    rig.ledger.settle([Advance(record, Stage.WRITE, {"status": "enriched"}, b"\x00rows\xff")])
    assert rig.ledger.active() == 1

    ((entry, held),) = rig.write()

    assert (held.stage, held.rows) == (Stage.WRITE, b"\x00rows\xff")
    assert rig.ledger.finish([(entry, held)], DAY) == 1
    census = rig.ledger.census()
    assert (census.stream_length, census.stream_pending) == (0, 0)
    assert census.counters["event.recorded"] == 1
    assert rig.ledger.find("e:a") is None
    assert rig.ledger.finish([(entry, held)], DAY) == 0, "a doubled finish counts nothing"


def test_an_unhandled_event_is_counted_as_such(rig):
    record = rig.one("a")
    rig.ledger.settle([Advance(record, Stage.WRITE, {"status": "unhandled"}, b"r")])

    rig.ledger.finish(rig.write(), DAY)

    counters = rig.ledger.census().counters
    assert (counters["event.unhandled"], counters.get("event.recorded", 0)) == (1, 0)


def test_an_entry_goes_to_one_consumer(rig):
    for name in "abc":
        rig.ledger.settle([Advance(rig.one(name), Stage.WRITE, {}, b"r")])

    first = rig.read("w1", 2)
    second = rig.second().read_rows("w2", 10, 0.0)

    assert sorted(r for _, r in first + second) == ["e:a", "e:b", "e:c"]
    assert len(first) == 2
    assert rig.read("w1", 0) == []


def test_entries_of_a_silent_consumer_go_to_another(rig):
    rig.ledger.settle([Advance(rig.one("a"), Stage.WRITE, {}, b"r")])
    rig.read("dies before it claims")

    rig.fall_silent()

    assert [record_id for _, record_id in rig.read("w2")] == ["e:a"]


def test_an_entry_whose_record_is_leased_stays_with_its_slow_writer(rig):
    rig.ledger.settle([Advance(rig.one("a"), Stage.WRITE, {}, b"r")])
    ((entry, held),) = rig.write("slow")
    for _ in range(4):
        rig.fall_silent()
        assert rig.ledger.renew([held], 30) == {"e:a"}
        rig.ledger.due(10)
        assert rig.read("w2") == []

    assert rig.ledger.finish([(entry, held)], DAY) == 1


def test_rows_of_a_writer_that_died_come_to_another(rig):
    rig.ledger.settle([Advance(rig.one("a"), Stage.WRITE, {}, b"r")])
    rig.write("dies")
    rig.fall_silent(31)

    assert rig.ledger.due(10) == {}, "WRITE needs no hints"
    ((entry, held),) = rig.write("w2")

    assert rig.ledger.finish([(entry, held)], DAY) == 1
    assert rig.ledger.census().stream_length == 0


def test_rows_whose_entry_vanished_are_put_on_the_stream_again(rig):
    rig.ledger.settle([Advance(rig.one("a"), Stage.WRITE, {}, b"r")])
    ((entry, _),) = rig.read()
    rig.ledger.forget_entries([entry])
    assert rig.read() == []

    rig.clock.pass_(6)
    rig.ledger.due(10)

    assert len(rig.write()) == 1


def test_a_record_has_one_entry_however_often_it_is_put_back(rig):
    """Without a writer that settles, the stream must not grow by an entry a minute."""
    for record in rig.claim(Stage.ENRICH, *rig.admit("a", "b", "c")):
        rig.ledger.settle([Advance(record, Stage.WRITE, {}, b"rows")])

    for _ in range(5):
        rig.read()
        rig.clock.pass_(61)
        rig.ledger.due(100)

    assert rig.ledger.census().stream_length == 3
    assert len(rig.write()) == 3


def test_rows_that_nobody_has_read_yet_keep_their_place(rig):
    """A writer that is away for an hour must not find its backlog shuffled, or doubled."""
    for name in "abc":
        rig.ledger.settle([Advance(rig.one(name), Stage.WRITE, {}, b"r")])
        rig.clock.pass_(1)
    for _ in range(50):
        rig.clock.pass_(60)
        rig.ledger.due(10)

    assert rig.ledger.census().stream_length == 3
    assert [record_id for _, record_id in rig.read()] == ["e:a", "e:b", "e:c"]


def test_a_writer_can_give_a_record_back_for_later(rig):
    rig.ledger.settle([Advance(rig.one("a"), Stage.WRITE, {}, b"r")])
    ((_, held),) = rig.write()

    rig.ledger.settle([Waited(held, 20, FAILURE)])

    assert rig.ledger.census().stream_length == 0
    rig.clock.pass_(6)
    rig.ledger.due(10)
    assert rig.write() == []
    rig.clock.pass_(20)
    rig.ledger.due(10)
    ((entry, held),) = rig.write()
    assert held.rows == b"r"
    assert rig.ledger.finish([(entry, held)], DAY) == 1


def test_of_two_finishers_only_the_holder_counts(rig):
    rig.ledger.settle([Advance(rig.one("a"), Stage.WRITE, {}, b"r")])
    ((entry, first),) = rig.write()
    rig.fall_silent(31)
    ((again, second),) = rig.write("w2")

    assert rig.ledger.finish([(entry, first)], DAY) == 0
    assert rig.ledger.finish([(again, second), (again, second)], DAY) == 1
    assert rig.ledger.census().counters["event.recorded"] == 1


def test_rows_that_the_lake_refuses_bury_their_record_and_are_kept(rig):
    rig.ledger.settle([Advance(rig.one("a"), Stage.WRITE, {"n": 1}, b"rows")])
    pairs = rig.write()

    assert rig.ledger.fail_rows(pairs, BROKEN) == 1
    assert rig.ledger.fail_rows(pairs, BROKEN) == 0

    assert rig.ledger.census().stream_length == 0
    (letter,) = rig.ledger.dead_letters(DeadFilter(stage=Stage.WRITE))
    assert letter.failure == BROKEN
    rig.clock.pass_(60)
    rig.ledger.due(10)
    assert rig.write() == [], "nothing of it is owed to the lake"
    assert rig.ledger.requeue(["e:a"]) == 1
    ((_, held),) = rig.write()
    assert (held.rows, held.data) == (b"rows", {"n": 1})


# --- dead records with rows


def test_what_a_dead_record_had_found_is_written(rig):
    record = rig.one("a")
    buried = Buried(record, FAILURE, rows=b"found", spawn=(media("1"),), data={"n": 2})
    assert rig.ledger.settle([buried]) == [True]
    assert rig.ledger.active() == 1, "the media file it found"

    ((entry, held),) = rig.write()

    assert (held.stage, held.state) == (Stage.WRITE, State.DEAD)
    assert (held.rows, held.data) == (b"found", {"n": 2})
    assert rig.claim(Stage.WRITE, "e:a") == [], "leased like any other"
    assert rig.claim(Stage.ENRICH, "e:a") == []
    assert rig.ledger.renew([held], 30) == {"e:a"}
    assert rig.ledger.finish([(entry, held)], DAY) == 1
    assert state_of(rig, "e:a") is State.DEAD
    assert rig.claim(Stage.WRITE, "e:a") == [], "they are written"
    assert rig.ledger.finish([(entry, held)], DAY) == 0
    assert rig.ledger.census().counters.get("event.recorded", 0) == 0


def test_rows_of_the_dead_survive_their_writer(rig):
    rig.ledger.settle([Buried(rig.one("a"), FAILURE, rows=b"found")])
    rig.write("dies")
    rig.fall_silent(31)
    rig.ledger.due(10)
    ((_, held),) = rig.write("w2")
    rig.ledger.release([held])
    rig.ledger.due(10)
    ((entry, held),) = rig.write("w3")

    assert rig.ledger.finish([(entry, held)], DAY) == 1
    assert rig.ledger.census().stream_length == 0


def test_rows_of_the_dead_outlast_ten_writers_less_one_whatever_their_stage_lost(rig):
    """
    Losses are counted for each stage alone, and the writer's begin when the record is dead.

    A file whose workers died nine times before it was given up on would else lose its `failed` row
    with the first writer that dies, and end without one.
    """
    rig.admit("a")
    for _ in range(9):
        rig.claim(Stage.ENRICH, "e:a", seconds=10)
        rig.clock.pass_(11)
    (record,) = rig.claim(Stage.ENRICH, "e:a")
    rig.ledger.settle([Buried(record, FAILURE, rows=b"found")])
    for _ in range(9):
        assert len(rig.claim(Stage.WRITE, "e:a", seconds=10)) == 1
        rig.clock.pass_(11)

    (held,) = rig.claim(Stage.WRITE, "e:a", seconds=10)
    assert held.rows == b"found"
    rig.clock.pass_(11)

    assert rig.claim(Stage.WRITE, "e:a") == [], "the tenth was once too often"
    assert rig.ledger.find("e:a")[0].rows == b""
    (letter,) = rig.ledger.dead_letters(DeadFilter())
    assert letter.failure == FAILURE, "what it died of"


def test_rows_of_the_dead_that_are_refused_are_dropped_and_the_failure_stands(rig):
    rig.ledger.settle([Buried(rig.one("a"), FAILURE, rows=b"found")])

    assert rig.ledger.fail_rows(rig.write(), BROKEN) == 1

    (letter,) = rig.ledger.dead_letters(DeadFilter())
    assert letter.failure == FAILURE
    assert rig.ledger.find("e:a")[0].rows == b""


def test_the_dead_go_nowhere_by_an_outcome(rig):
    rig.ledger.settle([Buried(rig.one("a"), FAILURE, rows=b"found")])
    ((_, held),) = rig.write()

    assert rig.ledger.settle([Advance(held, Stage.ENRICH, {})]) == [False]
    assert rig.ledger.settle([Waited(held, 20, FAILURE)]) == [True]
    assert state_of(rig, "e:a") is State.DEAD
    assert rig.claim(Stage.WRITE, "e:a") == []
    rig.clock.pass_(20)
    rig.ledger.due(10)
    assert len(rig.write()) == 1


# --- dead letters and requeue


def test_dead_letters_are_found_by_what_they_are_newest_first(rig):
    for name in "abc":
        rig.ledger.settle([Buried(rig.one(name), FAILURE)])
        rig.clock.pass_(1)
    rig.admit_dead("x")
    rig.clock.pass_(1)
    rig.ledger.settle([Buried(media_at(rig, "1"), replace(FAILURE, error="Gone"))])

    def found(**match) -> list[str]:
        return [letter.id for letter in rig.ledger.dead_letters(DeadFilter(**match))]

    assert found() == ["m:1", "e:x", "e:c", "e:b", "e:a"]
    assert found(limit=2) == ["m:1", "e:x"]
    assert found(ids=("e:a", "e:b", "e:nobody")) == ["e:b", "e:a"]
    assert found(ids=("e:a", "e:x"), stage=Stage.INGEST) == ["e:x"]
    assert found(stage=Stage.ENRICH, limit=2) == ["e:c", "e:b"]
    assert found(category=ErrorCategory.PERMANENT) == ["e:x"]
    assert found(error="Gone") == ["m:1"]
    assert found(kind=Kind.MEDIA) == ["m:1"]
    assert found(kind=Kind.PAGE) == []


def test_dead_letters_are_found_among_thousands(rig):
    names = [str(n) for n in range(2300)]
    ids = rig.admit(*names)
    records = rig.claim(Stage.ENRICH, *ids)
    odd = replace(FAILURE, error="Odd")
    rig.ledger.settle([Buried(r, odd if r.id == "e:7" else FAILURE) for r in records])

    assert [letter.id for letter in rig.ledger.dead_letters(DeadFilter(error="Odd"))] == ["e:7"]
    every = rig.ledger.dead_letters(DeadFilter(limit=5000))
    assert {letter.id for letter in every} == set(ids)
    assert rig.ledger.requeue(ids) == 2300
    assert rig.ledger.active() == 2300
    rig.ledger.settle([Buried(r, FAILURE) for r in rig.claim(Stage.ENRICH, *ids[:10])])


@pytest.mark.parametrize("gone", [slice(0, 100), slice(400, 500)], ids=["early", "the last seen"])
@pytest.mark.parametrize("apart", [0.0, 1.0])
def test_letters_that_others_requeue_meanwhile_hide_none(redis_client, gone, apart):
    """Redis tells of some hundreds at a time; those behind move up when one before them goes."""
    rig = redis_rig(redis_client)
    for hundred in range(11):
        names = [f"{hundred}-{n}" for n in range(100)]
        rows = [DeadOnArrival(event(name, Stage.INGEST), BROKEN) for name in names]
        assert rig.ledger.admit(rig.page(), [], rows, DAY)
        rig.clock.pass_(apart)
    every = [letter.id for letter in rig.ledger.dead_letters(DeadFilter(limit=None, bare=True))]
    client = _Meanwhile(redis_client, lambda: rig.ledger.requeue(every[gone]))

    found = RedisLedger(client, clock=rig.clock).dead_letters(DeadFilter(limit=None, bare=True))

    assert len(every) == 1100
    assert {letter.id for letter in found} >= {*every} - {*every[gone]}


def test_without_a_limit_all_dead_letters_are_found(rig):
    ids = rig.admit(*(str(n) for n in range(1700)))
    rig.ledger.settle([Buried(one, FAILURE) for one in rig.claim(Stage.ENRICH, *ids)])

    found = rig.ledger.dead_letters(DeadFilter(limit=None))
    named = rig.ledger.dead_letters(DeadFilter(ids=tuple(ids), limit=None))

    assert {one.id for one in found} == {one.id for one in named} == set(ids)
    rig.ledger.requeue(ids[10:])


def test_bare_letters_are_the_same_without_data_and_history(rig):
    """A list of very many shows neither, and would not fit into memory with them."""
    rig.ledger.settle([Buried(rig.one("a"), FAILURE)])
    rig.ledger.settle([Buried(media_at(rig, "1"), FAILURE)])
    rig.ledger.requeue(["m:1"])  # its data, as a worker gets them, ask for a new file
    rig.ledger.settle([Buried(rig.claim(Stage.DOWNLOAD, "m:1")[0], FAILURE)])

    whole = rig.ledger.dead_letters(DeadFilter())
    bare = rig.ledger.dead_letters(DeadFilter(bare=True))

    assert all(one.data and one.history for one in whole)
    assert bare == [replace(one, data={}, history=()) for one in whole]
    named = DeadFilter(ids=("e:a", "m:1"), bare=True)
    assert rig.ledger.dead_letters(named) == bare


def bury_at(rig: Rig, kind: Kind, stage: Stage) -> str:
    """Let a record of *kind* die in *stage*, at the writer with rows; returns its id."""
    match kind, stage:
        case Kind.EVENT, Stage.INGEST:
            rig.admit_dead("x")
            return "e:x"
        case Kind.PAGE, _:
            record = rig.page()
        case Kind.EVENT, _:
            record = rig.one("a")
        case _:
            record = media_at(rig, "1")
            rig.write()
    if record.stage is not stage:
        rig.ledger.settle([Advance(record, stage, {"carried": 1}, b"rows")])
    if stage is Stage.WRITE:
        rig.ledger.fail_rows(rig.write(), BROKEN)
    else:
        (record,) = [record] if record.stage is stage else rig.claim(stage, record.id)
        rig.ledger.settle([Buried(record, replace(FAILURE, stage=stage))])
    return record.id


@pytest.mark.parametrize(
    ("kind", "stage"),
    [
        (Kind.PAGE, Stage.INGEST),
        (Kind.EVENT, Stage.INGEST),
        (Kind.EVENT, Stage.ENRICH),
        (Kind.EVENT, Stage.WRITE),
        (Kind.MEDIA, Stage.DOWNLOAD),
        (Kind.MEDIA, Stage.UPLOAD),
        (Kind.MEDIA, Stage.RECORD),
        (Kind.MEDIA, Stage.WRITE),
    ],
)
@pytest.mark.parametrize("wanted", [None, *Stage])
def test_a_requeue_leads_where_the_rules_say(rig, kind, stage, wanted):
    """A dry run goes by the rules alone, and must not promise what the ledger then refuses."""
    record_id = bury_at(rig, kind, stage)
    expected = way_back(kind, stage, wanted)

    assert rig.ledger.requeue([record_id], wanted) == (0 if expected is None else 1)

    record, _ = rig.ledger.find(record_id)
    where = None if record.state is State.DEAD else record.stage
    assert where is expected


def test_a_requeued_event_begins_its_stage_anew_at_once(rig):
    record = rig.one("a")
    rig.ledger.settle([Retried(record, 0, FAILURE)])
    (record,) = rig.claim(Stage.ENRICH, "e:a")
    rig.ledger.settle([Buried(record, FAILURE, rows=b"found")])

    assert rig.ledger.requeue(["e:a", "e:a", "e:nobody"]) == 1
    assert rig.second().requeue(["e:a"]) == 0, "of two callers one counts it"

    assert rig.ledger.due(10) == {(Stage.ENRICH, ""): ["e:a"]}
    (record,) = rig.claim(Stage.ENRICH, "e:a")
    assert (record.attempts, record.data) == (0, {"event_id": "a"})
    assert rig.read() == [], "rows not yet written are dropped"
    assert rig.ledger.census().counters["event.requeued"] == 1
    rig.ledger.settle([Buried(record, FAILURE)])
    (letter,) = rig.ledger.dead_letters(DeadFilter())
    assert letter.replays == 1
    assert [note["what"] for note in letter.history][-2:] == ["requeued", "buried"]


def test_a_writer_that_holds_rows_of_a_requeued_record_is_too_late(rig):
    rig.ledger.settle([Buried(rig.one("a"), FAILURE, rows=b"found")])
    ((entry, held),) = rig.write()

    rig.ledger.requeue(["e:a"])

    assert rig.ledger.finish([(entry, held)], DAY) == 0
    assert len(rig.claim(Stage.ENRICH, "e:a")) == 1


def test_requeued_media_are_downloaded_by_a_fresh_link(rig):
    record = media_at(rig, "1")
    carried = {"item": {"link": "old"}, "cached": {"node": "n"}, "refreshes": 3, "free": 2}
    rig.ledger.settle([Advance(record, Stage.UPLOAD, carried, affinity="n")])
    (record,) = rig.claim(Stage.UPLOAD, "m:1")
    failed = {**carried, "status": "failed", "error": "gone"}
    rig.ledger.settle([Buried(record, FAILURE, rows=b"r", data=failed)])

    assert rig.ledger.requeue(["m:1"]) == 1

    expected = {"item": {"link": "old"}, "refresh": True, "refreshes": 0}
    assert rig.ledger.due(5) == {(Stage.DOWNLOAD, ""): ["m:1"]}
    (record,) = rig.claim(Stage.DOWNLOAD, "m:1")
    assert record.data == expected
    rig.ledger.settle([Retried(record, 0, FAILURE)])
    (record,) = rig.claim(Stage.DOWNLOAD, "m:1")
    assert record.data == expected, "a retry changes nothing about it"
    rig.ledger.settle([Retried(record, 0, FAILURE, data={"cached": 1, "refreshes": 1})])
    (record,) = rig.claim(Stage.DOWNLOAD, "m:1")
    assert record.data == {"cached": 1, "refreshes": 1}, "unless it says what it has got"
    rig.ledger.settle([Advance(record, Stage.UPLOAD, {"cached": 2, "status": "x"})])
    (record,) = rig.claim(Stage.UPLOAD, "m:1")
    assert record.data == {"cached": 2, "status": "x"}


def test_a_new_file_that_a_requeue_asked_for_is_still_to_come_after_another_requeue(rig):
    """The first asked for a download, which failed; the second must not bring the old file back."""
    record = media_at(rig, "1")
    rig.ledger.settle([Advance(record, Stage.UPLOAD, {"cached": {"node": "n"}}, affinity="n")])
    rig.ledger.settle([Buried(rig.claim(Stage.UPLOAD, "m:1")[0], FAILURE)])
    rig.ledger.requeue(["m:1"])
    rig.ledger.settle([Buried(rig.claim(Stage.DOWNLOAD, "m:1")[0], FAILURE)])

    rig.ledger.requeue(["m:1"], Stage.UPLOAD)

    (record,) = rig.claim(Stage.UPLOAD, "m:1")
    assert record.data == {"refresh": True, "refreshes": 0}


def test_requeueing_to_a_stage_sends_only_what_belongs_there(rig):
    rig.ledger.settle([Buried(rig.one("a"), FAILURE)])
    rig.ledger.settle([Buried(media_at(rig, "1"), FAILURE)])
    rig.admit_dead("x")

    assert rig.ledger.requeue(["e:a", "m:1", "e:x"], Stage.UPLOAD) == 1
    assert rig.ledger.requeue(["e:a", "m:1", "e:x"], Stage.ENRICH) == 1

    assert len(rig.claim(Stage.UPLOAD, "m:1")) == 1
    assert len(rig.claim(Stage.ENRICH, "e:a")) == 1
    assert state_of(rig, "e:x") is State.DEAD


def test_a_record_without_rows_is_not_sent_to_the_writer(rig):
    rig.ledger.settle([Buried(rig.one("a"), FAILURE)])

    assert rig.ledger.requeue(["e:a"], Stage.WRITE) == 1

    assert rig.read() == []
    assert len(rig.claim(Stage.ENRICH, "e:a")) == 1


def test_a_record_that_died_at_the_writer_with_no_rows_is_not_sent_there_again(rig):
    """There would be nothing to write, and it would be counted as recorded."""
    rig.ledger.settle([Advance(rig.one("a"), Stage.WRITE, {}, b"")])
    rig.ledger.fail_rows(rig.write(), BROKEN)

    assert rig.ledger.requeue(["e:a"]) == 1

    assert rig.claim(Stage.WRITE, "e:a") == []
    assert len(rig.claim(Stage.ENRICH, "e:a")) == 1


def test_a_dead_row_goes_back_to_be_parsed_again(rig):
    rig.admit_dead("x")

    assert rig.ledger.requeue(["e:x"]) == 1

    (record,) = rig.claim(Stage.INGEST, "e:x")
    assert (record.kind, record.data["junk"]) == (Kind.EVENT, True)
    assert rig.ledger.settle([Advance(record, Stage.ENRICH, {"event_id": "x"})]) == [True]
    assert len(rig.claim(Stage.ENRICH, "e:x")) == 1


def test_find_shows_a_record_in_any_state_without_its_lease(rig):
    assert rig.ledger.find("e:a") is None
    record = rig.one("a")

    found, history = rig.ledger.find("e:a")

    assert (found.state, found.lease) == (State.LEASED, "")
    assert history[0]["what"] == "admitted"
    assert rig.ledger.settle([Advance(found, Stage.WRITE, {}, b"")]) == [False]
    rig.ledger.settle([Buried(record, FAILURE, rows=b"r")])
    found, history = rig.ledger.find("e:a")
    assert (found.state, found.stage, found.rows) == (State.DEAD, Stage.ENRICH, b"r")
    assert history[-1]["what"] == "buried"


def test_the_census_counts_everything(rig):
    rig.admit("a", "b", "c", "d")
    rig.clock.pass_(10)
    a, b, c = rig.claim(Stage.ENRICH, "e:a", "e:b", "e:c")
    rig.ledger.settle([Retried(a, 60, FAILURE), Waited(b, 60, FAILURE), Buried(c, FAILURE)])
    rig.clock.pass_(5)
    record = rig.one("f")
    rig.ledger.settle([Advance(record, Stage.WRITE, {}, b"r", spawn=(media("1"),))])
    rig.ledger.store_page("live", None, 1, [page("z")])
    rig.read()

    census = rig.ledger.census()

    assert census.stages[Stage.ENRICH] == {State.READY: 1, State.RETRYING: 1, State.WAITING: 1}
    assert census.stages[Stage.WRITE] == {State.READY: 1}
    assert census.stages[Stage.RECORD] == {}
    assert census.by_attempts[Stage.ENRICH] == {0: 2, 1: 1}
    assert census.active == {Kind.EVENT: 4, Kind.MEDIA: 1, Kind.PAGE: 1}
    assert census.dead == {Kind.EVENT: 1, Kind.MEDIA: 0, Kind.PAGE: 0}
    assert census.oldest_seconds[Stage.ENRICH] == pytest.approx(15, abs=1e-3)
    assert census.oldest_seconds[Stage.UPLOAD] == 0
    assert (census.stream_length, census.stream_pending) == (1, 1)
    assert census.counters["event.admitted"] == 5


# --- Redis alone


def test_a_census_without_ages_counts_the_same(rig):
    rig.admit("a", "b")
    rig.clock.pass_(3)

    full, quick = rig.ledger.census(), rig.ledger.census(ages=False)

    assert full.oldest_seconds[Stage.ENRICH] == pytest.approx(3)
    assert quick == replace(full, oldest_seconds={})


def test_what_is_indexed_is_what_is_counted(redis_client):
    """The counters are kept apart from the records: they must say the same."""
    rig = redis_rig(redis_client)
    rig.admit(*"abcdef")
    a, b, c, d = rig.claim(Stage.ENRICH, "e:a", "e:b", "e:c", "e:d")
    rig.ledger.settle(
        [
            Advance(a, Stage.WRITE, {}, b"r", spawn=(media("1"), media("2"))),
            Retried(b, 5, FAILURE),
            Buried(c, FAILURE, rows=b"r"),
            Buried(d, FAILURE),
        ]
    )

    census = rig.ledger.census()

    for stage in Stage:
        indexed = redis_client.zcard(f"{{claimx:0}}:look:{stage}")
        owed = 1 if stage is Stage.WRITE else 0  # the dead record's rows
        assert indexed == sum(census.stages[stage].values()) + owed
    assert redis_client.zcard("{claimx:0}:dead") == census.dead[Kind.EVENT] == 2
    records = redis_client.hlen("{claimx:0}:record:facts")
    assert records == sum(census.active.values()) + sum(census.dead.values())


def test_what_is_committed_is_settled_in_a_redis_that_is_full(redis_client):
    """That is what makes room again; a record that is kept, and an id, need some of it."""
    rig = redis_rig(redis_client)
    rig.ledger.settle([Buried(rig.one("dead"), FAILURE, rows=b"found")])
    file = media_at(rig, "1")
    rig.ledger.settle([Advance(file, Stage.WRITE, {"status": "completed"}, b"r")])
    done = rig.write()
    assert [record.state for _, record in done] == [State.DEAD, State.LEASED, State.LEASED]
    redis_client.config_set("maxmemory", 1)
    try:
        with pytest.raises(Unavailable, match="out of memory"):
            rig.ledger.ping()

        assert rig.ledger.finish(done, DAY) == 3
    finally:
        redis_client.config_set("maxmemory", 0)

    assert rig.ledger.seen(["m:1"]) == {"m:1"}
    assert problems(redis_client, now=rig.clock.now) == []


def test_nothing_is_left_of_what_was_finished(redis_client):
    rig = redis_rig(redis_client)
    rig.ledger.settle([Advance(rig.one("a"), Stage.WRITE, {}, b"r")])
    rig.ledger.finish(rig.write(), DAY)

    names = {key.decode().removeprefix("{claimx:0}:") for key in redis_client.scan_iter("*")}

    (seen,) = {name for name in names if name.startswith("seen:")}
    assert names == {"n", "seen", seen, "rows", "cursor:p1"}
    assert redis_client.hkeys(f"{{claimx:0}}:{seen}") == [b"e:a"]
    assert DAY <= redis_client.ttl(f"{{claimx:0}}:{seen}") <= 1.5 * DAY
    assert redis_client.xlen("{claimx:0}:rows") == 0


def test_every_key_shares_one_hash_tag(redis_client):
    ledger = RedisLedger(redis_client, prefix="other")
    ledger.ping()
    ledger.store_page("live", None, 1, [page("a")])

    assert all(key.startswith(b"{other:0}:") for key in redis_client.scan_iter("*"))


def test_scripts_that_redis_forgot_are_loaded_again(redis_client):
    rig = redis_rig(redis_client)
    record = rig.one("a")
    redis_client.script_flush()

    assert rig.ledger.settle([Advance(record, Stage.WRITE, {}, b"r")]) == [True]


def test_a_consumer_group_that_vanished_is_made_again(redis_client):
    rig = redis_rig(redis_client)
    assert rig.read() == []
    rig.ledger.settle([Advance(rig.one("a"), Stage.WRITE, {}, b"r")])
    redis_client.xgroup_destroy("{claimx:0}:rows", "writers")

    assert [record_id for _, record_id in rig.read()] == ["e:a"]

    redis_client.delete("{claimx:0}:rows")
    rig.clock.pass_(61)
    time.sleep(0.005)  # Redis names entries by its own clock: in a stream made anew, not as before
    rig.ledger.due(10)
    assert len(rig.write()) == 1


def test_an_entry_that_nobody_has_read_keeps_its_place_in_the_stream(redis_client):
    """Else a backlog of rows would be put on the stream anew again and again, the oldest last."""
    rig = redis_rig(redis_client)
    read = rig.one("read")
    rig.ledger.settle([Advance(read, Stage.WRITE, {}, b"r")])
    rig.read()
    rig.ledger.settle([Advance(rig.one("a"), Stage.WRITE, {}, b"r")])
    (_, unread) = redis_client.xrange("{claimx:0}:rows")

    for _ in range(2):
        rig.clock.pass_(61)
        rig.ledger.due(10)

    entries = redis_client.xrange("{claimx:0}:rows")
    assert unread in entries
    assert len(entries) == 2


def test_a_reader_waits_for_rows_no_longer_than_told(redis_client):
    rig = redis_rig(redis_client)
    assert rig.ledger.read_rows("w1", 10, 0.02) == []
    record = rig.one("a")

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(rig.second().read_rows, "w1", 10, 5.0)
        rig.ledger.settle([Advance(record, Stage.WRITE, {}, b"r")])
        ((_, record_id),) = reading.result(timeout=10)

    assert record_id == "e:a"


def test_without_a_clock_the_time_is_the_servers(redis_client):
    ledger = RedisLedger(redis_client)
    ledger.store_page("live", None, 1, [page("a")])
    seconds, micros = redis_client.time()

    record, _ = ledger.find("p:a")

    assert record.admitted_at == pytest.approx(seconds + micros / 1e6, abs=2.0)
    assert len(ledger.claim(Stage.INGEST, ["p:a"], 30)) == 1


def test_a_zero_byte_in_a_text_beside_the_data_spoils_no_record(redis_client):
    """There a zero byte ends the text, so one within would shift all facts behind it."""
    rig = redis_rig(redis_client)
    odd = NewRecord("e:a", Kind.EVENT, Stage.ENRICH, {"text": "\0"}, "tra\0ce")
    rig.ledger.admit(rig.page(), [odd], [], DAY)
    (record,) = rig.claim(Stage.ENRICH, "e:a")
    assert (record.trace, record.data) == ("trace", {"text": "\0"})

    failure = replace(FAILURE, error="Brok\0en")
    rig.ledger.settle([Buried(record, failure)])

    (letter,) = rig.ledger.dead_letters(DeadFilter(error="Broken"))
    assert (letter.trace, letter.failure) == ("trace", failure)


def test_a_claim_repeated_after_a_broken_connection_gives_the_same_leases(redis_client):
    rig = redis_rig(redis_client)
    rig.admit("a")
    script = redis_client.register_script(source_of("claim"))
    call = {"keys": ["{claimx:0}"], "args": [rig.clock.now, "enrich", "token", 30, "e:a"]}

    first, second = script(**call), script(**call)

    assert first == second
    assert first[1] == [b"e:a"]
    assert rig.ledger.find("e:a")[0].tries == 1


def test_a_readmission_repeated_after_a_broken_connection_is_told_the_same(redis_client):
    """Told of none, reconcile said of what it had admitted that nobody had mended it."""
    rig = redis_rig(redis_client)
    rig.admit("b")
    script = redis_client.register_script(source_of("readmit"))
    records = [word for name in "abc" for word in (f"e:{name}", "event", "enrich", "{}", "trace")]

    def call(token):
        return script(keys=["{claimx:0}"], args=[rig.clock.now, "job", 1, DAY, token, *records])

    answers = [call("one"), call("one"), call("another"), call("another")]

    assert answers == [[b"e:a", b"e:c"], [b"e:a", b"e:c"], [], []]
    counters = rig.ledger.census().counters
    assert (counters["event.admitted"], counters["event.duplicate"]) == (3, 4)


def test_a_requeue_repeated_after_a_broken_connection_is_told_the_same(redis_client):
    """Told of none, an operator read "requeued 0", "no longer dead", and a script saw a failure."""
    rig = redis_rig(redis_client)
    rig.admit_dead("a")
    rig.admit_dead("b")
    script = redis_client.register_script(source_of("requeue"))

    def call(token):
        return script(keys=["{claimx:0}"], args=[rig.clock.now, "", token, "e:a", "e:b", "e:c"])

    answers = [call("one"), call("one"), call("another")]

    assert answers == [2, 2, 0]
    assert rig.ledger.census().counters["event.requeued"] == 2


def test_resp3_clients_read_the_same(redis_url):
    with redis.Redis.from_url(redis_url, protocol=3) as client:
        rig = redis_rig(client)
        rig.ledger.settle([Advance(rig.one("a"), Stage.WRITE, {}, b"r", spawn=(media("1"),))])

        assert rig.ledger.census().active[Kind.MEDIA] == 1
        ((_, record_id),) = rig.ledger.read_rows("w1", 10, 1.0)
        rig.ledger.settle([Advance(rig.one("b"), Stage.WRITE, {}, b"r")])
        _, second = rig.ledger._wait_for_rows("w1", 10, 1.0)

        assert (record_id, second) == ("e:a", b"e:b")


def test_readers_that_are_gone_leave_the_groups_books(redis_client):
    """Each writer that starts has a new name: a crash loop added one each time, for good."""
    rig = redis_rig(redis_client)
    rig.ledger.settle([Advance(rig.one("a"), Stage.WRITE, {}, b"r")])
    for name in ("took one", "found none"):
        rig.read(name)
    rig.fall_silent(601)
    rig.read("reads")
    rig.clock.pass_(601)

    found = rig.read("reads")

    def readers():
        return {
            one["name"].decode(): one["pending"]
            for one in redis_client.xinfo_consumers("{claimx:0}:rows", "writers")
        }

    assert found == []
    assert readers() == {"reads": 1}


def test_a_reader_that_is_forgotten_while_it_waits_gets_what_comes_all_the_same(redis_client):
    """One that waits is silent as well, for longer than a takeover takes."""
    rig = redis_rig(redis_client)
    rig.read("reads")
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(rig.second().read_rows, "waits", 10, 5.0)
        deadline = time.monotonic() + 5
        while len(redis_client.xinfo_consumers("{claimx:0}:rows", "writers")) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        rig.fall_silent(601)
        rig.read("reads")
        (left,) = redis_client.xinfo_consumers("{claimx:0}:rows", "writers")
        rig.ledger.settle([Advance(rig.one("a"), Stage.WRITE, {}, b"r")])
        ((_, record_id),) = waiting.result(10)

    assert (left["name"], record_id) == (b"reads", "e:a")


class TestWhichMediaAreActive:
    def test_those_that_are_there_in_any_stage_and_not_dead(self, rig: Rig) -> None:
        names = ("new", "leased", "writing", "dead", "done")
        ids = [f"m:{name}" for name in names]
        assert rig.ledger.store_page("x", None, 1, [media(name) for name in names])
        claimed = {r.id: r for r in rig.ledger.claim(Stage.DOWNLOAD, ids[1:], 30)}
        rig.ledger.settle(
            [
                *(Advance(claimed[one], Stage.WRITE, {}, rows=b"[]") for one in ids[2::2]),
                Buried(claimed["m:dead"], FAILURE),
            ]
        )
        (done,) = rig.ledger.claim(Stage.WRITE, ["m:done"], 30)
        rig.ledger.finish([("", done)], DAY)

        found = rig.ledger.active_media([*ids, "m:unknown"])

        assert found == {"m:new", "m:leased", "m:writing"}
        assert rig.ledger.active_media([]) == set()

    def test_there_may_be_thousands(self, rig: Rig) -> None:
        assert rig.ledger.store_page("x", None, 1, [media("a"), media("b")])

        found = rig.ledger.active_media([f"m:{n}" for n in range(3000)] + ["m:a", "m:b"])

        assert found == {"m:a", "m:b"}


class TestReadmission:
    """What is in neither ledger nor lake is admitted, whatever is remembered of it."""

    def finished(self, rig: Rig, name: str) -> None:
        """An event that was through, and is remembered."""
        record = rig.one(name)
        rig.ledger.settle([Advance(record, Stage.WRITE, {}, b"rows")])
        rig.ledger.finish(rig.write(), DAY)

    def test_an_event_that_is_remembered_is_admitted_all_the_same(self, rig: Rig) -> None:
        self.finished(rig, "a")

        assert rig.ledger.readmit("job", [event("a"), event("b")], 1) == ("e:a", "e:b")

        record, history = rig.ledger.find("e:a")
        assert (record.stage, record.state, record.trace) == (Stage.ENRICH, State.READY, "trace-a")
        assert [note["what"] for note in history] == ["admitted"]
        assert rig.ledger.census().counters["event.admitted"] == 3

    def test_it_is_remembered_anew(self, rig: Rig) -> None:
        self.finished(rig, "a")
        rig.clock.pass_(DAY / 2)
        rig.ledger.readmit("job", [event("a")], 1)

        rig.clock.pass_(DAY / 2 + 1)

        assert rig.ledger.seen(["e:a"]) == {"e:a"}
        assert rig.admit("a") == []

    def test_a_record_that_is_there_is_left_alone(self, rig: Rig) -> None:
        held = rig.one("a")
        rig.admit_dead("dead")

        assert rig.ledger.readmit("job", [event("a"), event("dead")], 1) == ()

        assert rig.ledger.renew([held], 30) == {"e:a"}
        assert state_of(rig, "e:dead") is State.DEAD
        assert rig.ledger.census().counters["event.duplicate"] == 2

    def test_of_two_callers_one_admits(self, rig: Rig) -> None:
        self.finished(rig, "a")

        first = rig.ledger.readmit("job", [event("a"), event("a")], 1)
        second = rig.second().readmit("job", [event("a")], 1)

        assert (first, second) == (("e:a",), ())

    def test_who_got_no_answer_is_told_what_it_admitted(self, rig: Rig) -> None:
        """Redis went away once it was carried out: reconcile waits for it, and asks again."""
        rig.admit("b")
        found = [event("a"), event("b"), event("c")]
        later = [replace(one, trace="found by another look") for one in found]

        answers = [rig.second().readmit("job", found, 1) for _ in range(2)]
        answers.append(rig.ledger.readmit("job", later, 1))

        assert answers == [("e:a", "e:c"), ("e:a", "e:c"), ()]
        assert rig.ledger.census().counters["event.admitted"] == 3

    def test_media_that_were_completed_are_fetched_again_and_then_known_again(
        self, rig: Rig
    ) -> None:
        def complete(record: Record) -> None:
            data = {**record.data, "status": "completed"}
            rig.ledger.settle([Advance(record, Stage.WRITE, data, b"rows")])
            rig.ledger.finish(rig.write(), DAY)

        complete(media_at(rig, "1"))
        parent = rig.one("later")
        assert rig.ledger.readmit("job", [media("1", refresh=True)], 1) == ("m:1",)
        (record,) = rig.claim(Stage.DOWNLOAD, "m:1")
        assert record.data["refresh"] is True
        complete(record)

        rig.ledger.settle([Advance(parent, Stage.WRITE, {}, b"r", spawn=(media("1"),))])

        assert rig.ledger.find("m:1") is None

    def test_a_source_row_is_parsed_again(self, rig: Rig) -> None:
        assert rig.ledger.readmit("job", [event("x", Stage.INGEST, junk=1)], 1) == ("e:x",)

        (record,) = rig.claim(Stage.INGEST, "e:x")

        assert record.kind is Kind.EVENT

    def test_a_greater_fence_shuts_out_a_smaller_one_of_its_job(self, rig: Rig) -> None:
        assert rig.ledger.readmit("job", [], 1_790_000_000_002) == ()

        assert rig.ledger.readmit("job", [event("a")], 1_790_000_000_001) is None
        assert rig.ledger.find("e:a") is None
        assert rig.ledger.readmit("another", [event("a")], 1) == ("e:a",)

    def test_it_is_due_like_anything_new(self, rig: Rig) -> None:
        rig.ledger.readmit("job", [event("a"), media("1")], 1)
        assert rig.ledger.due(10) == {}

        rig.clock.pass_(6)

        assert rig.ledger.due(10) == {
            (Stage.ENRICH, ""): ["e:a"],
            (Stage.DOWNLOAD, ""): ["m:1"],
        }

    def test_what_is_no_json_stops_the_whole(self, rig: Rig) -> None:
        with pytest.raises(Malformed, match="e:b"):
            rig.ledger.readmit("job", [event("a"), event("b", bad={1, 2})], 1)

        assert rig.ledger.find("e:a") is None


class TestStates:
    def test_each_record_has_the_state_that_find_tells(self, rig: Rig) -> None:
        rig.admit("ready")
        rig.one("leased")
        rig.ledger.settle([Retried(rig.one("retrying"), 60, FAILURE)])
        rig.ledger.settle([Waited(rig.one("waiting"), 60, FAILURE)])
        rig.admit_dead("dead")
        names = ["ready", "leased", "retrying", "waiting", "dead"]

        states = rig.ledger.states([*(f"e:{name}" for name in names), "e:nobody", "m:1"])

        assert states == {f"e:{name}": State(name) for name in names}
        assert rig.ledger.states([]) == {}

    def test_there_may_be_thousands_of_them(self, rig: Rig) -> None:
        ids = rig.admit(*(str(n) for n in range(1200)))

        assert len(rig.ledger.states(ids)) == 1200


class _Meanwhile(redis.Redis):
    """A client of the same Redis; something happens once, behind its first script."""

    def __init__(self, other: redis.Redis, what: Callable[[], object]) -> None:
        super().__init__(connection_pool=other.connection_pool)
        self._what = what

    def execute_command(self, *arguments: Any, **options: Any) -> Any:
        answer = super().execute_command(*arguments, **options)
        if arguments[0] == "EVALSHA":
            what, self._what = self._what, lambda: None
            what()
        return answer
