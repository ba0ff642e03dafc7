"""Those who wait for a slot, in the order in which they came and each for so long."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from claimx.domain.errors import CircuitOpen


@dataclass(slots=True, eq=False)
class Waiter:
    """Somebody who waits for a *slot*, *until* a moment of the monotonic clock."""

    slot: asyncio.Future[str]
    until: float


class Waiters:
    """
    Who waits for one of *limit* slots, in *line*; those who left may stand there still.

    Whoever waits longer than *patience* seconds gets CircuitOpen, which spends no attempt.
    """

    def __init__(self, limit: int, patience: float, monotonic: Callable[[], float]) -> None:
        self._limit = limit
        self.patience = patience
        self._monotonic = monotonic
        self.line: deque[Waiter] = deque()

    def leave(self, waiter: Waiter) -> None:
        """Take one out that was cancelled."""
        if waiter in self.line:  # a slot that came free meanwhile has passed it over
            self.line.remove(waiter)

    def serve(self, token: str) -> bool:
        """Give the slot to whoever has waited longest; False when nobody does."""
        while self.line:
            waiter = self.line.popleft()
            if not waiter.slot.done():
                waiter.slot.set_result(token)
                return True
        return False

    def left(self) -> int:
        """Return how many wait; who did for too long hears of it, and is none of them."""
        now = self._monotonic()
        while self.line and (self.line[0].until <= now or self.line[0].slot.done()):
            late = self.line.popleft().slot
            if not late.done():
                late.set_exception(
                    CircuitOpen(
                        f"none of {self._limit} call slots came free in {self.patience:.0f} s",
                        retry_after=5.0,
                    )
                )
        return sum(not waiter.slot.done() for waiter in self.line)

    def fail(self, error: Exception) -> None:
        """Let everybody hear of a fault."""
        while self.line:
            if not (waiter := self.line.popleft().slot).done():
                waiter.set_exception(error)
