"""The contract of `claimx.domain.ports.ledger.Ledger`: what becomes of a record."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ledger_rig import (
    BROKEN,
    FAILURE,
    media,
    media_at,
    state_of,
)

from claimx.domain.errors import Malformed
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

    rig.clock.pass_(6)
    assert rig.ledger.due(9) == {(Stage.DOWNLOAD, ""): ["m:1"]}, "on whatever node"
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


def test_neither_a_wait_nor_its_age_goes_along_out_of_a_stage(rig):
    """The next stage's patience would be spent, and it would look as if it hung."""
    record = media_at(rig, "1")
    for stage in (Stage.UPLOAD, None):
        rig.ledger.settle([Waited(record, 10, FAILURE)])
        rig.clock.pass_(10)
        (record,) = rig.claim(record.stage, "m:1")
        rig.ledger.settle([Advance(record, stage, {}) if stage else Buried(record, FAILURE)])
        rig.clock.pass_(5)
        assert rig.ledger.find("m:1")[0].waited_seconds == 0
        if stage:
            assert rig.ledger.census().oldest_seconds[stage] == pytest.approx(5, abs=1e-3)
            (record,) = rig.claim(stage, "m:1")


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
