"""The records that a lake writer holds: leased and buffered, its own until it settles them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import structlog

from claimx.domain.errors import ClaimXError
from claimx.domain.ports.ledger import Ledger
from claimx.services.flush import Item

log = structlog.get_logger(__name__)

T = TypeVar("T")

CHUNK = 500


class HeldItems:
    """
    Items under leases of *lease_seconds*, renewed at a third of that.

    *now* is the wall clock in epoch seconds. Dropping and losing items puts another list into
    `items`, so a flush may go on with the one that it began with.
    """

    def __init__(self, ledger: Ledger, now: Callable[[], float], lease_seconds: float) -> None:
        self.items: list[Item] = []
        self._rows: int | None = 0  # None: to be counted anew
        self._ledger = ledger
        self._now = now
        self._lease_seconds = lease_seconds
        self._renewed = now()

    def __len__(self) -> int:
        return len(self.items)

    @property
    def rows(self) -> int:
        """Rows to write; a record without any counts as one."""
        if self._rows is None:
            self._rows = _rows_of(self.items)
        return self._rows

    def add(self, items: Sequence[Item]) -> None:
        """Hold more."""
        self.items.extend(items)
        if self._rows is not None:
            self._rows += _rows_of(items)

    def drop(self, items: Sequence[Item]) -> None:
        """Hold these no longer."""
        gone = {id(item) for item in items}
        self.items = [item for item in self.items if id(item) not in gone]
        self._rows = None

    def keep_leases(self) -> None:
        """Renew all leases if it is time; drops what was lost. Raises Unavailable."""
        since = self._now() - self._renewed
        # a clock that was set back counts as late: renewing too often costs a round trip
        if self.items and not 0 <= since < self._lease_seconds / 3:
            self._renew()

    def keep_leases_quietly(self) -> None:
        """Renew as `keep_leases` does, in the midst of a flush, which goes on without."""
        try:
            self.keep_leases()
        except ClaimXError as error:  # the flush goes on: its rows are right whoever settles them
            log.warning("leases not renewed", error=type(error).__name__)

    def release(self) -> None:
        """Give everything back; what the ledger does not take stays held. Raises Unavailable."""
        for part in chunks(self.items):
            self._ledger.release([item.record for item in part])
            self.items = self.items[len(part) :]
            self._rows = None

    def _renew(self) -> None:
        kept: list[Item] = []
        for part in chunks(self.items):
            held = self._ledger.renew([item.record for item in part], self._lease_seconds)
            kept += [item for item in part if item.record.id in held]
        if len(kept) < len(self.items):
            log.warning("leases lost", count=len(self.items) - len(kept))
        self.items = kept
        self._rows = None
        self._renewed = self._now()


def _rows_of(items: Sequence[Item]) -> int:
    return sum(item.rows for item in items)


def chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """Cut *items* into what one step of the ledger takes."""
    for start in range(0, len(items), CHUNK):
        yield items[start : start + CHUNK]
