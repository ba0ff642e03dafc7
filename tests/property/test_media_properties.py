"""What is done for every media file by a short way gives what the long way gives."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from urllib.parse import parse_qsl, quote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claimx.adapters.blob_folder import FolderStore
from claimx.adapters.memory.media import temporary_cache
from claimx.domain.addresses import AllowList
from claimx.domain.errors import LinkExpired, NotAllowed
from claimx.domain.kinds import sniff
from claimx.domain.links import expiry, is_signed
from claimx.domain.media import Rules
from claimx.domain.names import _cleaned, safe_name
from claimx.domain.ports.media import CachedFile
from claimx.services.attachments import cached_of, cached_to_json

SIGNED_AT, LIFE = "1767225600000", "3600000"
PAIRS = st.one_of(
    st.sampled_from(
        [
            *(f"systemDate={SIGNED_AT}", f"system%44ate={SIGNED_AT}", f"SYSTEMDATE={SIGNED_AT}"),
            *(f"expires={LIFE}", "expires=1", "expires=%31", "Expires=", "expires", "expires=+1"),
            *("sign=a%2Fb", "sign=", "sign", "SIGN==", "X-Amz-Signature=0", "si+gn=1", "", "="),
        ]
    ),
    st.text(alphabet="signexp=&;+%4eE#", max_size=12),
)
QUERIES = st.lists(PAIRS, max_size=8).map("&".join)
PARTS = st.one_of(
    st.text(alphabet="aZ0/%2F+=&;,~!$'()*:@-._[]|^`{}<>\" éß\u202e", max_size=30),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
)
_BEGINNINGS = [
    *(b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"PK\x03\x04", b"RIFF", b"RIFF....WEBP", b"BM", b"MZ"),
    *(b"....ftypheic", b"\0\0\1\0ftypqt  ", b"\0\0\0\x1cftypmif1....avif", b"....moov", b"%PDF-"),
    *(b"\xff\xfe<\0", b"<?xml", b"<html>", b"#!", b"{", b"\xef\xbb\xbf<!doctype html>", b"\x7fELF"),
]
HEADS = st.tuples(
    st.sampled_from([b"", *_BEGINNINGS]),
    st.one_of(st.binary(max_size=600), st.sampled_from([b"word/", b" %PDF-", b"<form login>"])),
).map(b"".join)


@given(QUERIES)
def test_a_links_query_is_read_as_a_form_is(query):
    """By the library, which decodes what nobody asks for, too: of several, the first counts."""
    read = parse_qsl(urlsplit(f"https://h/x?{query}").query)
    first = {name.lower(): value for name, value in reversed(read)}
    begin, life = first.get("systemdate", ""), first.get("expires", "")
    told = begin.isdecimal() and begin.isascii() and life.isdecimal() and life.isascii()

    assert expiry(f"https://h/x?{query}") == ((int(begin) + int(life)) * 1000 if told else None)
    assert is_signed(f"https://h/x?{query}") == bool(
        first.get("sign") or first.get("x-amz-signature")
    )


@given(PARTS, PARTS)
def test_what_no_url_may_hold_is_quoted_and_nothing_else(path, query):
    url = f"https://h/{path}?{query}"
    try:
        found = AllowList.of(["h"]).check_url(url).url
    except NotAllowed:
        return

    parts, safe = urlsplit(url.strip()), "".join(map(chr, range(0x21, 0x7F)))
    asked = f"?{quote(parts.query, safe=safe)}" if parts.query else ""
    assert found == f"https://h{quote(parts.path, safe=safe) or '/'}{asked}"


@given(st.text(alphabet="aZ09_-. ", max_size=170))
def test_a_plain_name_is_what_cleaning_makes_of_it(name):
    """So it need not be cleaned."""
    assert safe_name(name) == _cleaned(name)


@given(HEADS, st.sampled_from(["", "jpg", "docx", "xml", "html", "csv", "mov"]))
def test_the_bytes_of_a_buffer_are_what_their_copy_is(head, declared):
    """A download shows its own buffer: an ordinary photo is not copied to be looked at."""
    rules = Rules.of(["jpg", "png", "heic", "mov", "docx", "xml", "html", "csv", "pdf", "txt"])

    def judged(what):
        try:
            return rules.check(what, declared, "text/html")
        except (LinkExpired, NotAllowed) as error:
            return type(error), str(error)

    assert judged(bytearray(head)) == judged(head)
    assert not head or sniff(bytearray(head)) is sniff(head)


@given(
    st.builds(
        CachedFile,
        *(st.text(),) * 2,
        st.integers(0),
        *(st.text(),) * 3,
        st.integers(),
    )
)
def test_a_cached_file_goes_into_a_record_whole(cached):
    data = cached_to_json(cached)

    assert data == asdict(cached)
    assert cached_of({"cached": data}) == cached


@given(st.one_of(st.text(min_size=1, max_size=40), st.text(min_size=100, max_size=130)))
def test_a_cached_files_name_tells_whose_it_is(cache, media_id):
    incoming = cache.begin()
    incoming.write(b"x")
    name = incoming.keep(media_id)

    (entry,) = cache.entries(1)
    cache.remove(name)
    fits = len(media_id.encode()) <= 118
    assert (entry.name, entry.media_id) == (name, media_id if fits else None)
    assert name == name.lower()
    assert len(name) < 256


@pytest.fixture(scope="module")
def cache():
    return temporary_cache()


@given(
    st.lists(st.sampled_from(["a", "b c", ".", "..", "...", ""]), min_size=1, max_size=5).map(
        "/".join
    )
)
def test_no_path_leaves_the_media_folder(path):
    """As `pathlib` judges it."""
    root = Path("/media/claims")
    leaves = ".." in Path(path).parts or not (root / path).is_relative_to(root)
    store = FolderStore(root)

    try:
        found = store._inside(path)
    except ValueError:
        assert leaves
    else:
        assert not leaves
        assert Path(found) == root / path
