"""The stages UPLOAD and RECORD, and what becomes of the cached file."""

import asyncio
import os
from pathlib import Path

import pytest
from media_world import JPEG, NOW, World, a_record, link, onward, row_of

from claimx.domain.changes import MediaItem
from claimx.domain.errors import (
    Throttled,
    TokenRejected,
    Unavailable,
)
from claimx.domain.records import Advance, Buried, Kind, Record, Retried, Stage, Waited
from claimx.services.attachments import failed_row
from claimx.services.download import link_in
from claimx.services.settle import failure_of
from claimx.services.sweep import OLD_SECONDS, YOUNG_SECONDS, CacheSweeper
from claimx.services.upload import UploadStage


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    asyncio.run(made.uploads.close())


@pytest.fixture
def cached(world):
    world.fetcher.files[link()] = JPEG
    return onward(world.download(a_record()), Stage.UPLOAD)


def test_a_file_that_vanished_is_downloaded_again_and_is_no_failure(world, cached):
    world.cache.remove(cached.data["cached"]["name"])

    outcome = world.upload(cached)

    record = onward(outcome, Stage.DOWNLOAD)
    assert "cached" not in record.data
    assert "refresh" not in record.data
    assert isinstance(world.download(record), Advance)


def test_bytes_are_counted_once_a_file_is_stored(world, cached):
    """Wherever it is stored: those of a folder were in no metric."""
    counted = world.runtime.metrics.values

    before = counted.get(("media_bytes", ("upload",)), 0)
    world.upload(cached)

    assert (before, counted["media_bytes", ("upload",)]) == (0, len(JPEG))


def test_another_nodes_file_is_downloaded_again(world, cached):
    cached.data["cached"]["node"] = "f" * 32

    assert world.upload(cached).stage is Stage.DOWNLOAD


def test_a_record_that_names_no_file_is_downloaded(world):
    assert onward(world.upload(a_record(Stage.UPLOAD)), Stage.DOWNLOAD).data["vanished"] == 1


def test_a_file_that_changed_in_the_cache_is_downloaded_again(world, cached):
    Path(world.cache.path(cached.data["cached"]["name"])).write_bytes(b"x" * len(JPEG))

    assert world.upload(cached).stage is Stage.DOWNLOAD


def test_the_refresh_that_a_vanished_file_costs_is_not_counted(world, cached):
    """A dyno that restarts again and again must not end as a failed file."""
    over, good = (link(number, signed_at=NOW + 7200) for number in (1, 2))
    world.offers(over, good)
    world.fetcher.files[good] = JPEG
    world.cache.remove(cached.data["cached"]["name"])
    world.now += 7200
    cached.data["refreshes"] = 2

    back = onward(world.upload(cached), Stage.DOWNLOAD)
    again = world.download(back)

    assert (back.data["refresh"], back.data["free"]) == (True, 1)
    assert isinstance(again, Advance), "the third that counts is the one for the link that is over"
    assert again.data["refreshes"] == 4


def test_a_file_that_vanishes_again_and_again_is_not_fetched_in_a_hot_loop(world, cached):
    delays = []
    for _ in range(12):
        cached.data["cached"] = {**cached.data["cached"], "name": "gone"}
        outcome = world.upload(cached)
        delays.append(outcome.delay)
        data = {**outcome.data, "cached": cached.data["cached"]}
        cached = Record("m:99", Kind.MEDIA, Stage.UPLOAD, data)

    assert delays[:3] == [0, 0, 8]
    assert delays[-1] == 300


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (Unavailable("500"), Retried),
        (Throttled("429", retry_after=3), Retried),
        (TokenRejected("403"), Waited),
        (RuntimeError("nobody classified this"), Retried),
    ],
)
def test_an_upload_that_fails_keeps_its_file(world, cached, error, outcome):
    world.store.failures.append(error)

    found = world.upload(cached)

    assert isinstance(found, outcome)
    assert isinstance(world.upload(cached), Advance)


def test_an_upload_that_is_given_up_on_is_a_failed_row(world, cached):
    world.store.failures.append(Unavailable("500"))
    record = Record("m:99", Kind.MEDIA, Stage.UPLOAD, cached.data, attempts=4)

    assert row_of(world.upload(record)).values["status"] == "failed"


@pytest.mark.parametrize("lacking", ["cached", "blob_path", "uploaded_at"])
def test_a_record_that_does_not_say_what_was_uploaded_is_buried(world, cached, lacking):
    record = onward(world.upload(cached), Stage.RECORD)
    del record.data[lacking]

    outcome = world.record(record)

    assert isinstance(outcome, Buried)
    assert outcome.failure.error == "Malformed"


def test_a_failed_row_says_nothing_secret():
    item = MediaItem("99", "4711", "e1", 5, link())
    error = RuntimeError("GET https://h/x?sign=TOPSECRET by jo@example.com")

    row = failed_row(item, 0, failure_of(Stage.DOWNLOAD, error, NOW))

    assert "TOPSECRET" not in row.values["error"]
    assert "jo@" not in row.values["error"]


@pytest.mark.parametrize("media_id", [99, "99", 99.0, " 99 "])
def test_the_link_is_the_one_of_that_media_id(media_id):
    answer = [
        {"mediaID": 1, "fullDownloadLink": "a"},
        {"mediaID": media_id, "fullDownloadLink": " b "},
    ]

    assert link_in(answer, "99") == "b"


def test_a_new_link_is_read_as_the_first_one_was():
    """With half a pair in it nothing could ask for it, and the file died of what nobody knew."""
    answer = [
        {"mediaID": {}, "fullDownloadLink": "a"},
        {"mediaID": "\x0099", "fullDownloadLink": "\ud800"},
        {"mediaID": 99, "fullDownloadLink": "https://h/\ud800b"},
    ]

    assert link_in(answer, "99") == "https://h/b"
    assert link_in({"mediaID": 99, "fullDownloadLink": "a"}, "99") == ""
    assert link_in(None, "99") == ""


class Known:
    """The one question about cached files that a ledger is asked."""

    def __init__(self, *active: str):
        self.active = {f"m:{one}" for one in active}
        self.asked: list[list[str]] = []

    def active_media(self, ids):
        self.asked.append(list(ids))
        return self.active & set(ids)


def kept(world, media_id, age=0.0):
    incoming = world.cache.begin(3)
    incoming.write(b"abc")
    name = incoming.keep(media_id)
    os.utime(world.cache.path(name), (world.now - age, world.now - age))
    return name


def left(world):
    return {entry.name for entry in world.cache.entries(10_000)}


@pytest.fixture
def ledger(world):
    world.runtime.ledger = Known()
    world.uploads = UploadStage(world.runtime, world.store, world.cache)
    return world.runtime.ledger


def clear(world, seconds):
    """Let *seconds* pass as the thread of the uploads would see them."""
    world.now += seconds
    return world.uploads._uploaded.clear()


def test_an_uploaded_file_goes_seconds_after_its_record_is_done(world, ledger, cached):
    ledger.active.add("m:99")
    world.upload(cached)

    assert [clear(world, 1) for _ in range(6)] == [0] * 6
    ledger.active.clear()

    assert sum(clear(world, 1) for _ in range(4)) == 1
    assert left(world) == set()


@pytest.mark.usefixtures("ledger")
def test_the_file_of_a_record_that_died_here_goes_too(world, cached):
    world.store.failures.append(Unavailable("500"))
    record = Record("m:99", Kind.MEDIA, Stage.UPLOAD, cached.data, attempts=4)

    assert isinstance(world.upload(record), Buried)

    assert clear(world, 4) == 1


@pytest.mark.parametrize("attempts", [0, 3])
def test_the_file_of_a_record_that_comes_again_is_not_asked_about(world, ledger, cached, attempts):
    world.store.failures.append(Unavailable("500"))
    record = Record("m:99", Kind.MEDIA, Stage.UPLOAD, cached.data, attempts=attempts)

    assert isinstance(world.upload(record), Retried)

    assert clear(world, 1000) == 0
    assert ledger.asked == []


def test_a_cached_file_that_nobody_remembers_goes_once_its_record_is_done(world):
    ledger = Known("busy", "old")
    names = {one: kept(world, one, 2 * YOUNG_SECONDS) for one in ("done", "busy")}
    names["young"] = kept(world, "young", 1)
    kept(world, "old", OLD_SECONDS + 1)

    removed = CacheSweeper(world.cache, ledger, lambda: world.now).sweep()

    assert left(world) == {names["busy"], names["young"]}
    assert removed == 2


def test_a_file_whose_name_does_not_tell_whose_it_is_goes_by_its_age(world):
    ledger = Known()
    name = kept(world, "x" * 500, 2 * YOUNG_SECONDS)

    CacheSweeper(world.cache, ledger, lambda: world.now).sweep()

    assert left(world) == {name}
    assert ledger.asked == []


def test_a_sweep_asks_about_so_many_files_in_turn_and_once_for_all(world):
    ledger = Known(*(f"busy{n}" for n in range(5)))
    for n in range(5):
        kept(world, f"busy{n}", 1000 + n)
    kept(world, "done", 100)
    sweeper = CacheSweeper(world.cache, ledger, lambda: world.now)

    assert [sweeper.sweep(batch=2) for _ in range(3)] == [0, 0, 1]
    assert [len(ids) for ids in ledger.asked] == [2, 2, 2]


def test_a_clock_that_is_set_back_puts_off_no_sweep(world):
    sweeper = CacheSweeper(world.cache, Known(), lambda: world.now)
    sweeper.sweep_if_due()

    world.now -= 3600

    assert sweeper.is_due()


def test_sweeping_is_rare_and_never_raises(world):
    class Away(Known):
        def active_media(self, ids):
            self.asked.append(list(ids))
            raise Unavailable("redis is away")

    ledger = Away()
    kept(world, "1", 1000)
    sweeper = CacheSweeper(world.cache, ledger, lambda: world.now)

    assert sweeper.is_due()
    assert [sweeper.sweep_if_due() for _ in range(3)] == [0, 0, 0]
    assert len(ledger.asked) == 1
    assert not sweeper.is_due()
