"""What outlives all processes: source, store, lake, queues and a clock, of the test's making."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeAlias

from ledger_rig import Clock

from claimx.adapters.memory.gates import MemoryGates
from claimx.adapters.memory.source import MemorySource
from claimx.domain.events import Event
from claimx.domain.polling import TIME
from claimx.domain.records import Stage
from claimx.domain.retry import RetryPolicy
from claimx.domain.times import from_seconds
from claimx.services.runtime import Limits, Runtime
from claimx.services.source_rows import read_row
from claimx.telemetry.metrics import RecordedMetrics
from protocol.book import Book
from protocol.lake import ModelLake
from protocol.stores import MakeStore
from protocol.witness import Witness

OVERLAP_SECONDS = 60.0
LEASE_SECONDS = 30.0

Copy: TypeAlias = tuple[Any, Book, dict[str, Any]]
"""What Redis held, and what was true of it."""

_MEDIA_OF = {
    "a0": "wx",
    "a1": "w",
    "b0": "x",
    "b1": "y",
    "c1": "z",
    "d0": "z",
    "d1": "z",
    "h0": "y",
}


def source_row(name: str, content: int) -> dict[str, Any]:
    """A row of the source: *h* has no id of its own, *u* no handler, *x* no type."""
    said = f"{name}{content}"
    return {
        "event_id": None if name == "h" else name,
        "event_type": {"u": "SOMETHING_NEW", "x": ""}.get(name, "PROJECT_FILE_ADDED"),
        "project_id": "7",
        "media_ids": list(_MEDIA_OF.get(said, "")),
        "master_file_name": said,
    }


@dataclass(slots=True)
class Queues:
    """The messages: sent and not lost; whoever delivers one may leave it there."""

    waiting: list[tuple[Stage, tuple[str, ...]]] = field(default_factory=list)

    def send(
        self,
        stage: Stage,
        ids: Sequence[str],
        affinity: str = "",
        *,
        waiting: int = 0,
        ahead: bool = False,
    ) -> None:
        del affinity, waiting, ahead  # a worker takes what it is given
        if ids:
            self.waiting.append((stage, tuple(ids)))

    def backlog(self, stage: Stage, affinity: str = "") -> int:
        del stage, affinity
        return 0


class World:
    """Everything that outlives a process."""

    def __init__(self, make_store: MakeStore) -> None:
        self.clock = Clock()
        self.store = make_store(self.clock)
        self.ledger = Witness(self.store.ledger, self.clock)
        self.gates = MemoryGates(self.clock)
        self.queues = Queues()
        self.lake = ModelLake()
        self.source = MemorySource(now=self.clock)
        self.told: dict[str, list[Event]] = {}
        self.malformed: set[str] = set()
        began = datetime.fromtimestamp(self.clock.now - 1, UTC)
        self._limits = Limits(
            poll_batch=2,
            poll_overlap=OVERLAP_SECONDS,
            poll_start=began,
            lease_seconds=LEASE_SECONDS,
            far_seconds=math.inf,  # catch-up is not in the model: it has properties of its own
        )

    def runtime(self, holder: str, wrap: Any = lambda port: port) -> Runtime:
        """One process's own."""
        return Runtime(
            ledger=wrap(self.ledger),
            gates=wrap(self.gates),
            hints=wrap(self.queues),
            metrics=RecordedMetrics(),
            retry=RetryPolicy(),
            limits=self._limits,
            now=self.clock,
            jitter=lambda: 0.0,
            holder=holder,
            make_lake=lambda: wrap(self.lake),
            make_source=lambda: wrap(self.source),
            new_trace=lambda: "trace",
        )

    def pass_(self, seconds: float) -> None:
        self.clock.pass_(seconds)
        self.store.passed(seconds)

    def happen(self, name: str, content: int, late: float) -> None:
        """The source has a row as of now, and shows it some seconds later."""
        at = from_seconds(self.clock.now)
        row = source_row(name, content)
        self.source.add([row], at, self.clock.now + late)
        record_id, event = read_row({**row, TIME: at})
        if isinstance(event, Event):
            self.told.setdefault(record_id, []).append(event)
        else:
            self.malformed.add(record_id)

    # Redis as a whole

    def save(self) -> Copy:
        """A copy of what Redis holds, and of what is true of it."""
        return self.store.save(), self.ledger.book.copy(), self._gates_copy(self.gates)

    def load(self, saved: Copy | None) -> None:
        """Put a copy back, or begin with nothing; the source, the lake and all processes go on."""
        if saved is None:
            self.store.load(None)
            self.ledger.book = Book(self.clock)
            self.gates.__dict__.update(MemoryGates(self.clock).__dict__)
            return
        kept, book, gates = saved
        self.store.load(kept)
        self.ledger.book = book.copy()
        self.ledger.book.put_back()
        restored = MemoryGates(self.clock)
        restored.__dict__.update(gates)
        self.gates.__dict__.update(self._gates_copy(restored))

    def _gates_copy(self, gates: MemoryGates) -> dict[str, Any]:
        return copy.deepcopy(gates.__dict__, {id(self.clock): self.clock})

    # what always holds

    def problems(self) -> list[str]:
        """What is not as it must be, a line each."""
        seen, wrong = self.store.look()
        found = self.ledger.differences(seen) + wrong + self.lake.differences()
        self.ledger.census()
        self.ledger.active()
        return found
