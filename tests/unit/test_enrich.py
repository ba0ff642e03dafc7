"""The stage ENRICH over the in-memory ledger, gates and vendor."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from claimx.adapters.memory.claimx_api import MemoryClaimXApi
from claimx.adapters.memory.gates import MemoryGates
from claimx.adapters.memory.hints import MemoryHints
from claimx.adapters.memory.ledger import MemoryLedger
from claimx.domain.changes import Change
from claimx.domain.codec import decode_changes
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
    NewRecord,
    Record,
    Stage,
    State,
    event_record_id,
    media_record_id,
    page_record_id,
)
from claimx.domain.retry import RetryPolicy
from claimx.domain.shape import shape_of
from claimx.domain.tables import EVENTS
from claimx.services.at_work import ids_at_work
from claimx.services.calls import ProjectAnswers
from claimx.services.chunk_account import Counts
from claimx.services.enrich import EnrichStage
from claimx.services.runtime import Limits, Runtime
from claimx.services.settle import failure_of
from claimx.services.turns import events_at_once
from claimx.telemetry.metrics import RecordedMetrics

TIME = 1_700_000_000_000_000


class World:
    """One process with everything in memory, on a clock of its own."""

    def __init__(self, **limits: float) -> None:
        self.time = TIME / 1e6
        self.ledger = MemoryLedger(self.now)
        self.gates = MemoryGates(self.now)
        self.api = MemoryClaimXApi(self.now)
        self.hints = MemoryHints()
        self.metrics = RecordedMetrics()
        self.runtime = Runtime(
            ledger=self.ledger,
            gates=self.gates,
            hints=self.hints,
            metrics=self.metrics,
            retry=RetryPolicy(),
            limits=Limits(**limits),
            now=self.now,
            jitter=lambda: 0.0,
            holder="test",
            make_lake=lambda: pytest.fail("no lake here"),
            make_source=lambda: pytest.fail("no source here"),
        )

    def now(self) -> float:
        return self.time

    def admit(self, *events: Event) -> list[str]:
        page_id = page_record_id(events[0].event_id)
        page = NewRecord(page_id, Kind.PAGE, Stage.INGEST, {"rows": []}, "trace")
        checkpoint = self.ledger.checkpoint("live")
        moved = (checkpoint.source_time if checkpoint else 0) + 1
        assert self.ledger.store_page("live", checkpoint, moved, [page])
        (claimed,) = self.ledger.claim(Stage.INGEST, [page_id], 30)
        new = [
            NewRecord(
                event_record_id(event.event_id),
                Kind.EVENT,
                Stage.ENRICH,
                event.to_json(),
                f"trace-{event.event_id}",
            )
            for event in events
        ]
        admitted = self.ledger.admit(claimed, new, [], 3600)
        assert admitted is not None
        return list(admitted.ids)

    def enrich(self, ids: list[str], **given: Any) -> Counts:
        return asyncio.run(EnrichStage(self.runtime, self.api).run(ids, **given))

    def written(self, *ids: str) -> list[Change]:
        records = self.ledger.claim(Stage.WRITE, ids, 30)
        return [change for record in records for change in decode_changes(record.rows)]

    def state(self, record_id: str) -> tuple[Stage, State]:
        found = self.ledger.find(record_id)
        assert found is not None
        return found[0].stage, found[0].state

    def data(self, record_id: str) -> dict[str, Any]:
        found = self.ledger.find(record_id)
        assert found is not None
        return found[0].data


def event(event_id: str, kind: str = EventType.PROJECT_CREATED, **given: Any) -> Event:
    given.setdefault("project_id", "7")
    return Event(event_id=event_id, type=str(kind), time=TIME, source_time=TIME, **given)


def project(project_id: str = "7") -> dict[str, Any]:
    return {"project": {"projectId": int(project_id), "projectNumber": f"N{project_id}"}}


def media(media_id: int) -> dict[str, Any]:
    link = f"https://claimxperience.s3.amazonaws.com/{media_id}.jpg?X-Amz-Signature=s"
    return {"mediaID": media_id, "mediaName": f"{media_id}.jpg", "fullDownloadLink": link}


@pytest.fixture
def world() -> World:
    made = World()
    made.api.projects = {str(n): project(str(n)) for n in range(1, 60)}
    made.api.media_items["7"] = [media(1), media(2)]
    return made


def event_row_of(changes: list[Change], event_id: str) -> dict[str, Any]:
    """Return the row that the lake makes of it, but for the bookkeeping."""
    (row,) = [
        shape_of(EVENTS).blank | change.values
        for change in changes
        if change.table == "claimx_events" and change.event_id == event_id
    ]
    return row


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


def test_events_of_one_chunk_that_need_the_same_project_ask_once_and_each_write_it(world):
    world.api.latency = 0.01
    events = [event(str(n), EventType.POLICYHOLDER_INVITED) for n in range(10)]
    ids = world.admit(*events)

    world.enrich(ids)

    answers = [
        change.event_id
        for change in world.written(*ids)
        if change.table == "claimx_projects" and change.enriched_at is not None
    ]
    assert world.api.calls == [("project", "7")]
    assert sorted(set(answers)) == sorted(str(n) for n in range(10))


def test_an_answer_serves_later_chunks_of_its_process_while_it_is_fresh(world):
    """Until the project's row is committed each event brings it; none depends on another's fate."""
    stage = EnrichStage(world.runtime, world.api)
    ids = world.admit(*(event(str(n), EventType.POLICYHOLDER_INVITED) for n in range(3)))

    asyncio.run(stage.run(ids[:1]))
    asyncio.run(stage.run(ids[1:2]))
    while_fresh = list(world.api.calls)
    world.time += world.runtime.limits.project_fresh + 1
    asyncio.run(stage.run(ids[2:]))

    brought = [change.event_id for change in world.written(*ids) if change.enriched_at is not None]
    assert while_fresh == [("project", "7")]
    assert world.api.calls == [("project", "7")] * 2
    assert set(brought) == {"0", "1", "2"}


def test_what_a_created_event_was_told_serves_those_that_check_the_project(world):
    stage = EnrichStage(world.runtime, world.api)
    created, invited = world.admit(event("1"), event("2", EventType.POLICYHOLDER_INVITED))

    asyncio.run(stage.run([created]))
    asyncio.run(stage.run([invited]))

    assert world.api.calls == [("project", "7")]


def test_an_answer_that_could_not_be_read_is_asked_for_again(world):
    """Kept for the next chunks it would spend an event's attempts without a single call."""
    stage = EnrichStage(world.runtime, world.api)
    ids = world.admit(event("1", EventType.POLICYHOLDER_INVITED))
    world.api.projects["7"] = {"project": {}}
    unreadable = asyncio.run(stage.run(ids))
    world.api.projects["7"] = project()
    world.time += 60

    again = asyncio.run(stage.run(ids))

    assert (unreadable.retried, again.processed) == (1, 1)
    assert world.api.calls == [("project", "7")] * 2


def test_a_process_remembers_the_newest_answers_up_to_a_bound():
    answers = ProjectAnswers(lambda: 0.0, 300.0, most=2)

    for project_id in ("a", "b", "a", "c"):
        answers.keep(project_id, Answer({}, 0, {"rows": []}))

    assert [answers.of(one) is not None for one in "abc"] == [True, False, True]


def test_of_two_answers_the_one_that_was_asked_for_later_is_remembered():
    answers = ProjectAnswers(lambda: 0.0, 300.0)
    late, early = Answer("late", 9, {"rows": []}), Answer("early", 5, {"rows": []})

    answers.keep("a", late)
    answers.keep("a", early)

    assert answers.of("a") is late


def test_a_known_project_is_not_asked_for_again_except_by_created_and_mfn(world):
    world.gates.mark_known(["7"], 300)
    ids = world.admit(
        event("1", EventType.POLICYHOLDER_JOINED),
        event("2", EventType.PROJECT_CREATED),
        event("3", EventType.PROJECT_MFN_ADDED, master_file_name="M"),
    )

    world.enrich(ids[:1])
    while_known = list(world.api.calls)
    world.enrich(ids[1:])

    assert while_known == []
    assert world.api.calls == [("project", "7")] * 2


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


@pytest.mark.parametrize("known", [True, False])
def test_a_task_of_another_project_than_its_events_has_that_one_checked(world, known):
    """Nobody could look it up beforehand."""
    world.api.tasks["5"] = {"assignmentId": 5, "projectId": 8, "taskId": 4}
    if known:
        world.gates.mark_known(["8"], 300)
    ids = world.admit(event("1", EventType.CUSTOM_TASK_ASSIGNED, task_assignment_id="5"))

    world.enrich(ids)

    changes = world.written(*ids)
    assert world.api.calls == [("task_assignment", "5"), *[("project", "8")][known:]]
    assert [one.values["project_id"] for one in changes if one.table == "claimx_tasks"] == ["8"]
    assert event_row_of(changes, "1")["api_calls"] == 2 - known


def test_a_video_event_costs_its_report_and_the_project_check(world):
    world.api.videos["7"] = [{"videoCollaborationId": 3, "claimId": 7}]
    ids = world.admit(event("1", EventType.VIDEO_COLLABORATION_COMPLETED))

    world.enrich(ids)

    changes = world.written(*ids)
    assert world.api.calls == [("project", "7"), ("video_report", "7")]
    assert {one.table for one in changes} == {
        *("claimx_projects", "claimx_video_collaboration", "claimx_events")
    }
    assert event_row_of(changes, "1")["handler"] == "video"


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


def test_one_bad_event_holds_up_nobody(world):
    good = [event(str(n), project_id=str(n)) for n in range(1, 21)]
    ids = world.admit(event("bad", project_id="404"), *good)

    counts = world.enrich(ids)

    assert (counts.processed, counts.dead) == (20, 1)


def test_a_doubled_hint_finds_nothing_to_do(world):
    ids = world.admit(event("1"))

    counts = [world.enrich(ids * 2), world.enrich(ids), world.enrich(["e:nobody"])]

    assert [count.processed for count in counts] == [1, 0, 0]
    assert world.api.calls == [("project", "7")]


def test_a_slow_event_does_not_hold_the_rest_of_its_chunk(world):
    ids = world.admit(event("1", "SOMETHING_NEW"), event("2"))

    async def run() -> tuple[Stage, Stage]:
        world.api.latency = 5.0
        chunk = asyncio.ensure_future(EnrichStage(world.runtime, world.api).run(ids))
        await asyncio.sleep(0.3)
        stages = world.state(ids[0])[0], world.state(ids[1])[0]
        chunk.cancel()
        await asyncio.gather(chunk, return_exceptions=True)
        return stages

    assert asyncio.run(run()) == (Stage.WRITE, Stage.ENRICH)


def test_a_cancelled_chunk_settles_what_is_done_and_gives_back_the_rest(world):
    ids = world.admit(event("1", "SOMETHING_NEW"), event("2"))

    async def run() -> None:
        world.api.latency = 5.0
        chunk = asyncio.ensure_future(EnrichStage(world.runtime, world.api).run(ids))
        await asyncio.sleep(0.03)
        chunk.cancel()
        with pytest.raises(asyncio.CancelledError):
            await chunk

    asyncio.run(run())

    assert world.state(ids[0])[0] is Stage.WRITE
    assert world.state(ids[1]) == (Stage.ENRICH, State.READY)


def test_a_chunk_that_takes_too_long_gives_back_what_is_unfinished(world):
    ids = world.admit(event("1"), event("2", "SOMETHING_NEW"))
    world.api.latency = 5.0

    counts = world.enrich(ids, bound_seconds=0.15)

    assert (counts.processed, counts.released) == (1, 1)
    assert world.state(ids[0]) == (Stage.ENRICH, State.READY)


def test_leases_are_renewed_while_the_chunk_runs(world):
    world.runtime.limits = Limits(lease_seconds=0.3)
    ids = world.admit(event("1"))

    async def run() -> Counts:
        world.api.latency = 0.5
        chunk = asyncio.ensure_future(EnrichStage(world.runtime, world.api).run(ids))
        while not chunk.done():  # the ledger's clock goes with the real one
            await asyncio.sleep(0.02)
            world.time += 0.02
        return chunk.result()

    assert asyncio.run(run()).processed == 1


def test_leases_are_renewed_again_after_something_unforeseen(world):
    """A process with as many threads as it may have gets none for a renewal, for a moment."""

    class Failing(MemoryLedger):
        failures = 1

        def renew(self, records, lease_seconds):
            if self.failures:
                self.failures -= 1
                raise RuntimeError("can't start new thread")
            return super().renew(records, lease_seconds)

    world.ledger.__class__ = Failing
    world.runtime.limits = Limits(lease_seconds=0.9)
    ids = world.admit(event("1"))
    taken: list[Record] = []

    async def run() -> Counts:
        world.api.latency = 1.5
        chunk = asyncio.ensure_future(EnrichStage(world.runtime, world.api).run(ids))
        while not chunk.done():
            await asyncio.sleep(0.02)
            world.time += 0.02
            if world.state(ids[0])[1] is State.LEASED:
                taken.extend(world.ledger.claim(Stage.ENRICH, ids, 30))
        return chunk.result()

    assert asyncio.run(run()).processed == 1
    assert not taken, "another worker took it meanwhile"


async def asked(world: World, calls: int) -> None:
    """Wait until the API has been asked so often."""
    for _ in range(5000):
        if len(world.api.calls) >= calls:
            return
        await asyncio.sleep(0.001)
    pytest.fail(f"only {len(world.api.calls)} calls were made")


def test_records_that_another_worker_has_by_now_are_dropped_in_silence(world):
    world.runtime.limits = Limits(lease_seconds=0.15)
    ids = world.admit(event("1"), event("2"))

    async def run() -> Counts:
        world.api.latency = 5.0
        chunk = asyncio.ensure_future(EnrichStage(world.runtime, world.api).run(ids))
        await asked(world, 1)  # both are claimed by then
        world.time += 10
        stolen = world.ledger.claim(Stage.ENRICH, ids, 30)
        counts = await chunk
        assert len(stolen) == 2
        assert world.ledger.renew(stolen, 30) == set(ids)  # the thief's leases are untouched
        return counts

    counts = asyncio.run(run())

    assert (counts.processed, counts.released, counts.lost) == (0, 0, 2)


def test_what_is_lost_does_not_take_the_turn_of_what_is_ours(world):
    """One task works on several records; of a lost one it is told by being cancelled."""
    world.runtime.limits = Limits(lease_seconds=0.3, api_concurrency=2)  # four turns
    ids = world.admit(*(event(str(n), project_id=str(n)) for n in range(1, 13)))

    async def run() -> Counts:
        world.api.latency = 5.0
        chunk = asyncio.ensure_future(EnrichStage(world.runtime, world.api).run(ids))
        await asked(world, 4)  # all turns are at work
        world.api.latency = 0.0
        world.time += 10
        assert len(world.ledger.claim(Stage.ENRICH, [*ids[:4], ids[8]], 30)) == 5
        return await chunk

    counts = asyncio.run(run())

    assert (counts.processed, counts.released, counts.lost) == (7, 0, 5)


def test_a_shared_project_fetch_that_fails_spends_an_attempt_of_each(world):
    world.api.latency = 0.01
    world.api.faults["project"].append(NotFound("gone", status=404))
    ids = world.admit(
        event("1", EventType.POLICYHOLDER_INVITED), event("2", EventType.POLICYHOLDER_JOINED)
    )

    counts = world.enrich(ids)

    assert counts.dead == 2
    assert world.api.calls == [("project", "7")]


def test_a_record_whose_data_is_no_event_is_buried_alone(world):
    ids = world.admit(event("1"), event("2"))
    (record,) = world.ledger.claim(Stage.ENRICH, ids[:1], 30)
    world.ledger.settle([Advance(record, Stage.ENRICH, {"type": 5})])

    counts = world.enrich(ids)

    (letter,) = world.ledger.dead_letters(DeadFilter())
    assert (counts.dead, counts.processed) == (1, 1)
    assert (letter.id, letter.failure.error) == (ids[0], "Malformed")


class FlakyLedger(MemoryLedger):
    """A ledger that is away for its first *outages* settlements."""

    outages = 0

    def settle(self, outcomes):
        if self.outages:
            self.outages -= 1
            raise Unavailable("redis is away")
        return super().settle(outcomes)


def test_outcomes_are_kept_while_the_ledger_is_away_for_a_moment(world):
    ledger = world.runtime.ledger = world.ledger = FlakyLedger(world.now)
    ids = world.admit(event("1"))
    ledger.outages = 1

    counts = world.enrich(ids)

    assert counts.processed == 1
    assert world.api.calls == [("project", "7")]


def test_a_ledger_that_stays_away_ends_the_chunk_and_the_records_come_again(world):
    ledger = world.runtime.ledger = world.ledger = FlakyLedger(world.now)
    ids = world.admit(event("1"))
    ledger.outages = 99

    with pytest.raises(Unavailable):
        world.enrich(ids)
    ledger.outages = 0
    world.time += 60

    assert world.enrich(ids).processed == 1


@pytest.mark.parametrize(
    ("given", "column"),
    [
        ({"media_id": "5"}, None),
        ({"media_id": "5", "media_ids": ("5",)}, '["5"]'),
        ({"media_ids": ("5", "6")}, '["5", "6"]'),
        ({}, None),
    ],
)
def test_the_event_row_tells_media_ids_as_the_source_did(world, given, column):
    ids = world.admit(event("1", "SOMETHING_NEW", **given))

    world.enrich(ids)

    row = event_row_of(world.written(*ids), "1")
    assert (row["media_id"], row["media_ids"]) == (given.get("media_id"), column)


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


class NarrowApi(MemoryClaimXApi):
    """A vendor that answers *slots* calls at a time, those first that have waited longest."""

    def __init__(self, now: Callable[[], float], slots: int, latency: float) -> None:
        super().__init__(now, latency)
        self._slots = asyncio.Semaphore(slots)
        self.in_flight = 0
        self.most_in_flight = 0

    async def _answer(self, *asked: Any) -> Answer:
        async with self._slots:
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
            try:
                return await super()._answer(*asked)
            finally:
                self.in_flight -= 1


def test_a_chunk_of_a_slow_api_has_finished_what_it_called_for():
    """
    An event whose calls are not all made when the chunk must end is given back.

    Its calls were for nothing, so that of many events begun at once none would ever get done.
    """
    world = World(api_concurrency=2)
    world.api = NarrowApi(world.now, slots=2, latency=0.02)
    for n in range(1, 61):
        world.api.projects[str(n)] = project(str(n))
        world.api.media_items[str(n)] = [media(n)]
    ids = world.admit(
        *(
            event(str(n), EventType.PROJECT_FILE_ADDED, project_id=str(n), media_ids=(str(n),))
            for n in range(1, 61)
        )
    )

    counts = world.enrich(ids, bound_seconds=0.5)

    assert counts.processed > 0
    assert len(world.api.calls) <= 2 * counts.processed + 2 * events_at_once(2)


def test_no_call_slot_is_idle_while_events_wait_for_one_project():
    """A page's events come by project: the first ones of a chunk may all need the same answer."""
    world = World(api_concurrency=4)
    world.api = NarrowApi(world.now, slots=4, latency=0.01)
    world.api.projects = {str(n): project(str(n)) for n in range(1, 5)}
    ids = world.admit(
        *(
            event(f"{n}-{m}", EventType.POLICYHOLDER_JOINED, project_id=str(n))
            for n in range(1, 5)
            for m in range(20)
        )
    )

    counts = world.enrich(ids)

    assert counts.processed == 80
    assert (world.api.most_in_flight, len(world.api.calls)) == (4, 4)


def test_what_nobody_handles_does_not_wait_for_calls_of_others():
    """It needs none, and the API may be slow."""
    world = World(api_concurrency=1)
    world.api.latency = 5.0
    slow = [event(str(n), project_id=str(n)) for n in range(20)]
    ids = world.admit(*slow, *(event(f"new-{n}", "SOMETHING_NEW") for n in range(20)))

    counts = world.enrich(ids, bound_seconds=0.3)

    assert (counts.processed, counts.released) == (20, 20)


@pytest.mark.parametrize(("slots", "events"), [(1, 4), (20, 40), (400, 200)])
def test_twice_as_many_events_as_call_slots_are_worked_on_within_bounds(slots, events):
    """Fewer leave slots idle while events compute; more delay an event's last call."""
    assert events_at_once(slots) == events
