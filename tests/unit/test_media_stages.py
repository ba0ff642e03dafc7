"""The stages DOWNLOAD, UPLOAD and RECORD, record by record (domain page, sections 3 and 6)."""

import asyncio
import hashlib
from dataclasses import replace

import pytest
from media_world import JPEG, NOW, World, a_record, link, onward, row_of

from claimx.domain.changes import Source
from claimx.domain.errors import (
    DiskFull,
    ErrorCategory,
    NotAllowed,
    NotFound,
    TargetUnavailable,
    Throttled,
    TokenRejected,
    TooLargeNow,
    Unavailable,
)
from claimx.domain.records import Advance, Buried, Kind, Record, Retried, Stage, Waited
from claimx.domain.retry import PAUSE_SECONDS
from claimx.domain.tables import ATTACHMENTS
from claimx.services.download import PATIENCE_SECONDS


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    asyncio.run(made.uploads.close())


def test_a_file_goes_from_link_to_row(world):
    world.fetcher.files[link()] = JPEG

    downloaded = world.download(a_record())
    uploaded = world.upload(onward(downloaded, Stage.UPLOAD))
    recorded = world.record(onward(uploaded, Stage.RECORD))

    assert downloaded.affinity == world.cache.node
    assert recorded.stage is Stage.WRITE
    assert recorded.data["status"] == "completed"
    change = row_of(recorded)
    assert change.source is Source.RESULT
    assert change.values == {
        "media_id": "99",
        "project_id": "4711",
        "file_name": "Roof.jpg",
        "file_type": "IMAGE",
        "content_type": "image/jpeg",
        "blob_path": "4711/media/99_Roof.jpg",
        "bytes": len(JPEG),
        "sha256": hashlib.sha256(JPEG).hexdigest(),
        "status": "completed",
        "error_category": None,
        "error": None,
        "refreshes": 0,
        "downloaded_at": int(NOW * 1e6),
        "uploaded_at": int(NOW * 1e6),
    }
    assert world.store.blobs["4711/media/99_Roof.jpg"].content == JPEG


def test_a_file_without_a_name_is_called_by_its_content(world):
    world.fetcher.files[link()] = JPEG

    downloaded = world.download(a_record(file_name=None))
    world.upload(onward(downloaded, Stage.UPLOAD))

    assert list(world.store.blobs) == ["4711/media/99.jpg"]


def test_an_expired_link_is_refreshed_at_once_and_no_attempt_is_spent(world):
    world.offers(link(1))
    world.fetcher.files[link(1)] = JPEG

    outcome = world.download(a_record())

    record = onward(outcome, Stage.UPLOAD)
    assert record.data["refreshes"] == 1
    assert record.data["link"] == link(1)
    assert "refresh" not in record.data
    assert world.api.calls == [("media", "4711")]


def test_an_old_link_is_refreshed_without_asking_the_host(world):
    world.offers(link(1))
    world.fetcher.files[link(1)] = JPEG

    world.download(a_record(link=link(lifetime=60, signed_at=NOW - 100)))

    assert world.fetcher.fetched == [link(1)]


def test_a_replayed_dead_letter_asks_for_a_new_link_first(world):
    world.offers(link(1))
    world.fetcher.files |= {link(): JPEG, link(1): JPEG}

    outcome = world.download(a_record(refresh=True, refreshes=0))

    assert world.fetcher.fetched == [link(1)]
    assert outcome.data["refreshes"] == 1


def test_the_end_that_the_item_declared_was_the_old_links(world):
    """A link that does not tell its end would be over as soon as it is given."""
    old, fresh = (f"https://www.claimxperience.com/media/{name}.jpg" for name in ("old", "fresh"))
    world.offers(fresh)
    world.fetcher.files[fresh] = JPEG

    outcome = world.download(a_record(link=old, expires_at=int((NOW - 1) * 1e6)))

    assert isinstance(outcome, Advance)
    assert outcome.data["expires_at"] is None
    assert world.fetcher.fetched == [fresh]


def test_a_link_that_was_given_just_now_is_asked_for_whatever_our_clock_says(world):
    """
    With this machine's clock an hour ahead each new link seems over as soon as it is given.

    No file would ever be asked for, and all would be buried.
    """
    fresh = link(1, lifetime=600, signed_at=NOW - 3600)
    world.offers(fresh)
    world.fetcher.files[fresh] = JPEG

    outcome = world.download(a_record(refresh=True))

    assert isinstance(outcome, Advance)
    assert outcome.data["expires_at"] == int((NOW - 3600 + 600) * 1e6)
    assert world.fetcher.fetched == [fresh]


def test_three_refreshes_are_all_a_record_gets(world):
    world.offers(link(1), link(2), link(3), link(4))

    outcome = world.download(a_record())

    assert isinstance(outcome, Buried)
    assert outcome.failure.category is ErrorCategory.AUTH
    assert len(world.api.calls) == 3
    assert len(world.fetcher.fetched) == 4
    values = row_of(outcome).values
    assert (values["status"], values["refreshes"]) == ("failed", 3)
    assert values["error_category"] == "AUTH"
    assert values["error"]
    assert values["blob_path"] is values["sha256"] is values["bytes"] is None
    assert set(values) == set(ATTACHMENTS.column_names) - {"event_id", "created_at", "updated_at"}


def test_refreshes_are_kept_when_the_download_is_tried_again_later(world):
    world.offers(link(1))
    world.fetcher.files[link(1)] = Unavailable("down", status=503)

    outcome = world.download(a_record(refreshes=1))

    assert isinstance(outcome, Retried)
    assert outcome.data["refreshes"] == 2
    assert outcome.data["link"] == link(1)


def test_a_link_that_leads_to_what_is_down_is_tried_again_as_a_new_one_once(world):
    """The refreshes that are left are for links that end: an outage may last for longer."""
    world.offers(link(1))
    world.fetcher.files |= dict.fromkeys((link(), link(1)), TargetUnavailable("down", status=503))

    first = world.download(a_record())
    second = world.download(replace(a_record(attempts=1), data=first.data))
    third = world.download(replace(a_record(attempts=2), data=second.data))

    assert [type(one) for one in (first, second, third)] == [Retried] * 3
    assert first.data["refresh"] is True
    assert ("refresh" in second.data, second.data["refreshes"]) == (False, 1)
    assert world.fetcher.fetched == [link(), link(1), link(1)]


@pytest.mark.parametrize(
    "items",
    [[], [{"mediaID": 98, "fullDownloadLink": "https://x/y"}], [{"mediaID": 99}], ["x", None]],
)
def test_a_link_that_the_api_no_longer_has_is_waited_for_as_transient(world, items):
    world.api.media_items = {"4711": items}

    outcome = world.download(a_record())

    assert isinstance(outcome, Retried)
    assert outcome.failure.error == "NotYetThere"
    assert outcome.data["refresh"] is True


def test_the_apis_errors_follow_the_normal_rules(world):
    world.api.faults["media"].append(TokenRejected("401", status=401))
    world.api.faults["media"].append(NotFound("404", status=404))

    assert isinstance(world.download(a_record()), Waited)
    dead = world.download(a_record())

    assert isinstance(dead, Buried)
    assert row_of(dead).values["error_category"] == "PERMANENT"


def test_a_transient_failure_is_tried_again_four_times_and_then_is_a_failed_row(world):
    world.fetcher.files[link()] = Throttled("slow down", retry_after=7, status=429)

    first, last = world.download(a_record()), world.download(a_record(attempts=4))

    assert isinstance(first, Retried)
    assert first.delay == 7
    assert isinstance(last, Buried)
    assert row_of(last).values["error_category"] == "TRANSIENT"


def test_what_is_not_allowed_is_a_failed_row_at_once(world):
    world.fetcher.files[link()] = NotAllowed("too long")

    outcome = world.download(a_record())

    assert isinstance(outcome, Buried)
    assert row_of(outcome).values["error"] == "too long"


def test_a_full_disk_pauses_the_stage(world):
    world.fetcher.files[link()] = DiskFull("no room")

    hit, next_one = world.download(a_record()), world.download(a_record())

    assert isinstance(hit, Waited)
    assert isinstance(next_one, Waited)
    assert hit.delay == next_one.delay == PAUSE_SECONDS
    assert len(world.fetcher.fetched) == 1
    assert asyncio.run(world.downloads.run(["m:99"])).processed == 0  # nothing is even claimed

    world.now += PAUSE_SECONDS
    world.fetcher.files[link()] = JPEG
    assert isinstance(world.download(a_record()), Advance)


def test_a_clock_that_is_set_back_prolongs_no_pause(world):
    world.fetcher.files[link()] = DiskFull("no room")
    world.download(a_record())

    world.now -= 3600
    world.fetcher.files[link()] = JPEG

    assert isinstance(world.download(a_record()), Advance)


def test_a_file_too_large_for_the_room_left_waits_alone(world):
    """Each time that it came, nothing was downloaded for half a minute."""
    world.fetcher.files = {link(): TooLargeNow("no room for 5 GiB"), link(1): JPEG}
    other = a_record()
    other = replace(other, data={**other.data, "link": link(1)})

    waits = world.download(a_record())

    assert isinstance(waits, Waited)
    assert waits.delay == PAUSE_SECONDS
    assert isinstance(world.download(other), Advance)


def test_a_large_file_has_its_turn_after_a_while(world):
    """Smaller ones could take its room for ever, and it would die of waiting."""
    world.fetcher.files = {link(): TooLargeNow("no room for 5 GiB"), link(1): JPEG}
    other = a_record()
    other = replace(other, data={**other.data, "link": link(1)})

    world.download(replace(a_record(), waited_seconds=PATIENCE_SECONDS))

    assert isinstance(world.download(other), Waited)


def test_nothing_dies_of_a_full_disk_before_a_wait_is_over(world):
    """An outage of the uploads keeps the cache full for longer than all attempts take."""
    world.fetcher.files[link()] = DiskFull("no room")
    spent = a_record(attempts=4)

    for _ in range(100):
        assert isinstance(world.download(spent), Waited)
        world.now += PAUSE_SECONDS


def test_links_that_end_while_the_cache_is_full_are_not_counted(world):
    """Some live for an hour, and the uploads may be away for days."""
    record = a_record()
    for number in range(1, 6):
        world.offers(link(number))
        world.fetcher.files = {link(number): DiskFull("no room")}
        outcome = world.download(record)
        assert isinstance(outcome, Waited)
        record = replace(record, data=outcome.data)
        world.now += PAUSE_SECONDS

    world.fetcher.files = {link(5): JPEG}
    assert world.download(record).data["refreshes"] == 5


def test_of_refreshes_only_those_that_a_full_cache_cost_are_free(world):
    world.offers(link(1))
    world.fetcher.files = {link(1): DiskFull("no room")}

    outcome = world.download(a_record(refreshes=2))

    assert (outcome.data["refreshes"], outcome.data["free"]) == (3, 1)


@pytest.mark.parametrize("pausing", [False, True])
def test_a_wait_for_room_has_the_end_of_every_wait(world, pausing):
    world.fetcher.files[link()] = DiskFull("no room")
    if pausing:
        world.download(a_record())
    late = replace(a_record(), waited_seconds=world.runtime.retry.wait_max_seconds)

    outcome = world.download(late)

    assert isinstance(outcome, Buried)
    assert outcome.failure.reason == "waited too long"
    assert row_of(outcome).values["error_category"] == "TRANSIENT"


def test_a_file_greater_than_the_whole_cache_pauses_nobody(world):
    """Nothing will ever make room for it; the operator is told by what."""
    world.fetcher.files[link()] = JPEG + bytes(1 << 20)
    world.fetcher.files[link(1)] = JPEG

    outcome = world.download(a_record())

    assert isinstance(outcome, Buried)
    assert "CLAIMX_CACHE_MAX_BYTES" in row_of(outcome).values["error"]
    assert isinstance(world.download(a_record(link=link(1))), Advance)


def test_a_record_without_a_media_item_is_buried_without_a_row(world):
    outcome = world.download(Record("m:1", Kind.MEDIA, Stage.DOWNLOAD, {"x": 1}))

    assert isinstance(outcome, Buried)
    assert outcome.rows == b""
