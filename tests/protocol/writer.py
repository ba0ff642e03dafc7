"""A lake writer in steps: read, claim, one table after another, settle. It may die between any."""

from __future__ import annotations

from dataclasses import dataclass

from ledger_rig import BROKEN, DAY, FAILURE

from claimx.domain.changes import Change
from claimx.domain.codec import decode_changes
from claimx.domain.columns import Table
from claimx.domain.errors import Unavailable
from claimx.domain.records import Record, Stage, State, Waited
from claimx.domain.tables import ATTACHMENTS, EVENTS, MEDIA
from claimx.domain.times import from_seconds
from protocol.world import LEASE_SECONDS, World

LONGEST_FLUSH_SECONDS = 300.0  # well below what recovery waits for writers that lived on
ORDER = (MEDIA, ATTACHMENTS, EVENTS)


@dataclass(slots=True, eq=False)
class Held:
    """A record with its entry, and what became of it so far."""

    entry: str
    record: Record
    changes: list[Change]
    refused: bool = False
    failed: bool = False


class Writer:
    """
    One writer; it keeps what it holds whatever becomes of its leases, as one that is slow does.

    Only before it begins a table does it look after them, when they are older than a third:
    so does the real one, and a flush that has begun goes on, though not for ever.
    """

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.pairs: list[tuple[str, str]] = []
        self.held: list[Held] = []
        self.next_table = 0
        self.renewed = 0.0

    def __repr__(self) -> str:
        return f"{self.name} holding {[one.record.id for one in self.held]}"

    @property
    def unwritten(self) -> bool:
        """Whether it holds what it has not yet written in full."""
        return bool(self.held) and self.next_table < len(ORDER)

    @property
    def written(self) -> bool:
        """Whether it has only to settle."""
        return self.next_table == len(ORDER)

    def read(self, count: int) -> None:
        """Take entries of the stream."""
        self.pairs += self.world.ledger.read_rows(self.name, count, 0.0)

    def claim(self) -> None:
        """Claim what the entries name, and forget those that lead to nothing."""
        entries: dict[str, list[str]] = {}
        for entry, record_id in self.pairs:
            entries.setdefault(record_id, []).append(entry)
        self.pairs = []
        for record in self.world.ledger.claim(Stage.WRITE, list(entries), LEASE_SECONDS):
            entry = entries[record.id].pop(0)
            self.held.append(Held(entry, record, decode_changes(record.rows)))
        self.renewed = self.world.clock.now if self.next_table == 0 else self.renewed
        stale = [entry for others in entries.values() for entry in others]
        self.world.ledger.forget_entries(stale)

    def commit(self, failing: str = "") -> bool:
        """Write the next table; False when all are written."""
        if self.next_table >= len(ORDER):
            return False
        if self.next_table == 0:
            self._keep_leases()
        elif self.world.clock.now - self.renewed > LONGEST_FLUSH_SECONDS:
            self.crash()
            return False
        self._write(ORDER[self.next_table], failing)
        self.next_table += 1
        return True

    def settle(self) -> None:
        """Settle what is written in full, bury what was refused, let wait what failed."""
        if self.next_table < len(ORDER):
            return
        ledger = self.world.ledger
        done = [one for one in self.held if not one.refused and not one.failed]
        ledger.finish([(one.entry, one.record) for one in done], DAY)
        refused = [(one.entry, one.record) for one in self.held if one.refused]
        ledger.fail_rows(refused, BROKEN)
        failed = [one for one in self.held if one.failed and not one.refused]
        waiting = [one.record for one in failed if one.record.state is not State.DEAD]
        ledger.settle([Waited(record, 30.0, FAILURE) for record in waiting])
        ledger.release([one.record for one in failed if one.record.state is State.DEAD])
        ledger.forget_entries([one.entry for one in failed])
        self.crash()

    def write_all(self) -> None:
        """Do what a healthy writer does, from where it stands to the end."""
        if self.next_table == 0:
            self.read(1000)
            self.claim()
        while self.commit():
            pass
        self.settle()

    def crash(self) -> None:
        """Hold nothing."""
        self.pairs, self.held, self.next_table = [], [], 0

    def _keep_leases(self) -> None:
        if self.held and self.world.clock.now - self.renewed >= LEASE_SECONDS / 3:
            records = [one.record for one in self.held]
            kept = self.world.ledger.renew(records, LEASE_SECONDS)
            self.held = [one for one in self.held if one.record.id in kept]
            self.renewed = self.world.clock.now

    def _write(self, table: Table, failing: str) -> None:
        open_ = [one for one in self.held if not one.refused and not one.failed]
        owners = {
            id(change): one for one in open_ for change in one.changes if change.table == table.name
        }
        changes = [c for one in open_ for c in one.changes if id(c) in owners]
        if not changes:
            return
        self.world.lake.failing = failing
        try:
            written = self.world.lake.upsert(table, changes, from_seconds(self.world.clock.now))
        except Unavailable:
            for change in changes:
                owners[id(change)].failed = True
            return
        for change, _ in written.refused:
            owners[id(change)].refused = True
