"""The contract of `claimx.domain.ports.ledger.Ledger`: rows on their way to a lake writer."""

from __future__ import annotations

import pytest
from ledger_rig import (
    BROKEN,
    DAY,
    FAILURE,
    media,
    state_of,
)

from claimx.domain.records import (
    Advance,
    Buried,
    DeadFilter,
    Retried,
    Stage,
    State,
    Waited,
)


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


def test_of_a_silent_consumers_entries_no_more_are_handed_out_than_asked_for(rig):
    """The rest come with the next steps, a second apart."""
    for name in "abc":
        rig.ledger.settle([Advance(rig.one(name), Stage.WRITE, {}, b"r")])
    rig.read("dies before it claims")
    rig.fall_silent()

    found = []
    for _ in range(2):
        found.append([record_id for _, record_id in rig.read("w2", 2)])
        rig.clock.pass_(1.5)

    assert found == [["e:a", "e:b"], ["e:c"]]


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


@pytest.mark.parametrize("refused", [False, True])
def test_who_lost_its_lease_takes_the_entry_off_the_stream_all_the_same(rig, refused):
    rig.ledger.settle([Advance(rig.one("a"), Stage.WRITE, {}, b"r")])
    ((entry, first),) = rig.write()
    rig.clock.pass_(31)
    (second,) = rig.claim(Stage.WRITE, "e:a")

    done = [(entry, first)]
    assert (rig.ledger.fail_rows(done, BROKEN) if refused else rig.ledger.finish(done, DAY)) == 0

    assert rig.ledger.census().stream_length == 0
    assert rig.ledger.finish([("", second)], DAY) == 1


@pytest.mark.parametrize("dead", [False, True])
@pytest.mark.parametrize("refused", [False, True])
def test_a_late_writer_takes_off_the_stream_what_the_redriver_put_there(rig, dead, refused):
    """Its lease ran out and nobody else has the record yet, so what it has done counts."""
    record = rig.one("a")
    rig.ledger.settle(
        [Buried(record, FAILURE, b"r") if dead else Advance(record, Stage.WRITE, {}, b"r")]
    )
    done = rig.write()
    rig.clock.pass_(31)
    rig.ledger.due(9)

    assert (rig.ledger.fail_rows(done, BROKEN) if refused else rig.ledger.finish(done, DAY)) == 1

    assert rig.ledger.census().stream_length == 0


@pytest.mark.parametrize("refused", [False, True])
def test_a_lease_of_another_stage_settles_no_rows(rig, refused):
    done = [("", rig.one("a"))]

    assert (rig.ledger.fail_rows(done, BROKEN) if refused else rig.ledger.finish(done, DAY)) == 0

    assert state_of(rig, "e:a") is State.LEASED


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
    dead, _ = rig.ledger.find("e:a")
    assert (dead.state, dead.tries) == (State.DEAD, record.tries + 1), "writing is no run of it"
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
    assert [note["what"] for note in letter.history] == ["admitted", "buried", "rows refused"]
    assert rig.ledger.find("e:a")[0].rows == b""


def test_the_dead_go_nowhere_by_an_outcome(rig):
    rig.ledger.settle([Buried(rig.one("a"), FAILURE, rows=b"found")])
    ((_, held),) = rig.write()

    assert rig.ledger.settle([Advance(held, Stage.ENRICH, {})]) == [False]
    assert rig.ledger.settle([Waited(held, 20, FAILURE)]) == [True]
    assert state_of(rig, "e:a") is State.DEAD
    assert rig.claim(Stage.WRITE, "e:a") == []
    rig.ledger.due(10)
    assert rig.read() == [], "it is not due"
    rig.clock.pass_(20)
    rig.ledger.due(10)
    ((_, held),) = rig.write()
    assert rig.ledger.settle([Retried(held, 20, FAILURE)]) == [True]
    assert state_of(rig, "e:a") is State.DEAD
    assert rig.ledger.find("e:a")[0].attempts == 0
