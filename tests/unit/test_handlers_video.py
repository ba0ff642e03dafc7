"""Video collaborations (domain page, sections 2 and 6)."""

from __future__ import annotations

import pytest
from builders import PROJECT, VendorInMemory, a_video, an_event, enriched, failed, rows_of

from claimx.domain.columns import Rule
from claimx.domain.errors import NotFound, Unreadable
from claimx.domain.tables import VIDEO_COLLABORATION
from claimx.domain.times import to_iso

EXPECTED = {
    "video_collaboration_id": "31",
    "claim_id": "7001",
    "project_id": "7001",
    "mfn": "MFN-API",
    "claim_number": "CN-1",
    "policy_number": "POL-1",
    "email_user_name": "rep@carrier.example",
    "claim_rep_first_name": "Rep",
    "claim_rep_last_name": "Sample",
    "claim_rep_full_name": "Rep Sample",
    "number_of_videos": 1,
    "number_of_photos": 2,
    "number_of_viewers": 3,
    "session_count": 4,
    "total_time_seconds": 75.25,
    "total_time": "00:01:15",
    "created_date": "2025-12-01T00:00:00.000000Z",
    "live_call_first_session": "2025-12-02T00:00:00.000000Z",
    "live_call_last_session": "2025-12-03T00:00:00.000000Z",
    "company_id": "12",
    "company_name": "Northwind (sample)",
    "guid": "0000-1",
}


def video(**given):
    return an_event("VIDEO_COLLABORATION_COMPLETED", **given)


def vendor(data):
    return VendorInMemory(known=[PROJECT], videos={PROJECT: data})


def rows(data, **given):
    return rows_of(enriched(video(**given), vendor(data)), "claimx_video_collaboration")


@pytest.mark.parametrize("column", EXPECTED)
def test_each_column_of_a_video_collaboration(column):
    (row,) = rows([a_video()])

    value = row[column]
    timed = VIDEO_COLLABORATION.column(column).type == "timestamp"
    assert (to_iso(value) if timed else value) == EXPECTED[column]


def test_a_full_answer_speaks_of_every_column():
    (row,) = rows([a_video()])

    declared = {c.name for c in VIDEO_COLLABORATION.columns if c.rule is not Rule.BOOKKEEPING}
    assert set(row) == declared == set(EXPECTED)


@pytest.mark.parametrize(
    "type_", ["VIDEO_COLLABORATION_INVITE_SENT", "VIDEO_COLLABORATION_COMPLETED"]
)
def test_a_video_event_checks_the_project_and_asks_for_the_report(type_):
    api = VendorInMemory(videos={PROJECT: [a_video()]})

    out = enriched(an_event(type_), api)

    assert api.calls == [("project", PROJECT), ("video_report", PROJECT)]
    assert {one.table for one in out.changes} == {
        "claimx_projects",
        "claimx_contacts",
        "claimx_video_collaboration",
    }


@pytest.mark.parametrize(
    ("named", "chosen"), [("33", "33"), ("31", "31"), (None, "32"), ("99", "32")]
)
def test_the_item_that_the_event_names_else_the_projects_first(named, chosen):
    data = [a_video(31, claimId=1), a_video(32), a_video(33, claimId=2), a_video(34)]

    (row,) = rows(data, video_collaboration_id=named)

    assert (row["video_collaboration_id"], row["project_id"]) == (chosen, PROJECT)


def test_an_event_that_names_none_does_not_mean_the_item_without_an_id():
    (row,) = rows([a_video(None, claimId=1), a_video(32)])

    assert row["video_collaboration_id"] == "32"


def test_else_the_first():
    (row,) = rows([{}, "odd", a_video(31, claimId=1), a_video(32, claimId=2)])

    assert (row["video_collaboration_id"], row["claim_id"]) == ("31", "1")


def test_the_other_name_of_its_id_and_a_single_object():
    (row,) = rows(a_video(None, id=35.0))

    assert row["video_collaboration_id"] == "35"


@pytest.mark.parametrize("data", [None, [], {}, [{}], [None], [5, "x"]])
def test_no_video_is_a_success_without_a_row(data):
    assert rows(data, video_collaboration_id="31") == []


def test_a_video_without_an_id_is_no_row():
    assert rows([a_video(None)]) == []


def test_only_the_chosen_items_values_are_counted():
    data = [a_video(31, claimId={}, numberOfVideos="many"), a_video(32, sessionCount="many")]

    out = enriched(video(), vendor(data))

    assert out.unconverted == {("claimx_video_collaboration", "session_count"): 1}


@pytest.mark.parametrize(
    ("data", "odd"), [(["odd", None, {}, a_video()], 1), ([5, "x"], 2), ([None, {}], 0)]
)
def test_items_that_are_no_objects_are_counted(data, odd):
    """As in every other answer: whoever looks at the metric sees that something was lost."""
    out = enriched(video(), vendor(data))

    assert out.unconverted["claimx_video_collaboration", "video_collaboration_id"] == odd
    assert out.unconverted.total() == odd


@pytest.mark.parametrize("data", ["x", 5, True])
def test_an_answer_of_another_shape_is_unreadable(data):
    error, _ = failed(video(), vendor(data))

    assert isinstance(error, Unreadable)


def test_the_project_is_kept_when_the_report_fails():
    error, out = failed(video(), VendorInMemory())

    assert isinstance(error, NotFound)
    assert len(rows_of(out, "claimx_projects")) == 1
