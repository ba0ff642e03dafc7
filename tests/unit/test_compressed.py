"""Bodies that come compressed."""

from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claimx.adapters.compressed import MOST_MEMBERS, TooLong, decompressed


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
