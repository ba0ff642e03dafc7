"""
A process's part of a concurrency bound that all processes share.

Calls take a slot before they start. The process leases slots from the gates as it needs them,
renews them while calls run, gives them back when it is idle, and sheds those above its fair share
while other processes wait, so it never has more calls in flight than slots held. The leases are
short, so that a killed process holds up nobody for long; a call whose slot cannot be renewed (no
gates for seconds) is cut off before another process may get the slot.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType

import structlog

from claimx.adapters.slot_waiters import Waiter, Waiters
from claimx.domain.errors import CircuitOpen
from claimx.domain.ports.gates import Gates

log = structlog.get_logger(__name__)

_LEASE_SECONDS = 10.5  # a slot is leased for 12 s; the rest covers the round trip
_RENEW_SECONDS = 3.0
_BALANCE_SECONDS = 0.25
_LINGER_SECONDS = 0.05  # an idle slot waits this long for the chunk's next call
_FIRST_POLL_SECONDS = 0.004
_LONGEST_POLL_SECONDS = 0.05


class SlotPool:
    """
    Slots of the gate *name*, at most *limit* over all processes; *holder* names this one.

    For one event loop at a time: between two uses nothing is held. Whoever waits longer than
    *patience* seconds gets CircuitOpen, which spends no attempt.
    """

    def __init__(
        self,
        gates: Gates,
        name: str,
        limit: int,
        holder: str,
        *,
        patience: float = 120.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._gates = gates
        self._name = name
        self._limit = limit
        self._holder = holder
        self._monotonic = monotonic
        self._busy: set[str] = set()
        self._idle: deque[tuple[str, float]] = deque()  # with the moment it became idle
        self._until: dict[str, float] = {}  # slot -> local end of its lease
        self._doubtful: set[str] = set()  # could not be renewed: good for the call that has it
        self._calls: dict[str, asyncio.Timeout] = {}
        self._returned: list[str] = []
        self._returning: asyncio.Handle | None = None
        self._waiters = Waiters(limit, patience, monotonic)
        self._share = limit
        self._filler: asyncio.Task[None] | None = None
        self._keeper: asyncio.Task[None] | None = None

    @property
    def in_flight(self) -> int:
        """Return how many slots are in use here."""
        return len(self._busy)

    def slot(self) -> Slot:
        """
        Return what holds one slot; entering raises CircuitOpen when none came free in time.

        What runs inside is cut off, with CircuitOpen too, when the slot's lease can't be kept.
        """
        return Slot(self)

    async def acquire(self, call: asyncio.Timeout) -> str:
        """Return a slot once there is one; *call* is rescheduled when it can't be kept."""
        token = None if self._waiters.line else self._take_idle()
        if token is None:
            token = await self._wait()
        self._calls[token] = call
        return token

    def release(self, token: str) -> None:
        """Give a slot that was acquired to the next here, or back."""
        del self._calls[token]
        self._pass_on(token)

    async def _wait(self) -> str:
        loop = asyncio.get_running_loop()
        mine = Waiter(loop.create_future(), self._monotonic() + self._waiters.patience)
        self._waiters.line.append(mine)
        if self._filler is None or self._filler.done() or self._filler.get_loop() is not loop:
            self._filler = loop.create_task(self._fill())
        try:
            return await mine.slot
        except asyncio.CancelledError:
            if mine.slot.done() and not mine.slot.cancelled() and not mine.slot.exception():
                self._pass_on(mine.slot.result())  # it was granted while we were being cancelled
            else:
                self._waiters.leave(mine)
            raise

    def _take_idle(self) -> str | None:
        while self._idle:
            token, _ = self._idle.pop()
            if self._good(token):
                self._busy.add(token)
                return token
            self._give_back([token])
        return None

    def _good(self, token: str) -> bool:
        return token not in self._doubtful and self._until[token] > self._monotonic()

    def _pass_on(self, token: str) -> None:
        self._busy.discard(token)
        held = len(self._busy) + len(self._idle) + 1
        if held > self._share or not self._good(token):
            self._give_back([token])
        elif self._waiters.serve(token):
            self._busy.add(token)
        else:
            self._idle.append((token, self._monotonic()))
        if not self._busy:
            # nothing may be running that would give them back later
            self._give_back([idle for idle, _ in self._idle])
            self._idle.clear()
            if self._keeper is not None:
                self._keeper.cancel()
                self._keeper = None
            if self._filler is not None and not self._waiters.left():
                self._filler.cancel()  # or the next one would wait for it to wake up
                self._filler = None

    def _give_back(self, tokens: list[str]) -> None:
        """Return slots: with all others that end in this turn of the loop, if it goes on at all."""
        for token in tokens:
            self._until.pop(token, None)
            self._doubtful.discard(token)
        self._returned += tokens
        if not self._busy:
            self._send_back()
        elif self._returned and self._returning is None:
            self._returning = asyncio.get_running_loop().call_soon(self._send_back)

    def _send_back(self) -> None:
        if self._returning is not None:
            self._returning.cancel()
            self._returning = None
        if self._returned:
            returned, self._returned = self._returned, []
            self._gates.free_slots(self._name, returned)

    async def _fill(self) -> None:
        try:
            await self._fill_up()
        except Exception as error:  # noqa: BLE001 - a fault of the gates is no reason to wait for ever
            log.warning("call slots cannot be had", error=type(error).__name__, why=str(error))
            self._waiters.fail(error)

    async def _fill_up(self) -> None:
        """
        Lease slots for those who wait, and end their wait when it takes too long.

        Asks ever less often, and rarely once there are some: those pass from call to call.
        """
        pause = _FIRST_POLL_SECONDS
        while wanted := self._waiters.left():
            asked = self._monotonic()
            got = self._gates.take_slots(self._name, wanted, self._limit, self._holder)
            for token in got:
                self._until[token] = asked + _LEASE_SECONDS
                if self._waiters.serve(token):
                    self._busy.add(token)
                else:
                    self._give_back([token])
            if got:
                self._keep()
            if self._waiters.line:
                if self._busy:  # the next slots come from calls that end here
                    pause = _LONGEST_POLL_SECONDS
                left = self._waiters.line[0].until - self._monotonic()
                await asyncio.sleep(min(pause, max(0.001, left)))
                pause = min(pause * 1.5, _LONGEST_POLL_SECONDS)

    def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        if self._keeper is None or self._keeper.done() or self._keeper.get_loop() is not loop:
            self._keeper = loop.create_task(self._upkeep())

    async def _upkeep(self) -> None:
        """Renew what is held, return what lies idle, learn how much is a fair share."""
        self._share = self._limit
        renew_at = self._monotonic() + _RENEW_SECONDS
        balance_at = 0.0
        while self._busy:
            await asyncio.sleep(_BALANCE_SECONDS if not self._idle else _LINGER_SECONDS)
            now = self._monotonic()
            if now >= balance_at:
                balance_at = now + _BALANCE_SECONDS
                self._share = max(1, self._gates.fair_share(self._name, self._limit, self._holder))
            spare = max(0, len(self._busy) + len(self._idle) - self._share)
            over: list[str] = []
            while self._idle and (spare > len(over) or now - self._idle[0][1] >= _LINGER_SECONDS):
                over.append(self._idle.popleft()[0])
            if over:
                self._give_back(over)
            if now >= renew_at:
                renew_at = now + _RENEW_SECONDS
                self._renew(now)
            self._cut_off(now)

    def _renew(self, now: float) -> None:
        """Extend the leases; a slot that could not be extended is not used for another call."""
        kept = set(self._gates.renew_slots(self._name, list(self._until)))
        self._doubtful = self._until.keys() - kept
        for token in kept & self._until.keys():
            self._until[token] = now + _LEASE_SECONDS

    def _cut_off(self, now: float) -> None:
        """End the calls whose slot may be another's from now on."""
        for token in [one for one in self._busy if self._until[one] <= now]:
            call = self._calls.get(token)
            if call is not None and call.when() is None:
                call.reschedule(0.0)


class Slot:
    """An asynchronous context that holds one slot of a pool, see `SlotPool.slot`."""

    def __init__(self, pool: SlotPool) -> None:
        self._pool = pool
        self._call = asyncio.timeout(None)
        self._token = ""

    async def __aenter__(self) -> None:
        """Wait for a slot."""
        self._token = await self._pool.acquire(self._call)
        await self._call.__aenter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the slot back."""
        try:
            await self._call.__aexit__(kind, error, trace)
        except TimeoutError:
            raise CircuitOpen("a call slot could not be kept", retry_after=1.0) from None
        finally:
            self._pool.release(self._token)
