"""The stage ENRICH over the in-memory ledger, gates and vendor."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from enrich_world import TIME, World, a_world, event, event_row_of, media, project
from structlog.testing import capture_logs

from claimx.adapters.memory.claimx_api import MemoryClaimXApi
from claimx.adapters.memory.ledger import MemoryLedger
from claimx.domain.errors import (
    CircuitOpen,
    ErrorCategory,
    NotFound,
    TokenRejected,
    Unavailable,
)
from claimx.domain.events import Event, EventType
from claimx.domain.ports.api import Answer
from claimx.domain.records import (
    Advance,
    Buried,
    DeadFilter,
    Kind,
    Stage,
    State,
    media_record_id,
)
from claimx.services.at_work import ids_at_work
from claimx.services.chunk_account import Counts
from claimx.services.settle import failure_of


@pytest.fixture
def world() -> World:
    return a_world()


def test_a_handled_event_goes_on_to_the_lake_with_its_rows_and_its_own_row_last(world):
    ids = world.admit(event("1"))

    counts = world.enrich(ids)

    changes = world.written(*ids)
    row = event_row_of(changes, "1")
    assert (counts.processed, counts.again, counts.dead) == (1, 0, 0)
    assert changes[0].table == "claimx_projects"
    assert changes[-1].table == "claimx_events"
    assert (row["status"], row["api_calls"], row["attempts"]) == ("enriched", 1, 1)
    assert row["event_date"] == "2023-11-14"
    assert row["processed_at"] == TIME
    assert world.data(ids[0])["status"] == "enriched"
    assert world.metrics.values["processed", ("enrich",)] == 1


def test_the_events_row_says_what_the_event_said(world):
    said = {
        "project_id": "7",
        "media_id": "1",
        "media_ids": ("2", "1"),
        "task_assignment_id": "8",
        "video_collaboration_id": "9",
        "master_file_name": "MFN",
    }
    one = Event("1", "SOMETHING_NEW", time=TIME, source_time=TIME + 86_400_000_000, **said)
    ids = world.admit(one)

    world.enrich(ids)

    row = event_row_of(world.written(*ids), "1")
    assert {name: row[name] for name in said} == {**said, "media_ids": '["2", "1"]'}
    assert row["event_type"] == "SOMETHING_NEW"
    assert (row["ingested_at"], row["event_date"]) == (TIME, "2023-11-14")


def test_the_numbers_of_a_foreign_error_are_hidden_and_those_of_ours_are_ids():
    """Foreign errors may quote anything, a telephone number too."""
    foreign = failure_of(Stage.ENRICH, ValueError("odd: +1 801 555 0123"), 0.0)
    ours = failure_of(Stage.ENRICH, NotFound("no media 8015550123 yet"), 0.0)

    assert foreign.message == "odd: ***"
    assert ours.message == "no media 8015550123 yet"


def test_an_unknown_type_is_recorded_without_a_call_and_counted(world):
    ids = world.admit(event("1", "SOMETHING_NEW", project_id=None))

    world.enrich(ids)

    row = event_row_of(world.written(*ids), "1")
    assert (row["status"], row["handler"], row["api_calls"]) == ("unhandled", None, 0)
    assert world.data(ids[0])["status"] == "unhandled"  # by which the ledger counts it
    assert world.api.calls == []
    assert world.metrics.values["unhandled", ("SOMETHING_NEW",)] == 1


def test_media_found_become_download_records_with_the_events_trace_and_a_hint(world):
    ids = world.admit(event("1", EventType.PROJECT_FILE_ADDED, media_ids=("1",)))

    world.enrich(ids)

    found, _ = world.ledger.find(media_record_id("1"))
    assert (found.stage, found.kind, found.trace) == (Stage.DOWNLOAD, Kind.MEDIA, "trace-1")
    assert world.hints.sent == [(Stage.DOWNLOAD, (media_record_id("1"),), "")]
    assert world.ledger.find(media_record_id("2")) is None


def test_a_transient_failure_comes_again_with_an_attempt_spent_and_calls_added_up(world):
    ids = world.admit(event("1"))
    world.api.faults["project"].extend([Unavailable("x", status=503), Unavailable("x", status=503)])

    first = world.enrich(ids)
    too_early = world.enrich(ids)
    world.time += 31
    world.enrich(ids)
    world.time += 61
    world.enrich(ids)

    row = event_row_of(world.written(*ids), "1")
    assert (first.retried, first.again, too_early) == (1, 1, Counts())
    assert (row["api_calls"], row["attempts"]) == (3, 3)
    assert world.metrics.values["retried", ("enrich",)] == 2
    assert world.metrics.values["failed", ("enrich", "TRANSIENT")] == 2


@pytest.mark.parametrize("error", [CircuitOpen("open", 20.0), TokenRejected("no", 20.0)])
def test_an_open_circuit_or_a_shut_door_waits_without_an_attempt_or_a_call(world, error):
    ids = world.admit(event("1"))
    world.api.faults["project"].append(error)

    counts = world.enrich(ids)

    record, _ = world.ledger.find(ids[0])
    assert (counts.waited, counts.again) == (1, 1)
    assert (record.state, record.attempts) == (State.WAITING, 0)
    assert record.data["api_calls"] == 0

    world.time += 21
    world.enrich(ids)

    row = event_row_of(world.written(*ids), "1")
    assert (row["api_calls"], row["attempts"]) == (1, 1)


def test_a_call_that_the_api_refused_for_its_token_was_made(world):
    ids = world.admit(event("1"))
    world.api.faults["project"].append(TokenRejected("no", 20.0, 401))

    world.enrich(ids)
    world.time += 21
    world.enrich(ids)

    row = event_row_of(world.written(*ids), "1")
    assert (row["api_calls"], row["attempts"]) == (2, 1)


def test_a_permanent_failure_buries_the_event_without_a_row_of_its_own(world):
    ids = world.admit(event("1", project_id="404"))

    counts = world.enrich(ids)

    (letter,) = world.ledger.dead_letters(DeadFilter())
    assert counts.dead == 1
    assert (letter.failure.category, letter.failure.status) == (ErrorCategory.PERMANENT, 404)
    assert letter.failure.reason == "permanent"
    assert world.written(*ids) == []
    assert world.metrics.values["dead", ("enrich", "PERMANENT")] == 1


def test_a_dead_events_rows_and_media_found_so_far_are_kept(world):
    ids = world.admit(event("1", EventType.PROJECT_FILE_ADDED, media_ids=("1", "99")))

    for _ in range(5):  # media 99 never becomes visible
        counts = world.enrich(ids)
        world.time += 3000

    tables = {change.table for change in world.written(*ids)}
    assert counts.dead == 1
    assert tables == {"claimx_projects", "claimx_media"}
    assert world.state(media_record_id("1")) == (Stage.DOWNLOAD, State.READY)
    assert world.hints.sent == [(Stage.DOWNLOAD, (media_record_id("1"),), "")]


def test_a_dead_event_leaves_what_any_of_its_tries_had_found(world):
    """The last one may fail sooner: rows and files of the others were lost with it."""
    ids = world.admit(event("1", EventType.PROJECT_FILE_ADDED, media_ids=("1", "2", "99")))
    world.enrich(ids)
    world.api.media_items["7"] = [media(1) | {"fullDownloadLink": media(3)["fullDownloadLink"]}]
    world.time += 3000
    world.enrich(ids)
    world.api.faults["project"].extend([TokenRejected("no"), *(Unavailable("x"),) * 3])

    while world.state(ids[0])[1] is not State.DEAD:
        world.time += 3000
        world.enrich(ids)

    rows = {(one.table, one.values.get("media_id")) for one in world.written(*ids)}
    assert rows == {("claimx_projects", None), ("claimx_media", "1"), ("claimx_media", "2")}
    assert world.state(media_record_id("2")) == (Stage.DOWNLOAD, State.READY)
    assert world.data(media_record_id("1"))["link"] == media(3)["fullDownloadLink"]
    assert "found" not in world.data(ids[0])


def test_an_event_that_is_done_keeps_nothing_of_its_failed_tries(world):
    ids = world.admit(event("1", EventType.PROJECT_FILE_ADDED, media_ids=("1", "99")))
    world.enrich(ids)
    kept = "found" in world.data(ids[0])
    world.api.media_items["7"].append(media(99))
    world.time += 3000

    world.enrich(ids)

    tables = [change.table for change in world.written(*ids)]
    assert kept
    assert tables == ["claimx_projects", "claimx_media", "claimx_media", "claimx_events"]
    assert "found" not in world.data(ids[0])


def test_what_nobody_can_read_of_earlier_tries_is_dropped(world):
    ids = world.admit(event("1", EventType.PROJECT_FILE_ADDED, media_ids=("99",)))
    (record,) = world.ledger.claim(Stage.ENRICH, ids, 30)
    world.ledger.settle([Advance(record, Stage.ENRICH, record.data | {"found": {"rows": 5}})])

    world.enrich(ids)

    assert world.state(ids[0]) == (Stage.ENRICH, State.RETRYING)
    assert "found" not in world.data(ids[0])


@pytest.mark.parametrize(("media_ids", "tries"), [(("1",), 1), (("1", "99"), 5)])
def test_values_that_were_lost_are_counted_once_by_table_and_column(world, media_ids, tries):
    """Also those of a dead event, whose rows are written; not those of each try."""
    world.api.media_items["7"][0]["takenDate"] = "soon"
    ids = world.admit(event("1", EventType.PROJECT_FILE_ADDED, media_ids=media_ids))

    for _ in range(tries):
        world.enrich(ids)
        world.time += 3000

    counted = {key: n for key, n in world.metrics.values.items() if key[0] == "unconverted"}
    assert counted == {("unconverted", ("claimx_media", "taken_date")): 1}
    assert not any(name == "unhandled" for name, _ in world.metrics.values)


class Deaf(MemoryLedger):
    """A ledger that takes no outcomes while it is *deaf*, as one that is away for long."""

    deaf = True

    def settle(self, outcomes):
        if self.deaf:
            raise Unavailable("no answer")
        return super().settle(outcomes)


def test_what_is_done_once_more_is_counted_once(world):
    """Each worker that dies, or loses its lease, before the ledger has its outcomes leaves them."""
    ledger = world.runtime.ledger = world.ledger = Deaf(world.now)
    world.api.media_items["7"][0]["takenDate"] = "soon"
    ids = world.admit(
        event("1", EventType.PROJECT_FILE_ADDED, media_ids=("1",)), event("2", "SOMETHING_NEW")
    )
    with pytest.raises(Unavailable):
        world.enrich(ids)
    ledger.deaf = False
    world.time += 60

    world.enrich(ids)

    names = ("unconverted", "unhandled")
    counted = {key: n for key, n in world.metrics.values.items() if key[0] in names}
    assert counted == {
        ("unconverted", ("claimx_media", "taken_date")): 1,
        ("unhandled", ("SOMETHING_NEW",)): 1,
    }


def test_retries_that_are_used_up_end_among_the_dead_letters(world):
    ids = world.admit(event("1"))
    world.api.faults["project"].extend(Unavailable("x") for _ in range(5))

    for _ in range(5):
        world.enrich(ids)
        world.time += 3000

    (letter,) = world.ledger.dead_letters(DeadFilter())
    assert letter.failure.reason == "retries exhausted"
    assert letter.data["api_calls"] == 5


def test_an_error_nobody_classified_is_unknown_and_told_without_personal_data(world):
    ids = world.admit(event("1"))
    world.api.faults["project"].append(RuntimeError("jane@example.com at 5551234567"))

    world.enrich(ids)

    _, history = world.ledger.find(ids[0])
    assert world.metrics.values["failed", ("enrich", "UNKNOWN")] == 1
    assert "jane" not in str(history)
    assert "5551234567" not in str(history)


def test_a_record_whose_data_is_no_event_is_buried_alone(world):
    ids = world.admit(event("1"), event("2"))
    (record,) = world.ledger.claim(Stage.ENRICH, ids[:1], 30)
    world.ledger.settle([Advance(record, Stage.ENRICH, {"type": 5})])

    counts = world.enrich(ids)

    (letter,) = world.ledger.dead_letters(DeadFilter())
    assert (counts.dead, counts.processed) == (1, 1)
    assert (letter.id, letter.failure.error) == (ids[0], "Malformed")


def test_events_wait_while_too_many_media_are_in_flight():
    """Each may lead to hundreds of files: without this, Redis would hold the mark times those."""
    world = World(max_in_flight=2)
    world.api.media_items["7"] = [media(1), media(2)]
    world.api.projects["7"] = project()
    first, second = world.admit(
        event("1", EventType.PROJECT_FILE_ADDED), event("2", EventType.PROJECT_CREATED)
    )
    world.enrich([first])

    held = world.enrich([second])
    (one, _) = world.ledger.claim(Stage.DOWNLOAD, [media_record_id("1"), media_record_id("2")], 30)
    world.ledger.settle([Buried(one, failure_of(Stage.DOWNLOAD, NotFound("gone"), world.time))])
    freed = world.enrich([second])

    assert (held.processed, freed.processed) == (0, 1)
    assert world.state(second) == (Stage.WRITE, State.READY)


def test_a_file_that_died_is_fetched_again_when_another_event_finds_it(world):
    """Its row says failed; the later event has a new link."""
    first, later = world.admit(
        *(event(n, EventType.PROJECT_FILE_ADDED, media_ids=("1",)) for n in ("1", "2"))
    )
    world.enrich([first])
    (record,) = world.ledger.claim(Stage.DOWNLOAD, [media_record_id("1")], 30)
    gone = failure_of(Stage.DOWNLOAD, NotFound("gone"), world.time)
    world.ledger.settle([Buried(record, gone)])

    world.enrich([later])

    assert world.state(media_record_id("1")) == (Stage.DOWNLOAD, State.READY)


def test_types_without_a_handler_are_logged_once_a_chunk():
    """A backlog of a million of them would be a million lines."""
    world = World()
    ids = world.admit(*(event(str(n), "SOMETHING_NEW") for n in range(30)))

    with capture_logs() as logs:
        world.enrich(ids)

    told = [line for line in logs if line["event"] == "no handler"]
    assert [(line["type"], line["events"]) for line in told] == [("SOMETHING_NEW", 30)]


class OverhearingApi(MemoryClaimXApi):
    """Keeps, by project, the ids of a line that would be logged as its answer comes."""

    def __init__(self, now: Callable[[], float]) -> None:
        super().__init__(now, latency=0.001)
        self.projects = {n: project(n) for n in "12"}
        self.heard: dict[str, dict[str, str]] = {}

    async def project(self, project_id: str) -> Answer:
        answer = await super().project(project_id)
        self.heard[project_id] = ids_at_work()
        return answer


def test_what_is_logged_names_the_event_whatever_runs_beside_it():
    world = World()
    world.api = api = OverhearingApi(world.now)

    world.enrich(world.admit(*(event(f"e{n}", project_id=n) for n in "12")))

    assert api.heard == {
        n: {"trace": f"trace-e{n}", "event_id": f"e{n}", "project_id": n} for n in "12"
    }
    assert ids_at_work() == {}
