"""The media fetcher against real servers that misbehave (domain page, sections 3 and 6)."""

import asyncio
import gzip
import hashlib
import random
import time
import zlib
from pathlib import Path
from urllib.parse import urlencode

import pytest
from aiohttp.abc import AbstractResolver
from media_host import (
    JPEG,
    NOW,
    a_fetcher,
    an_item,
    answer,
    cut_once,
    fetch,
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

LOG_IN = b"<!DOCTYPE html><html><form action='/login'><input type='password'></form></html>"


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


# compressed bodies


def raw(body):
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(body) + packer.flush()


def framed(body, how, encoding="gzip"):
    """Return *body* in a whole answer whose framing is intact."""
    head = {
        "length": f"Content-Length: {len(body)}",
        "chunked": "Transfer-Encoding: chunked",
        "close": "Connection: close",
    }[how]
    if how == "chunked":
        body = (b"%x\r\n" % len(body) + body + b"\r\n" if body else b"") + b"0\r\n\r\n"
    lines = f"HTTP/1.1 200 OK\r\nContent-Encoding: {encoding}\r\n{head}\r\n\r\n"
    return lines.encode() + body


LARGE = JPEG[:11] + random.Random(7).randbytes(1_000_000)
FRAMINGS = ["length", "chunked", "close"]
PACKED_JPEG = framed(gzip.compress(JPEG), "length")
PACKED = [("gzip", gzip.compress), ("x-gzip", gzip.compress), ("deflate", zlib.compress)]
PACKED += [("deflate", raw), ("aws-chunked, GZIP", gzip.compress)]


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize(("encoding", "pack"), PACKED)
def test_a_file_that_comes_compressed_is_stored_as_it_is(cache, framing, encoding, pack):
    """It was asked for uncompressed, but objects are stored so, and CDNs do as they like."""
    body = framed(pack(LARGE), framing, encoding)

    file, _ = fetch(cache, answers={"/photo.jpg": body})

    assert (file.bytes, file.sha256) == (len(LARGE), hashlib.sha256(LARGE).hexdigest())
    assert Path(cache.path(file.name)).read_bytes() == LARGE


def test_a_gzip_body_of_several_members_is_one_file(cache):
    body = gzip.compress(JPEG) + gzip.compress(b"more")

    file, _ = fetch(cache, answers={"/photo.jpg": framed(body, "length")})

    assert Path(cache.path(file.name)).read_bytes() == JPEG + b"more"


CUTS = [(how, left) for how in FRAMINGS for left in (0, 500_000, -1)][1:]  # but an empty file


@pytest.mark.parametrize(("framing", "left"), CUTS)
@pytest.mark.parametrize(("encoding", "pack"), PACKED[:4])
def test_a_body_cut_within_its_compressed_stream_is_unreadable(
    cache, framing, left, encoding, pack
):
    """Its framing is intact, so nothing but the stream tells; half a photo was stored for one."""
    cut = pack(LARGE)[:left]

    with pytest.raises(Unreadable):
        fetch(cache, answers={"/photo.jpg": framed(cut, framing, encoding)})

    assert left_behind(cache) == []


@pytest.mark.parametrize(
    "body",
    [
        framed(JPEG, "length"),
        framed(JPEG, "length", "deflate"),
        framed(b"Kitchen, photo 1", "length", "deflate"),
        framed(zlib.compress(JPEG) + b"x", "length", "deflate"),
        framed(gzip.compress(JPEG) + b"x", "length"),
        framed(JPEG, "length", "br"),
        framed(gzip.compress(gzip.compress(JPEG)), "length", "gzip, gzip"),
        [PACKED_JPEG[:200], 0.05, PACKED_JPEG[200:] + b"more"],
    ],
    ids=["not", "not, 2", "text", "longer", "longer, 2", "unknown", "twice", "beyond its length"],
)
def test_a_body_that_is_not_compressed_as_it_says_is_unreadable(cache, body):
    with pytest.raises(Unreadable):
        fetch(cache, answers={"/photo.jpg": body}, name="photo.jpg")

    assert left_behind(cache) == []


def test_an_empty_file_under_a_compression_is_a_file(cache):
    file, _ = fetch(cache, answers={"/photo.jpg": framed(b"", "length")})

    assert file.bytes == 0


def test_the_bound_on_a_file_is_on_what_it_becomes(cache):
    bomb = gzip.compress(JPEG + bytes(100 << 20))

    with pytest.raises(NotAllowed, match="longer than"):
        fetch(cache, answers={"/photo.jpg": framed(bomb, "length")})

    assert left_behind(cache) == []


@pytest.mark.parametrize("encoding", ["UTF-8", "aws-chunked", "identity"])
def test_a_file_under_what_is_no_compression_is_taken_as_it_is(cache, encoding):
    file, _ = fetch(cache, answers={"/photo.jpg": framed(JPEG, "length", encoding)})

    assert file.sha256 == hashlib.sha256(JPEG).hexdigest()


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


# redirects


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_to_the_file_is_followed(cache, signed, status):
    answers = {"/old": answer(b"", status, Location="/photo.jpg"), "/photo.jpg": answer()}

    file, _ = fetch(cache, "/old", signed=signed, answers=answers)

    assert file.bytes == len(JPEG)


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("https://evil.example/photo.jpg", b""),
        ("http://10.0.0.1/photo.jpg", b""),
        ("http://169.254.169.254/latest/meta-data", b""),
        ("file:///etc/passwd", b""),
        ("https://[bad/photo.jpg", b""),
        ("", b""),
        ("/login", answer(LOG_IN, Content_Type="text/html")),
        ("/login", answer(b"", 403)),
        ("/login", answer(b"", 404)),
        ("/login", answer(b"\x7fELF\x00\x00")),
        ("/old", b""),
    ],
)
def test_a_signed_link_that_leads_elsewhere_is_over(cache, location, target):
    answers = {"/old": answer(b"", 302, Location=location), "/login": target}

    with pytest.raises(LinkExpired):
        fetch(cache, "/old", signed=True, answers=answers)

    assert left_behind(cache) == []


@pytest.mark.parametrize("announced", [True, False])
@pytest.mark.parametrize(
    ("bound", "file_bytes", "cache_bytes"),
    [("CLAIMX_MAX_MEDIA_BYTES", 1000, 1 << 20), ("CLAIMX_CACHE_MAX_BYTES", 1 << 20, 1000)],
)
def test_a_file_too_large_behind_a_redirect_is_no_link_that_ended(
    tmp_path, bound, file_bytes, cache_bytes, announced
):
    """It was asked for by three new links in vain, and died of a link refreshed too often."""
    cache = DiskCache(tmp_path, cache_bytes, spare_bytes=0)
    body = answer() if announced else framed(gzip.compress(JPEG), "chunked")
    answers = {"/old": answer(b"", 302, Location="/photo.jpg"), "/photo.jpg": body}

    with pytest.raises(TooLarge, match=bound):
        fetch(cache, "/old", signed=True, answers=answers, max_bytes=file_bytes)

    assert left_behind(cache) == []


@pytest.mark.parametrize(
    "location",
    ["https://evil.example/x.jpg", "http://10.0.0.1/x.jpg", "https://[bad/x.jpg", "", "/old"],
)
def test_an_unsigned_link_that_leads_elsewhere_is_refused(cache, location):
    with pytest.raises(Refused):
        fetch(cache, "/old", answers={"/old": answer(b"", 302, Location=location)})


def test_a_target_that_is_down_is_tried_again_later(cache):
    answers = {"/old": answer(b"", 302, Location="/photo.jpg"), "/photo.jpg": answer(b"", 503)}

    with pytest.raises(Unavailable):
        fetch(cache, "/old", signed=True, answers=answers)


# addresses


class Names(AbstractResolver):
    """Resolves names as a hostile name server would: each look-up may answer otherwise."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = 0

    async def resolve(self, host, port=0, _family=0):
        found = self.answers[min(self.asked, len(self.answers) - 1)]
        self.asked += 1
        return [
            {"hostname": host, "host": one, "port": port, "family": 2, "proto": 0, "flags": 0}
            for one in found
        ]

    async def close(self):
        pass


def by_name(cache, names, **options):
    async def run():
        async with serving() as host:
            host.answers["/photo.jpg"] = answer()
            fetcher = a_fetcher(
                cache, allowed_hosts=["media.test"], make_resolver=lambda: names, **options
            )
            scheme = "http" if options.get("allow_loopback", True) else "https"
            link = f"{scheme}://media.test:{host.port}/photo.jpg"
            try:
                return await fetcher.fetch(an_item(link)), host
            finally:
                await fetcher.close()
                assert options.get("allow_loopback", True) or not host.requests

    return asyncio.run(run())


def test_an_allowed_name_on_loopback_is_fetched_in_development(cache):
    file, host = by_name(cache, Names(["127.0.0.1"]))

    assert file.bytes == len(JPEG)
    assert "Host: media.test" in host.requests[0]


@pytest.mark.parametrize(
    "addresses",
    [["127.0.0.1"], ["10.0.0.1"], ["::ffff:127.0.0.1"], ["93.184.216.34", "127.0.0.1"], ["x"]],
)
def test_an_allowed_name_at_a_private_address_is_not_connected_to(cache, addresses):
    with pytest.raises(NotAllowed):
        by_name(cache, Names(addresses), allow_loopback=False)


def test_plain_http_never_leaves_loopback(cache):
    with pytest.raises(NotAllowed):
        by_name(cache, Names(["93.184.216.34"]))


def test_the_address_that_was_checked_is_the_one_connected_to(cache):
    """DNS rebinding: a second look-up would answer another address, so there is none."""
    names = Names(["127.0.0.1"], ["10.0.0.1"])

    file, _ = by_name(cache, names)

    assert file.bytes == len(JPEG)
    assert names.asked == 1


def test_a_proxy_in_the_environment_is_not_used(cache, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")

    file, _ = fetch(cache, answers={"/photo.jpg": answer()})

    assert file.bytes == len(JPEG)


# resumption


def test_a_cut_body_that_is_tagged_is_resumed(cache):
    file, host = fetch(cache, answers={"/photo.jpg": cut_once(JPEG)})

    assert file.sha256 == hashlib.sha256(JPEG).hexdigest()
    assert f"Range: bytes={len(JPEG) - len(JPEG) // 2}-" in host.requests[1]
    assert 'If-Range: "v1"' in host.requests[1]


def test_a_rest_that_ends_too_soon_is_unreadable(cache):
    """Its own length is right, and its range is the one that was asked for."""
    half = len(JPEG) // 2
    span = f"bytes {len(JPEG) - half}-{len(JPEG) - 1}/{len(JPEG)}"
    short = answer(JPEG[-half:-5], 206, Content_Range=span, ETag='"v1"')

    with pytest.raises(Unreadable):
        fetch(cache, answers={"/photo.jpg": cut_once(JPEG, second=short)})

    assert left_behind(cache) == []


def test_a_file_that_changed_meanwhile_is_begun_anew(cache):
    other = JPEG + b"other"

    file, _ = fetch(
        cache, answers={"/photo.jpg": cut_once(JPEG, second=answer(other, ETag='"v2"'))}
    )

    assert file.sha256 == hashlib.sha256(other).hexdigest()


@pytest.mark.parametrize(
    ("span", "tag"),
    [
        ("bytes {}-{}/{}", '"v2"'),
        ("bytes {}-{}/9", '"v1"'),
        ("bytes 5-{1}/{2}", '"v1"'),
        ("bytes 5-", '"v1"'),
        ("", '"v1"'),
    ],
)
def test_another_part_than_was_asked_for_is_unreadable(cache, span, tag):
    """It is as long as what is missing: by its length alone it would be taken for the rest."""
    half = len(JPEG) // 2
    span = span.format(len(JPEG) - half, len(JPEG) - 1, len(JPEG))
    wrong = answer(b"x" * half, 206, Content_Range=span, ETag=tag)

    with pytest.raises(Unreadable, match="another part"):
        fetch(cache, answers={"/photo.jpg": cut_once(JPEG, second=wrong)})

    assert left_behind(cache) == []


def test_a_compressed_body_is_not_resumed(cache):
    """Its parts are of the compressed stream, and what was received of it is counted otherwise."""
    whole = answer(gzip.compress(LARGE), ETag='"v1"', Content_Encoding="gzip")

    async def run():
        async with serving() as host:
            host.answers["/photo.jpg"] = whole[:-500_000]
            with pytest.raises(Unreadable):
                await a_fetcher(cache).fetch(an_item(host.link()))
            return host.requests

    assert len(asyncio.run(run())) == 1
    assert left_behind(cache) == []


def test_a_rest_that_comes_compressed_is_another_part_than_was_asked_for(cache):
    """Its range is one of the compressed stream, and would fit by chance."""
    half = len(JPEG) // 2
    span = f"bytes {len(JPEG) - half}-{len(JPEG) - 1}/{len(JPEG)}"
    packed = answer(b"x" * half, 206, Content_Range=span, ETag='"v1"', Content_Encoding="gzip")

    with pytest.raises(Unreadable, match="another part"):
        fetch(cache, answers={"/photo.jpg": cut_once(JPEG, second=packed)})

    assert left_behind(cache) == []


def test_a_file_that_is_compressed_by_now_is_begun_anew(cache):
    packed = answer(gzip.compress(LARGE), ETag='"v2"', Content_Encoding="gzip")

    file, _ = fetch(cache, answers={"/photo.jpg": cut_once(LARGE, second=packed)})

    assert Path(cache.path(file.name)).read_bytes() == LARGE
    assert left_behind(cache) == [file.name]


def test_a_file_that_is_begun_anew_needs_no_room_twice(tmp_path):
    cache = DiskCache(tmp_path, len(LARGE) * 3 // 2, spare_bytes=0)
    other = answer(LARGE[:-1] + b"x", ETag='"v2"')

    file, _ = fetch(cache, answers={"/photo.jpg": cut_once(LARGE, second=other)})

    assert file.bytes == len(LARGE)


@pytest.mark.parametrize("status", [412, 416])
def test_a_part_that_is_no_more_begins_the_file_anew(cache, status):
    """The file was replaced meanwhile: by a shorter one, or under another tag."""
    other = JPEG[: len(JPEG) // 3]
    cut = cut_once(JPEG, second=answer(b"", status))
    gates = MemoryGates(time.monotonic)

    def reply(head):
        return answer(other, ETag='"v2"') if len(asked) == 2 else asked.append(head) or cut(head)

    asked = []
    file, host = fetch(cache, answers={"/photo.jpg": reply}, gates=gates)

    assert Path(cache.path(file.name)).read_bytes() == other
    assert left_behind(cache) == [file.name]
    assert ["Range:" in head for head in host.requests] == [False, True, False]
    assert gates.circuits() == {}


@pytest.mark.parametrize("status", [412, 416])
def test_a_host_that_knows_no_part_of_what_it_cuts_is_unreadable(cache, status):
    """Asked again and again it has an end, and what it sent goes."""

    async def run():
        async with serving() as host:
            host.answers["/photo.jpg"] = cut_once(LARGE, second=answer(b"", status))
            with pytest.raises(Unreadable):
                await a_fetcher(cache).fetch(an_item(host.link()))
            return host.requests

    assert len(asyncio.run(run())) == 4
    assert left_behind(cache) == []


@pytest.mark.parametrize("status", [412, 416])
def test_what_was_not_asked_for_in_part_is_refused(cache, status):
    with pytest.raises(Refused):
        fetch(cache, answers={"/photo.jpg": answer(b"", status)})


def test_a_body_without_a_tag_is_not_resumed(cache):
    async def run():
        async with serving() as host:
            host.answers["/photo.jpg"] = cut_once(JPEG, tag='W/"weak"')
            with pytest.raises(Unreadable):
                await a_fetcher(cache).fetch(an_item(host.link()))
            return len(host.requests)

    assert asyncio.run(run()) == 1


# room and circuits


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
