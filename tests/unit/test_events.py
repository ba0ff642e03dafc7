"""Source rows become events or are malformed (domain page, sections 1 and 6)."""

from __future__ import annotations

import hashlib
import json

import pytest
from builders import EVENT_TIME, INGESTED, PROJECT, a_row, an_event

from claimx.domain.changes import Change, MediaItem, Source
from claimx.domain.codec import decode_changes, encode_changes, media_from_json, media_to_json
from claimx.domain.errors import Malformed
from claimx.domain.event_rows import parse
from claimx.domain.events import Event, EventType
from claimx.domain.polling import TIME


def test_snake_case_and_camel_case_and_a_mixture_of_both_are_one_event():
    snake = a_row(media_id=5, media_ids=[5, "6"], task_assignment_id=8.0, master_file_name=" M ")
    camel = {
        "eventId": "e-1",
        "eventType": "PROJECT_CREATED",
        "projectId": 7001,
        "mediaId": "5",
        "mediaIds": "[5, 6]",
        "taskAssignmentId": "8",
        "masterFileName": "M",
        "ingestedAt": EVENT_TIME // 1000,
        TIME: INGESTED,
    }
    mixed = {name: camel[name] for name in list(camel)[::2]} | {
        name: snake[name]
        for name in ("event_type", "media_id", "task_assignment_id", "ingested_at")
    }

    assert parse(snake) == parse(camel) == parse(mixed)
    assert parse(snake) == an_event(
        media_id="5", media_ids=("5", "6"), task_assignment_id="8", master_file_name="M"
    )


def test_the_spelling_that_says_something_counts():
    assert parse(a_row(project_id=" ", projectId=7)).project_id == "7"
    assert parse(a_row(project_id=6, projectId=7)).project_id == "6"


def test_unknown_columns_are_kept():
    event = parse(a_row(tenant="sample", payload={"a": [1]}))

    assert event.raw == {"tenant": "sample", "payload": {"a": [1]}}


def test_types_are_trimmed_and_in_upper_case():
    assert parse(a_row(event_type=" project_Created\n")).type == "PROJECT_CREATED"
    assert parse(a_row(event_type="project_created")).type == "PROJECT_CREATED"


@pytest.mark.parametrize(
    ("ingested_at", "expected"),
    [
        ("2026-01-01T00:00:00Z", EVENT_TIME),
        ("2026-01-01T02:00:00+02:00", EVENT_TIME),
        ("2026-01-01T00:00:00.0000009", EVENT_TIME),
        (EVENT_TIME // 1000, EVENT_TIME),
        (str(EVENT_TIME // 1_000_000), EVENT_TIME),
        (None, INGESTED),
        (" ", INGESTED),
        ("soon", INGESTED),
        ({"at": 1}, INGESTED),
    ],
)
def test_the_events_time_is_its_own_else_the_sources(ingested_at, expected):
    event = parse(a_row(ingested_at=ingested_at))

    assert (event.time, event.source_time) == (expected, INGESTED)


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"media_ids": ["1", 2, 3.0, None, " "]}, ("1", "2", "3")),
        ({"media_ids": '["1", 2]'}, ("1", "2")),
        ({"media_ids": [3, 1, 3]}, ("3", "1", "3")),
        ({"media_ids": [], "media_id": 4}, ()),
        ({"media_ids": "[]"}, ()),
        ({"media_ids": " "}, ()),
        ({"media_ids": "null"}, ()),
        ({"media_id": 4.0}, ()),
        ({}, ()),
    ],
)
def test_media_ids_are_a_list_or_the_json_text_of_one(columns, expected):
    assert parse(a_row(event_type="PROJECT_FILE_ADDED", **columns)).media_ids == expected


@pytest.mark.parametrize(
    ("columns", "named"),
    [
        ({"event_type": None}, "event_type"),
        ({"event_type": " "}, "event_type"),
        ({"event_type": 5}, "event_type"),
        ({"event_type": "\x00"}, "event_type"),
        ({"project_id": None}, "project_id"),
        ({"project_id": {"id": 7}}, "project_id"),
        ({"project_id": [7]}, "project_id"),
        ({"project_id": True}, "project_id"),
        ({"event_id": {"id": 7}}, "event_id"),
        ({"event_id": "x" * 10_000}, "event_id"),
        ({"event_id": "a\x01b"}, "event_id"),
        ({"event_id": "a\nb"}, "event_id"),
        ({"media_id": {}}, "media_id"),
        ({"task_assignment_id": {"id": 1}}, "task_assignment_id"),
        ({"video_collaboration_id": [1]}, "video_collaboration_id"),
        ({"media_ids": {"a": 1}}, "media_ids"),
        ({"media_ids": "not json"}, "media_ids"),
        ({"media_ids": "1,2"}, "media_ids"),
        ({"media_ids": "5"}, "media_ids"),
        ({"media_ids": 5}, "media_ids"),
        ({"media_ids": [[1]]}, "media_ids"),
        ({"media_ids": [{"id": 1}]}, "media_ids"),
        ({"media_ids": [True]}, "media_ids"),
        ({"media_ids": "[" * 100_000}, "media_ids"),
        ({"project_id": 10**5000}, "project_id"),
    ],
)
def test_a_malformed_row_names_the_column(columns, named):
    with pytest.raises(Malformed, match=named):
        parse(a_row(**columns))


def test_what_is_shown_of_a_value_is_short_escaped_and_without_addresses():
    with pytest.raises(Malformed) as refused:
        parse(a_row(media_ids="ada@example.com\x1b[31m" + "x" * 5000))

    assert len(refused.value.message) < 100
    assert "ada@" not in refused.value.message
    assert "\x1b" not in refused.value.message
    assert "\\x1b" in refused.value.message


@pytest.mark.parametrize(
    "project_id", ["../../x", "7;drop", "ünï/7", "7\u200b1", "x" * 512, 7001.0]
)
def test_an_id_that_is_odd_but_harmless_stays_as_it_is(project_id):
    expected = project_id if isinstance(project_id, str) else "7001"

    assert parse(a_row(project_id=project_id)).project_id == expected


@pytest.mark.parametrize("type_", [t for t in EventType if not t.startswith("CUSTOM_TASK")])
def test_a_type_that_needs_a_project_is_malformed_without_one(type_):
    with pytest.raises(Malformed, match="project_id"):
        parse(a_row(event_type=type_, project_id=" "))


@pytest.mark.parametrize(
    "type_", ["CUSTOM_TASK_ASSIGNED", "CUSTOM_TASK_COMPLETED", "TENANT_RENAMED"]
)
def test_a_project_task_names_its_own_project_and_an_unknown_type_needs_none(type_):
    assert parse(a_row(event_type=type_, project_id=None)).project_id is None


def test_a_row_without_any_time_is_malformed():
    row = a_row(ingested_at=None)
    del row[TIME]

    with pytest.raises(Malformed, match="ingestion time"):
        parse(row)


def test_a_row_without_an_ingestion_time_has_its_own():
    row = a_row()
    del row[TIME]

    assert (parse(row).time, parse(row).source_time) == (EVENT_TIME, EVENT_TIME)


@pytest.mark.parametrize("time", ["2026-01-01T00:00:02Z", True, 1.5, 10**18, -(10**18)])
def test_an_ingestion_time_that_is_none_is_malformed(time):
    with pytest.raises(Malformed, match="no time"):
        parse(a_row(**{TIME: time}))


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ({"id": 7}, "an object"),
        ([7], "a list"),
        (True, "true or false"),
        (float("nan"), "a number"),
    ],
)
def test_a_malformed_row_tells_what_stands_there(value, told):
    with pytest.raises(Malformed, match=f"project_id is {told}, not an id"):
        parse(a_row(project_id=value))


MOMENT = "2026-01-01T00:00:02.000000Z"


@pytest.mark.parametrize(
    ("columns", "hashed"),
    [
        ({}, f"7001|PROJECT_CREATED|{MOMENT}"),
        ({"event_type": " project_created"}, f"7001|PROJECT_CREATED|{MOMENT}"),
        ({"event_type": "NEW", "project_id": None}, f"NEW|{MOMENT}"),
        ({"media_id": 5}, f"7001|PROJECT_CREATED|{MOMENT}|media:5"),
        ({"media_id": 5, "media_ids": [7, "6"]}, f"7001|PROJECT_CREATED|{MOMENT}|media:7,6"),
        (
            {"master_file_name": "Mü", "video_collaboration_id": 3, "task_assignment_id": 2},
            f"7001|PROJECT_CREATED|{MOMENT}|task:2|video:3|file:Mü",
        ),
    ],
)
@pytest.mark.parametrize("event_id", [None, "", " "])
def test_a_row_without_an_id_gets_the_hash_of_what_identifies_it(event_id, columns, hashed):
    event = parse(a_row(event_id=event_id, **columns))

    assert event.event_id == hashlib.sha256(hashed.encode()).hexdigest()


def test_the_hash_is_this_one_for_ever():
    event = parse(a_row(event_id=None, media_ids=[1, 2]))

    assert event.event_id == "02f3a9354e6f086e05f7742913bf3c6a4166f91483e60d9f1123b615a29b8f4d"


def test_an_event_survives_json():
    event = parse(a_row(media_ids=[1], task_assignment_id=5, tenant={"a": 1}))

    assert Event.from_json(json.loads(json.dumps(event.to_json()))) == event


def test_what_an_event_does_not_say_is_not_stored():
    """Redis copies it in each of the event's steps."""
    event = an_event(project_id=None)

    assert event.to_json().keys() == {"event_id", "type", "time", "source_time"}
    assert Event.from_json(event.to_json()) == event


def test_yesterdays_and_tomorrows_json_are_understood():
    old = {
        "event_id": "e-1",
        "type": "PROJECT_CREATED",
        "project_id": PROJECT,
        "time": EVENT_TIME,
        "source_time": INGESTED,
    }

    assert Event.from_json(old) == an_event()
    assert Event.from_json(old | {"colour": "blue", "api_calls": 3}) == an_event()


@pytest.mark.parametrize(
    "wrong",
    [
        *({"event_id": None}, {"event_id": ""}, {"type": 5}, {"time": "now"}),
        *({"source_time": "now"}, {"media_ids": [1]}, {"media_ids": 5}, {"project_id": 7}),
    ],
)
def test_stored_json_that_is_no_event_is_malformed(wrong):
    with pytest.raises(Malformed):
        Event.from_json(an_event().to_json() | wrong)
    with pytest.raises(Malformed):
        Event.from_json({})


CHANGES = [
    Change("claimx_media", {"media_id": "1", "latitude": 1.5}, Source.ANSWER, "e", 5, 6),
    Change("claimx_projects", {"project_id": "ü", "xa_autolink_fail": True}, Source.EVENT, "e", 5),
]


def test_rows_survive_their_encoding():
    assert decode_changes(encode_changes(CHANGES)) == CHANGES
    assert decode_changes(b"") == []


def test_rows_with_names_that_are_not_known_are_understood():
    newer = json.loads(encode_changes(CHANGES))
    for one in newer:
        one["colour"] = "blue"
    del newer[1]["enriched_at"]

    assert decode_changes(json.dumps(newer).encode()) == CHANGES


STORED = b'[{"table": "t", "values": {}, "source": "answer", "event_id": "e", "event_time": 1}]'


@pytest.mark.parametrize(
    "broken",
    [
        *(b"[", b"{}x", b"[1]", b'[{"table": "t"}]', b"5"),
        STORED.replace(b'"t"', b"5"),
        STORED.replace(b"{}", b"[]"),
        STORED.replace(b'"answer"', b'"rumour"'),
    ],
)
def test_rows_that_cannot_be_read_are_malformed(broken):
    with pytest.raises(Malformed):
        decode_changes(broken)


def test_a_media_item_survives_json_and_the_names_a_stage_adds():
    item = MediaItem("1", PROJECT, "e-1", 5, "https://h/x", "n.jpg", "IMAGE", 9)
    stored = json.loads(json.dumps(media_to_json(item)))

    assert media_from_json(stored | {"refreshes": 2}) == item
    assert media_from_json({name: stored[name] for name in list(stored)[:5]}) == MediaItem(
        "1", PROJECT, "e-1", 5, "https://h/x"
    )
    for wrong in ({}, stored | {"link": None}, stored | {"event_time": "now"}):
        with pytest.raises(Malformed):
            media_from_json(wrong)
