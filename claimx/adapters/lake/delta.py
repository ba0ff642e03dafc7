"""The nine tables as Delta tables: the real `Lake`."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from deltalake.exceptions import TableNotFoundError

from claimx.adapters.credentials import no_access
from claimx.adapters.lake.audit import DeltaAudit
from claimx.adapters.lake.change_log import SUFFIX
from claimx.adapters.lake.commit import Committer
from claimx.adapters.lake.creation import ensure_table
from claimx.adapters.lake.deciding import Deciding
from claimx.adapters.lake.handles import ColumnsGone, Conflict, Handle, Storage
from claimx.adapters.lake.inspection import Inspection
from claimx.adapters.lake.large import LargeTables
from claimx.adapters.lake.layout import Sizes
from claimx.adapters.lake.names import NAMES, Names
from claimx.adapters.lake.nearness import near
from claimx.adapters.lake.plan import Plan
from claimx.adapters.lake.reading import Reading
from claimx.adapters.lake.schema import UnfitError, refusals
from claimx.adapters.lake.upkeep import Maintained, maintain_table
from claimx.domain.changes import Change, Values
from claimx.domain.columns import Table
from claimx.domain.errors import ClaimXError, Unavailable
from claimx.domain.ports.lake import Written
from claimx.domain.refusal import sorted_out
from claimx.domain.tables import EVENTS, PROJECTS
from claimx.domain.times import Micros
from claimx.domain.upsert import (
    Key,
    by_key,
)


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
        self._reading = Reading(self._handles, self.large, self._deciding)
        self.audit = DeltaAudit(
            self._reading.read,
            self._reading.read_ids,
            self._reading.now,
            stored=self._reading.read_stored_ids,
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
        groups, refused = sorted_out(table, changes)
        try:
            plan, version = self._write(table, groups, now)
        except (ClaimXError, UnfitError, TypeError, ValueError, OverflowError) as error:
            # a value of another type than its column's may fail anywhere: rows are compared first
            unfit = refusals(table, changes)
            if len(unfit) == len(refused):
                if isinstance(error, UnfitError):
                    raise Unavailable(f"{table.name}: its rows cannot be stored") from error
                raise
            refused = unfit
            bad = {id(change) for change, _ in refused}
            groups = by_key(table, (change for change in changes if id(change) not in bad))
            plan, version = self._write(table, groups, now)
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
        """See `Lake.known_events`."""
        return self._reading.known_events(ids, since, until)

    def recent_events(self, since: Micros, until: Micros, limit: int) -> list[str]:
        """See `Lake.recent_events`."""
        return self._reading.recent_events(since, until, limit)

    def unattached_media(
        self,
        limit: int,
        after: str = "",
        enriched_until: Micros | None = None,
        *,
        enriched_after: Micros | None = None,
        failed_too: bool = False,
    ) -> list[Values]:
        """See `Lake.unattached_media`."""
        return self._reading.unattached_media(
            limit, after, enriched_until, enriched_after=enriched_after, failed_too=failed_too
        )

    def rows(self, table: Table) -> list[Values]:
        """See `Lake.rows`."""
        return self._reading.now(table)

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
        """Say whether a table is folded; yes as well when nobody can tell, so that it is left."""
        handle = self._handles[table.name]
        with handle.lock:
            try:
                return self.large.takes(table, handle)
            except TableNotFoundError:  # told by what is done next
                return False
            except (ClaimXError, Conflict):
                return True

    def _ensure(self, handle: Handle, table: Table) -> None:
        if table.name not in self._ensured:
            ensure_table(handle, table)
            self._ensured.add(table.name)

    def _write(
        self, table: Table, groups: Mapping[Key, list[Change]], now: Micros
    ) -> tuple[Plan, int]:
        if not groups:
            return Plan(), -1
        handle = self._handles[table.name]
        with handle.lock:
            try:
                return self._commit(handle, table, groups, now)
            except (ColumnsGone, TableNotFoundError):  # somebody removed it, or a part
                self._ensured -= {table.name, NAMES.name, f"{table.name}{SUFFIX}"}
                self.large.forget([table.name])
                handle.drop()
                self._reopen_names()
            except Unavailable:  # maybe others made the tables anew: names tell nothing of it
                self._reopen_names()
                raise
            try:
                return self._commit(handle, table, groups, now)
            except (ColumnsGone, TableNotFoundError) as error:
                raise Unavailable(f"{table.name}: the table keeps vanishing") from error

    def _reopen_names(self) -> None:
        if self._names:
            self._names.reopen()

    def _commit(
        self, handle: Handle, table: Table, groups: Mapping[Key, list[Change]], now: Micros
    ) -> tuple[Plan, int]:
        self._ensure(handle, table)
        if self.large.takes(table, handle):
            changes = list(chain.from_iterable(groups.values()))
            return Plan(logged=len(changes)), self.large.append(table, changes, now)
        decide = self._deciding.of(table, {key: {now: said} for key, said in groups.items()})
        choose = partial(_near, groups=groups) if table is EVENTS else None
        return self._committer.commit(handle, table, list(groups), decide, choose)


def _near(
    actions: Sequence[Mapping[str, Any]], groups: Mapping[Key, list[Change]]
) -> Collection[str]:
    """Return the files of ``claimx_events`` that may hold one of these events already."""
    changes = chain.from_iterable(groups.values())
    moments = {change.values.get("ingested_at") or change.event_time for change in changes}
    return near(actions, "ingested_at", sorted(moments))
