"""Where a link may lead, and at which addresses media may lie."""

import asyncio
import gzip

import pytest
from aiohttp.abc import AbstractResolver
from media_host import JPEG, LOG_IN, a_fetcher, an_item, answer, fetch, framed, left_behind, serving

from claimx.adapters.cache import DiskCache
from claimx.domain.errors import (
    DiskFull,
    LinkExpired,
    NotAllowed,
    Refused,
    TargetUnavailable,
    TooLarge,
    Unavailable,
    Unreadable,
)

pytestmark = pytest.mark.integration


@pytest.fixture
def cache(tmp_path):
    return DiskCache(tmp_path / "cache", 1 << 30, spare_bytes=0)


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_to_the_file_is_followed(cache, signed, status):
    answers = {"/old": answer(b"", status, Location="/photo.jpg"), "/photo.jpg": answer()}

    file, _ = fetch(cache, "/old", signed=signed, answers=answers)

    assert file.bytes == len(JPEG)


def test_a_header_may_be_as_long_as_a_link(cache):
    """Beyond 8 kB an answer was no valid HTTP: a file died of a policy, or of a long link."""
    location = "/photo.jpg?sign=" + "s" * 12_000
    answers = {
        "/old": answer(b"", 302, Location=location),
        "/photo.jpg": answer(X_Policy="p" * 30_000),
    }

    file, host = fetch(cache, "/old", answers=answers)

    assert file.bytes == len(JPEG)
    assert host.requests[1].startswith(f"GET {location} HTTP/1.1")


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


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("target", [answer(b"", 503), answer(JPEG, length=9999), b"no HTTP"])
def test_a_target_that_is_down_is_tried_again_later_and_a_signed_one_by_a_new_link(
    cache, target, signed
):
    """A new link may lead elsewhere; the old one led there again at each try."""
    answers = {"/old": answer(b"", 302, Location="/photo.jpg"), "/photo.jpg": target}

    with pytest.raises((Unavailable, Unreadable)) as found:
        fetch(cache, "/old", signed=signed, answers=answers)

    assert isinstance(found.value, TargetUnavailable) == signed
    assert found.value.host == "127.0.0.1"


def test_a_target_that_is_busy_is_asked_again_when_it_says(cache):
    busy = answer(b"", 429, Retry_After="7")
    answers = {"/old": answer(b"", 302, Location="/photo.jpg"), "/photo.jpg": busy}

    with pytest.raises(TargetUnavailable) as found:
        fetch(cache, "/old", signed=True, answers=answers)

    assert (found.value.retry_after, found.value.status) == (7, 429)


def test_a_signed_link_that_is_down_itself_is_only_tried_again(cache):
    with pytest.raises(Unavailable) as found:
        fetch(cache, "/old", signed=True, answers={"/old": answer(b"", 503)})

    assert type(found.value) is Unavailable


def test_no_room_for_what_a_link_leads_to_is_no_fault_of_the_link(tmp_path):
    cache = DiskCache(tmp_path, 1 << 20, spare_bytes=1 << 62)
    answers = {"/old": answer(b"", 302, Location="/photo.jpg"), "/photo.jpg": answer()}

    with pytest.raises(DiskFull):
        fetch(cache, "/old", signed=True, answers=answers)


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
