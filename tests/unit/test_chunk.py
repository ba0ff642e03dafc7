"""Chunks: records worked on side by side, each settled whatever becomes of the others."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from enrich_world import World, a_world, event, event_row_of, media, project

from claimx.adapters.memory.claimx_api import MemoryClaimXApi
from claimx.adapters.memory.ledger import MemoryLedger
from claimx.domain.errors import (
    Unavailable,
)
from claimx.domain.events import EventType
from claimx.domain.ports.api import Answer
from claimx.domain.records import (
    Outcome,
    Record,
    Stage,
    State,
)
from claimx.services.chunk import Chunk
from claimx.services.chunk_account import Counts
from claimx.services.enrich import EnrichStage
from claimx.services.runtime import Limits
from claimx.services.turns import events_at_once


@pytest.fixture
def world() -> World:
    return a_world()


async def until(true: Callable[[], bool]) -> None:
    for _ in range(5000):
        if true():
            return
        await asyncio.sleep(0.001)
    pytest.fail("what is waited for does not come")


async def asked(world: World, calls: int) -> None:
    """Wait until the API has been asked so often."""
    await until(lambda: len(world.api.calls) >= calls)


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
        await until(lambda: world.state(ids[0])[0] is Stage.WRITE)
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
        await asked(world, 1)  # then the other is done, and most likely not settled yet
        chunk.cancel()
        with pytest.raises(asyncio.CancelledError):
            await chunk

    asyncio.run(run())

    assert world.state(ids[0])[0] is Stage.WRITE
    assert world.state(ids[1]) == (Stage.ENRICH, State.READY)


def test_a_chunk_that_takes_too_long_gives_back_what_is_unfinished(world):
    ids = world.admit(event("1"), event("2", "SOMETHING_NEW"))
    world.api.latency = 5.0

    counts = world.enrich(ids, bound_seconds=1.0)

    assert (counts.processed, counts.released) == (1, 1)
    assert world.state(ids[0]) == (Stage.ENRICH, State.READY)


def test_work_that_was_cut_off_holds_nothing(world):
    """A chunk of a file has megabytes, and the collector looks seldom (`claimx.garbage`)."""
    held: list[weakref.ref[Piece]] = []

    class Piece:
        """Of a file."""

    async def work(_: Record) -> Outcome:
        piece = Piece()
        held.append(weakref.ref(piece))
        await asyncio.sleep(60.0)
        raise AssertionError(piece)

    records = world.ledger.claim(Stage.ENRICH, world.admit(event("1")), 30.0)
    chunk = Chunk(world.runtime, Stage.ENRICH, work, concurrency=1, bound_seconds=0.05)
    gc.collect()
    gc.disable()
    try:
        asyncio.run(chunk.run(records))

        assert [one() for one in held] == [None]
    finally:
        gc.enable()


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

    counts = world.enrich(ids, bound_seconds=1.0)

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

    counts = world.enrich(ids, bound_seconds=1.0)

    assert (counts.processed, counts.released) == (20, 20)


@pytest.mark.parametrize(("slots", "events"), [(1, 4), (20, 40), (400, 200)])
def test_twice_as_many_events_as_call_slots_are_worked_on_within_bounds(slots, events):
    """Fewer leave slots idle while events compute; more delay an event's last call."""
    assert events_at_once(slots) == events
