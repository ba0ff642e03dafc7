"""Naming dead letters, and the task that requeues them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery import Celery
from polling_world import World
from structlog.testing import capture_logs

from claimx.adapters.memory.ledger import MemoryLedger
from claimx.domain.errors import ErrorCategory
from claimx.domain.records import (
    Buried,
    DeadFilter,
    Failure,
    Kind,
    NewRecord,
    Stage,
    event_record_id,
    media_record_id,
    records_named,
)
from claimx.services.dead_letters import requeue_matching
from claimx.tasks.operations import requeue_dead_letters


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("7", {event_record_id("7"), media_record_id("7")}),
        ("e:7", {event_record_id("7")}),
        ("m:7", {media_record_id("7")}),
        ("8", set()),
    ],
)
def test_a_dead_letter_is_named_by_its_own_id_or_by_that_of_its_event_or_media_file(name, meant):
    ledger = MemoryLedger(lambda: 1000.0)
    for kind, record_id in ((Kind.EVENT, event_record_id("7")), (Kind.MEDIA, media_record_id("7"))):
        ledger.store_page("live", ledger.checkpoint("live"), 1, [_new(kind, record_id)])
        (record,) = ledger.claim(Stage.ENRICH, [record_id], 60)
        ledger.settle([Buried(record, _FAILURE)])

    found = ledger.dead_letters(DeadFilter(ids=records_named([name])))

    assert {letter.id for letter in found} == meant


@pytest.fixture
def world() -> World:
    """Two dead events and a dead media file."""
    world = World()
    for kind, record_id in ((Kind.EVENT, "e:1"), (Kind.EVENT, "e:2"), (Kind.MEDIA, "m:1")):
        ledger = world.ledger
        before = ledger.checkpoint("live")
        ledger.store_page(
            "live", before, before.source_time + 1 if before else 1, [_new(kind, record_id)]
        )
        ledger.settle([Buried(ledger.claim(Stage.ENRICH, [record_id], 60)[0], _FAILURE)])
    return world


@pytest.fixture
def requeue(world) -> Iterator[Callable[..., list[str]]]:
    """Runs the task with what a program sends; returns the reasons of a refusal."""
    with Celery("test", set_as_current=False) as app:
        app.claimx_runtime = world.runtime
        task = app.tasks[requeue_dead_letters.name]

        def run(**arguments: Any) -> list[str]:
            with capture_logs() as logs:
                task(**arguments)
            return [one["reason"] for one in logs if one["event"] == "requeue refused"]

        yield run


def _dead(world: World) -> set[str]:
    return {one.id for one in world.ledger.dead_letters(DeadFilter())}


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"ids": []},
        {"ids": "e:1"},
        {"ids": "12"},
        {"ids": {"e:1": 1}},
        {"ids": [1]},
        {"stage": "enrich", "error": ""},
        {"stage": ""},
        {"all": "no"},
        {"all": True, "limit": 0},
        {"all": True, "ids": []},
        {"all": True, "host": "api"},
        {"from_stage": "enrich"},
    ],
    ids=str,
)
def test_a_call_that_says_not_which_requeues_nothing_and_says_why(world, requeue, arguments):
    """A program's empty result was taken for all, and a text for its letters."""
    reasons = requeue(**arguments)

    assert len(reasons) == 1
    assert reasons[0]
    assert _dead(world) == {"e:1", "e:2", "m:1"}


@pytest.mark.parametrize(
    ("arguments", "left"),
    [
        ({"ids": ["1"]}, ["e:2"]),
        ({"ids": ["e:1"]}, ["e:2", "m:1"]),
        ({"kind": "event", "limit": 1}, ["e:1", "m:1"]),
        ({"error": "NotFound", "from_stage": "download"}, ["e:1", "e:2"]),
        ({"all": True}, []),
    ],
    ids=str,
)
def test_a_call_requeues_what_it_names(world, requeue, arguments, left):
    assert requeue(**arguments) == []

    assert _dead(world) == set(left)


def test_hints_are_sent_to_where_letters_go_and_for_no_others(world):
    """A hint for one that stays dead is a message for nothing."""
    requeue_matching(world.runtime(), DeadFilter(), Stage.DOWNLOAD)

    assert world.hints.sent == [(Stage.DOWNLOAD, ("m:1",), "")]


_FAILURE = Failure(ErrorCategory.PERMANENT, "NotFound", "gone", Stage.ENRICH, 1000.0)


def _new(kind: Kind, record_id: str) -> NewRecord:
    return NewRecord(record_id, kind, Stage.ENRICH, {}, "trace")
