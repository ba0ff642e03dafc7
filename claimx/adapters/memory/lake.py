"""The nine tables in memory: the same rules, with a dict a table."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from claimx.adapters.memory.lake_audit import MemoryAudit
from claimx.domain.changes import Change, Values
from claimx.domain.columns import Table
from claimx.domain.errors import ClaimXError
from claimx.domain.ports.lake import Backlog, Folded, Written
from claimx.domain.refusal import refusal
from claimx.domain.tables import ATTACHMENTS, EVENTS, MEDIA
from claimx.domain.times import Micros, day_of
from claimx.domain.upsert import COMPLETED, Key, NamedBy, by_key, merge, named_by


class NoLargeTables:
    """A dict takes a change in one step, however large it is: nothing ever waits."""

    def backlog(self, table: Table) -> Backlog:
        """See `LargeTables.backlog`."""
        del table
        return Backlog()

    def fold(self, table: Table, go_on: Callable[[], bool]) -> Folded:
        """See `LargeTables.fold`."""
        del table, go_on
        return Folded(ended=True)


class MemoryLake:
    """
    A `Lake` for tests and demonstrations.

    *fail_next* holds errors by table: the next upsert of the table raises the first of them,
    and before anything is written. *strays* are rows beside those that the keys hold together, as
    only a fault puts them there.
    """

    def __init__(self) -> None:
        self.tables: dict[str, dict[Key, Values]] = {}
        self.names: dict[str, NamedBy] = {}
        self.versions: dict[str, int] = {}
        self.fail_next: dict[str, list[ClaimXError]] = {}
        self.strays: dict[str, list[Values]] = {}
        self.audit = MemoryAudit(self.rows)
        self.large = NoLargeTables()
        self._lock = threading.RLock()

    def ensure(self, table: Table) -> None:
        """Create the table if it is absent."""
        with self._lock:
            self.tables.setdefault(table.name, {})
            self.versions.setdefault(table.name, 0)

    def upsert(self, table: Table, changes: Sequence[Change], now: Micros) -> Written:
        """See `Lake.upsert`."""
        with self._lock:
            if self.fail_next.get(table.name):
                raise self.fail_next[table.name].pop(0)
            self.ensure(table)
            checked = [(change, refusal(table, change)) for change in changes]
            groups = by_key(table, (change for change, wrong in checked if wrong is None))
            for project_id, name in named_by(c for group in groups.values() for c in group).items():
                self.names[project_id] = max(name, self.names.get(project_id, name))
            inserted = updated = unchanged = 0
            stored = self.tables[table.name]
            for key, group in groups.items():
                before = stored.get(key)
                after = merge(table, before, group, now, self.names)
                stored[key] = after
                inserted += before is None
                updated += before is not None and after is not before
                unchanged += after is before
            self.versions[table.name] += bool(inserted or updated)
            return Written(
                inserted=inserted,
                updated=updated,
                unchanged=unchanged,
                version=self.versions[table.name],
                refused=tuple((change, wrong) for change, wrong in checked if wrong is not None),
            )

    def known_events(self, ids: Sequence[str], since: Micros, until: Micros) -> set[str]:
        """See `Lake.known_events`."""
        first, last = day_of(since), day_of(until)
        with self._lock:
            wanted = set(ids)
            return {
                row["event_id"]
                for row in self.rows(EVENTS)
                if row["event_id"] in wanted and first <= (row["event_date"] or "") <= last
            }

    def recent_events(self, since: Micros, until: Micros, limit: int) -> list[str]:
        """See `Lake.recent_events`."""
        hits = [
            (row["ingested_at"], row["event_id"])
            for row in self.rows(EVENTS)
            if row["ingested_at"] is not None and since <= row["ingested_at"] <= until
        ]
        return [event_id for _, event_id in sorted(hits, reverse=True)[:limit]]

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
        with self._lock:
            attached = {
                row["media_id"]
                for row in self.rows(ATTACHMENTS)
                if not failed_too or row["status"] == COMPLETED
            }
            found = [
                row
                for row in sorted(self.rows(MEDIA), key=lambda row: str(row["media_id"]))
                if row["media_id"] not in attached
                and row["downloadable"]
                and row["media_id"] > after
                and _within(row["last_enriched_at"], enriched_after, enriched_until)
            ]
        return found[:limit]

    def rows(self, table: Table) -> list[Values]:
        """See `Lake.rows`."""
        with self._lock:
            kept = [*self.tables.get(table.name, {}).values(), *self.strays.get(table.name, ())]
            return [dict(row) for row in kept]


def _within(time: Micros | None, after: Micros | None, until: Micros | None) -> bool:
    """Say whether a time lies between bounds that may be open; no time lies between all."""
    if time is None:
        return True
    return (after is None or time > after) and (until is None or time <= until)
