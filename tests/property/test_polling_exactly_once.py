"""However rows arrive and processes die: every event is admitted, and none twice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from polling_world import NOON, World, event_row

from claimx.domain.polling import LIVE
from claimx.domain.records import Stage, event_record_id
from claimx.domain.times import from_seconds
from claimx.services.backfill import backfill
from claimx.services.backfill_report import Ending
from claimx.services.catch_up import catch_up
from claimx.services.ingest import ingest
from claimx.services.poll import poll_once
from claimx.services.poll_report import Stop

OVERLAP = 60.0
RANGE = 240


class Killed(BaseException):
    """The process is gone; nothing of it runs any more."""


@dataclass
class Life:
    """A process's life, in calls of its ports; it dies before or after the last of them acts."""

    calls: int
    acts_last: bool
    dead: bool = False

    def of(self, port: Any) -> Any:
        """Return *port* as this process sees it."""
        return _Mortal(self, port)

    def spend(self, act: Callable[[], Any]) -> Any:
        if self.dead:
            raise Killed
        self.calls -= 1
        if self.calls > 0:
            return act()
        self.dead = True
        if self.acts_last:
            act()
        raise Killed


@dataclass
class _Mortal:
    life: Life
    port: Any
    _: Any = field(default=None)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.port, name)
        if not callable(method):
            return method
        return lambda *args, **options: self.life.spend(lambda: method(*args, **options))


lives = st.none() | st.builds(Life, st.integers(1, 25), st.booleans())
steps = st.lists(
    st.one_of(
        st.tuples(st.just("catch up"), st.sampled_from(["one", "two"]), lives),
        st.tuples(st.just("poll"), st.sampled_from(["one", "two"]), lives),
        st.tuples(st.just("ingest"), st.sampled_from(["hints", "redriven"]), lives),
        st.tuples(st.just("wait"), st.integers(1, 45), st.none()),
        st.tuples(st.just("lose"), st.just("hints"), st.none()),
    ),
    max_size=14,
)
arrivals = st.lists(
    st.tuples(
        st.integers(0, 12),  # which event: the same one may come again
        st.integers(0, RANGE),  # seconds after the start at which it is ingested
        st.integers(0, int(OVERLAP)),  # seconds until it shows
        st.integers(1, 4),  # rows of that ingestion time
    ),
    max_size=15,
)


def process(world: World, holder: str, life: Life | None) -> Any:
    if life is None:
        return world.runtime(holder)
    return world.runtime(
        holder,
        ledger=life.of(world.ledger),
        gates=life.of(world.gates),
        hints=life.of(world.hints),
        make_source=lambda: life.of(world.source),
    )


def perform(world: World, step: tuple[str, Any, Life | None]) -> None:
    kind, argument, life = step
    try:
        match kind:
            case "poll":
                poll_once(process(world, argument, life))
            case "catch up":
                catch_up(process(world, argument, life), sleep=world.wait)
            case "ingest":
                if argument == "redriven":
                    world.redrive()
                ingest(process(world, "worker", life), world.hints.taken(Stage.INGEST))
            case "wait":
                world.clock += argument
            case "lose":
                world.hints.taken(Stage.INGEST)
    except Killed:
        pass


def arrange(world: World, arriving: list[tuple[int, int, int, int]]) -> set[str]:
    """Put the rows into the source; returns the event ids."""
    wanted: set[str] = set()
    for event, at, late, rows in arriving:
        for n in range(rows):
            event_id = f"e{event}-{n}"
            wanted.add(event_id)
            world.source.add([event_row(event_id)], from_seconds(NOON + at), NOON + at + late)
    return wanted


def settle_down(world: World) -> None:
    """Let everything that is under way come to its end, undisturbed."""
    for _ in range(4):
        world.clock += 61  # leases and locks of the dead are over
        world.redrive()
        world.ingest()
        assert poll_once(world.runtime("last")).stopped is Stop.DRY
        world.ingest()
        world.until(lambda: world.caught_up(lambda: work_off(world)))


def work_off(world: World) -> None:
    """Let the workers have what waits for them, so that there is room for more."""
    world.ledger.claim(Stage.ENRICH, world.hints.taken(Stage.ENRICH), 1e9)


def check(world: World, wanted: set[str]) -> None:
    assert world.admitted(wanted) == wanted
    assert world.counters["event.admitted"] == len(wanted)
    assert world.pages == 0


@settings(deadline=None, max_examples=150)
@given(arriving=arrivals, doing=steps, batch=st.integers(1, 7))
def test_every_row_is_admitted_exactly_once(arriving, doing, batch):
    """Pollers die and overlap, hints are lost, rows show late, one time outgrows a page."""
    world = World(poll_batch=batch, poll_overlap=OVERLAP, poll_start=1.0)
    wanted = arrange(world, arriving)

    poll_once(world.runtime("first"))
    for step in doing:
        perform(world, step)
    while world.clock < NOON + RANGE + OVERLAP + 10:
        # a poll at least as often as rows may be late: that is what the overlap is for
        world.clock += 30
        poll_once(world.runtime("steady"))
        world.ingest()
    settle_down(world)

    check(world, wanted)


@settings(deadline=None, max_examples=150)
@given(
    arriving=arrivals,
    doing=steps,
    batch=st.integers(1, 7),
    far_seconds=st.integers(10, 120),
    overlap=st.sampled_from([OVERLAP, 4 * OVERLAP]),
    outage=st.integers(0, RANGE),
)
@example(  # an overlap longer than what counts as far: a row of the gap shows after its reader
    arriving=[(0, 0, 0, 1), (0, 0, 0, 1), (0, 31, 0, 2), (1, 0, 36, 1)],
    doing=[("poll", "one", None), ("catch up", "one", None)],
    batch=1,
    far_seconds=10,
    overlap=60.0,
    outage=35,
)
def test_every_row_is_admitted_exactly_once_whatever_is_set_aside(
    arriving, doing, batch, far_seconds, overlap, outage
):
    """Outages and slow polls leave gaps, rows show late; who sets aside or catches up may die."""
    world = World(
        poll_batch=batch,
        poll_overlap=overlap,
        poll_start=1.0,
        far_pages=1,
        far_seconds=float(far_seconds),
    )
    wanted = arrange(world, arriving)

    poll_once(world.runtime("first"))
    world.clock += outage
    for step in doing:
        perform(world, step)
    while world.clock < NOON + RANGE + OVERLAP + 10:
        world.clock += 30
        poll_once(world.runtime("steady"))
        world.catch_up()
        world.ingest()
    settle_down(world)

    check(world, wanted)
    assert world.ledger.gaps(LIVE) == []


@settings(deadline=None, max_examples=80)
@given(
    arriving=arrivals,
    deaths=st.lists(st.builds(Life, st.integers(1, 40), st.booleans()), max_size=5),
    batch=st.integers(1, 7),
)
def test_a_backfill_that_dies_again_and_again_admits_every_row_once(arriving, deaths, batch):
    world = World(poll_batch=batch, poll_overlap=OVERLAP, poll_start=1.0)
    wanted = arrange(world, arriving)
    world.clock = NOON + RANGE + OVERLAP + 10
    since, until = from_seconds(NOON), from_seconds(NOON + RANGE)

    for life in deaths:
        try:
            backfill(process(world, "mortal", life), since, until, sleep=lambda _: None)
        except Killed:
            world.clock += 31
    report = backfill(world.runtime("last"), since, until, sleep=lambda _: None)
    world.clock += 61
    world.redrive()
    world.ingest()

    assert report.ending is Ending.COMPLETE
    check(world, wanted)


def test_the_test_would_notice_a_row_that_was_lost():
    """A row that shows after more than the overlap is lost, and only that."""
    world = World(poll_batch=5, poll_overlap=OVERLAP, poll_start=1.0)
    world.source.add([event_row("too late")], from_seconds(NOON), NOON + 200)
    world.source.add([event_row("later")], from_seconds(NOON + 100))

    for _ in range(10):
        world.clock += 30
        poll_once(world.runtime())
        world.ingest()

    assert world.ledger.find(event_record_id("too late")) is None
    assert world.ledger.find(event_record_id("later")) is not None
