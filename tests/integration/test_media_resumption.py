"""A download that was cut goes on where it ended, if that is the same file."""

import asyncio
import gzip
import hashlib
import time
from pathlib import Path

import pytest
from media_host import JPEG, LARGE, a_fetcher, an_item, answer, fetch, left_behind, serving

from claimx.adapters.cache import DiskCache
from claimx.adapters.memory.gates import MemoryGates
from claimx.domain.errors import (
    Refused,
    Unreadable,
)

pytestmark = pytest.mark.integration


@pytest.fixture
def cache(tmp_path):
    return DiskCache(tmp_path / "cache", 1 << 30, spare_bytes=0)


def cut_once(body, tag='"v1"', second=None):
    """Answer the half, and the rest when it is asked for."""
    half = len(body) // 2
    whole = answer(body, ETag=tag)

    def reply(head):
        if "Range:" not in head:
            return whole[: len(whole) - half]
        rest = body[-half:]
        span = f"bytes {len(body) - half}-{len(body) - 1}/{len(body)}"
        return second or answer(rest, 206, Content_Range=span, ETag=tag)

    return reply


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
