"""
A lease as its holder has it: taken, extended and given back; and how a Redis that is away is met.

A lease that another has is lost at once. A Redis that does not answer says nothing of whose it is:
it restarts, or another takes its place. Work that goes on for hours waits for it, here alone; what
the next run does just as well ends.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import structlog

from claimx.domain.errors import Unavailable
from claimx.domain.ports.gates import Gates

log = structlog.get_logger(__name__)

_T = TypeVar("_T")

AWAY_SECONDS = 120.0
"""How long a Redis that is away is waited for: it loads what it held, or another is chosen."""

LONGEST_PAUSE_SECONDS = 5.0


class Lease:
    """
    The lease *name* for *seconds*, as *holder* has it.

    *fence* is its number, greater each time that it is taken, and 0 before the first.
    """

    def __init__(self, gates: Gates, name: str, holder: str, seconds: float) -> None:
        self.name = name
        self.seconds = seconds
        self.fence = 0
        self._gates = gates
        self._holder = holder

    def take(self) -> bool:
        """Take or extend it; False when it is another's. Raises Unavailable as the gates do."""
        try:
            fence = self._gates.lock(self.name, self._holder, self.seconds)
        except Unavailable:
            if not self.fence:
                # ours all the same where only the answer was lost, and who got none does no work
                self.give_back()
            raise
        self.fence = max(self.fence, fence or 0)
        return fence is not None

    def keep(self, sleep: Callable[[float], None]) -> bool:
        """Do the same, but `outlast` a Redis that is away."""
        return outlast(self.take, sleep)

    def give_back(self) -> None:
        """Give it back if it is still ours."""
        self._gates.unlock(self.name, self._holder)


def outlast(ask: Callable[[], _T], sleep: Callable[[float], None]) -> _T:
    """
    Return what *ask* does; while Redis is away, ask again every few seconds.

    Raises its Unavailable once that has taken `AWAY_SECONDS`: a Redis that stands still may hold
    each question for long.
    """
    pause, waited, told = 1.0, 0.0, False
    while True:
        asked = time.monotonic()
        try:
            return ask()
        except Unavailable as error:
            waited += time.monotonic() - asked
            if waited >= AWAY_SECONDS:
                raise Unavailable(f"{error} (waited for {waited:.0f} s)") from error
            if not told:
                log.warning("waiting for Redis", reason=str(error), at_most=AWAY_SECONDS)
            told = True
        pause = min(pause, AWAY_SECONDS - waited)
        sleep(pause)
        waited += pause
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
