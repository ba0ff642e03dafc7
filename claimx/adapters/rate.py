"""A process's part of a rate that all processes share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from claimx.domain.errors import CircuitOpen
from claimx.domain.ports.gates import Gates

_SHORTEST_PAUSE = 0.002


class RateLimit:
    """
    Calls wait their turn, first come first served, at *per_second* over all processes; 0 is off.

    Whoever waits longer than *patience* seconds gets CircuitOpen, which spends no attempt.
    """

    def __init__(
        self,
        gates: Gates,
        name: str,
        per_second: float,
        *,
        patience: float = 120.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._gates = gates
        self._name = name
        self._per_second = per_second
        self._patience = patience
        self._monotonic = monotonic
        self._loop: asyncio.AbstractEventLoop | None = None
        self._turn = asyncio.Lock()

    async def take(self) -> None:
        """Wait for one call's turn."""
        if self._per_second <= 0:
            return
        loop = asyncio.get_running_loop()
        if self._loop is not loop:  # a lock belongs to the loop that first waited for it
            self._loop, self._turn = loop, asyncio.Lock()
        try:
            async with asyncio.timeout(self._patience), self._turn:
                while True:
                    got, wait = self._gates.take_tokens(self._name, 1, self._per_second)
                    if got:
                        return
                    await asyncio.sleep(max(wait, _SHORTEST_PAUSE))
        except TimeoutError:
            raise CircuitOpen(
                f"the rate of {self._per_second:g} calls a second left no room", retry_after=5.0
            ) from None
