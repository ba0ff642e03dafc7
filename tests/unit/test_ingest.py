"""Pages become events and dead letters, whatever is in them."""

from __future__ import annotations

from typing import Any

import pytest
from builders import an_event
from polling_world import World, event_row

from claimx.domain.errors import ErrorCategory, Malformed, Unavailable
from claimx.domain.polling import TIME
from claimx.domain.ports.ledger import DeadOnArrival
from claimx.domain.records import DeadFilter, Kind, NewRecord, Stage, event_record_id
from claimx.domain.times import from_seconds
from claimx.services.ingest import ingest, why_malformed
from claimx.services.source_rows import page_of, read_row, read_source_row

PAGE = "p:test"


def store(world: World, *rows: Any, record_id: str = PAGE) -> list[str]:
    """Store one page record, as a poll that read *rows* does; returns the ids of a hint for it."""
    time = from_seconds(world.clock - 10)
    told = [
        read_source_row({**row, TIME: time})[1] if isinstance(row, dict) else row for row in rows
    ]
    return store_data(world, page_of(told), record_id)


def store_data(world: World, data: dict[str, Any], record_id: str = PAGE) -> list[str]:
    time = from_seconds(world.clock - 10)
    page = NewRecord(record_id, Kind.PAGE, Stage.INGEST, data, "trace")
    cursor = f"cursor of {record_id}"
    assert world.ledger.store_page(cursor, None, time, [page]) is not None
    return [record_id]


def test_a_page_becomes_events_of_stage_enrich():
    world = World()
    hint = store(world, event_row("e1", master_file_name="MFN-1"), event_row("e2"))

    report = ingest(world.runtime(), hint)

    assert (report.pages, report.admitted) == (1, 2)
    assert world.hints.sent == [(Stage.ENRICH, (event_record_id("e1"), event_record_id("e2")), "")]
    record, _ = world.ledger.find(event_record_id("e1"))
    assert (record.kind, record.stage) == (Kind.EVENT, Stage.ENRICH)
    assert record.data["master_file_name"] == "MFN-1"
    assert world.ledger.find(PAGE) is None
    assert world.metrics.values["admitted", ("event",)] == 2


def test_events_of_a_project_are_hinted_side_by_side():
    """The chunk that has them asks the API for the project once."""
    world = World()
    projects = {"e1": "9", "e2": "7", "e3": "9", "e4": "7", "e5": "8"}

    ingest(
        world.runtime(),
        store(world, *(event_row(one, project_id=project) for one, project in projects.items())),
    )

    [(_, ids, _)] = world.hints.sent
    assert ids == tuple(event_record_id(one) for one in ("e2", "e4", "e5", "e1", "e3"))


def test_each_event_has_a_trace_of_its_own():
    world = World()

    ingest(world.runtime(), store(world, event_row("e1"), event_row("e2")))

    traces = {world.ledger.find(event_record_id(e))[0].trace for e in ("e1", "e2")}
    assert len(traces) == 2
    assert all(traces)


def test_a_malformed_row_is_a_dead_letter_and_the_rest_goes_on():
    world = World()
    bad = event_row("bad", event_type=None)

    report = ingest(world.runtime(), store(world, event_row("e1"), bad, event_row("e2")))

    assert (report.admitted, report.malformed) == (2, 1)
    [letter] = world.ledger.dead_letters(DeadFilter())
    assert (letter.kind, letter.stage) == (Kind.EVENT, Stage.INGEST)
    assert letter.failure.category is ErrorCategory.PERMANENT
    assert (letter.failure.message, letter.failure.reason) == ("event_type is missing", "malformed")
    assert letter.data["event_id"] == "bad"
    assert world.metrics.values["dead", ("ingest", "PERMANENT")] == 1


@pytest.mark.parametrize("depth", [100, 100_000])
def test_what_an_unknown_column_holds_never_makes_a_row_malformed(depth):
    """It is kept as text where no store takes it as it is; the columns that are read are not."""
    world = World()
    deep: list[Any] = []
    for _ in range(depth):
        deep = [deep]

    report = ingest(
        world.runtime(),
        store(
            world,
            event_row("e1", odd=deep, beside={"a": 1}),
            event_row("e2", media_ids=deep, odd=deep),
        ),
    )

    assert (report.admitted, report.malformed) == (1, 1)
    record, _ = world.ledger.find(event_record_id("e1"))
    assert isinstance(record.data["raw"]["odd"], str)
    assert record.data["raw"]["beside"] == {"a": 1}
    [letter] = world.ledger.dead_letters(DeadFilter())
    assert "nested deeper" in letter.failure.message


@pytest.mark.parametrize("row", ["text", 7, None, ["list"]], ids=repr)
def test_a_row_that_is_no_object_is_a_dead_letter(row):
    world = World()

    report = ingest(world.runtime(), store(world, row, event_row("e1")))

    assert (report.admitted, report.malformed) == (1, 1)


@pytest.mark.parametrize(
    "event", ["text", 7, None, [], {}, {"event_id": 5}, {"event_id": ""}], ids=repr
)
def test_what_a_page_calls_an_event_and_has_no_id_is_a_dead_letter(event):
    """No poll stores such; whoever did, nothing that a page carries is lost."""
    world = World()
    event_of_e1 = an_event(event_id="e1").to_json()

    report = ingest(
        world.runtime(), store_data(world, {"events": [event, event_of_e1], "rows": []})
    )

    assert (report.admitted, report.malformed) == (1, 1)
    [letter] = world.ledger.dead_letters(DeadFilter())
    assert letter.failure.category is ErrorCategory.PERMANENT


@pytest.mark.parametrize(
    "data", [{}, {"events": []}, {"rows": {}}, {"events": {}, "rows": []}], ids=repr
)
def test_a_page_that_is_none_is_a_dead_letter(data):
    """It would come back with every lease that ends, ten times, and be buried as UNKNOWN."""
    world = World()

    report = ingest(world.runtime(), store_data(world, data))

    assert (report.admitted, report.malformed) == (0, 1)
    [letter] = world.ledger.dead_letters(DeadFilter())
    assert (letter.id, letter.failure.category) == (PAGE, ErrorCategory.PERMANENT)


def test_a_row_that_was_no_event_to_the_poll_is_looked_at_again():
    """The worker may be of a release that knows better."""
    world = World()
    row = {**event_row("e1"), TIME: from_seconds(world.clock)}

    report = ingest(world.runtime(), store_data(world, {"rows": [row]}))

    assert (report.admitted, report.malformed) == (1, 0)
    record, _ = world.ledger.find(event_record_id("e1"))
    assert record.stage is Stage.ENRICH


def test_the_same_malformed_row_read_twice_is_one_dead_letter():
    """The overlap reads it again for minutes."""
    world = World()
    bad = event_row("bad", event_type=None)

    ingest(world.runtime(), store(world, bad))
    ingest(world.runtime(), store(world, bad, record_id="p:again"))

    assert len(world.ledger.dead_letters(DeadFilter())) == 1


def test_a_malformed_row_that_is_read_again_with_a_new_one_counts_once():
    world = World()
    bad, new = (event_row(name, event_type=None) for name in ("bad", "new"))

    ingest(world.runtime(), store(world, bad))
    ingest(world.runtime(), store(world, bad, new, record_id="p:again"))

    assert world.metrics.values["dead", ("ingest", "PERMANENT")] == 2


def test_of_one_id_in_a_page_the_first_row_stands():
    world = World()
    rows = (event_row("e1", project_id=1), event_row("e1", project_id=2))

    report = ingest(world.runtime(), store(world, *rows))

    record, _ = world.ledger.find(event_record_id("e1"))
    assert record.data["project_id"] == "1"
    assert (report.admitted, report.duplicates) == (1, 1)


def test_an_event_that_was_admitted_before_is_only_counted():
    world = World()
    ingest(world.runtime(), store(world, event_row("e1")))

    report = ingest(world.runtime(), store(world, event_row("e1"), record_id="p:again"))

    assert (report.admitted, report.duplicates) == (0, 1)
    assert world.metrics.values["duplicates", ("ledger",)] == 1


def test_a_hint_that_comes_twice_does_nothing_the_second_time():
    world = World()
    hint = store(world, event_row("e1"))
    ingest(world.runtime(), hint)

    report = ingest(world.runtime(), hint * 2)

    assert (report.pages, report.not_ours) == (0, 1)


def test_a_page_that_another_worker_holds_is_left_to_it():
    world = World()
    hint = store(world, event_row("e1"))
    world.ledger.claim(Stage.INGEST, hint, 60.0)

    report = ingest(world.runtime(), hint)

    assert (report.pages, report.admitted, report.not_ours) == (0, 0, 1)


def test_a_crash_before_the_step_leaves_the_page_for_another():
    world = World()
    hint = store(world, event_row("e1"))

    with pytest.raises(Unavailable):
        ingest(world.runtime(ledger=_NoAdmit(world.ledger)), hint)
    world.clock += 61
    report = ingest(world.runtime(), hint)

    assert report.admitted == 1


def test_a_requeued_dead_row_is_looked_at_again_and_buried_again():
    world = World()
    ingest(world.runtime(), store(world, event_row("bad", event_type=None)))
    [letter] = world.ledger.dead_letters(DeadFilter())
    world.ledger.requeue([letter.id])

    report = ingest(world.runtime(), [letter.id])

    assert report.malformed == 1
    [again] = world.ledger.dead_letters(DeadFilter())
    assert (again.id, again.replays) == (letter.id, 1)


def test_a_requeued_dead_row_that_this_release_understands_goes_on_as_an_event():
    world = World()
    [hint] = store(world)
    [page] = world.ledger.claim(Stage.INGEST, [hint], 60.0)
    row = event_row("e1", project_id=7, **{TIME: from_seconds(world.clock)})
    dead = NewRecord("e:malformed-1", Kind.EVENT, Stage.INGEST, row, "trace")
    failure = why_malformed(world.runtime(), Malformed("an older parser's"))
    world.ledger.admit(page, [], [DeadOnArrival(dead, failure)], 60.0)
    world.ledger.requeue([dead.id])

    report = ingest(world.runtime(), [dead.id])

    assert (report.admitted, report.malformed, report.not_ours) == (1, 0, 0)
    record, _ = world.ledger.find(dead.id)
    assert (record.stage, record.data["event_id"]) == (Stage.ENRICH, "e1")
    assert (record.data["project_id"], "_ingestion_time" in record.data) == ("7", False)
    assert world.hints.sent[-1] == (Stage.ENRICH, (dead.id,), "")


def test_the_words_of_a_foreign_error_are_not_kept():
    """They may hold the row's values, and an operator's screen shows them."""
    failure = why_malformed(World().runtime(), ZeroDivisionError("Mrs Smith's row"))

    assert failure.category is ErrorCategory.UNKNOWN
    assert (failure.error, failure.message) == ("ZeroDivisionError", "the row made its parser fail")


def test_a_parser_that_fails_is_a_reason_like_any_other():
    class Hostile(dict[str, Any]):
        def get(self, *_: Any) -> Any:
            raise ZeroDivisionError

        __getitem__ = get

    record_id, error = read_row(Hostile(event_row("e1")))

    assert record_id.startswith(event_record_id("malformed-"))
    assert isinstance(error, Exception)


class _NoAdmit:
    """A ledger that goes away between the claim and the step."""

    def __init__(self, ledger: Any) -> None:
        self._ledger = ledger

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    def admit(self, *_: Any) -> None:
        raise Unavailable("Redis is away")
