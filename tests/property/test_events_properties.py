"""Whatever row the source has, it is an event or it is malformed."""

from __future__ import annotations

import json

from builders import a_row
from hypothesis import example, given
from hypothesis import strategies as st
from strategies import JSON

from claimx.adapters.ledger import texts
from claimx.domain.errors import Malformed
from claimx.domain.event_rows import MAX_ID_LENGTH, parse
from claimx.domain.events import Event, EventType
from claimx.domain.polling import TIME
from claimx.domain.times import to_iso
from claimx.services.source_rows import page_of, read_page, read_source_row

NAMES = [
    *("event_id event_type project_id media_id media_ids task_assignment_id".split()),
    *("video_collaboration_id master_file_name ingested_at tenant".split()),
    *("eventId eventType projectId mediaId mediaIds taskAssignmentId".split()),
    *("videoCollaborationId masterFileName ingestedAt".split()),
]
VALUES = JSON | st.sampled_from([*EventType, " project_created ", "[1, 2]", "[[]]", '{"a": 1}'])
ROWS = st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=8), VALUES, max_size=12)


def sound(event: Event) -> None:
    ids = [event.event_id, event.type, event.project_id, event.media_id, *event.media_ids]
    for found in ids:
        assert found is None or (0 < len(found) <= MAX_ID_LENGTH and found == found.strip())
        (found or "").encode()
    assert event.type == event.type.upper()
    to_iso(event.time)
    to_iso(event.source_time)
    assert Event.from_json(event.to_json()) == event


@given(ROWS, st.booleans())
@example({"project_id": float("nan")}, True)
@example({"media_ids": "[" * 5000}, True)
def test_parsing_raises_nothing_but_malformed_and_its_event_is_sound(columns, whole):
    row = a_row(**columns) if whole else columns
    try:
        event = parse(row)
    except Malformed as error:
        shown = error.message
    else:
        shown = ""
        sound(event)
        assert parse(row) == event

    assert len(shown) < 200


@given(ROWS)
def test_the_spelling_of_columns_changes_nothing(columns):
    snake = {
        "event_id": "1",
        "event_type": "T",
        "project_id": 5,
        "media_id": 6,
        "master_file_name": "M",
    }
    camel = {"eventId": "1", "eventType": "T", "projectId": 5, "mediaId": 6, "masterFileName": "M"}
    unknown = {name: value for name, value in columns.items() if name not in NAMES}

    assert parse({**snake, **unknown, TIME: 5}) == parse({**camel, **unknown, TIME: 5})


@given(st.lists(st.integers(0, 10**9) | st.text(alphabet="abc123", min_size=1), max_size=8))
def test_media_ids_mean_the_same_as_a_list_and_as_its_json(ids):
    as_list = parse(a_row(media_ids=ids))
    as_text = parse(a_row(media_ids=json.dumps(ids)))

    assert as_list == as_text
    assert as_list.media_ids == tuple(str(one) for one in ids)


@given(st.integers(1, 10**12), st.integers(1, 10**12))
def test_without_an_id_equal_rows_are_one_event_and_other_rows_another(one, other):
    hashed = [parse(a_row(event_id=None, media_id=media)).event_id for media in (one, other)]

    assert (hashed[0] == hashed[1]) == (one == other)
    assert all(len(digest) == 64 for digest in hashed)


@given(ROWS)
def test_blanks_around_a_value_change_nothing(columns):
    """Plain values take a shorter way, which blanks keep them off: both must say the same."""
    row = a_row(**columns)
    padded = {
        name: f" {value} " if isinstance(value, str) and name in NAMES else value
        for name, value in row.items()
    }

    def outcome(of):
        try:
            event = parse(of)
        except Malformed:
            return "malformed"
        return event.to_json() | {"raw": None}

    assert outcome(row) == outcome(padded)


@given(st.lists(ROWS | ROWS.map(lambda columns: a_row(**columns)), max_size=4))
def test_a_page_tells_whoever_ingests_it_what_its_rows_told_the_poll(columns):
    rows = [{**row, TIME: 5} for row in columns]
    found = [read_source_row(row) for row in rows]
    page = json.loads(texts.encoded("page", page_of(told for _, told, _ in found)))

    read = list(read_page(page))

    expected = {(record_id, isinstance(told, Event)) for record_id, told, _ in found}
    assert {(record_id, wrong is None) for record_id, _, wrong in read} == expected
    assert len(read) == len(rows)
    events = [told for _, told, _ in found if isinstance(told, Event)]
    assert [Event.from_json(data) for _, data, wrong in read if wrong is None] == events
