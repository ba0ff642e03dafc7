"""Of events that need one project at a time one asks, and none depends on its fate."""

from __future__ import annotations

import asyncio

import pytest

from claimx.adapters.memory.gates import MemoryGates
from claimx.domain.errors import Unavailable
from claimx.domain.ports.api import Answer
from claimx.services.calls import ProjectAnswers, ProjectChecks

NOW = 1_790_000_000.0


class Vendor:
    """Answers once it is let; *fail* is what its next calls end with."""

    def __init__(self) -> None:
        self.calls = 0
        self.open = asyncio.Event()
        self.fail: list[Exception] = []

    async def project(self) -> Answer:
        self.calls += 1
        number = self.calls
        await self.open.wait()
        if self.fail:
            raise self.fail.pop(0)
        return Answer({"call": number}, int(NOW * 1_000_000))


@pytest.fixture
def checks():
    return ProjectChecks(None, MemoryGates(lambda: NOW), ProjectAnswers(lambda: NOW, 300.0))


async def waiting(checks: ProjectChecks, vendor: Vendor, count: int) -> list[asyncio.Task[Answer]]:
    tasks = [asyncio.ensure_future(checks.answer("7", vendor.project)) for _ in range(count)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return tasks


def test_one_asks_and_all_get_its_answer(checks):
    async def chunk() -> None:
        vendor = Vendor()
        tasks = await waiting(checks, vendor, 5)
        vendor.open.set()

        answers = await asyncio.gather(*tasks)

        assert vendor.calls == 1
        assert all(answer is answers[0] for answer in answers)

    asyncio.run(chunk())


def test_when_the_one_that_asks_is_given_up_on_the_next_asks(checks):
    """A lost lease or the chunk's end cancels one event, not those that need the same project."""

    async def chunk() -> None:
        vendor = Vendor()
        first, *others = await waiting(checks, vendor, 3)
        first.cancel()
        await asyncio.wait([first])
        vendor.open.set()

        answers = await asyncio.gather(*others)

        assert first.cancelled()
        assert vendor.calls == 2
        assert answers[0] is answers[1]

    asyncio.run(chunk())


def test_one_that_waits_can_be_given_up_on_alone(checks):
    async def chunk() -> None:
        vendor = Vendor()
        first, second = await waiting(checks, vendor, 2)
        second.cancel()
        await asyncio.wait([second])
        vendor.open.set()

        assert (await first).data == {"call": 1}
        assert vendor.calls == 1

    asyncio.run(chunk())


def test_a_failure_is_everybodys_and_the_next_event_asks_anew(checks):
    async def chunk() -> None:
        vendor = Vendor()
        vendor.fail = [Unavailable("away")]
        tasks = await waiting(checks, vendor, 3)
        vendor.open.set()

        ends = await asyncio.gather(*tasks, return_exceptions=True)
        again = await checks.answer("7", vendor.project)

        assert [type(end) for end in ends] == [Unavailable] * 3
        assert again.data == {"call": 2}

    asyncio.run(chunk())
