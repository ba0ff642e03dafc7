"""The contract of `claimx.domain.ports.ledger.Ledger`: dead letters and their way back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import redis
from ledger_rig import (
    BROKEN,
    DAY,
    FAILURE,
    Rig,
    event,
    media,
    media_at,
    page,
    redis_rig,
    state_of,
)

from claimx.adapters.ledger import RedisLedger
from claimx.domain.errors import ErrorCategory
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
from claimx.domain.requeueing import way_back


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


def test_media_that_are_sent_back_to_a_later_stage_keep_what_they_have(rig):
    """The file that is there is uploaded again, and rows are written as they are."""
    carried = {"cached": {"node": "n"}, "status": "completed"}
    rig.ledger.settle([Advance(media_at(rig, "1"), Stage.UPLOAD, carried, affinity="n")])
    rig.ledger.settle([Buried(rig.claim(Stage.UPLOAD, "m:1")[0], FAILURE)])
    rig.ledger.settle([Advance(media_at(rig, "2"), Stage.WRITE, carried, b"rows")])
    rig.ledger.fail_rows(rig.write(), BROKEN)

    assert rig.ledger.requeue(["m:1"], Stage.UPLOAD) == 1
    assert rig.ledger.requeue(["m:2"], Stage.WRITE) == 1

    (upload,) = rig.claim(Stage.UPLOAD, "m:1")
    assert upload.data == {"cached": {"node": "n"}, "refresh": True, "refreshes": 0}
    ((entry, written),) = rig.write()
    assert (written.data, written.rows) == (carried, b"rows")
    rig.ledger.finish([(entry, written)], DAY)
    assert rig.ledger.seen(["m:2"]) == {"m:2"}, "completed"


def test_what_a_requeued_file_brings_along_is_what_its_next_stage_gets(rig):
    """The requeue asked the download for a new file; here it is."""
    rig.ledger.settle([Buried(media_at(rig, "1"), FAILURE)])
    rig.ledger.requeue(["m:1"])
    (record,) = rig.claim(Stage.DOWNLOAD, "m:1")

    rig.ledger.settle([Advance(record, Stage.UPLOAD, {"cached": {"node": "n"}, "refreshes": 1})])

    (record,) = rig.claim(Stage.UPLOAD, "m:1")
    assert record.data == {"cached": {"node": "n"}, "refreshes": 1}


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


def test_a_census_without_ages_counts_the_same(rig):
    rig.admit("a", "b")
    rig.clock.pass_(3)

    full, quick = rig.ledger.census(), rig.ledger.census(ages=False)

    assert full.oldest_seconds[Stage.ENRICH] == pytest.approx(3)
    assert quick == replace(full, oldest_seconds={})


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
