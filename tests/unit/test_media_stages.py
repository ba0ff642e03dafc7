"""The stages DOWNLOAD, UPLOAD and RECORD, record by record (domain page, sections 3 and 6)."""

import asyncio
import hashlib
import os
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from claimx.adapters.cache import DiskCache
from claimx.adapters.memory.claimx_api import MemoryClaimXApi
from claimx.adapters.memory.gates import MemoryGates
from claimx.adapters.memory.hints import MemoryHints
from claimx.adapters.memory.media import MemoryBlobStore, MemoryMediaFetcher
from claimx.domain.changes import MediaItem, Source
from claimx.domain.codec import decode_changes, media_to_json
from claimx.domain.errors import (
    DiskFull,
    ErrorCategory,
    NotAllowed,
    NotFound,
    Throttled,
    TokenRejected,
    TooLargeNow,
    Unavailable,
)
from claimx.domain.media import Rules
from claimx.domain.records import Advance, Buried, Kind, Record, Retried, Stage, Waited
from claimx.domain.refusal import refusal
from claimx.domain.retry import PAUSE_SECONDS, RetryPolicy
from claimx.domain.tables import ATTACHMENTS
from claimx.services.attachments import failed_row
from claimx.services.download import PATIENCE_SECONDS, DownloadStage, link_in
from claimx.services.record import RecordStage
from claimx.services.runtime import Limits, Runtime
from claimx.services.settle import failure_of
from claimx.services.sweep import OLD_SECONDS, YOUNG_SECONDS, CacheSweeper
from claimx.services.upload import UploadStage
from claimx.settings import DEFAULT_EXTENSIONS
from claimx.telemetry.metrics import RecordedMetrics

JPEG = b"\xff\xd8\xff\xe0 photo"
NOW = 1_790_000_000.0


def link(number=0, *, lifetime=3600, signed_at=NOW):
    query = {"systemDate": int(signed_at * 1000), "expires": lifetime * 1000, "sign": f"s{number}"}
    return f"https://www.claimxperience.com/media/99?{urlencode(query)}"


class World:
    """A process with its cache, API, media host and store, on a clock that a test moves."""

    def __init__(self, folder):
        self.now = NOW
        self.cache = DiskCache(folder / "cache", 1 << 20, spare_bytes=0, now=lambda: self.now)
        self.api = MemoryClaimXApi(lambda: self.now)
        self.store = MemoryBlobStore()
        self.runtime = Runtime(
            ledger=None,  # type: ignore[arg-type]  # these tests decide about single records
            gates=MemoryGates(lambda: self.now),
            hints=MemoryHints(),
            metrics=RecordedMetrics(),
            retry=RetryPolicy(),
            limits=Limits(),
            now=lambda: self.now,
            jitter=lambda: 0.0,
            holder="test",
            make_lake=lambda: None,  # type: ignore[arg-type,return-value]
            make_source=lambda: None,  # type: ignore[arg-type,return-value]
        )
        self.fetcher = MemoryMediaFetcher(
            self.cache, {}, Rules.of(DEFAULT_EXTENSIONS), lambda: self.now
        )
        self.downloads = DownloadStage(self.runtime, self.api, self.fetcher, self.cache.node)
        self.uploads = UploadStage(self.runtime, self.store, self.cache)

    def offers(self, *links: str) -> None:
        """Let the API hand out *links*, one a call; the last one stays."""
        items = [[{"mediaID": 98}, {"mediaID": 99, "fullDownloadLink": one}] for one in links]
        self.api.media_items = _InTurn(items)

    def download(self, record):
        return asyncio.run(self.downloads.work(record))

    def upload(self, record):
        return asyncio.run(self.uploads.work(record))

    def record(self, record):
        return asyncio.run(RecordStage(self.runtime).work(record))


class _InTurn(dict):
    def __init__(self, answers):
        super().__init__({"4711": answers[-1]})
        self.answers = list(answers)

    def __getitem__(self, key):
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    asyncio.run(made.uploads.close())


def a_record(stage=Stage.DOWNLOAD, attempts=0, **data: Any) -> Record:
    item = MediaItem("99", "4711", "e1", 5, link(), file_name="Roof.jpg", media_type="IMAGE")
    return Record("m:99", Kind.MEDIA, stage, {**media_to_json(item), **data}, attempts=attempts)


def onward(outcome, stage, **data: Any) -> Record:
    """Return the record as it is claimed next."""
    assert isinstance(outcome, Advance)
    assert outcome.stage is stage
    return Record("m:99", Kind.MEDIA, stage, {**outcome.data, **data})


def row_of(outcome):
    (change,) = decode_changes(outcome.rows)
    assert refusal(ATTACHMENTS, change) is None
    return change


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


# uploads


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


# the files of what was uploaded


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


# the sweeper


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
