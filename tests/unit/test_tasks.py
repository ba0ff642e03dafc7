"""The shells around the services: what a hint may say, how a chunk runs, what Celery is told."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import structlog
from celery import Celery
from celery.exceptions import Retry, SoftTimeLimitExceeded
from structlog.testing import capture_logs

from claimx.tasks.base import ClaimXTask, chunk_of
from claimx.tasks.loop import ProcessLoop
from claimx.telemetry.metrics import RecordedMetrics


@pytest.mark.parametrize(
    ("said", "ids", "lines"),
    [
        (["e:1", "e:2"], ["e:1", "e:2"], 0),
        ("e:1", ["e:1"], 0),
        ([], [], 0),
        (None, [], 1),
        ({"ids": ["e:1"]}, [], 1),
        (7, [], 1),
        (["e:1", 7, None, "e:2"], ["e:1", "e:2"], 1),
    ],
)
def test_a_hint_that_says_anything_else_than_ids_costs_a_line(said, ids, lines):
    """It carries nothing that matters: the redriver finds what it should have named."""
    with capture_logs() as told:
        assert chunk_of(said) == ids
    assert len(told) == lines


def test_a_forged_hint_asks_for_no_more_than_a_bound():
    assert chunk_of([f"e:{n}" for n in range(20_000)]) == [f"e:{n}" for n in range(5000)]


@pytest.fixture
def task() -> Iterator[tuple[ClaimXTask, RecordedMetrics]]:
    """A task that runs what it is given, with the metrics of its process."""
    metrics = RecordedMetrics()
    with Celery("test", set_as_current=False) as app:
        app.claimx_runtime = lambda: SimpleNamespace(metrics=metrics)

        class Any(ClaimXTask):
            name = "claimx.any"

        yield app.register_task(Any()), metrics


def test_a_chunk_with_records_that_come_again_is_a_retry_to_whoever_looks(task):
    """Flower shows it; the ledger alone sees to it that they come."""
    one, metrics = task

    with pytest.raises(Retry, match="2 records come again"):
        one.run_named("enrich", lambda _: SimpleNamespace(again=2))
    one.run_named("enrich", lambda _: SimpleNamespace(again=0))

    assert len(metrics.observed["stage_seconds", ("enrich",)]) == 2


def test_a_run_is_timed_and_its_lines_named_whatever_becomes_of_it(task):
    """What was bound for one run must not name the lines of the next."""
    one, metrics = task
    bound = []

    def fails(_: object) -> None:
        bound.append(structlog.contextvars.get_contextvars()["stage"])
        raise RuntimeError("a fault")

    structlog.contextvars.bind_contextvars(trace="of another run")
    with pytest.raises(RuntimeError):
        one.run_named("redrive", fails)

    assert bound == ["redrive"]
    assert structlog.contextvars.get_contextvars() == {}
    assert len(metrics.observed["stage_seconds", ("redrive",)]) == 1


@pytest.fixture
def loop() -> Iterator[ProcessLoop]:
    made = ProcessLoop()
    yield made
    made.close()


def test_one_loop_runs_chunk_after_chunk(loop):
    """Connections belong to a loop, and stay open between chunks."""

    async def which() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    assert loop.run(which()) is loop.run(which())


def test_a_time_limit_in_the_midst_waits_until_the_chunk_has_settled(loop):
    """
    It comes as a signal, mostly to a loop that waits, and the records must be given back.

    uvloop only logs what a signal's handler raises then: the chunk went on to the hard limit.
    """
    told = []

    def up(*_: object) -> None:
        raise SoftTimeLimitExceeded

    async def chunk() -> None:
        try:
            threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGUSR1)).start()
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0)
            told.append("settled")

    before = signal.signal(signal.SIGUSR1, up)
    try:
        with pytest.raises(SoftTimeLimitExceeded):
            loop.run(chunk())
    finally:
        signal.signal(signal.SIGUSR1, before)

    assert told == ["settled"]


def test_a_chunk_after_one_that_was_out_of_time_runs_as_any(loop):
    async def limit() -> None:
        asyncio.get_running_loop().call_exception_handler(
            {"message": "", "exception": SoftTimeLimitExceeded()}
        )
        await asyncio.sleep(60)

    async def fine() -> str:
        return "done"

    with pytest.raises(SoftTimeLimitExceeded):
        loop.run(limit())

    assert loop.run(fine()) == "done"


def test_closing_ends_what_is_left_and_once_is_enough(loop):
    ended = []

    async def left() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(True)

    async def leave() -> None:
        loop.kept = asyncio.ensure_future(left())
        await asyncio.sleep(0)

    loop.run(leave())
    loop.close()
    loop.close()

    assert ended == [True]
