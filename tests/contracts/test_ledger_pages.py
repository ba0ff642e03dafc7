"""The contract of `claimx.domain.ports.ledger.Ledger`: pages, checkpoints and notes of a cursor."""

from __future__ import annotations

import pytest
from ledger_rig import (
    DAY,
    FAILURE,
    event,
    media,
    media_at,
    page,
    state_of,
)

from claimx.adapters.ledger import RedisLedger
from claimx.domain.cursors import BACKFILL_KEPT_SECONDS, Checkpoint, Gap, Mark
from claimx.domain.records import (
    Buried,
    Kind,
    Stage,
    State,
)


def test_the_ledger_tells_its_own_time(rig):
    """What processes note in it as moments must be comparable, whatever their own clocks say."""
    assert rig.ledger.now() == rig.clock.now


def test_a_ledger_in_redis_goes_by_the_servers_clock(redis_client):
    seconds, micros = redis_client.time()

    found = RedisLedger(redis_client).now()

    assert seconds + micros / 1e6 <= found < seconds + 60


def test_a_cursor_has_no_checkpoint_before_its_first_move(rig):
    assert rig.ledger.checkpoint("live") is None


def test_where_a_backfill_was_is_forgotten_a_month_after_its_last_step(rig):
    """Its ranges are ever others, and each left its place for good; the live poll's stays."""
    range_, runs = "backfill:a..b#0", "backfill:a..b:runs"
    first = rig.ledger.store_page(range_, None, 10, [], 5)
    live = rig.ledger.store_page("live", None, 10, [])
    rig.rest(BACKFILL_KEPT_SECONDS - 60)
    second = rig.ledger.store_page(range_, first, 20, [], 5, [Mark(runs, 1, 1)])
    rig.rest(BACKFILL_KEPT_SECONDS - 60)
    kept = rig.ledger.checkpoint(range_), rig.ledger.checkpoint(runs) is not None

    rig.rest(120)

    assert kept == (second, True)
    assert rig.ledger.checkpoint(range_) is rig.ledger.checkpoint(runs) is None
    assert rig.ledger.checkpoint("live") == live
    assert rig.ledger.store_page(range_, second, 30, []) is None
    assert rig.ledger.store_page(range_, None, 5, []).source_time == 5


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

    assert rig.ledger.store_page("live", None, 10, [], marks=[Mark("noted", 70, 100)])
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
