"""Whatever the API answers, a handler's rows fit their tables, or it fails in an expected way."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from copy import deepcopy
from typing import Any

import pytest
from builders import (
    PROJECT,
    TASK,
    VendorInMemory,
    a_media,
    a_project,
    a_task,
    a_video,
    an_event,
    enriched,
    form_answers,
    handle,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import JSON

from claimx.domain.changes import Enrichment, Source
from claimx.domain.codec import decode_changes, encode_changes, media_from_json, media_to_json
from claimx.domain.errors import ClaimXError
from claimx.domain.events import EventType
from claimx.domain.refusal import refusal
from claimx.domain.tables import TABLES

WHOLE = {
    "project": a_project(),
    "task": a_task(response=form_answers(1, 2)),
    "media": [a_media(1), a_media(2)],
    "videos": [a_video(31), a_video(32)],
}


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """All paths into a JSON value, that of the value itself included."""
    found = [path]
    entries = value.items() if isinstance(value, dict) else ()
    if isinstance(value, list):
        entries = enumerate(value)
    for key, inner in entries:
        found += places(inner, (*path, key))
    return found


PLACES = places(WHOLE)[1:]


def vendor(answers: dict[str, Any], *, known: bool) -> VendorInMemory:
    return VendorInMemory(
        projects={PROJECT: answers["project"]},
        tasks={TASK: answers["task"]},
        media={PROJECT: answers["media"]},
        videos={PROJECT: answers["videos"]},
        known=[PROJECT] if known else [],
    )


def check(out: Enrichment) -> None:
    for change in out.changes:
        assert refusal(TABLES[change.table], change) is None
        assert (change.enriched_at is None) == (change.source is Source.EVENT)
    stored = decode_changes(encode_changes(out.changes))
    assert sorted(map(repr, stored)) == sorted(map(repr, out.changes))  # shared ones come first
    for item in out.media:
        assert media_from_json(media_to_json(item)) == item
        assert item.link
    for table, column in out.unconverted:
        assert TABLES[table].column(column)


def run(answers: dict[str, Any], type_: str, *, known: bool) -> None:
    event = an_event(type_, task_assignment_id=TASK, media_ids=("1",), video_collaboration_id="31")
    out = Enrichment()

    with suppress(ClaimXError):
        asyncio.run(handle(event, vendor(answers, known=known), out))

    check(out)


@pytest.mark.parametrize("type_", EventType)
@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(PLACES), JSON), min_size=1, max_size=4), st.booleans())
def test_any_json_in_any_place_of_an_answer(type_, changes, known):
    answers = deepcopy(WHOLE)
    for path, value in changes:
        holder: Any = answers
        for key in path[:-1]:
            # an earlier change may have cut the path
            inside = isinstance(holder, dict) or (isinstance(holder, list) and isinstance(key, int))
            if not inside or (isinstance(holder, list) and key >= len(holder)):
                break
            holder = holder.get(key) if isinstance(holder, dict) else holder[key]
        else:
            if isinstance(holder, dict) or (
                isinstance(holder, list) and path[-1] in range(len(holder))
            ):
                holder[path[-1]] = value

    run(answers, type_, known=known)


@pytest.mark.parametrize("type_", EventType)
@settings(max_examples=40, deadline=None)
@given(JSON, st.booleans())
def test_any_json_instead_of_an_answer(type_, value, known):
    run(dict.fromkeys(WHOLE, value), type_, known=known)


@pytest.mark.parametrize("type_", EventType)
def test_every_handler_succeeds_on_whole_answers(type_):
    event = an_event(type_, task_assignment_id=TASK, media_ids=("1",))

    out = enriched(event, vendor(deepcopy(WHOLE), known=False))

    check(out)
    assert out.changes
    assert not out.unconverted
