"""
Processes that live through every failed answer: each event is in the lake, and none twice.

A call of the ledger, the source or the lake fails before it acts or after, and one of the ledger
may be carried out twice, as its client repeats what it got no answer to.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from reconcile_world import Pipeline

from claimx.domain.errors import Unavailable
from claimx.domain.polling import LIVE
from claimx.domain.records import Kind, Stage
from claimx.domain.tables import ATTACHMENTS, EVENTS
from claimx.domain.times import from_seconds
from claimx.services.backfill import backfill
from claimx.services.backfill_report import Ending
from claimx.services.catch_up import catch_up
from claimx.services.enrich import EnrichStage
from claimx.services.ingest import ingest
from claimx.services.poll import poll_once
from claimx.services.recover import recover_media
from claimx.services.redrive import redrive_once
from claimx.services.runtime import Runtime
from claimx.services.write import LakeWriter

TOLD_THE_SAME = {"claim", "requeue", "readmit"}  # what the ledger in Redis knows for a repetition
SELDOM = 20  # times as seldom fails what only looks, or hardly a task would get to its work
ACTS = frozenset(
    "store_page set_aside note_read recount_gap close_gap admit claim renew release settle due"
    " read_rows forget_entries finish fail_rows upsert page".split()
)
ROUNDS = 40
OVERLAP = 60.0


class Moody:
    """A port of which some calls fail, though it may have acted; a *ledger* also acts twice."""

    def __init__(self, port: Any, chance: random.Random, share: float, *, ledger: bool) -> None:
        self._port = port
        self._chance = chance
        self._share = share
        self._ledger = ledger

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._port, name)
        return self._moody(name, method) if callable(method) else method

    def _moody(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            drawn = self._chance.random() / self._share * (1 if name in ACTS else SELDOM)
            if drawn < 1:
                raise Unavailable("it did not act")
            answer = method(*arguments, **options)
            if 1 <= drawn < 2:
                raise Unavailable("it acted, and the answer is lost")
            if 2 <= drawn < 3 and self._ledger and name not in TOLD_THE_SAME:
                answer = method(*arguments, **options)
            return answer

        return call


class Line:
    """A pipeline whose processes meet all that, one step of one process at a time."""

    def __init__(self, chance: random.Random, share: float, limits: dict[str, Any]) -> None:
        self.world = Pipeline(poll_overlap=OVERLAP, **limits)
        self._chance = chance
        self._share = share
        self._writer = LakeWriter(
            self.moody(self.world.ledger, ledger=True),
            self.moody(self.world.lake),
            self.world.gates,
            self.world.metrics,
            self.world.now,
            sleep=self.world.wait,
            consumer="writer",
            batch_seconds=0.0,
        )
        self.events: set[str] = set()
        self.media: set[str] = set()
        self.live: set[str] = set()  # of the events, those that the poll must find

    def moody(self, port: Any, *, ledger: bool = False) -> Any:
        return Moody(port, self._chance, self._share, ledger=ledger)

    def process(self, name: str) -> Runtime:
        world = self.world
        return world.runtime(
            name,
            ledger=self.moody(world.ledger, ledger=True),
            make_source=lambda: self.moody(world.source),
            make_lake=lambda: self.moody(world.lake),
        )

    def step(self, what: str) -> None:
        with suppress(Unavailable):  # a task that fails: the next one goes on
            getattr(self, f"_{what}")()

    def _arrive(self) -> None:
        for _ in range(self._chance.randint(1, 12)):
            name = str(len(self.events))
            ago = self._chance.choice([7.0, 10.0, 20.0, 1000.0])
            if self._chance.random() < 0.3:
                self.world.added(name, f"m{name}", ago=ago)
                self.media.add(f"m{name}")
            else:
                self.world.created(name, ago=ago)
            self.events.add(name)
            if ago < OVERLAP:
                self.live.add(name)

    def _poll(self) -> None:
        poll_once(self.process("poller"))

    def _catch_up(self) -> None:
        catch_up(self.process("catch-up"), sleep=self.world.wait)

    def _backfill(self) -> None:
        now = self.world.clock
        since, until = from_seconds(now - 1500), from_seconds(now - 30)
        backfill(self.process("backfill"), since, until, sleep=self._work)

    def _work(self, seconds: float) -> None:
        self.world.wait(seconds)
        self.world.finish()

    def _ingest(self) -> None:
        redrive_once(self.process("redriver"))
        ingest(self.process("worker"), self.world.hints.taken(Stage.INGEST))

    def _enrich(self) -> None:
        self.world.clock += 6
        stage = EnrichStage(self.process("worker"), self.world.api)
        asyncio.run(stage.run(self.world.due(Stage.ENRICH)))

    def _fetch(self) -> None:
        self.world.fetch()

    def _write(self) -> None:
        for _ in range(3):
            self._writer.step()
            self.world.clock += 1

    def _recover(self) -> None:
        recover_media(self.process("recovery"))

    def _wait(self) -> None:
        self.world.clock += self._chance.choice([1, 7, 31, 70])

    def comes_to_rest(self) -> None:
        """All answer again; what showed too late for the poll is brought by a backfill."""
        world = self.world
        self._writer.close()
        for _ in range(ROUNDS):
            world.clock += 61
            world.poll()
            catch_up(world.runtime("catch-up"), sleep=world.wait)
            world.finish()
        assert self.live <= world.rows()[EVENTS.name].keys()
        since, until = from_seconds(world.clock - 90_000), from_seconds(world.clock - 10)
        report = backfill(world.runtime("backfill"), since, until, sleep=self._work)
        assert report.ending is Ending.COMPLETE
        for _ in range(ROUNDS):
            world.clock += 61
            world.finish()


STEPS = (
    "arrive arrive poll poll ingest ingest enrich enrich fetch write write catch_up backfill"
    " recover wait"
).split()


@pytest.mark.parametrize("seed", range(40))
def test_each_event_is_written_once_whatever_answers_are_lost(seed):
    chance = random.Random(seed)
    line = Line(chance, chance.choice([0.05, 0.15]), _limits(chance))
    for _ in range(60):
        line.step(chance.choice(STEPS))

    line.comes_to_rest()

    _all_is_written_once(line)


@pytest.mark.parametrize("seed", range(20))
def test_each_event_is_written_once_whatever_the_ledgers_clock_does(seed):
    """It is set, forward and back, by more than leases, overlap and retries last."""
    chance = random.Random(seed)
    line = Line(chance, 0.02, _limits(chance))
    line.world.poll()  # a ledger that begins with a wrong clock begins at a wrong time
    for _ in range(60):
        if chance.random() < 0.15:
            line.world.ledger_ahead = chance.choice([0.0, -200, 200, -4000, 4000, -60, 60])
        line.step(chance.choice(STEPS))

    line.world.ledger_ahead = 0.0
    for _ in range(3):  # what is due by a clock that was ahead waits for as long
        line.world.clock += 4500
        line.world.poll()
        line.world.finish()
    line.comes_to_rest()

    _all_is_written_once(line)


def _limits(chance: random.Random) -> dict[str, Any]:
    return {
        "poll_batch": chance.choice([3, 10]),
        "max_in_flight": chance.choice([12, 100]),
        "far_seconds": chance.choice([60.0, 600.0]),
        "far_pages": chance.choice([1, 20]),
    }


def _all_is_written_once(line: Line) -> None:
    rows = line.world.rows()
    assert rows[EVENTS.name] == dict.fromkeys(line.events, 1)
    assert rows.get(ATTACHMENTS.name, {}) == dict.fromkeys(line.media, 1)
    census = line.world.ledger.census()
    assert not any(census.active.values())
    assert [census.missing(kind) for kind in Kind] == [0, 0, 0]
    assert line.world.ledger.gaps(LIVE) == []
