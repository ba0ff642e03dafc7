"""A process's part of the shared concurrency bound."""

from __future__ import annotations

import asyncio
import time

import pytest

from claimx.adapters.memory.gates import MemoryGates
from claimx.adapters.slots import SlotPool
from claimx.domain.errors import CircuitOpen


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def held(gates: MemoryGates, limit: int) -> int:
    """Return how many slots are out, by taking all others."""
    free = gates.take_slots("api", limit, limit, "checker")
    gates.free_slots("api", free)
    return limit - len(free)


def test_an_idle_process_holds_nothing():
    gates = MemoryGates(Clock())
    pool = SlotPool(gates, "api", 5, "a")

    async def run() -> None:
        async with pool.slot():
            assert held(gates, 5) == 1

    asyncio.run(run())

    assert held(gates, 5) == 0


def test_a_failing_or_cancelled_call_gives_its_slot_back():
    gates = MemoryGates(Clock())
    pool = SlotPool(gates, "api", 1, "a")

    async def fail() -> None:
        async with pool.slot():
            raise ValueError("broken")

    async def run() -> None:
        async def hold() -> None:
            async with pool.slot():
                await asyncio.sleep(10)

        tasks = [asyncio.ensure_future(hold()) for _ in range(5)]
        await asyncio.sleep(0.02)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with pytest.raises(ValueError, match="broken"):
            await fail()

    asyncio.run(run())

    assert held(gates, 1) == 0


def test_whoever_finds_no_slot_for_long_waits_without_spending_an_attempt():
    gates = MemoryGates(Clock())
    gates.take_slots("api", 1, 1, "other")
    pool = SlotPool(gates, "api", 1, "a", patience=0.05)

    async def run() -> None:
        async with pool.slot():
            raise AssertionError

    with pytest.raises(CircuitOpen) as caught:
        asyncio.run(run())
    assert caught.value.retry_after == 5.0


def test_the_same_pool_serves_one_event_loop_after_another():
    gates = MemoryGates(Clock())
    pool = SlotPool(gates, "api", 2, "a")

    async def run() -> int:
        async def call() -> int:
            async with pool.slot():
                await asyncio.sleep(0.001)
                return pool.in_flight

        return max(await asyncio.gather(*(call() for _ in range(20))))

    assert [asyncio.run(run()) for _ in range(3)] == [2, 2, 2]
    assert held(gates, 2) == 0


def test_a_slot_whose_lease_ran_out_unnoticed_is_not_used_again():
    store, local = Clock(), Clock()
    gates = MemoryGates(store)
    pool = SlotPool(gates, "api", 1, "a", monotonic=local)

    async def run() -> list[str]:
        first, second = pool.slot(), pool.slot()
        await first.__aenter__()
        waiting = asyncio.ensure_future(second.__aenter__())
        await asyncio.sleep(0.01)
        store.now = local.now = 61.0  # the machine slept
        taken = gates.take_slots("api", 1, 1, "other")
        await first.__aexit__(None, None, None)
        await asyncio.sleep(0.02)
        assert not waiting.done()
        gates.free_slots("api", taken)
        await asyncio.wait_for(waiting, 20)
        await second.__aexit__(None, None, None)
        return taken

    assert len(asyncio.run(run())) == 1


def test_a_fault_of_the_gates_ends_the_wait_of_all_who_wait():
    pool = SlotPool(Broken(Clock()), "api", 1, "a")

    async def run() -> list[BaseException | None]:
        async def hold() -> None:
            async with pool.slot():
                raise AssertionError

        return await asyncio.gather(*(hold() for _ in range(3)), return_exceptions=True)

    assert [type(one) for one in asyncio.run(run())] == [ZeroDivisionError] * 3


def test_a_process_that_has_a_slot_asks_for_more_only_now_and_then():
    """Its calls follow each other in those that it has; each look at the gates holds them up."""
    gates = Counting(Clock())
    gates.take_slots("api", 9, 10, "other")
    gates.asked = 0
    pool = SlotPool(gates, "api", 10, "a")

    async def run() -> None:
        async def call() -> None:
            async with pool.slot():
                await asyncio.sleep(0.01)

        await asyncio.gather(*(call() for _ in range(20)))

    began = time.monotonic()
    asyncio.run(run())

    assert 1 < gates.asked <= 2 + (time.monotonic() - began) / 0.05, "a look each 50 ms"


def test_a_call_that_comes_after_others_need_not_wait_for_a_look_that_was_theirs():
    pool = SlotPool(MemoryGates(Clock()), "api", 1, "a")

    async def run() -> None:
        turns = 0

        async def call() -> None:
            async with pool.slot():
                await asyncio.sleep(0)

        await asyncio.gather(call(), call())
        lone = asyncio.ensure_future(call())
        while not lone.done():
            turns += 1
            assert turns < 20, "it sleeps though a slot is free"
            await asyncio.sleep(0)

    asyncio.run(run())


def test_calls_that_are_cancelled_together_end_as_cancelled_and_nothing_else():
    """One gives its slot back just before the next, which waited for it, hears of its own end."""
    pool = SlotPool(MemoryGates(Clock()), "api", 1, "a")

    async def run() -> list[BaseException | None]:
        async def hold() -> None:
            async with pool.slot():
                await asyncio.sleep(10)

        tasks = [asyncio.ensure_future(hold()) for _ in range(5)]
        await asyncio.sleep(0.02)
        for task in tasks:
            task.cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    found = asyncio.run(run())

    assert [type(one) for one in found] == [asyncio.CancelledError] * 5


@pytest.mark.parametrize("seconds", [4.0, 11.0])
def test_a_call_is_cut_off_once_its_slot_may_be_anothers_and_not_before(seconds):
    """Leases are short so that a killed process holds up nobody; the bound must hold all the same.

    A renewal that fails once (the store is busy) says nothing yet.
    """
    store, local = Clock(), Clock()
    pool = SlotPool(Forgetful(store), "api", 1, "a", monotonic=local)

    async def run() -> str:
        async with pool.slot():
            local.now = seconds
            await asyncio.sleep(0.6)
            return "answered"

    if seconds < 10:
        assert asyncio.run(run()) == "answered"
        return
    with pytest.raises(CircuitOpen, match="could not be kept"):
        asyncio.run(run())


class Broken(MemoryGates):
    """Has a fault."""

    def take_slots(self, *_):
        raise ZeroDivisionError


class Counting(MemoryGates):
    """Counts how often it is asked for slots."""

    asked = 0

    def take_slots(self, name, wanted, limit, holder):
        self.asked += 1
        return super().take_slots(name, wanted, limit, holder)


class Forgetful(MemoryGates):
    """Renews nothing, as when the store does not answer."""

    def renew_slots(self, name, slots):  # noqa: ARG002 - the port's
        return []
