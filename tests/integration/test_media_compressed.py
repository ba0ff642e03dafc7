"""Media that come compressed are stored as they are."""

import gzip
import hashlib
import zlib
from pathlib import Path

import pytest
from media_host import CUTS, FRAMINGS, JPEG, LARGE, fetch, framed, left_behind

from claimx.adapters.cache import DiskCache
from claimx.domain.errors import (
    NotAllowed,
    Unreadable,
)

pytestmark = pytest.mark.integration


@pytest.fixture
def cache(tmp_path):
    return DiskCache(tmp_path / "cache", 1 << 30, spare_bytes=0)


def raw(body):
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(body) + packer.flush()


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
