"""What a page of the source becomes: rows nobody knows yet, stored as page records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar

from claimx.domain.cursors import Checkpoint, Mark
from claimx.domain.errors import Transient
from claimx.domain.events import Event
from claimx.domain.polling import bundles, moved
from claimx.domain.ports.source import SourceRow
from claimx.domain.records import Kind, NewRecord, Stage, event_record_id, page_record_id
from claimx.domain.times import Micros
from claimx.services.hinting import hint
from claimx.services.in_lake import InLake
from claimx.services.met import Met
from claimx.services.runtime import Runtime
from claimx.services.source_rows import Told, is_copy, page_of, read_source_row

_T = TypeVar("_T")

RECORD_ROWS = 2000  # a worker is through with these well within its lease
RECORD_BYTES = 4 * 1024 * 1024  # of rows as they were; an event is hardly longer than its row
PATIENCE_SECONDS = 60.0  # for pages of an earlier poll to be admitted
MOST_PAGES = 64  # more are what workers that stood still have left: new rows cannot wait for them
RECORDS_A_STEP = 8  # so that one step of the ledger carries at most 32 MiB


@dataclass(slots=True)
class Sifted:
    """
    A page's rows with their sizes that are new here, and those that were not, by who knew them.

    Of those that the ledger has seen, the record ids: it must still have when the page is stored.
    """

    fresh: list[tuple[Told, int]] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    malformed: int = 0
    doubled: int = 0
    in_lake: int = 0

    @property
    def known(self) -> int:
        """Return how many rows are duplicates."""
        return self.doubled + len(self.seen) + self.in_lake


def sift(
    runtime: Runtime,
    rows: Sequence[SourceRow],
    lake: InLake,
    *,
    met: Met | None = None,
) -> Sifted:
    """
    Drop the rows that are known already: within the page, to the ledger, to the lake.

    *met* holds the record ids of pages that may not be admitted yet, and gets those of this one:
    pages are admitted side by side, and of two rows with one id the first must stand.

    *lake* is asked only about events that the ledger has not seen.
    """
    found = Sifted()
    met = Met() if met is None else met
    first = _first_of_each(rows, found, met)
    ids = list(first)
    seen: set[str] = set()
    for part in _parts(ids, runtime.limits.ids_a_step):
        seen |= runtime.ledger.seen(part)
    found.seen = [record_id for record_id in ids if record_id in seen]
    unseen = [told for record_id, (told, _, _) in first.items() if record_id not in seen]
    in_lake = lake.of([told for told in unseen if isinstance(told, Event)])
    for record_id, (told, size, row) in first.items():
        if record_id in seen:
            continue
        if not isinstance(told, Event):
            found.malformed += 1
        elif told.event_id in in_lake:
            found.in_lake += 1
            continue
        found.fresh.append((told, size))
        met.add(record_id, row, told if isinstance(told, Event) else None, size)
    _count(runtime, found)
    return found


_Rows: TypeAlias = dict[str, tuple[Told, int, SourceRow]]


def _first_of_each(rows: Sequence[SourceRow], found: Sifted, met: Met) -> _Rows:
    """Return the first row of each record id that was not *met* before; counts the others."""
    first: _Rows = {}
    for row in rows:
        if met.doubles and (_is_copy_of_one(row, first) or met.has_copy_of(row)):
            found.doubled += 1
            continue
        record_id, told, size = read_source_row(row)
        if record_id in first or record_id in met:
            found.doubled += 1
            met.doubles = True
        else:
            first[record_id] = told, size, row
    return first


def _is_copy_of_one(row: SourceRow, first: _Rows) -> bool:
    event_id = row.get("event_id")
    one = first.get(event_record_id(event_id)) if type(event_id) is str else None
    return one is not None and isinstance(one[0], Event) and is_copy(row, one[2], one[0])


def store(
    runtime: Runtime,
    cursor: str,
    checkpoint: Checkpoint | None,
    page: Sifted,
    *,
    after: Micros,
    last: Micros,
    fence: int,
    marks: Sequence[Mark] = (),
) -> tuple[Checkpoint | None, int]:
    """
    Store a page's new rows as records and move the checkpoint to *last*, where the page ended.

    *marks* are what must be known once it has moved.

    Returns the new checkpoint and the number of records; None when another poller was faster.
    Raises Transient when the ledger no longer has seen what was left out for that: the page must be
    read again. A page too large for one step is stored in several, and only the last moves the
    checkpoint: a crash between them reads the page again, and what was stored is seen by then.
    """
    records = list(bundles(page.fresh, min(runtime.limits.poll_batch, RECORD_ROWS), RECORD_BYTES))
    checks, steps = _parts(page.seen, runtime.limits.ids_a_step), _parts(records, RECORDS_A_STEP)
    # the last check goes with the first records, so all is checked once something is stored; a copy
    # that is put back between two steps fails the next one
    checks, steps = checks + [[]] * (len(steps) - 1), [[]] * (len(checks) - 1) + steps
    ids: list[str] = []
    for number, (step, left_out) in enumerate(zip(steps, checks, strict=True), start=1):
        version = checkpoint.version if checkpoint else 0
        pages = [
            NewRecord(
                page_record_id(f"{cursor}:{version + 1}:{index}"),
                Kind.PAGE,
                Stage.INGEST,
                page_of(bundle),
                runtime.new_trace(),
            )
            for index, bundle in enumerate(step)
        ]
        before, target = checkpoint, moved(checkpoint, last if number >= len(steps) else after)
        checkpoint = runtime.ledger.store_page(
            cursor, before, target, pages, fence, marks, left_out
        )
        ids += [page.id for page in pages] if checkpoint else []
        if checkpoint is None:
            if left_out and runtime.ledger.checkpoint(cursor) == before:
                raise Transient(
                    "the ledger no longer knows events that it had seen; it is asked anew"
                )
            break
    if ids:
        hint(runtime, Stage.INGEST, ids)
    return checkpoint, len(ids)


def pages_wait(runtime: Runtime, cursor: str) -> bool:
    """
    Say whether pages that *cursor* has stored are not admitted yet.

    What they hold is not seen yet, so it would be stored again, and a later row could overtake
    an earlier one of the same id. Very many pages, or such as have lain for long, hold up nobody.
    """
    ages = runtime.ledger.waiting_pages(cursor, MOST_PAGES + 1)
    return 0 < len(ages) <= MOST_PAGES and min(ages) < PATIENCE_SECONDS


def _parts(whole: list[_T], most: int) -> list[list[_T]]:
    """Return *whole* in parts, one of them at least."""
    return [whole[at : at + most] for at in range(0, len(whole), most)] or [[]]


def _count(runtime: Runtime, found: Sifted) -> None:
    layers = {"page": found.doubled, "seen": len(found.seen), "lake": found.in_lake}
    for layer, count in layers.items():
        if count:
            runtime.metrics.add("duplicates", count, layer=layer)
