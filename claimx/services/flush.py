"""
Writing what several records say into the tables, in the order that makes a crash harmless.

Entity tables first, side by side; then the attachments; then ``claimx_events``, and there only
the events whose other rows are in the lake. So an event in that table is an event that was
finished, and a flush that ends half-way is done again by the next delivery.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field

import structlog

from claimx.domain.changes import Change, Source, Values
from claimx.domain.errors import ClaimXError, Unavailable
from claimx.domain.ports.gates import Gates
from claimx.domain.ports.lake import Lake, Written
from claimx.domain.ports.telemetry import Metrics
from claimx.domain.records import Record
from claimx.domain.redaction import redact
from claimx.domain.shared_rows import SharedRows
from claimx.domain.tables import ATTACHMENTS, ENTITY_TABLES, EVENTS, PROJECTS, TABLES
from claimx.domain.times import MICROS_PER_SECOND, Micros, from_seconds
from claimx.domain.upsert import NAME

log = structlog.get_logger(__name__)

THREADS = 4
LOCK_SECONDS = 9.0  # a killed writer's tables wait this long for the next
LOCK_WAIT_SECONDS = 30.0
_LOCK_POLL_SECONDS = 0.1
_KEEP_SECONDS = 2.0
_LONGEST_NAME = 200

_ORDER = (tuple(table.name for table in ENTITY_TABLES), (ATTACHMENTS.name,), (EVENTS.name,))


@dataclass(slots=True, eq=False)
class Item:
    """
    A claimed record with its stream entry and what it says about the tables.

    *shared* are rows that other items bring, too, said by the event *said_by* (time and id);
    *rows* is how many it adds to the buffer.
    """

    entry: str
    record: Record
    changes: list[Change]
    shared: Sequence[SharedRows] = ()
    said_by: tuple[Micros, str] = (0, "")
    rows: int = 1
    failures: int = 0


@dataclass(slots=True)
class Flushed:
    """What became of the items: *refused* with reasons for good, *failed* to be tried again."""

    done: list[Item] = field(default_factory=list)
    refused: list[tuple[Item, str]] = field(default_factory=list)
    failed: list[tuple[Item, Exception]] = field(default_factory=list)


class TableWriter:
    """
    Flushes items to the lake.

    *holder* names this process in the tables' leases: writers take turns at a table, so that they
    need not lose races for it. The lake is exact without the lease. *keep* is called every few
    seconds while a flush goes on.
    """

    def __init__(
        self,
        lake: Lake,
        gates: Gates,
        metrics: Metrics,
        now: Callable[[], float],
        *,
        sleep: Callable[[float], None],
        holder: str,
        fresh_seconds: float,
        keep_seconds: float = _KEEP_SECONDS,
    ) -> None:
        self._lake = lake
        self._gates = gates
        self._metrics = metrics
        self._now = now
        self._sleep = sleep
        self._holder = holder
        self._fresh_seconds = fresh_seconds
        self._keep_seconds = keep_seconds
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="lake")
        self._locked: set[str] = set()
        self._lock = threading.Lock()

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown()

    def write(
        self,
        items: Sequence[Item],
        keep: Callable[[], None],
        lock_wait: float = LOCK_WAIT_SECONDS,
    ) -> Flushed:
        """Write all changes of *items*; never raises for what a table or the lake refuses."""
        refused: dict[int, str] = {}
        failed: dict[int, Exception] = {}
        open_items = items
        said, owners = _by_table(items)
        for names in _ORDER:
            if refused or failed:  # what these items say waits, or is never written
                open_items = [i for i in items if id(i) not in refused and id(i) not in failed]
                said, owners = _by_table(open_items)
            changes = {name: said[name] for name in names if name in said}
            results = self._write_tables(changes, keep, lock_wait)
            for name, outcome in results.items():
                if isinstance(outcome, Exception):
                    for change in changes[name]:
                        failed |= dict.fromkeys(map(id, owners[id(change)]), outcome)
                    continue
                for change, reason in outcome.refused:
                    for item in owners[id(change)]:
                        refused.setdefault(id(item), reason)
                if name == PROJECTS.name:
                    self._mark_known(changes[name], outcome)
        return Flushed(
            done=[i for i in open_items if id(i) not in refused and id(i) not in failed],
            # a refused record is settled for good, whatever the other tables did
            refused=[(i, refused[id(i)]) for i in items if id(i) in refused],
            failed=[(i, failed[id(i)]) for i in items if id(i) in failed and id(i) not in refused],
        )

    def _write_tables(
        self, changes: dict[str, list[Change]], keep: Callable[[], None], lock_wait: float
    ) -> dict[str, Written | Exception]:
        futures: dict[Future[Written], str] = {
            self._pool.submit(self._write_table, name, batch, lock_wait): name
            for name, batch in changes.items()
        }
        pending = set(futures)
        while pending:
            _, pending = wait(pending, timeout=self._keep_seconds)
            if pending:
                self._extend_locks()
                keep()
        results: dict[str, Written | Exception] = {}
        for future, name in futures.items():
            error = future.exception()
            if isinstance(error, Exception):
                # of a foreign error's words, which may quote a row, as little as a dead letter has
                why = redact(str(error), numbers=not isinstance(error, ClaimXError))
                log.warning("flush failed", table=name, error=type(error).__name__, why=why)
                results[name] = error
            elif error is not None:
                raise error
            else:
                results[name] = future.result()
                self._metrics.add("flush_rows", len(changes[name]), table=name)
        return results

    def _write_table(self, name: str, changes: Sequence[Change], lock_wait: float) -> Written:
        self._take(name, lock_wait)
        try:
            started = self._now()
            written = self._lake.upsert(TABLES[name], changes, from_seconds(started))
            self._metrics.observe("flush_seconds", max(0.0, self._now() - started), table=name)
            return written
        finally:
            with self._lock:
                self._locked.discard(name)
            self._gates.unlock(f"table:{name}", self._holder)

    def _take(self, name: str, lock_wait: float) -> None:
        why = ""
        for _ in range(max(1, round(lock_wait / _LOCK_POLL_SECONDS))):
            try:
                taken = self._gates.lock(f"table:{name}", self._holder, LOCK_SECONDS) is not None
                why = "another writer is at it"
            except Unavailable as error:
                taken, why = False, str(error)
            if taken:
                with self._lock:
                    self._locked.add(name)
                return
            self._sleep(_LOCK_POLL_SECONDS)
        raise Unavailable(f"{name} was waited for {lock_wait:g} s: {why}")

    def _extend_locks(self) -> None:
        with self._lock:  # a table that is just being given back must not be taken again here
            for name in self._locked:
                with suppress(Unavailable):  # the lake is exact without
                    self._gates.lock(f"table:{name}", self._holder, LOCK_SECONDS)

    def _mark_known(self, changes: Iterable[Change], written: Written) -> None:
        """Tell the project checks which rows are committed, for as long as they are fresh."""
        bad = {id(change) for change, _ in written.refused}
        asked: dict[str, tuple[int, Values]] = {}
        for change in changes:
            if change.source is Source.ANSWER and change.enriched_at and id(change) not in bad:
                project_id = change.values["project_id"]
                before = asked.get(project_id)
                if before is None or change.enriched_at > before[0]:
                    asked[project_id] = (change.enriched_at, change.values)
        groups: dict[int, dict[str, str | None]] = defaultdict(dict)
        now = self._now()
        for project_id, (moment, values) in asked.items():
            age = max(0.0, now - moment / MICROS_PER_SECOND)
            groups[int(self._fresh_seconds - age)][project_id] = _short_name(values)
        for seconds, names in groups.items():
            if seconds > 0:
                self._gates.mark_known(names, float(seconds))


def _short_name(project: Values) -> str | None:
    """Return a project's name, none that would take Redis' room."""
    name: str | None = project.get(NAME)
    return name if name is None or len(name) <= _LONGEST_NAME else None


def _by_table(
    items: Iterable[Item],
) -> tuple[dict[str, list[Change]], dict[int, list[Item]]]:
    """
    Return the changes by table and, by the identity of a change, whose they are.

    What several items share is said once, by the newest of their events.
    """
    changes: dict[str, list[Change]] = defaultdict(list)
    owners: dict[int, list[Item]] = {}
    sharing: dict[int, tuple[SharedRows, list[Item]]] = {}
    for item in items:
        mine = [item]
        for change in item.changes:
            changes[change.table].append(change)
            owners[id(change)] = mine
        for rows in item.shared:
            sharing.setdefault(id(rows), (rows, []))[1].append(item)
    for rows, theirs in sharing.values():
        time, event_id = max(item.said_by for item in theirs)
        for change in rows.changes(event_id, time):
            changes[change.table].append(change)
            owners[id(change)] = theirs
    return dict(changes), owners
