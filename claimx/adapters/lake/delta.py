"""The nine tables as Delta tables: the real `Lake`."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError

from claimx.adapters.credentials import no_access
from claimx.adapters.lake.antijoin import Take
from claimx.adapters.lake.audit import DeltaAudit
from claimx.adapters.lake.change_log import SUFFIX
from claimx.adapters.lake.commit import Committer, Plan
from claimx.adapters.lake.creation import ensure_table
from claimx.adapters.lake.deciding import Deciding
from claimx.adapters.lake.files import actions_of
from claimx.adapters.lake.handles import Conflict, Handle, Storage, read_newest
from claimx.adapters.lake.inspection import Inspection
from claimx.adapters.lake.large import LargeTables
from claimx.adapters.lake.layout import Sizes
from claimx.adapters.lake.names import NAMES, Names
from claimx.adapters.lake.nearness import near
from claimx.adapters.lake.scan import Span, in_span, one_of, scan, values
from claimx.adapters.lake.schema import UnfitError, from_arrow, refusals
from claimx.adapters.lake.unattached import unattached_ids
from claimx.adapters.lake.upkeep import Maintained, maintain_table
from claimx.domain.audit import time_column
from claimx.domain.changes import Change, Values
from claimx.domain.errors import ClaimXError, Unavailable
from claimx.domain.ports.lake import Written
from claimx.domain.refusal import ill_formed
from claimx.domain.tables import EVENTS, MEDIA, PROJECTS, Table
from claimx.domain.times import Micros, day_of
from claimx.domain.upsert import (
    Key,
    by_key,
)

T = TypeVar("T")


class DeltaLake:
    """
    The `Lake` on deltalake.

    *paths* maps a table's name to its folder or URI, *storage* gives the options for a URI at the
    moment of opening it, *make_container* creates what URIs lie in (see `Handle`). Never use it in
    a process that forks later: deltalake's threads do not survive that, so build it in the process
    that writes or reads. Threads may share it; they take turns at a table.
    """

    def __init__(
        self,
        paths: Mapping[str, str],
        storage: Storage = no_access,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        chance: Callable[[], float] = random.random,
        make_container: Callable[[str], None] | None = None,
        spill_folder: Path | None = None,
        sizes: Sizes | None = None,
    ) -> None:
        def handle(path: str) -> Handle:
            return Handle(path, storage, clock, make_container)

        self._handles = {name: handle(path) for name, path in paths.items()}
        self._committer = Committer(sleep, chance)
        self._ensured: set[str] = set()
        self._clock = clock
        self._names: Names | None = None
        if PROJECTS.name in paths:
            guard = handle(f"{paths[PROJECTS.name].rstrip('/')}/_names")
            self._names = Names(guard, self._committer, self._ensure)
            self._handles[NAMES.name] = guard
        self._deciding = Deciding(self._names)
        sizes = sizes or Sizes()
        self.large = LargeTables(
            {name: path.rstrip("/") for name, path in paths.items()},
            handle,
            self._committer,
            self._deciding.of,
            ensure=self._ensure,
            clock=clock,
            spill_folder=spill_folder or Path(tempfile.gettempdir()) / "claimx-lake",
            sizes=sizes,
        )
        self.inspection = Inspection(self._handles, self.large.backlog, sizes)
        self.audit = DeltaAudit(
            self._read,
            self._read_ids,
            self._now,
            stored=self._read_stored_ids,
            waiting=self.large.read_ids,
        )

    def ensure(self, table: Table) -> None:
        """See `Lake.ensure`; also adds columns that were declared later. Raises NotAllowed."""
        handle = self._handles[table.name]
        with handle.lock:
            self._ensure(handle, table)

    def upsert(self, table: Table, changes: Sequence[Change], now: Micros) -> Written:
        """See `Lake.upsert`."""
        started = self._clock()
        refused: list[tuple[Change, str]] = []
        good: list[Change] = []
        for change in changes:
            reason = ill_formed(table, change)
            refused.extend([(change, reason)] if reason else [])
            good.extend([] if reason else [change])
        try:
            plan, version = self._write(table, good, now)
        except UnfitError:
            found = refusals(table, good)
            bad = {id(change) for change, _ in found}
            refused += found
            plan, version = self._write(table, [c for c in good if id(c) not in bad], now)
        return Written(
            inserted=len(plan.inserted),
            updated=len(plan.updated),
            unchanged=plan.unchanged,
            logged=plan.logged,
            version=version,
            seconds=self._clock() - started,
            refused=tuple(refused),
        )

    def known_events(self, ids: Sequence[str], since: Micros, until: Micros) -> set[str]:
        """See `Lake.known_events`; a table that is not there knows none."""
        if not ids:
            return set()
        condition = one_of("event_id", ids)
        found = self._scan(EVENTS, ["event_id"], condition, _days(since, until))
        return (
            set() if found is None else {str(one) for one in found.column("event_id").to_pylist()}
        )

    def recent_events(self, since: Micros, until: Micros, limit: int) -> list[str]:
        """See `Lake.recent_events`."""
        moment = pc.field("ingested_at")
        zone = pa.timestamp("us", tz="UTC")
        condition = (moment >= pa.scalar(since, zone)) & (moment <= pa.scalar(until, zone))
        span = Span("ingested_at", since - 1, until)
        found = self._scan(EVENTS, ["event_id", "ingested_at"], condition, span=span)
        if found is None:
            return []
        newest = found.sort_by([("ingested_at", "descending"), ("event_id", "descending")])
        return [str(one) for one in newest.slice(0, limit).column("event_id").to_pylist()]

    def unattached_media(
        self,
        limit: int,
        after: str = "",
        enriched_until: Micros | None = None,
        *,
        enriched_after: Micros | None = None,
        failed_too: bool = False,
    ) -> list[Values]:
        """See `Lake.unattached_media`; tables that are not there have no rows."""
        span = Span.over(time_column(MEDIA), enriched_after, enriched_until)
        found: list[Values] = []
        while True:
            wanted = limit - len(found)
            ids = unattached_ids(self._read_ids, wanted, after, span, failed_too=failed_too)
            rows = self._now(MEDIA, one_of("media_id", ids), {"media_id": ids}) if ids else []
            # what waits in a log may have moved a row out of the span, or have found a link
            found += [row for row in rows if row["downloadable"] and in_span(row, span)]
            if len(ids) < wanted or len(found) >= limit:
                return sorted(found, key=lambda row: str(row["media_id"]))
            after = ids[-1]

    def rows(self, table: Table) -> list[Values]:
        """See `Lake.rows`."""
        return self._now(table)

    def maintain(self, table: Table, *, full: bool = False) -> Maintained:
        """
        Compact, remove replaced files and expired logs; see `claimx.adapters.lake.upkeep`.

        Never raises for what the lake refuses: that is told in the result's problems.
        """
        handle = self._handles[table.name]
        done = maintain_table(handle, table, full=full, folded=self._is_large(table))
        if table is PROJECTS:
            done += maintain_table(self._handles[NAMES.name], NAMES, full=full)
        return done + self.large.maintain(table, full=full)

    def _is_large(self, table: Table) -> bool:
        handle = self._handles[table.name]
        with handle.lock:
            try:
                return self.large.takes(table, handle)
            except (ClaimXError, Conflict, TableNotFoundError):  # told by what is done next
                return False

    def _ensure(self, handle: Handle, table: Table) -> None:
        if table.name not in self._ensured:
            ensure_table(handle, table)
            self._ensured.add(table.name)

    def _write(self, table: Table, changes: Sequence[Change], now: Micros) -> tuple[Plan, int]:
        groups = by_key(table, changes)
        if not groups:
            return Plan(), -1
        handle = self._handles[table.name]
        with handle.lock:
            try:
                return self._commit(handle, table, groups, now)
            except TableNotFoundError:  # somebody removed it
                self._ensured -= {table.name, NAMES.name, f"{table.name}{SUFFIX}"}
                self.large.forget([table.name])
                handle.drop()
            try:
                return self._commit(handle, table, groups, now)
            except TableNotFoundError as error:
                raise Unavailable(f"{table.name}: the table keeps vanishing") from error

    def _commit(
        self, handle: Handle, table: Table, groups: Mapping[Key, list[Change]], now: Micros
    ) -> tuple[Plan, int]:
        self._ensure(handle, table)
        changes = [change for group in groups.values() for change in group]
        if self.large.takes(table, handle):
            return Plan(logged=len(changes)), self.large.append(table, changes, now)
        decide = self._deciding.of(table, {key: {now: said} for key, said in groups.items()})
        choose = partial(_near, changes=changes) if table is EVENTS else None
        return self._committer.commit(handle, table, list(groups), decide, choose)

    def _now(
        self,
        table: Table,
        condition: Any = None,
        keys: Mapping[str, Sequence[str]] | None = None,
    ) -> list[Values]:
        """
        Return the rows as they are when all that waits in the log is taken in.

        The log is read before the table: what is folded in between is in both, which is right.
        """
        said = self.large.said(table, condition, keys)
        found = self._scan(table, None, condition, keys=keys)
        return self._deciding.now(table, said, [] if found is None else from_arrow(table, found))

    def _scan(
        self,
        table: Table,
        columns: Sequence[str] | None = None,
        condition: Any = None,
        days: Collection[date] = (),
        keys: Mapping[str, Sequence[str]] | None = None,
        span: Span | None = None,
    ) -> pa.Table | None:
        def read(snapshot: DeltaTable) -> pa.Table:
            return scan(
                snapshot,
                table,
                columns=columns,
                condition=condition,
                keys=keys,
                partitions=days,
                span=span,
            )

        return self._read(table, read)

    def _read_ids(self, table: Table, condition: Any, take: Take, span: Span | None = None) -> None:
        """See `claimx.adapters.lake.antijoin.Read`; with those that wait in a log."""
        self.large.read_ids(table, condition, take, span)
        self._read_stored_ids(table, condition, take, span)

    def _read_stored_ids(
        self, table: Table, condition: Any, take: Take, span: Span | None = None
    ) -> None:
        if span is not None:
            condition = span.condition if condition is None else condition & span.condition

        def read(snapshot: DeltaTable) -> None:
            take(values(snapshot, table, table.key[0], condition, span))

        self._read(table, read)

    def _read(self, table: Table, read: Callable[[DeltaTable], T]) -> T | None:
        """Return what *read* makes of the newest version, None when there is no table."""
        return read_newest(table.name, self._handles[table.name], read)


def _near(snapshot: DeltaTable, changes: Sequence[Change]) -> Collection[str]:
    """Return the files of ``claimx_events`` that may hold one of these events already."""
    moments = {change.values.get("ingested_at") or change.event_time for change in changes}
    return near(actions_of(snapshot), "ingested_at", sorted(moments))


def _days(since: Micros, until: Micros) -> set[date]:
    first, last = day_of(since), day_of(until)
    return {first + timedelta(days=offset) for offset in range((last - first).days + 1)}
