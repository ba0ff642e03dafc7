"""
A pipeline so small that all its states can be visited, around the real in-memory ledger.

One page, few events, one media file. All times are such that one tick makes everything due that
waits for time, so of each moment only matters whether it has come.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

from ledger_rig import BROKEN, DAY, FAILURE, Clock, event, media, page

from claimx.adapters.memory.ledger_state import Kept
from claimx.domain.records import (
    NewRecord,
    Record,
    Stage,
    State,
    Waited,
)
from protocol.small_ledger import Saved, copy_of, ledger_key, new_ledger
from protocol.small_outcomes import LEASE, outcome_of

TICK = 61.0  # longer than leases, delays, and whatever the redriver puts off
MOST_ATTEMPTS = 1
OF_EVENTS = "retry", "wait", "bury"  # and of files; a page is admitted, given back or lost

Action: TypeAlias = tuple[Any, ...]
"""What happens, and to whom: ("settle", 0, "retry")."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much there is of everything."""

    events: tuple[str, ...] = ("a",)
    with_media: bool = True
    workers: int = 1
    losses: bool = False
    outcomes: tuple[str, ...] = ("advance", "retry", "wait", "bury", "release", "crash")


class SmallWorld:
    """
    The ledger, who holds what as they believe, and the lake as a set of keys.

    *items* of the writer are (entry, record, whether its rows are committed); *saved* is the one
    copy of Redis that is kept; *forgot*: it was put back, or Redis emptied; *wrong*: what happened
    and should not have.
    """

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.clock = Clock()
        self.ledger = new_ledger(self.clock)
        self.workers: list[Record | None] = [None] * bounds.workers
        self.pairs: list[tuple[str, str]] = []
        self.items: list[tuple[str, Record, bool]] = []
        self.lake: frozenset[str] = frozenset()
        self.saved: Saved | None = None
        self.forgot = False
        self.finished: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.found = False  # some event has led to the media file

    def copy(self) -> SmallWorld:
        """The same world, to go on from in another way."""
        other = SmallWorld.__new__(SmallWorld)
        other.bounds, other.saved = self.bounds, self.saved  # nobody changes what is saved
        other.clock = Clock()
        other.clock.now = self.clock.now
        other.ledger = copy_of(self.ledger, other.clock)
        other.workers, other.pairs, other.items = [*self.workers], [*self.pairs], [*self.items]
        other.lake, other.forgot, other.found = self.lake, self.forgot, self.found
        other.finished, other.wrong = Counter(self.finished), [*self.wrong]
        return other

    @property
    def records(self) -> dict[str, Kept]:
        return self.ledger._records.by_id

    # what may happen

    def actions(self) -> Iterator[Action]:
        """Everything that may happen now and would mean something."""
        yield from [("tick",), ("redrive",)]
        if self.ledger.checkpoint("live") is None:
            yield ("poll",)
        yield from self._of_workers()
        yield from self._of_writer()
        yield from (("requeue", record_id) for record_id, kept in self.records.items() if kept.dead)
        if self.bounds.losses:
            yield ("save",) if self.saved is None else ("put_back",)
            yield from [("empty",), ("recover",)] if self.forgot else [("empty",)]

    def _of_workers(self) -> Iterator[Action]:
        if None in self.workers:  # whichever is idle: they are all alike
            for record_id, kept in self.records.items():
                if kept.waits_in not in (None, Stage.WRITE):
                    yield ("claim", self.workers.index(None), record_id)
        for at, held in enumerate(self.workers):
            for what in self.bounds.outcomes if held else ():
                spent = what == "retry" and held.attempts >= MOST_ATTEMPTS
                if not spent and not (held.stage is Stage.INGEST and what in OF_EVENTS):
                    yield ("settle", at, what)

    def _of_writer(self) -> Iterator[Action]:
        if not self.pairs and not self.items:
            yield ("read",)
            return
        if self.pairs:
            yield ("take_rows",)
        if self.items and all(committed for _, _, committed in self.items):
            yield from [("finish",), ("park",)]
        elif self.items:
            yield from [("commit",), ("refuse",), ("park",)]
        yield ("writer_dies",)

    def do(self, action: Action) -> None:
        """Let it happen."""
        getattr(self, f"_{action[0]}")(*action[1:])

    # time, the source, Redis as a whole

    def _tick(self) -> None:
        self.clock.pass_(TICK)

    def _redrive(self) -> None:
        self.ledger.due(100)

    def _poll(self) -> None:
        """Read the source, and drop what is seen or in the lake."""
        seen = self.ledger.seen([f"e:{name}" for name in self.bounds.events])
        rows = [n for n in self.bounds.events if f"e:{n}" not in seen and f"E:{n}" not in self.lake]
        self.ledger.store_page("live", None, 1, [page("1", names=rows)] if rows else [])

    def _save(self) -> None:
        key = ledger_key(self.ledger, self.clock.now)
        self.saved = Saved(copy_of(self.ledger, Clock()), self.clock.now, key)

    def _put_back(self) -> None:
        assert self.saved is not None
        self.ledger, self.forgot = copy_of(self.saved.ledger, self.clock), True

    def _empty(self) -> None:
        self.ledger, self.forgot = new_ledger(self.clock), True

    def _recover(self) -> None:
        if "M:m" in self.lake and "A:m" not in self.lake:
            again = self.ledger.checkpoint("recover")
            self.ledger.store_page("recover", again, 1, [media("m")])

    def _requeue(self, record_id: str) -> None:
        self.ledger.requeue([record_id])

    # workers

    def _claim(self, at: int, record_id: str) -> None:
        (self.workers[at],) = self._take(self.records[record_id].stage, [record_id]) or [None]

    def _take(self, stage: Stage, ids: list[str]) -> list[Record]:
        now = self.clock.now
        busy = {i for i in ids if (kept := self.records.get(i)) and kept.leased_until > now}
        found = self.ledger.claim(stage, ids, LEASE)
        self.wrong += [f"{one.id} is taken from its holder" for one in found if one.id in busy]
        return found

    def _settle(self, at: int, what: str) -> None:
        record, self.workers[at] = self.workers[at], None
        assert record is not None
        if what == "release":
            self.ledger.release([record])
        elif what != "crash" and record.stage is Stage.INGEST:
            self.ledger.admit(record, [event(n) for n in record.data["names"]], [], DAY)
        elif what != "crash":
            spawn = self._spawn(record)
            (taken,) = self.ledger.settle([outcome_of(record, what, spawn)])
            self.found |= bool(taken and spawn and what in ("advance", "bury"))

    def _spawn(self, record: Record) -> tuple[NewRecord, ...]:
        finds = self.bounds.with_media and record.id == "e:a"
        return (media("m", revive=True),) if finds else ()

    # the writer

    def _read(self) -> None:
        self.pairs = self.ledger.read_rows("w", 100, 0.0)

    def _take_rows(self) -> None:
        entries = {record_id: entry for entry, record_id in self.pairs}
        taken = self._take(Stage.WRITE, list(entries))
        self.items = [(entries.pop(record.id), record, False) for record in taken]
        kept = {entry for entry, _, _ in self.items}
        self.ledger.forget_entries([entry for entry, _ in self.pairs if entry not in kept])
        self.pairs = []

    def _commit(self) -> None:
        for _, record, _ in self.items:
            self.lake |= set(record.rows.decode().split())
        self.items = [(entry, record, True) for entry, record, _ in self.items]

    def _finish(self) -> None:
        before = set(self.records)
        self.ledger.finish(self._written(), DAY)
        self.finished.update(before - set(self.records))

    def _refuse(self) -> None:
        self.ledger.fail_rows(self._written(), BROKEN)

    def _park(self) -> None:
        done = self._written()
        alive = [record for _, record in done if record.state is not State.DEAD]
        self.ledger.settle([Waited(record, LEASE, FAILURE) for record in alive])
        self.ledger.release([record for _, record in done if record.state is State.DEAD])
        self.ledger.forget_entries([entry for entry, _ in done])

    def _writer_dies(self) -> None:
        self.pairs, self.items = [], []

    def _written(self) -> list[tuple[str, Record]]:
        """What it held; it lets go of it."""
        items, self.items = self.items, []
        return [(entry, record) for entry, record, _ in items]
