"""What is done for every media file by a short way gives what the long way gives."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claimx.adapters.blob_folder import FolderStore
from claimx.adapters.memory.media import temporary_cache
from claimx.domain.addresses import AllowList
from claimx.domain.changes import MediaItem
from claimx.domain.errors import LinkExpired, NotAllowed
from claimx.domain.kinds import sniff
from claimx.domain.link_life import is_ending
from claimx.domain.links import expiry
from claimx.domain.media import _LOG_IN, Rules, _speaks_of_log_in
from claimx.domain.names import _cleaned, safe_name
from claimx.domain.ports.media import CachedFile
from claimx.services.attachments import cached_of, cached_to_json

SIGNED_AT = 1_767_225_600
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

# with letters beyond ASCII that match an "s" or an "i" where case does not count
LOG_IN_PARTS = [
    *(
        "log",
        "Sign",
        "\u017fign",
        "in",
        "\u0131n",
        "\u0130n",
        "on",
        "-",
        " ",
        "_",
        "sso",
        "\u017fso",
        "saml",
    ),
    *("AUTHENTICAT", "session", "expired", "has", "a", "\xe9", "<"),
]


@given(
    st.sampled_from(["", "&expires=30000", "&expires=600000", "&expires=86400000"]),
    st.integers(-700, 90_000),
)
def test_a_link_is_as_near_its_end_by_what_its_item_says_as_by_reading_it(life, seconds):
    """An item holds what its link tells, so the link need not be read again."""
    item = MediaItem("1", "7", "e", 0, f"https://h/x?systemDate={SIGNED_AT}000{life}&sign=s")
    whole = replace(item, expires_at=expiry(item.link))

    assert is_ending(whole, SIGNED_AT + seconds) == is_ending(item, SIGNED_AT + seconds)


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
    assert not head or sniff(bytearray(head)) == sniff(head)


@given(st.lists(st.sampled_from(LOG_IN_PARTS)).map("".join))
def test_a_page_without_a_name_that_speaks_of_a_log_in_is_none_of_ours(text):
    """The words that are looked for first leave out nothing that the pattern finds."""
    assert _speaks_of_log_in(text) == (_LOG_IN.search(text) is not None)


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
