"""Bodies that come compressed."""

from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claimx.adapters.compressed import (
    MOST_MEMBERS,
    STEP_BYTES,
    Decompression,
    TooLong,
    Undecodable,
    coding_in,
    decompressed,
)


def raw(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(body) + packer.flush()


PACKED = [("gzip", gzip.compress), ("X-GZIP", gzip.compress), ("deflate", zlib.compress)]


@given(body=st.binary(max_size=2000), how=st.sampled_from([*PACKED, ("deflate", raw)]))
def test_a_body_comes_out_as_it_went_in_or_is_told_to_be_too_long(body, how):
    encoding, pack = how

    assert decompressed(pack(body), encoding, len(body)) == body
    if body:
        with pytest.raises(TooLong):
            decompressed(pack(body), encoding, len(body) - 1)


def test_a_gzip_body_of_several_members_is_all_of_them():
    body = gzip.compress(b"one ") + gzip.compress(b"two")

    assert decompressed(body, "gzip", 7) == b"one two"
    with pytest.raises(TooLong):
        decompressed(body, "gzip", 6)


def test_a_gzip_body_of_very_many_members_is_no_body():
    """Twenty megabytes of empty ones would keep the loop for minutes."""
    one = gzip.compress(b"", mtime=0)

    assert decompressed(one * MOST_MEMBERS, "gzip", 1) == b""
    with pytest.raises(ValueError, match="members"):
        decompressed(one * (MOST_MEMBERS + 1), "gzip", 1)


@pytest.mark.parametrize("encoding", [None, "", "identity", "UTF-8", "aws-chunked"])
def test_what_is_no_compression_is_left_alone(encoding):
    """Some hosts name a charset there, and send JSON."""
    assert decompressed(b"{}", encoding, 2) == b"{}"


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
@pytest.mark.parametrize("body", [b"{}", gzip.compress(b"x" * 100, mtime=0)[:-9], b"x"])
def test_what_is_cut_short_or_not_compressed_is_no_body(encoding, body):
    with pytest.raises(ValueError, match=r".") as caught:
        decompressed(body, encoding, 1000)

    assert not isinstance(caught.value, TooLong)


# bodies that come in pieces


@given(
    body=st.binary(max_size=2000),
    times=st.integers(1, 200),
    size=st.integers(1, 5000),
    how=st.sampled_from([*PACKED, ("deflate", raw)]),
)
def test_a_body_in_pieces_comes_out_as_it_went_in_and_is_whole_at_its_end_alone(
    body, times, size, how
):
    encoding, pack = how
    packed = pack(body * times)
    stream = Decompression(encoding.lower())
    found = b""

    for start in range(0, len(packed), size):
        assert not stream.whole
        found += b"".join(stream.pieces(packed[start : start + size]))

    assert found == body * times
    assert stream.whole


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress, raw])
@pytest.mark.parametrize("length", [STEP_BYTES, STEP_BYTES + 4, STEP_BYTES * 300])
def test_no_step_gives_more_than_its_bound(pack, length):
    """A few kilobytes may become gigabytes: whoever takes them can stop at any step."""
    stream = Decompression("gzip" if pack is gzip.compress else "deflate")

    sizes = [len(piece) for piece in stream.pieces(pack(bytes(length)))]

    assert max(sizes) <= STEP_BYTES
    assert sum(sizes) == length
    assert stream.whole


def test_several_gzip_members_in_pieces_are_all_of_them():
    body = gzip.compress(b"one ") + gzip.compress(b"two")
    stream = Decompression("gzip")

    found = [b"".join(stream.pieces(body[at : at + 1])) for at in range(len(body))]

    assert b"".join(found) == b"one two"
    assert stream.whole


def test_what_follows_a_deflate_stream_is_no_part_of_it():
    """Else an uncompressed text under this coding may begin like a stream that ends at once."""
    stream = Decompression("deflate")

    assert b"".join(stream.pieces(zlib.compress(b"one") + b"two")) == b"one"
    assert (stream.ended, stream.whole) == (True, False)


@pytest.mark.parametrize(
    ("header", "coding"),
    [
        ("", None),
        ("identity", None),
        ("UTF-8", None),
        ("aws-chunked", None),
        (" GZIP ", "gzip"),
        ("aws-chunked, gzip", "gzip"),
        ("deflate,identity", "deflate"),
        ("br", "br"),
        ("gzip, gzip", "gzip, gzip"),
    ],
)
def test_only_registered_codings_are_ones(header, coding):
    assert coding_in(header) == coding


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, gzip"])
def test_a_coding_that_nobody_takes_apart_is_told(coding):
    with pytest.raises(Undecodable, match=coding):
        Decompression(coding)
