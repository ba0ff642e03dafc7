"""Everybody who takes part in a program, and what the healthy among them do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from claimx.domain.records import Record, Stage
from claimx.services.ingest import ingest
from claimx.services.poll import poll_once
from claimx.services.recover import SETTLE_SECONDS, recover_media
from claimx.services.redrive import redrive_once
from protocol.services import ENDLESS, Service
from protocol.stores import MakeStore
from protocol.units import Unit
from protocol.workers import STAGES, Worker, forward
from protocol.world import Copy, World
from protocol.writer import Writer

ONCE = [Stage.ENRICH, Stage.WRITE, *STAGES[1:], Stage.WRITE]
"""The stages by which an event and its files get to the lake."""


class Pipeline:
    """
    One world with three workers, two writers, two operators, and services under way by name.

    *paused* is a stage that nobody serves for now, *copies* are earlier states of Redis, *forgot*
    says that it was put back to one, or emptied.
    """

    def __init__(self, make_store: MakeStore) -> None:
        self.world = World(make_store)
        self.workers = [Worker(self.world, f"worker {n}") for n in range(3)]
        self.writers = [Writer(self.world, f"writer {n}") for n in range(2)]
        self.services: dict[str, Service] = {}
        self.operators: list[tuple[str, ...]] = [(), ()]
        self.paused: Stage | None = None
        self.copies: list[Copy] = []
        self.forgot = False

    @property
    def units(self) -> dict[str, Unit]:
        return self.world.ledger.book.units

    @property
    def busy(self) -> list[Worker]:
        """Workers that hold something, as they believe."""
        return [worker for worker in self.workers if worker.held]

    def at(self, stage: Stage) -> list[str]:
        """What the stage has to do."""
        return sorted(i for i, unit in self.units.items() if unit.place is stage)

    # services

    def poll(self, who: int, calls: int = ENDLESS, death: str = "") -> None:
        """The third poller goes by the name of the first, as one that was started again may."""
        self._run(
            f"poll {who}",
            lambda wrap: poll_once(self.world.runtime(f"poller {who % 2}", wrap), seconds=1e6),
            calls,
            death,
        )

    def ingest(
        self, who: int, calls: int = ENDLESS, death: str = "", *, backwards: bool = False
    ) -> None:
        ids = self.named(Stage.INGEST) or tuple(self.at(Stage.INGEST))
        ids = ids[::-1] if backwards else ids
        self._run(
            f"ingest {who}",
            lambda wrap: ingest(self.world.runtime(f"ingest {who}", wrap), ids),
            calls,
            death,
        )

    def redrive(self, who: int, calls: int = ENDLESS, death: str = "") -> None:
        self._run(
            f"redrive {who}",
            lambda wrap: redrive_once(self.world.runtime(f"redrive {who}", wrap)),
            calls,
            death,
        )

    def recover(self, who: int, calls: int = ENDLESS, death: str = "") -> None:
        self._run(
            f"recover {who}",
            lambda wrap: recover_media(self.world.runtime(f"recover {who}", wrap)),
            calls,
            death,
        )

    def _run(self, name: str, body: Callable[[Any], Any], calls: int, death: str) -> None:
        """Go on with the service of that name, or begin it; let it die after so many calls."""
        service = self.services.pop(name, None) or Service(body)
        if service.go_on(calls):
            return
        if death:
            service.die(acts=death == "after")
        else:
            self.services[name] = service

    # the queues

    @property
    def hints(self) -> list[tuple[Stage, tuple[str, ...]]]:
        """What waits for the workers."""
        return [hint for hint in self.world.queues.waiting if hint[0] in STAGES]

    def named(self, stage: Stage) -> tuple[str, ...]:
        """Take all hints of a stage; returns whom they name."""
        waiting = self.world.queues.waiting
        self.world.queues.waiting = [hint for hint in waiting if hint[0] is not stage]
        return tuple(record_id for at, ids in waiting if at is stage for record_id in ids)

    # as it should be

    def grow_old(self) -> None:
        """Let so much time pass that the ledger's beginning is no loss any more."""
        for _ in range(3):
            self.poll(0)
            self.recover(0)
            self.world.pass_(SETTLE_SECONDS)

    def arrive(self) -> None:
        """Let what happened become records."""
        self.world.pass_(10)
        self.poll(0)
        self.ingest(0)

    def serve(self, stage: Stage) -> None:
        """Let a stage do all that it has to do, so that programs get far."""
        if stage is Stage.INGEST:
            self.ingest(0)
        elif stage is Stage.WRITE:
            self.writers[0].write_all()
        else:
            self.named(stage)
            self.workers[2].take(stage, tuple(self.at(stage)))
            self.settle_forward(self.workers[2], stage)

    def settle_forward(self, worker: Worker, stage: Stage) -> None:
        """Settle all that a worker holds in a stage, in one step."""
        now = self.world.clock.now
        held: list[Record] = [record for record in worker.held if record.stage is stage]
        worker.settle([forward(record, now) for record in held])

    def late(self) -> None:
        """Let whoever still works come to its end, however late: what it holds may be gone."""
        for service in self.services.values():
            service.go_on()
        for worker in self.workers:
            for stage in STAGES:
                self.settle_forward(worker, stage)
        for writer in self.writers:
            if writer.held:
                while writer.commit():
                    pass
                writer.settle()

    def close(self) -> None:
        """End what is under way."""
        for service in self.services.values():
            service.die()
