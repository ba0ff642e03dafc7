"""Hints of a chunk's outcomes: told together, in time, and never in anybody's way."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from claimx.adapters.memory.hints import MemoryHints
from claimx.domain.errors import ErrorCategory
from claimx.domain.records import Advance, Buried, Failure, Kind, NewRecord, Record, Stage
from claimx.services import hinting
from claimx.services.hinting import LONG_QUEUE, ChunkHints

FAILURE = Failure(ErrorCategory.PERMANENT, "Refused", "no", Stage.ENRICH, 0.0)


def advance(name: str, stage: Stage, affinity: str = "", **values) -> Advance:
    return Advance(
        Record(name, Kind.MEDIA, Stage.DOWNLOAD, {}), stage, {}, affinity=affinity, **values
    )


def media(name: str) -> NewRecord:
    return NewRecord(name, Kind.MEDIA, Stage.DOWNLOAD, {}, "trace")


@pytest.fixture
def sent():
    return MemoryHints()


@pytest.fixture
def hints(sent):
    return ChunkHints(SimpleNamespace(hints=sent))


def test_what_follows_is_told_once_for_each_stage_and_machine(hints, sent):
    async def chunk() -> None:
        hints.note(advance("m:1", Stage.UPLOAD, "node"))
        hints.note(advance("m:2", Stage.UPLOAD, "node"))
        hints.note(advance("m:3", Stage.RECORD, spawn=(media("m:4"),)))
        hints.note(
            Buried(Record("e:1", Kind.EVENT, Stage.ENRICH, {}), FAILURE, b"", (media("m:5"),))
        )
        hints.send_in_time()
        await hints.close()

    asyncio.run(chunk())

    assert sorted(sent.sent) == [
        (Stage.DOWNLOAD, ("m:4", "m:5"), ""),
        (Stage.RECORD, ("m:3",), ""),
        (Stage.UPLOAD, ("m:1", "m:2"), "node"),
    ]


def test_the_lake_writer_and_what_is_to_wait_get_no_hint(hints, sent):
    async def chunk() -> None:
        hints.note(advance("m:1", Stage.WRITE))
        hints.note(advance("m:2", Stage.DOWNLOAD, delay=3.0))
        await hints.close()

    asyncio.run(chunk())

    assert sent.sent == []


def test_the_first_that_waits_is_told_in_time_though_the_chunk_goes_on(hints, sent, monkeypatch):
    """A chunk may run for minutes; what it has finished must not wait for its slowest record."""
    monkeypatch.setattr(hinting, "TOGETHER_SECONDS", 0.02)

    async def chunk() -> tuple[int, int]:
        hints.note(advance("m:1", Stage.RECORD))
        hints.send_in_time()
        await asyncio.sleep(0)
        at_once = len(sent.sent)
        for _ in range(200):
            await asyncio.sleep(0.01)
            hints.send_in_time()
            if sent.sent:
                break
        in_time = len(sent.sent)
        await hints.close()
        return at_once, in_time

    assert asyncio.run(chunk()) == (0, 1)
    assert sent.sent == [(Stage.RECORD, ("m:1",), "")]


def test_a_long_queue_gets_none_and_a_broken_one_breaks_nothing(hints, sent):
    sent.backlogs[Stage.RECORD, ""] = LONG_QUEUE + 1
    broken = ChunkHints(SimpleNamespace(hints=None))

    async def chunk() -> None:
        for one in (hints, broken):
            one.note(advance("m:1", Stage.RECORD))
            await one.close()

    asyncio.run(chunk())

    assert sent.sent == []
