"""How much work is in flight, and waiting until there is room for more."""

from __future__ import annotations

from collections.abc import Callable

from claimx.domain.records import Kind
from claimx.services.pages import RECORD_ROWS
from claimx.services.runtime import Runtime

PAUSE_SECONDS = 5.0  # well within the leases of those who wait


class Pressure:
    """How much work is under way, rows in page records included; two numbers from the ledger."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._waiting = self._count_pages()

    def in_flight(self) -> int:
        """Return the active events and media, and about how many rows wait to become such."""
        return self._runtime.ledger.active() + self._waiting

    def stored(self, rows: int) -> None:
        """Note rows that went into page records."""
        self._waiting += rows

    def too_high(self, limit: int) -> bool:
        """Say whether *limit* is reached; looks closer before it says yes."""
        if self.in_flight() < limit:
            return False
        self._waiting = self._count_pages()
        return self.in_flight() >= limit

    def over(self, limit: int) -> int:
        """Return how much is in flight where *limit* is reached, 0 where it is not."""
        return self.in_flight() if self.too_high(limit) else 0

    def _count_pages(self) -> int:
        return rows_in(self._runtime, self._runtime.ledger.active(Kind.PAGE))


def rows_in(runtime: Runtime, pages: int) -> int:
    """Return how many rows so many page records hold at the most."""
    return pages * min(runtime.limits.poll_batch, RECORD_ROWS)


def room_comes(
    over: Callable[[], int], pause: Callable[[int], None], patience_seconds: float
) -> bool:
    """
    Wait until *over*, which tells what is in flight or 0 where there is room, tells 0.

    *pause* is told the same, and waits for `PAUSE_SECONDS`. False when it has not become less for
    *patience_seconds*: then the workers stand still.
    """
    waited, least = 0.0, float("inf")
    while held := over():
        if held < least:
            waited, least = 0.0, held
        if waited >= patience_seconds:
            return False
        pause(held)
        waited += PAUSE_SECONDS
    return True
