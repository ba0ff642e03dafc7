"""Where blocking calls of a file system are made: in the loop while they are quick."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from claimx.adapters.file_calls import (
    QUICK_SECONDS,
    WARY_SECONDS,
    CoreWaits,
    FileCalls,
    forget_pages,
)


class Disk:
    """A disk whose calls take as long as it is told, on a clock of its own."""

    def __init__(self) -> None:
        self.seconds = QUICK_SECONDS / 10
        self.now = 100.0
        self.waited = 0.0
        self.in_loop: list[bool] = []

    def clock(self) -> float:
        return self.now

    def starve(self) -> str:
        """Do a call of a quick disk for which the machine has no core for a second."""
        self.now += 1.0
        self.waited += 1.0
        return self.call()

    def call(self) -> str:
        self.in_loop.append(threading.current_thread() is threading.main_thread())
        self.now += self.seconds
        return "done"


class Waits(CoreWaits):
    """What the machine of *disk* tells of the waits for a core."""

    def __init__(self, disk: Disk) -> None:
        super().__init__()
        self._disk = disk

    def __call__(self) -> float:
        return self._disk.waited


def run(work: Callable[[FileCalls, Disk], Any]) -> Disk:
    disk = Disk()
    calls = FileCalls(2, now=disk.clock, waits=Waits(disk))
    try:
        asyncio.run(work(calls, disk))
    finally:
        calls.close()
    return disk


def test_quick_calls_are_made_in_the_loop():
    """A thread's turn costs more than they do."""

    async def work(calls: FileCalls, disk: Disk) -> None:
        assert [await calls.run(disk.call) for _ in range(50)] == ["done"] * 50

    assert run(work).in_loop == [True] * 50


def test_one_hiccup_of_the_machine_is_no_slow_disk():
    async def work(calls: FileCalls, disk: Disk) -> None:
        for number in range(40):
            disk.seconds = QUICK_SECONDS * (10 if number == 20 else 0.1)
            await calls.run(disk.call)

    assert run(work).in_loop == [True] * 40


def test_a_machine_without_a_free_core_is_no_slow_disk():
    """Threads would wait for a core as well, and cost more: it has none to spare."""

    async def work(calls: FileCalls, disk: Disk) -> None:
        for _ in range(40):
            await calls.run(disk.starve)

    assert run(work).in_loop == [True] * 40


def test_what_a_thread_waits_for_a_core_is_told():
    """
    Beside four busy processes on each core a thread waits; and never longer than it is there.

    A system that does not tell it counts as one on which nobody waits.
    """
    waits = CoreWaits()
    end = time.monotonic() + 3.0  # in case nobody ends them
    busy = [sys.executable, "-c", f"import time\nwhile time.monotonic() < {end!r}: pass"]
    others = [subprocess.Popen(busy) for _ in range(4 * (os.cpu_count() or 1))]
    try:
        time.sleep(0.5)
        begun, before = time.monotonic(), waits()
        while time.monotonic() - begun < 1.0:
            pass
        told, gone = waits() - before, time.monotonic() - begun
    finally:
        for other in others:
            other.kill()
            other.wait()
        waits.close()
    assert told < gone
    assert (told > 0) == Path("/proc/thread-self/schedstat").exists()


def test_a_slow_disk_is_left_to_threads_and_tried_again_later():
    """Every call in the loop holds up all else that the process does side by side."""

    async def work(calls: FileCalls, disk: Disk) -> None:
        disk.seconds = 1.0
        await calls.run(disk.call)
        disk.seconds = QUICK_SECONDS / 10
        for _ in range(5):
            await calls.run(disk.call)
        disk.now += WARY_SECONDS
        await calls.run(disk.call)

    assert run(work).in_loop == [True, *[False] * 5, True]


def test_a_disk_that_is_a_little_too_slow_all_the_time_is_left_to_threads_soon():
    async def work(calls: FileCalls, disk: Disk) -> None:
        disk.seconds = QUICK_SECONDS * 2
        for _ in range(40):
            await calls.run(disk.call)

    assert run(work).in_loop.count(True) < 20


def test_a_call_that_fails_says_so_and_counts():
    """A disk that fails after long is a slow one."""

    async def work(calls: FileCalls, disk: Disk) -> None:
        def fails() -> None:
            disk.now += 1.0
            raise OSError("gone")

        with pytest.raises(OSError, match="gone"):
            await calls.run(fails)
        await calls.run(disk.call)

    assert run(work).in_loop == [False]


def test_what_takes_long_on_a_quick_disk_is_made_in_a_thread():
    async def work(calls: FileCalls, disk: Disk) -> None:
        await calls.run_apart(disk.call)

    assert run(work).in_loop == [False]


def test_the_loop_has_a_turn_before_each_call():
    """Hundreds of files in a row must not keep leases from being renewed."""
    turns = 0

    async def work(calls: FileCalls, disk: Disk) -> None:
        async def other() -> None:
            nonlocal turns
            for _ in range(20):
                turns += 1
                await asyncio.sleep(0)

        beside = asyncio.ensure_future(other())
        for _ in range(20):
            await calls.run(disk.call)
        assert turns >= 19
        await beside

    run(work)


def test_slow_calls_are_made_side_by_side():
    async def work(calls: FileCalls, disk: Disk) -> None:
        disk.seconds = 1.0
        await calls.run(disk.call)
        both = threading.Barrier(2, timeout=10)
        await asyncio.gather(calls.run(both.wait), calls.run(both.wait))

    run(work)  # the barrier breaks if one waits for the other


def test_what_was_closed_goes_on():
    """Stores and fetchers are closed with their loop, and may be used in another one."""

    async def work(calls: FileCalls, disk: Disk) -> None:
        for _ in range(2):
            assert await calls.run_apart(disk.call) == "done"
            calls.close()

    assert run(work).in_loop == [False, False]


def test_that_the_system_forgets_a_file_is_advice_and_no_more(tmp_path):
    """What is not on the disk yet stays, and what has no pages, as a pipe, is no failure."""
    path = tmp_path / "file"
    ends = os.pipe()
    try:
        with path.open("wb", buffering=0) as file:
            file.write(b"content")
            forget_pages(file.fileno())
        forget_pages(ends[0])
    finally:
        for end in ends:
            os.close(end)

    assert path.read_bytes() == b"content"
