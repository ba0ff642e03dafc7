"""The contract of `claimx.domain.ports.ledger.Ledger`: how records come into being."""

from __future__ import annotations

import pytest
from ledger_rig import (
    BROKEN,
    DAY,
    FAILURE,
    Rig,
    event,
    media,
    media_at,
    whats,
)

from claimx.domain.ports.ledger import DeadOnArrival
from claimx.domain.records import (
    Advance,
    Buried,
    DeadFilter,
    Kind,
    Retried,
    Stage,
    State,
    Waited,
)


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


def test_a_link_that_is_found_later_is_taken_though_a_requeue_had_asked_for_one(rig):
    """What the requeue asked for came to nothing, and must not replace the link that is there."""
    rig.ledger.settle([Buried(media_at(rig, "1"), FAILURE)])
    rig.ledger.requeue(["m:1"])
    rig.ledger.settle([Buried(rig.claim(Stage.DOWNLOAD, "m:1")[0], FAILURE)])
    fresh = (media("1", revive=True, new=1),)

    rig.ledger.settle([Advance(rig.one("b"), Stage.WRITE, {}, b"r", spawn=fresh)])

    assert rig.ledger.find("m:1")[0].data == {"link": "1", "new": 1}
    assert rig.ledger.census().counters["media.revived"] == 1
    assert rig.ledger.due(9) == {}, "its hint had no time to arrive"
    rig.clock.pass_(6)
    assert rig.ledger.due(9) == {(Stage.DOWNLOAD, ""): ["m:1"]}


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
