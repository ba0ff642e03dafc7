"""A backfill reads its own range, to its end, however often it is stopped."""

from __future__ import annotations

from typing import Any

import pytest
from polling_world import NOON, Around, World, event_row
from protocol.stores import MemoryStore

from claimx.domain.errors import ErrorCategory, Refused, Unavailable
from claimx.domain.polling import LIVE
from claimx.domain.records import Kind, Stage, event_record_id
from claimx.domain.times import from_seconds
from claimx.services.backfill import backfill
from claimx.services.backfill_pace import PATIENCE_SECONDS, RETRIES
from claimx.services.backfill_report import BackfillReport, Ending
from claimx.services.ingest import ingest
from claimx.services.lease import AWAY_SECONDS
from claimx.services.poll import poll_once
from claimx.services.pressure import PAUSE_SECONDS

DAY = 86_400.0
SINCE, UNTIL = from_seconds(NOON - 2 * DAY), from_seconds(NOON - DAY)


def world_with(events: int, **limits: Any) -> World:
    """Events one second apart from the begin of the range on."""
    world = World(**limits)
    for n in range(events):
        world.source.add([event_row(f"e{n}")], SINCE + n * 1_000_000)
    return world


def run(world: World, holder: str = "backfill", sleep: Any = None, **more: Any) -> BackfillReport:
    ports = {k: more.pop(k) for k in list(more) if k.startswith(("make", "ledger", "gates"))}
    runtime = world.runtime(holder, **ports)

    def pass_time(seconds: float) -> None:
        world.clock += seconds

    return backfill(runtime, SINCE, UNTIL, sleep=sleep or pass_time, **more)


def test_everything_of_the_range_is_admitted_and_nothing_beside_it():
    world = world_with(25)
    world.source.add([event_row("before")], SINCE - 1)
    world.source.add([event_row("last")], UNTIL)
    world.source.add([event_row("after")], UNTIL + 1)

    report = run(world)
    world.ingest()

    assert (report.ending, report.rows, report.fresh) == (Ending.COMPLETE, 26, 26)
    assert report.share == 1.0
    assert world.admitted(["e0", "last", "before", "after"]) == {"e0", "last"}


def test_the_live_checkpoint_is_left_alone():
    world = world_with(5)
    poll_once(world.runtime())
    before = world.ledger.checkpoint(LIVE)

    run(world)

    assert world.ledger.checkpoint(LIVE) == before


def test_events_that_the_ledger_or_the_lake_knows_are_dropped():
    world = world_with(6)
    run(world)
    world.ingest()
    world.forget_redis()
    world.finished("e1", "e2", at=NOON - 2 * DAY)

    report = run(world)

    assert (report.known, report.fresh) == (2, 4)


def test_an_interrupted_backfill_goes_on_where_it_stopped():
    world = world_with(25)

    def interrupt(report: BackfillReport) -> None:
        if report.pages == 2:
            raise KeyboardInterrupt

    first = run(world, progress=interrupt)
    world.ingest()
    second = run(world)
    world.ingest()

    assert (first.ending, first.rows) == (Ending.INTERRUPTED, 20)
    assert (second.ending, second.resumed, second.rows) == (Ending.COMPLETE, True, 5)
    assert world.counters["event.admitted"] == 25


def test_a_completed_backfill_reads_the_range_once_more_when_it_is_asked_for_again():
    world = world_with(3)
    run(world)
    world.ingest()
    world.source.add([event_row("forgotten")], SINCE + 1)

    report = run(world)

    assert (report.resumed, report.rows, report.known, report.fresh) == (False, 4, 3, 1)
    world.ingest()
    third = run(world)
    assert (third.resumed, third.rows, third.known) == (False, 4, 4)


def test_one_that_was_taken_over_at_its_end_is_not_complete():
    """The other one goes on where this one was, and says when it is through."""
    world = world_with(3)

    class Overtaken:
        def __getattr__(self, name: str) -> Any:
            return getattr(world.ledger, name)

        def store_page(self, cursor: str, at: Any, last: int, pages: Any, *more: Any) -> Any:
            if not pages:  # the range is dry
                world.gates.unlock(f"poll:{cursor.partition('#')[0]}", "backfill")
                fence = world.gates.lock(f"poll:{cursor.partition('#')[0]}", "another", 60.0)
                assert world.ledger.store_page(cursor, at, last - 1, [], fence)
            return world.ledger.store_page(cursor, at, last, pages, *more)

    report = run(world, ledger=Overtaken())

    assert (report.ending, report.rows) == (Ending.SUPERSEDED, 3)


def test_progress_tells_rows_pages_and_the_share_of_the_time():
    world = World(poll_batch=1)
    for part in (1, 2, 3):
        world.source.add([event_row(f"e{part}")], SINCE + (UNTIL - SINCE) * part // 4)
    told: list[tuple[int, int, float]] = []

    run(world, progress=lambda r: told.append((r.pages, r.rows, round(r.share, 2))))

    assert told == [(1, 1, 0.25), (2, 2, 0.5), (3, 3, 0.75), (3, 3, 1.0)]


def test_only_one_of_two_like_backfills_runs():
    world = world_with(3)
    seen: list[Ending] = []

    def second(_: BackfillReport) -> None:
        if not seen:
            seen.append(run(world, "another").ending)

    first = run(world, progress=second)

    assert (seen, first.ending) == ([Ending.BUSY], Ending.COMPLETE)


def test_it_waits_while_much_is_in_flight_and_goes_on_when_there_is_room():
    """The live poll always has the other half of what may be in flight."""
    world = world_with(30, max_in_flight=20)
    waits: list[str] = []

    def wait(seconds: float) -> None:
        world.clock += seconds
        world.ingest()
        world.ledger = _Emptied(world.ledger)
        runtime_of_run.ledger = world.ledger

    runtime_of_run = world.runtime("backfill")
    report = backfill(
        runtime_of_run,
        SINCE,
        UNTIL,
        sleep=wait,
        progress=lambda r: waits.append(r.waiting) if r.waiting else None,
    )

    assert (report.ending, report.fresh) == (Ending.COMPLETE, 30)
    assert any("in flight" in why for why in waits)


def test_it_gives_up_when_nothing_gets_less():
    world = world_with(30, max_in_flight=20)
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        world.clock += seconds

    report = run(world, sleep=sleep)

    assert report.ending is Ending.PRESSURE
    assert report.fresh == 10
    assert sum(slept) == pytest.approx(PATIENCE_SECONDS, abs=30)


def test_it_waits_for_hours_while_it_gets_less():
    world = world_with(1, max_in_flight=20)
    begun = world.clock
    ledger = _Draining(world, first=16, every=0.8 * PATIENCE_SECONDS)

    report = run(world, ledger=ledger)

    assert (report.ending, report.fresh) == (Ending.COMPLETE, 1)
    assert world.clock - begun >= 5 * PATIENCE_SECONDS


def test_a_failure_that_may_pass_is_tried_again():
    world = world_with(3)
    world.source.failures += [Unavailable("away")] * (RETRIES - 1)

    report = run(world)

    assert (report.ending, report.fresh) == (Ending.COMPLETE, 3)


def test_of_two_rows_with_one_id_the_first_stands_whoever_ingests_its_page_first():
    """Workers admit pages side by side, so a later page may be there before an earlier one."""
    world = World(poll_batch=1)
    world.source.add([event_row("e", event_type="FIRST")], SINCE + 1_000_000)
    world.source.add([event_row("e", event_type="SECOND")], SINCE + 2_000_000)

    report = run(world)
    ingest(world.runtime("worker"), world.hints.taken(Stage.INGEST)[::-1])

    assert (report.ending, report.fresh, report.known) == (Ending.COMPLETE, 1, 1)
    assert _type_of(world, "e") == "FIRST"


def test_pages_of_an_interrupted_run_are_admitted_before_it_goes_on():
    """A later row could overtake one of its id that this run has not met."""
    world = World(poll_batch=1)
    world.source.add([event_row("e", event_type="FIRST")], SINCE + 1_000_000)
    world.source.add([event_row("e", event_type="SECOND")], SINCE + 2_000_000)
    slept: list[float] = []

    def interrupt(_: BackfillReport) -> None:
        raise KeyboardInterrupt

    def others_work(seconds: float) -> None:
        slept.append(seconds)
        world.wait(seconds)
        if len(slept) == 3:
            world.ingest()

    run(world, progress=interrupt)
    report = run(world, sleep=others_work)
    world.ingest()

    assert (report.ending, report.fresh, report.known) == (Ending.COMPLETE, 0, 1)
    assert len(slept) == 3
    assert _type_of(world, "e") == "FIRST"


def test_pages_that_nobody_admits_hold_it_up_for_a_minute_and_no_longer():
    world = world_with(25)

    def interrupt(_: BackfillReport) -> None:
        raise KeyboardInterrupt

    run(world, progress=interrupt)
    begun = world.clock
    report = run(world)

    assert report.ending is Ending.COMPLETE
    assert 55 <= world.clock - begun <= 65


@pytest.mark.parametrize("limits", [{}, {"poll_batch": 1}], ids=["one step", "several steps"])
def test_what_could_not_be_stored_is_no_double_of_itself_when_it_is_read_again(limits):
    world = World(**limits)
    world.source.add([event_row(f"e{n}") for n in range(12)], SINCE + 1_000_000)

    report = run(world, ledger=_Refusing(world.ledger, times=RETRIES - 1))
    world.ingest()

    assert (report.ending, report.fresh) == (Ending.COMPLETE, 12)
    assert world.counters["event.admitted"] == 12


@pytest.mark.parametrize("limits", [{}, {"poll_batch": 1}], ids=["one step", "several steps"])
def test_a_page_is_read_again_when_the_ledger_forgets_what_it_had_seen_of_it(limits):
    """The time of an id is over, or Redis was put back: the lake is asked instead, nothing ends."""
    world = World(**limits)
    rows = [event_row(f"e{n}") for n in range(12)]
    world.source.add(rows[:5], SINCE + 1_000_000)
    run(world)
    world.ingest()
    world.source.add(rows[5:], SINCE + 1_000_000)
    world.finished("e0", at=NOON - 2 * DAY + 1)

    ledger = Around(world.ledger, after=lambda: world.wait(DAY + 1))
    report = run(world, ledger=ledger)

    assert (report.ending, report.fresh, report.known) == (Ending.COMPLETE, 11, 1)


@pytest.mark.parametrize("number", [1, 2, 3], ids=["first step", "second step", "second page"])
def test_a_page_whose_answer_was_lost_is_stored_and_it_goes_on(number):
    """The client asks once more, and what was carried out already is refused to it then."""
    world = World(poll_batch=1)
    world.source.add([event_row(f"e{n}") for n in range(12)], SINCE + 1_000_000)  # two steps
    world.source.add([event_row("later")], SINCE + 2_000_000)

    report = run(world, ledger=_AnswerLost(world.ledger, number))
    world.wait(61)  # then the hint that was not sent is sent
    world.redrive()
    world.ingest()

    assert report.ending is Ending.COMPLETE
    assert len(world.admitted([f"e{n}" for n in range(12)])) == 12
    assert world.admitted(["later"])
    assert (report.pages, report.rows) == (2, 13)
    assert world.counters["event.admitted"] == 13


def test_a_backfill_that_another_process_has_taken_over_ends():
    """A suspended machine: its lease was over, and another has it."""
    world = world_with(25)

    def suspended(report: BackfillReport) -> None:
        if report.pages == 1:
            world.clock += 3600
            assert world.gates.lock(f"poll:{report.cursor}", "another", 3600.0)

    report = run(world, progress=suspended, sleep=_no_sleep)

    assert (report.ending, report.pages) == (Ending.SUPERSEDED, 2)


def test_one_that_is_taken_over_while_it_waits_ends_at_once():
    """Not after the minutes that the source has to come back, nor the hour for the workers."""
    world = world_with(25)
    world.source.failures.append(Unavailable("away", retry_after=300.0))

    def taken_over(report: BackfillReport) -> None:
        if report.waiting == "away":
            world.gates.unlock(f"poll:{report.cursor}", "backfill")
            assert world.gates.lock(f"poll:{report.cursor}", "another", 3600.0)

    before = world.clock
    report = run(world, progress=taken_over)

    assert (report.ending, report.rows) == (Ending.SUPERSEDED, 0)
    assert world.clock - before <= PAUSE_SECONDS


@pytest.mark.parametrize("since", ["the begin", "a page", "the last page", "it waits for room"])
@pytest.mark.parametrize("away", [("gates",), ("ledger",), ("ledger", "gates")], ids=str)
def test_it_outlasts_a_redis_that_is_away_for_a_minute(away, since):
    world = world_with(25, max_in_flight=20 if since == "it waits for room" else 100)
    until = [world.clock + 60 if since == "the begin" else 0.0]
    ports = {name: _AwayUntil(getattr(world, name), world, until) for name in away}
    told: list[str] = []

    def failover(report: BackfillReport) -> None:
        told.append(report.waiting)
        now = {
            "a page": report.pages == 1,
            "the last page": report.pages == 3,
            "it waits for room": "in flight" in report.waiting,
        }
        if now.get(since) and not until[0]:
            until[0] = world.clock + 60

    def work(seconds: float) -> None:
        world.clock += seconds
        if world.clock >= until[0]:
            world.ingest()
            world.ledger._records.by_id.clear()  # the workers are through with it

    report = run(world, progress=failover, sleep=work, **ports)

    assert (report.ending, report.fresh) == (Ending.COMPLETE, 25)
    assert any("away" in one or "does not answer" in one for one in told)
    assert told[-1] == ""


@pytest.mark.parametrize("away", [("gates",), ("ledger", "gates")], ids=str)
def test_a_redis_that_stays_away_ends_it_with_the_reason_and_it_can_be_resumed(away):
    world = world_with(25)
    until = [0.0]
    ports = {name: _AwayUntil(getattr(world, name), world, until) for name in away}

    def gone(report: BackfillReport) -> None:
        if report.pages == 1:
            until[0] = float("inf")

    before = world.clock
    first = run(world, progress=gone, **ports)
    waited = world.clock - before
    world.wait(60)
    second = run(world)

    assert (first.ending, first.category) == (Ending.FAILED, ErrorCategory.TRANSIENT)
    assert "Redis is away" in first.error
    assert "120 s" in first.error
    assert AWAY_SECONDS - 1 <= waited <= AWAY_SECONDS + 2 * PAUSE_SECONDS
    assert (second.ending, second.resumed) == (Ending.COMPLETE, True)
    assert first.fresh + second.fresh + second.known >= 25


@pytest.mark.parametrize("pages", [1, 2, 3], ids=["the first", "the second", "the last page"])
@pytest.mark.parametrize("back", [1, 2])
def test_pages_that_a_failover_has_lost_are_read_again(pages, back):
    """The new primary has an older copy: its checkpoint is further back than the run's."""
    world = World()
    world.source.add([event_row(f"e{n}") for n in range(10)], SINCE + 1_000_000)
    world.source.add([event_row(f"f{n}") for n in range(10)], SINCE + 2_000_000)
    world.source.add([event_row(f"g{n}") for n in range(5)], SINCE + 3_000_000)
    store = MemoryStore(world.now)
    store.ledger = world.ledger
    copies: list[Any] = [store.save()]

    def failover(report: BackfillReport) -> None:
        world.clock += 1
        copies.append(store.save())
        if report.pages == pages and len(copies) == pages + 1:
            store.load(copies[max(0, pages - back)])

    report = run(world, progress=failover)
    world.wait(61)
    world.redrive()
    world.ingest()

    assert report.ending is Ending.COMPLETE
    wanted = [f"{part}{n}" for part, rows in (("e", 10), ("f", 10), ("g", 5)) for n in range(rows)]
    assert world.admitted(wanted) == set(wanted)
    assert world.counters["event.admitted"] == 25


def test_a_failure_that_does_not_pass_ends_it_with_the_reason():
    world = world_with(3)
    world.source.failures += [Unavailable("Kusto is away")] * (RETRIES + 1)

    first = run(world)
    second = run(world)

    assert (first.ending, first.error) == (Ending.FAILED, "Kusto is away")
    assert second.ending is Ending.COMPLETE


def test_a_refusal_ends_it_at_once():
    world = world_with(3)
    world.source.failures.append(Refused("no such table"))

    report = run(world, sleep=_no_sleep)

    assert (report.ending, report.error) == (Ending.FAILED, "no such table")


def test_the_lake_must_answer_before_a_past_is_done_again():
    """Else a lake that is away for a minute means a whole history of needless calls."""
    world = world_with(3)

    report = run(world, make_lake=_LakeAway)

    assert report.ending is Ending.FAILED
    assert world.pages == 0


def test_a_rate_slows_it_down():
    world = world_with(30)
    slept: list[float] = []

    run(world, sleep=slept.append, rows_per_second=5.0)

    assert sum(slept) == pytest.approx(6.0)


def test_a_clock_that_is_set_back_slows_it_down_no_more():
    world = world_with(30)
    slept: list[float] = []
    behind = iter(range(0, 100 * 3600, 3600))

    runtime = world.runtime("backfill")
    runtime.now = lambda: world.clock - next(behind)
    backfill(runtime, SINCE, UNTIL, sleep=slept.append, rows_per_second=5.0)

    assert sum(slept) == pytest.approx(6.0)


def test_rows_that_may_not_have_settled_are_left_to_the_live_poll():
    world = World(poll_settle=5.0)
    world.happened("settled", seconds_ago=6)
    world.happened("not yet", seconds_ago=4)

    report = backfill(
        world.runtime(), from_seconds(NOON - 60), from_seconds(NOON + 60), sleep=_no_sleep
    )

    assert report.rows == 1
    assert report.until == from_seconds(NOON - 5)


def test_a_range_that_ends_before_it_begins_is_refused():
    with pytest.raises(ValueError, match="before it begins"):
        backfill(World().runtime(), 2, 1, sleep=_no_sleep)


class _LakeAway:
    def recent_events(self, *_: Any) -> list[str]:
        raise Unavailable("the lake is away")


class _AnswerLost:
    """A ledger whose answer to one storing of pages does not come; it is carried out."""

    def __init__(self, ledger: Any, number: int) -> None:
        self._ledger = ledger
        self._left = number

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    def store_page(self, *arguments: Any) -> Any:
        found = self._ledger.store_page(*arguments)
        self._left -= 1
        if self._left == 0:
            raise Unavailable("the connection was closed before the answer")
        return found


class _Refusing:
    """A ledger that is away whenever pages are to be stored, some *times*."""

    def __init__(self, ledger: Any, times: int) -> None:
        self._ledger, self._left = ledger, times

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    def store_page(self, *arguments: Any) -> Any:
        if arguments[3] and self._left:
            self._left -= 1
            raise Unavailable("away")
        return self._ledger.store_page(*arguments)


class _AwayUntil:
    """A port over Redis, which answers nothing until some time of the world's clock."""

    def __init__(self, port: Any, world: World, until: list[float]) -> None:
        self._port, self._world, self._until = port, world, until

    def __getattr__(self, name: str) -> Any:
        def answer(*arguments: Any) -> Any:
            if self._world.clock < self._until[0] and name != "unlock":
                raise Unavailable("Redis is away")
            return getattr(self._port, name)(*arguments)

        return answer


class _Draining:
    """A ledger with so many in flight at *first*, and one less each time."""

    def __init__(self, world: World, first: int, every: float) -> None:
        self._world, self._first, self._every, self._begun = world, first, every, world.clock

    def __getattr__(self, name: str) -> Any:
        return getattr(self._world.ledger, name)

    def active(self, *kinds: Kind) -> int:
        passed = self._world.clock - self._begun
        return 0 if kinds else max(0, self._first - int(passed / self._every))


class _Emptied:
    """A ledger whose events were all worked off."""

    def __init__(self, ledger: Any) -> None:
        self._ledger = ledger
        self._done = ledger.active()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    def active(self, *kinds: Kind) -> int:
        return self._ledger.active(*kinds) - (0 if kinds else self._done)


def _type_of(world: World, event_id: str) -> str:
    found = world.ledger.find(event_record_id(event_id))
    assert found
    return str(found[0].data["type"])


def _no_sleep(_seconds: float) -> None:
    raise AssertionError("slept")
