"""A source, a ledger, a lake and a clock for the tests of polling, all in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from claimx.adapters.memory.gates import MemoryGates
from claimx.adapters.memory.hints import MemoryHints
from claimx.adapters.memory.lake import MemoryLake
from claimx.adapters.memory.ledger import MemoryLedger
from claimx.adapters.memory.source import MemorySource
from claimx.domain.changes import Change, Source
from claimx.domain.records import Kind, Stage, event_record_id
from claimx.domain.retry import RetryPolicy
from claimx.domain.tables import EVENTS
from claimx.domain.times import MICROS_PER_SECOND, day_of, from_seconds, to_iso
from claimx.services.catch_up import catch_up
from claimx.services.catch_up_report import CatchUpReport, Ended
from claimx.services.ingest import IngestReport, ingest
from claimx.services.runtime import Limits, Runtime
from claimx.telemetry.metrics import RecordedMetrics

NOON = 1_767_268_800.0  # 2026-01-01T12:00:00Z


def event_row(event_id: str | None, **more: Any) -> dict[str, Any]:
    """A row of the source that is an event."""
    return {"event_id": event_id, "event_type": "PROJECT_CREATED", "project_id": 7} | more


class World:
    """
    Several processes share it; `runtime` is one of them. Time passes when `clock` is moved.

    The ledger's own clock is *ledger_ahead* seconds ahead of the source's and all others.
    """

    def __init__(self, **limits: Any) -> None:
        self.clock = NOON
        self.ledger_ahead = 0.0
        self.limits = Limits(**{"poll_batch": 10, "poll_start": 3600.0} | limits)
        self.source = MemorySource(now=self.now)
        self.ledger = MemoryLedger(lambda: self.clock + self.ledger_ahead)
        self.gates = MemoryGates(self.now)
        self.hints = MemoryHints()
        self.lake = MemoryLake()
        self.metrics = RecordedMetrics()

    def now(self) -> float:
        return self.clock

    def runtime(self, holder: str = "one", off: float = 0.0, **instead: Any) -> Runtime:
        """One process, its clock *off* seconds fast; *instead* replaces a port of its own."""
        ports = {
            "ledger": self.ledger,
            "gates": self.gates,
            "hints": self.hints,
            "metrics": self.metrics,
            "make_lake": lambda: self.lake,
            "make_source": lambda: self.source,
            **instead,
        }
        return Runtime(
            retry=RetryPolicy(),
            limits=self.limits,
            now=lambda: self.clock + off,
            jitter=lambda: 0.0,
            holder=holder,
            **ports,
        )

    def happened(self, event_id: str, seconds_ago: float, *, shown_in: float = 0.0) -> None:
        """An event is ingested; it shows in *shown_in* seconds from now."""
        self.source.add(
            [event_row(event_id)], from_seconds(self.clock - seconds_ago), self.clock + shown_in
        )

    def ingest(self) -> IngestReport:
        """Run a worker over the hints that were sent."""
        return ingest(self.runtime("worker"), self.hints.taken(Stage.INGEST))

    def wait(self, seconds: float) -> None:
        """Let time pass, as a sleep would."""
        self.clock += seconds

    def until(self, look: Callable[[], bool], most: int = 200) -> None:
        """Look again and again until it is so; fails in the end."""
        assert any(look() for _ in range(most)), f"not so after {most} looks"

    def caught_up(self, work: Callable[[], None], pause: float = 61.0) -> bool:
        """Let time pass and workers work, then catch up; True when nothing is set aside."""
        self.wait(pause)
        self.redrive()
        self.ingest()
        work()
        return self.catch_up().ended is Ended.NOTHING

    def catch_up(self, holder: str = "catch-up", **instead: Any) -> CatchUpReport:
        """Run the task that reads what was set aside."""
        seconds = instead.pop("seconds", None)
        return catch_up(self.runtime(holder, **instead), sleep=self.wait, seconds=seconds)

    def redrive(self) -> None:
        """Bring back what is due, as the redriver would."""
        for (stage, affinity), ids in self.ledger.due(10_000).items():
            self.hints.send(stage, ids, affinity)

    def forget_redis(self) -> None:
        """Lose everything that Redis held."""
        self.ledger = MemoryLedger(lambda: self.clock + self.ledger_ahead)
        self.gates = MemoryGates(self.now)
        self.hints = MemoryHints()

    def finished(self, *event_ids: str, at: float | None = None) -> None:
        """Put events into the lake, as if they had been through every stage."""
        time = from_seconds(self.clock if at is None else at)
        for event_id in event_ids:
            values = {
                "event_id": event_id,
                "ingested_at": time,
                "event_date": day_of(time),
                "status": "enriched",
            }
            change = Change(EVENTS.name, values, Source.RESULT, event_id, time)
            self.lake.upsert(EVENTS, [change], time)

    def admitted(self, event_ids: Iterable[str]) -> set[str]:
        """Return those of the events that the ledger has a record of."""
        return {e for e in event_ids if self.ledger.find(event_record_id(e)) is not None}

    @property
    def counters(self) -> Counter[str]:
        """The ledger's totals."""
        return Counter(self.ledger.census().counters)

    @property
    def pages(self) -> int:
        """How many page records wait."""
        return self.ledger.census().active.get(Kind.PAGE, 0)


class Around:
    """A ledger to which something happens *before* and *after* it first says what it has seen."""

    def __init__(
        self,
        ledger: MemoryLedger,
        *,
        before: Callable[[], None] = lambda: None,
        after: Callable[[], None] = lambda: None,
    ) -> None:
        self._ledger = ledger
        self._before, self._after = before, after

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    def seen(self, ids: Any) -> set[str]:
        before, self._before = self._before, lambda: None
        after, self._after = self._after, lambda: None
        before()
        found = self._ledger.seen(ids)
        after()
        return found


def iso(seconds: float) -> str:
    """Return epoch seconds as the source would write them."""
    return to_iso(from_seconds(seconds))


DAY = 86_400.0


def far_behind(events: int = 100, **limits: Any) -> World:
    """A first start a day back, with events in the first hours of that day, ten rows a page."""
    world = World(**{"poll_start": DAY, "far_pages": 5} | limits)
    for n in range(events):
        world.happened(f"old{n}", seconds_ago=DAY - 60 * (n + 1))
    return world


def work_off(world: World) -> None:
    """Do what workers do with events: they are in the lake, and no longer in flight."""
    ids = world.hints.taken(Stage.ENRICH)
    for record in world.ledger.claim(Stage.ENRICH, ids, 30):
        world.finished(record.data["event_id"], at=record.data["time"] / MICROS_PER_SECOND)
        del world.ledger._records.by_id[record.id]
        world.ledger._records.counters["event.recorded"] += 1
