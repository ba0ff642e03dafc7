"""The contract of `claimx.domain.ports.ledger.Ledger`: its time, leases, and what is due."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from ledger_rig import (
    DAY,
    FAILURE,
    Rig,
    media,
    media_at,
    state_of,
    whats,
)

from claimx.adapters.ledger import RedisLedger
from claimx.domain.errors import ErrorCategory, Unavailable
from claimx.domain.records import (
    Advance,
    DeadFilter,
    Retried,
    Stage,
    State,
    Waited,
)
from claimx.domain.retry import LONGEST_DELAY_SECONDS


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


def test_a_clock_that_is_set_back_holds_up_nothing_for_longer_than_a_day(rig):
    """Redis' clock was wrong, and is put right: by weeks, in which nothing would be due."""
    retried, waits, written = rig.one("retried"), rig.one("waits"), rig.one("written")
    rig.ledger.settle(
        [
            Retried(retried, 60, FAILURE),
            Waited(waits, LONGEST_DELAY_SECONDS, FAILURE),
            Advance(written, Stage.WRITE, {}, b"r"),
        ]
    )
    rig.admit("new")
    rig.one("leased")
    rig.write()
    ids = [f"e:{name}" for name in ("leased", "new", "retried", "waits")]

    rig.clock.pass_(-20 * DAY)

    assert {key: sorted(found) for key, found in rig.ledger.due(99).items()} == {
        (Stage.ENRICH, ""): ids
    }
    assert sorted(record.id for record in rig.claim(Stage.ENRICH, *ids)) == ids
    assert [record.id for _, record in rig.write("w2")] == ["e:written"]


def test_what_is_due_in_a_day_is_not_due_now(rig):
    """It is the longest delay that the settings let a record have."""
    record = rig.one("a")
    rig.ledger.settle([Waited(record, LONGEST_DELAY_SECONDS, FAILURE)])

    assert rig.ledger.due(9) == {}
    assert rig.claim(Stage.ENRICH, "e:a") == []


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


def test_a_record_that_was_retried_before_is_released_as_such(rig):
    rig.ledger.settle([Retried(rig.one("a"), 0, FAILURE)])

    rig.ledger.release(rig.claim(Stage.ENRICH, "e:a"))

    assert state_of(rig, "e:a") is State.RETRYING
    assert rig.ledger.census().stages[Stage.ENRICH] == {State.RETRYING: 1}


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
