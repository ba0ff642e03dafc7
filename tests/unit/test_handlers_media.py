"""Media rows and downloads (domain page, sections 2, 3 and 6)."""

from __future__ import annotations

import pytest
from builders import (
    ASKED,
    EVENT_TIME,
    LINK,
    PROJECT,
    VendorInMemory,
    a_media,
    an_event,
    enriched,
    failed,
    rows_of,
)

from claimx.domain.changes import MediaItem, Source
from claimx.domain.columns import Rule
from claimx.domain.errors import NotFound, NotYetThere, Refused, Unreadable
from claimx.domain.tables import MEDIA

SIGNED_END = 1_767_229_200_000_000  # of LINK: an hour after 2026-01-01T00:00:00Z
DECLARED_END = 1_893_456_000_000_000  # 2030-01-01T00:00:00Z
NAME = "r\u00e9sum\u00e9.jpg"

EXPECTED = {
    "media_id": "1",
    "project_id": "7001",
    "task_assignment_id": "501",
    "file_type": "IMAGE",
    "file_name": NAME,
    "media_description": "kitchen",
    "media_comment": "east wall",
    "latitude": 40.5,
    "longitude": -111.25,
    "gps_source": "EXIF",
    "taken_date": 1_764_547_200_000_000,
    "expires_at": SIGNED_END,
    "downloadable": True,
}


def files(*ids, **given):
    return an_event("PROJECT_FILE_ADDED", media_ids=tuple(str(one) for one in ids), **given)


def vendor(*items, **given):
    return VendorInMemory(media={PROJECT: list(items)}, **({"known": [PROJECT]} | given))


def row(item):
    (found,) = rows_of(enriched(files(1), vendor(item)), "claimx_media")
    return found


@pytest.mark.parametrize("column", EXPECTED)
def test_each_column_of_a_media_item(column):
    assert row(a_media())[column] == EXPECTED[column]


def test_a_full_answer_speaks_of_every_column():
    declared = {c.name for c in MEDIA.columns if c.rule is not Rule.BOOKKEEPING}

    assert set(row(a_media())) == declared == set(EXPECTED)


def test_a_media_item_with_a_link_is_downloaded():
    out = enriched(files(1), vendor(a_media()))

    assert out.media == [
        MediaItem("1", PROJECT, "e-1", EVENT_TIME, LINK, NAME, "IMAGE", SIGNED_END)
    ]
    assert (out.changes[0].source, out.changes[0].enriched_at) == (Source.ANSWER, ASKED)


@pytest.mark.parametrize("link", [None, "", "  ", {"url": "x"}, 5, True])
def test_a_media_item_without_a_link_is_a_row_that_is_not_downloadable(link):
    out = enriched(files(1), vendor(a_media(fullDownloadLink=link)))

    (found,) = rows_of(out, "claimx_media")
    assert (found["downloadable"], found["expires_at"]) == (False, DECLARED_END)
    assert out.media == []
    assert out.unconverted["claimx_media", "downloadable"] == int(not isinstance(link, str | None))


def test_the_link_itself_is_in_no_row():
    out = enriched(files(1), vendor(a_media()))

    assert "sign=" not in str(out.changes)


def test_the_end_is_the_links_else_the_items_own():
    assert row(a_media(fullDownloadLink="https://h/open.jpg"))["expires_at"] == DECLARED_END


def test_what_is_null_is_null():
    values = row({"mediaID": 1, "mediaName": None, "mediaType": None})

    assert values["file_name"] is None
    assert values["file_type"] is None
    assert values["downloadable"] is False
    assert "task_assignment_id" not in values


@pytest.mark.parametrize("count", [1, 5])
def test_up_to_five_media_are_filtered(count):
    api = vendor(*(a_media(n) for n in range(1, 9)))

    out = enriched(files(*range(1, count + 1)), api)

    assert api.calls == [("media", PROJECT, tuple(str(n) for n in range(1, count + 1)))]
    assert [one.media_id for one in out.media] == [str(n) for n in range(1, count + 1)]


def test_more_are_picked_from_all_of_the_projects_media_fetched_once():
    api = vendor(*(a_media(n) for n in range(1, 9)))

    out = enriched(files(*range(1, 7)), api)

    assert api.calls == [("media", PROJECT, ())]
    assert [one.media_id for one in out.media] == [str(n) for n in range(1, 7)]


def test_an_event_without_media_ids_means_all_of_the_projects_media():
    api = vendor(
        a_media(1), a_media(2.0), a_media("3"), a_media(None), a_media({}), None, a_media(1)
    )

    out = enriched(files(), api)

    assert api.calls == [("media", PROJECT, ())]
    assert [one.media_id for one in out.media] == ["1", "2", "3"]
    assert out.unconverted["claimx_media", "media_id"] == 1


def test_of_two_items_of_one_id_the_first_counts():
    out = enriched(files(), vendor(a_media(1, mediaName="a.jpg"), a_media(1.0, mediaName="b.jpg")))

    assert [item.file_name for item in out.media] == ["a.jpg"]


@pytest.mark.parametrize("event", [files(), files(1), files(1, 2, 3, 4, 5, 6)])
def test_of_those_the_first_with_a_link(event):
    """Its file was left behind, though the answer had a link to it."""
    items = [a_media(1, fullDownloadLink=link) for link in (" ", LINK, LINK + "2")]

    out = enriched(event, vendor(*items, *(a_media(n) for n in range(2, 7))))

    assert [item.link for item in out.media if item.media_id == "1"] == [LINK]
    (told,) = (one for one in rows_of(out, "claimx_media") if one["media_id"] == "1")
    assert told["downloadable"] is True


def test_a_project_without_media_is_a_success():
    assert enriched(files(), vendor()).changes == []


def test_a_single_id_and_a_list_of_others_are_all_fetched_and_a_doubled_one_once():
    out = enriched(files(1, 2, 1, media_id="3"), vendor(a_media(1), a_media(2), a_media(3)))

    assert [one.media_id for one in out.media] == ["1", "2", "3"]


def test_absent_media_are_named_after_the_others_were_found():
    error, out = failed(files(1, 2, 3), vendor(a_media(2)))

    assert isinstance(error, NotYetThere)
    assert "1, 3" in error.message
    assert [one.media_id for one in out.media] == ["2"]
    assert len(rows_of(out, "claimx_media")) == 1


def test_a_long_list_of_absent_media_is_cut():
    error, _ = failed(files(*range(1, 1001)), vendor())

    assert len(error.message) < 200
    assert "and 990 more" in error.message


@pytest.mark.parametrize("data", [None, {}, {"items": []}, "x", 5])
def test_an_answer_that_is_no_list_is_unreadable(data):
    error, _ = failed(files(1), VendorInMemory(known=[PROJECT], media={PROJECT: data}))

    assert isinstance(error, Unreadable)


def test_the_project_is_checked_and_its_rows_are_kept_when_the_media_fail():
    error, out = failed(files(1), VendorInMemory(media={PROJECT: NotFound("no", status=404)}))

    assert isinstance(error, NotFound)
    assert {one.table for one in out.changes} == {"claimx_projects", "claimx_contacts"}


def test_media_of_a_project_that_is_refused_are_not_taken():
    error, out = failed(files(1), vendor(a_media(), known=[], projects={PROJECT: Refused("no")}))

    assert isinstance(error, Refused)
    assert (out.changes, out.media) == ([], [])
