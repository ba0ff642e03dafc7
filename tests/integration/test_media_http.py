"""The media fetcher against real servers that misbehave (domain page, sections 3 and 6)."""

import asyncio
import gzip
import hashlib
import time
from pathlib import Path
from urllib.parse import urlencode

import pytest
from media_host import (
    JPEG,
    LARGE,
    LOG_IN,
    NOW,
    a_fetcher,
    an_item,
    answer,
    fetch,
    framed,
    left_behind,
    serving,
)

from claimx.adapters.cache import DiskCache
from claimx.adapters.memory.gates import MemoryGates
from claimx.domain.circuit import CircuitSettings
from claimx.domain.errors import (
    CircuitOpen,
    DiskFull,
    LinkExpired,
    NotAllowed,
    NotFound,
    Refused,
    Throttled,
    TooLarge,
    TryLater,
    Unavailable,
    Unreadable,
)
from claimx.telemetry.metrics import RecordedMetrics

pytestmark = pytest.mark.integration


@pytest.fixture
def cache(tmp_path):
    return DiskCache(tmp_path / "cache", 1 << 30, spare_bytes=0)


def test_a_file_is_cached_with_what_it_is(cache):
    file, host = fetch(cache, answers={"/photo.jpg": answer()})

    assert (file.bytes, file.content_type, file.extension) == (len(JPEG), "image/jpeg", "jpg")
    assert file.sha256 == hashlib.sha256(JPEG).hexdigest()
    assert Path(cache.path(file.name)).read_bytes() == JPEG
    assert file.node == cache.node
    assert left_behind(cache) == [file.name]
    assert "authorization" not in host.requests[0].lower()


def test_the_bytes_that_came_are_counted(cache):
    metrics = RecordedMetrics()

    fetch(cache, answers={"/photo.jpg": answer()}, metrics=metrics)

    assert metrics.values == {("media_bytes", ("download",)): len(JPEG)}


@pytest.mark.parametrize(("hops", "error"), [(5, None), (6, Refused)])
def test_five_redirects_are_followed(cache, hops, error):
    answers = {f"/{hop}": answer(b"", 302, Location=f"/{hop + 1}") for hop in range(hops)}
    answers[f"/{hops}"] = answer()

    if error is None:
        assert fetch(cache, "/0", answers=answers)[0].bytes == len(JPEG)
    else:
        with pytest.raises(error, match="more than 5 redirects"):
            fetch(cache, "/0", answers=answers)


def test_a_signed_link_reaches_the_host_unchanged(cache):
    _, host = fetch(cache, answers={"/a%2Fb.jpg": answer()}, path="/a%2Fb.jpg", signed=True)

    query = urlencode({"systemDate": int(NOW * 1000), "expires": 3_600_000, "sign": "SECRET"})
    assert host.requests[0].startswith(f"GET /a%2Fb.jpg?{query} HTTP/1.1")


def test_nothing_of_a_signed_link_is_written_otherwise(cache):
    """A signature is over its letters: one that is tidied up is another."""
    asked = "/roof%7E%2c.jpg?sign=a%2Bb%20c+d%3d~%27;x&e=%C3%a4&&f"

    _, host = fetch(cache, path=asked, answers={"/roof%7E%2c.jpg": answer()})

    assert host.requests[0].startswith(f"GET {asked} HTTP/1.1\r\n")


def test_fetching_again_is_the_same_file(cache):
    first, _ = fetch(cache, answers={"/photo.jpg": answer()})
    second, _ = fetch(cache, answers={"/photo.jpg": answer()})

    assert first.name == second.name


def test_a_zero_byte_file_is_a_file(cache):
    file, _ = fetch(cache, answers={"/photo.jpg": answer(b"")})

    assert (file.bytes, Path(cache.path(file.name)).read_bytes()) == (0, b"")


def test_a_long_file_is_written_in_pieces(cache):
    body = JPEG * 700

    file, _ = fetch(cache, answers={"/photo.jpg": answer(body)}, max_bytes=len(body))

    assert file.sha256 == hashlib.sha256(body).hexdigest()
    assert Path(cache.path(file.name)).stat().st_size == len(body)


@pytest.mark.parametrize(
    ("status", "signed", "error"),
    [
        (401, True, LinkExpired),
        (403, True, LinkExpired),
        (410, True, LinkExpired),
        (404, True, NotFound),
        (401, False, Refused),
        (403, False, Refused),
        (410, False, NotFound),
        (404, False, NotFound),
        (400, False, Refused),
        (408, False, TryLater),
        (425, False, TryLater),
        (418, True, Refused),
        (304, False, Unreadable),
        (429, False, Throttled),
        (500, False, Unavailable),
        (503, True, Unavailable),
        (204, False, Unreadable),
        (206, False, Unreadable),
    ],
)
def test_a_status_means_what_the_page_says(cache, status, signed, error):
    with pytest.raises(error) as raised:
        fetch(cache, signed=signed, answers={"/photo.jpg": answer(b"", status)})

    assert raised.value.status == status
    assert "SECRET" not in str(raised.value)
    assert left_behind(cache) == []


@pytest.mark.parametrize(
    ("query", "status", "error"),
    [
        ("X-Amz-Signature=s&X-Amz-Security-Token=t", 400, LinkExpired),
        ("X-Amz-Signature=s", 400, Refused),
        ("AWSAccessKeyId=a&Expires=99999999999&Signature=s", 403, LinkExpired),
        ("sv=2023-11-03&se=2999-01-01&sig=s", 403, LinkExpired),
        ("X-Goog-Signature=s", 403, LinkExpired),
    ],
)
def test_a_link_that_is_over_is_known_by_how_its_store_says_so(cache, query, status, error):
    """
    S3 answers 400 (ExpiredToken) when the session ended that signed the link.

    A file behind such a link was buried, where another link would have brought it.
    """
    answers = {"/photo.jpg": answer(b"<Error/>", status)}

    with pytest.raises(error):
        fetch(cache, path=f"/photo.jpg?{query}", answers=answers)


def test_retry_after_is_passed_on(cache):
    with pytest.raises(Throttled) as raised:
        fetch(cache, answers={"/photo.jpg": answer(b"", 429, Retry_After="7")})

    assert raised.value.retry_after == 7


@pytest.mark.parametrize(
    "body",
    [
        answer(JPEG, length=len(JPEG) + 10),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n\xff\xd8\xff",
        answer(JPEG, length=len(JPEG) - 10),
        [answer(JPEG, length=len(JPEG) - 10)[:200], 0.05, answer(JPEG)[-len(JPEG) :]],
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nabc",
        b"no HTTP at all\r\n\r\n",
    ],
    ids=["short", "cut chunk", "longer", "longer, late", "bad length", "no HTTP"],
)
def test_a_body_that_is_not_what_was_announced_is_unreadable(cache, body):
    with pytest.raises(Unreadable):
        fetch(cache, answers={"/photo.jpg": body})

    assert left_behind(cache) == []


@pytest.mark.parametrize("parts", [[5.0], [answer()[:500], 5.0], [b""]])
def test_silence_and_closed_connections_are_unavailable(cache, parts):
    with pytest.raises(Unavailable):
        fetch(cache, answers={"/photo.jpg": lambda _: parts}, idle_seconds=0.1)

    assert left_behind(cache) == []


def test_a_download_that_dribbles_has_an_end(cache):
    dribble = [answer()[:500], *[b"x", 0.05] * 100]

    with pytest.raises(Unavailable, match="more than"):
        fetch(cache, answers={"/photo.jpg": lambda _: dribble}, total_seconds=0.3)

    assert left_behind(cache) == []


def test_nobody_there_is_unavailable(cache):
    with pytest.raises(Unavailable):
        fetch(cache, link="http://127.0.0.1:1/photo.jpg")


@pytest.mark.parametrize("announced", [True, False])
def test_a_file_beyond_the_bound_is_not_allowed(cache, announced):
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunked += b"%x\r\n" % len(JPEG) + JPEG + b"\r\n0\r\n\r\n"

    with pytest.raises(NotAllowed, match="bytes"):
        fetch(cache, answers={"/photo.jpg": answer() if announced else chunked}, max_bytes=1000)

    assert left_behind(cache) == []


def test_a_file_that_is_announced_beyond_the_bound_is_not_received(cache):
    """Else each try would take the gigabytes below the bound, and a cut one come again."""
    cut = answer(JPEG[:500], length=len(JPEG))

    with pytest.raises(TooLarge):
        fetch(cache, answers={"/photo.jpg": cut}, max_bytes=1000)


@pytest.mark.parametrize("signed", [True, False])
def test_a_log_in_page_called_jpg_means_refresh(cache, signed):
    with pytest.raises(LinkExpired):
        fetch(
            cache, signed=signed, answers={"/photo.jpg": answer(LOG_IN, Content_Type="image/jpeg")}
        )

    assert left_behind(cache) == []


def test_a_kind_that_is_declared_but_not_taken_in_is_not_even_asked_for(cache):
    async def run():
        async with serving() as host:
            with pytest.raises(NotAllowed):
                await a_fetcher(cache).fetch(an_item(host.link("/x"), name="tool.exe"))
            return host.requests

    assert asyncio.run(run()) == []


def test_a_link_about_to_expire_is_not_even_asked_for(cache):
    """A minute before its end, or a tenth of its life where that is shorter."""

    async def run(age):
        async with serving() as host:
            host.answers["/photo.jpg"] = answer()
            query = {"systemDate": int((NOW - age) * 1000), "expires": 100_000, "sign": "s"}
            fetcher = a_fetcher(cache)
            try:
                await fetcher.fetch(an_item(host.link() + "?" + urlencode(query)))
            except LinkExpired:
                pass
            finally:
                await fetcher.close()
            return len(host.requests)

    assert [asyncio.run(run(age)) for age in (0, 80, 95, 200)] == [1, 1, 0, 0]


def test_a_link_whose_declared_end_has_passed_is_not_asked_for(cache):
    async def run():
        async with serving() as host:
            item = an_item(host.link(), expires_at=round((NOW - 1) * 1e6))
            with pytest.raises(LinkExpired):
                await a_fetcher(cache).fetch(item)
            return host.requests

    assert asyncio.run(run()) == []


def test_a_full_cache_is_said_so(tmp_path):
    cache = DiskCache(tmp_path, len(JPEG) + 10, spare_bytes=0)
    other = cache.begin(11)
    other.write(b"another one")

    with pytest.raises(DiskFull):
        fetch(cache, answers={"/photo.jpg": answer()})

    other.discard()
    assert left_behind(cache) == []


@pytest.mark.parametrize("announced", [True, False])
def test_a_file_that_has_no_room_even_alone_is_not_allowed(tmp_path, announced):
    cache = DiskCache(tmp_path, 1000, spare_bytes=0)
    body = answer() if announced else framed(gzip.compress(JPEG), "chunked")

    with pytest.raises(NotAllowed, match="CLAIMX_CACHE_MAX_BYTES"):
        fetch(cache, answers={"/photo.jpg": body})

    assert left_behind(cache) == []


def test_five_failures_open_the_circuit_of_that_host(cache):
    gates = MemoryGates(time.monotonic)

    for _ in range(5):
        with pytest.raises(Unavailable):
            fetch(cache, answers={"/photo.jpg": answer(b"", 500)}, gates=gates)

    with pytest.raises(CircuitOpen) as raised:
        fetch(cache, answers={"/photo.jpg": answer()}, gates=gates)
    assert raised.value.retry_after > 0
    assert "media:127.0.0.1" in gates.circuits()


def test_expired_links_and_missing_files_open_no_circuit(cache):
    gates = MemoryGates(time.monotonic)

    for status in (403, 404) * 5:
        with pytest.raises((LinkExpired, NotFound)):
            fetch(cache, signed=True, answers={"/photo.jpg": answer(b"", status)}, gates=gates)

    assert gates.circuits() == {}


@pytest.mark.parametrize(("status", "error"), [(404, NotFound), (403, LinkExpired)])
def test_a_trial_that_says_nothing_of_its_host_leaves_its_place_to_the_next(cache, status, error):
    now = [1000.0]
    gates = MemoryGates(lambda: now[0], CircuitSettings(failures=1, open_seconds=10.0, trials=1))
    with pytest.raises(Unavailable):
        fetch(cache, answers={"/photo.jpg": answer(b"", 500)}, gates=gates)
    now[0] += 11

    with pytest.raises(error):
        fetch(cache, signed=True, answers={"/photo.jpg": answer(b"", status)}, gates=gates)

    assert fetch(cache, answers={"/photo.jpg": answer()}, gates=gates)[0].bytes == len(JPEG)
    assert gates.circuits() == {}


def test_a_long_file_goes_to_the_disk_as_it_comes(tmp_path):
    """Not when it is whole: a worker would hold gigabytes. So the cache is full before its end."""
    cache = DiskCache(tmp_path, 600_000, spare_bytes=0)
    begun = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    begun += b"%x\r\n" % len(LARGE * 2) + LARGE * 2 + b"\r\n"

    with pytest.raises(NotAllowed, match="CLAIMX_CACHE_MAX_BYTES"):
        fetch(cache, answers={"/photo.jpg": lambda _: [begun, 2.0]}, max_bytes=1 << 30)


def test_a_cancelled_download_leaves_nothing_behind(cache):
    async def run():
        async with serving() as host:
            host.answers["/photo.jpg"] = lambda _: [answer(JPEG * 500)[:1_500_000], 5.0]
            fetcher = a_fetcher(cache, idle_seconds=5, max_bytes=1 << 30)
            task = asyncio.create_task(fetcher.fetch(an_item(host.link())))
            await asyncio.sleep(0.2)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await fetcher.close()

    asyncio.run(run())

    assert left_behind(cache) == []


@pytest.mark.parametrize("name", [None, "a.png"])
def test_a_link_that_is_no_url_is_refused_with_and_without_a_name(cache, name):
    """The extension is looked for in the link, which must not fail on what the check refuses."""
    with pytest.raises(NotAllowed):
        fetch(cache, link="https://[bad/x", name=name)
