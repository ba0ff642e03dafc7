"""
A chunk of claimed records worked on side by side in one event loop.

Every record is settled by itself and soon after it is done, so a slow one holds up nobody; leases
are renewed while the chunk runs, and whatever is unfinished when it must end is given back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence

import structlog

from claimx.domain.errors import ClaimXError
from claimx.domain.records import Outcome, Record, Stage
from claimx.services.at_work import AT_WORK
from claimx.services.chunk_account import Account, Counts
from claimx.services.hinting import ChunkHints
from claimx.services.runtime import Runtime
from claimx.services.settle import outcome_of

log = structlog.get_logger(__name__)

SETTLE_SECONDS = 0.1
SETTLE_AT_ONCE = 200
SETTLE_TRIES = 5
BOUND_SECONDS = 240.0  # well below the task's soft time limit
WIND_UP_SECONDS = 5.0  # for what runs when the process is told to end; hosts kill after 25 to 30


async def claim(runtime: Runtime, stage: Stage, ids: Sequence[str]) -> list[Record]:
    """Lease those of *ids* that *stage* may work on now; none in a process that is to end."""
    if runtime.stopping():
        return []
    unique = list(dict.fromkeys(ids))
    return await asyncio.to_thread(
        runtime.ledger.claim, stage, unique, runtime.limits.lease_seconds
    )


class Chunk:
    """
    One run over claimed records of one stage.

    *work* turns a record into its outcome; whatever it raises is judged by the retry policy.
    At most *concurrency* records are worked on at a time; after *bound_seconds* the unfinished
    ones are given back. When the process is to end, nothing is begun any more, and what runs has
    `WIND_UP_SECONDS`. A record whose lease was lost is dropped in silence. *settled* gets each
    outcome that the ledger has taken: whoever counts before may count the same work again.
    """

    def __init__(
        self,
        runtime: Runtime,
        stage: Stage,
        work: Callable[[Record], Awaitable[Outcome]],
        *,
        concurrency: int,
        bound_seconds: float = BOUND_SECONDS,
        settled: Callable[[Outcome], None] = lambda _: None,
    ) -> None:
        self._settled = settled
        self._runtime = runtime
        self._stage = stage
        self._work = work
        self._concurrency = concurrency
        self._bound = bound_seconds
        self._turns: list[asyncio.Task[None]] = []
        self._at_work: dict[str, asyncio.Task[None]] = {}
        self._open: dict[str, Record] = {}
        self._done: list[Outcome] = []
        self._ledger_turn = asyncio.Lock()
        self._hints = ChunkHints(runtime)
        self._account = Account(stage, runtime.metrics)
        self.counts = self._account.counts

    async def run(self, records: Sequence[Record]) -> Counts:
        """
        Work on *records* until all are settled, time is up or the caller is cancelled.

        Raises Unavailable when the ledger takes no outcomes; their leases then end by themselves.
        """
        if not records:
            return self.counts
        loop = asyncio.get_running_loop()
        self._open = {record.id: record for record in records}
        left = iter(records)
        turns = min(self._concurrency, len(records))
        self._turns = [loop.create_task(self._work_through(left)) for _ in range(turns)]
        keeper = loop.create_task(self._keep_leases())
        deadline, winding_up = loop.time() + self._bound, False
        try:
            pending = set(self._turns)
            while pending and loop.time() < deadline:
                _, pending = await asyncio.wait(pending, timeout=SETTLE_SECONDS)
                await self._settle()
                self._hints.send_in_time()
                if not winding_up and self._runtime.stopping():
                    winding_up = True
                    deadline = min(deadline, loop.time() + WIND_UP_SECONDS)
        finally:
            await self._end(keeper)
        self._account.tell()
        return self.counts

    async def _work_through(self, left: Iterator[Record]) -> None:
        """Work on one record after the other of those that nobody has begun."""
        turn: asyncio.Task[None] = asyncio.current_task()  # type: ignore[assignment]  # it is one
        for record in left:
            if self._runtime.stopping():
                return  # given back at the end, untouched
            if record.id not in self._open:  # lost before its turn came
                continue
            AT_WORK.set(record)
            self._at_work[record.id] = turn
            try:
                outcome = await self._work(record)
            except asyncio.CancelledError:
                # its lease was lost, which says nothing of the next; or the chunk is to end
                if record.id in self._open or turn.uncancel():
                    del turn  # it keeps how it was cancelled, and so this frame and what it calls
                    raise
                continue
            except Exception as error:  # noqa: BLE001 - the policy judges what nobody classified
                outcome = outcome_of(record, error, self._runtime)
            finally:
                del self._at_work[record.id]
            self._done.append(outcome)

    async def _end(self, keeper: asyncio.Task[None]) -> None:
        """Stop what runs, settle what is done, give back the rest."""
        running = [turn for turn in self._turns if not turn.done()]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        self._turns.clear()  # as above
        try:
            while self._done:
                await self._settle()
            if unfinished := list(self._open.values()):
                await asyncio.to_thread(self._runtime.ledger.release, unfinished)
                self.counts.released += len(unfinished)
                log.info("records given back", stage=self._stage.value, count=len(unfinished))
        finally:
            keeper.cancel()
            await asyncio.gather(keeper, self._hints.close(), return_exceptions=True)

    async def _keep_leases(self) -> None:
        """Renew every third of the lease; stop the work on records that are no longer ours."""
        lease = self._runtime.limits.lease_seconds
        while True:
            await asyncio.sleep(lease / 3)
            held = list(self._open.values())
            try:
                async with self._ledger_turn:
                    kept = await asyncio.to_thread(self._runtime.ledger.renew, held, lease)
            except Exception as error:  # noqa: BLE001 - whatever it was (no thread to be had), again
                reason = str(error) or type(error).__name__
                log.warning("leases not renewed", stage=self._stage.value, reason=reason)
                continue
            for record in held:
                if record.id not in kept and record.id in self._open:
                    self._lose(record)

    def _lose(self, record: Record) -> None:
        del self._open[record.id]
        self.counts.lost += 1
        if turn := self._at_work.get(record.id):
            turn.cancel()
        log.debug("lease lost", stage=self._stage.value, trace=record.trace, record=record.id)

    async def _settle(self) -> None:
        """Carry out what is done, in one step of the ledger; tries again while it is away."""
        batch, self._done = self._done[:SETTLE_AT_ONCE], self._done[SETTLE_AT_ONCE:]
        batch = [outcome for outcome in batch if outcome.record.id in self._open]
        if not batch:
            return
        taken = await self._carry_out(batch)
        processed = self.counts.processed
        for outcome, ours in zip(batch, taken, strict=True):
            if outcome.record.id not in self._open:  # found lost while the step ran
                continue
            del self._open[outcome.record.id]
            if ours:
                self._account.settled(outcome)
                self._hints.note(outcome)
                self._settled(outcome)
            else:
                self.counts.lost += 1
        if self.counts.processed > processed:
            done = self.counts.processed - processed
            self._runtime.metrics.add("processed", done, stage=self._stage.value)

    async def _carry_out(self, batch: list[Outcome]) -> list[bool]:
        for attempt in range(1, SETTLE_TRIES + 1):
            try:
                async with self._ledger_turn:
                    return await asyncio.to_thread(self._runtime.ledger.settle, batch)
            except ClaimXError:
                if attempt == SETTLE_TRIES:
                    for outcome in batch:  # their leases end; nobody can say what was stored
                        self._open.pop(outcome.record.id, None)
                    raise
                await asyncio.sleep(0.05 * 2**attempt)
        raise AssertionError("the last try returns or raises")
