"""The end of signed media links."""

from __future__ import annotations

import pytest

from claimx.domain.changes import MediaItem
from claimx.domain.link_life import is_ending
from claimx.domain.links import expiry, is_signed

SIGNED = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z
HOUR = 3_600_000_000


@pytest.mark.parametrize(
    "url",
    [
        "https://h/x?systemDate=1767225600000&expires=3600000&sign=s",
        "https://h/x?SIGN=s&Expires=3600000&systemdate=1767225600000",
        "https://h/x?X-Amz-Date=20260101T000000Z&X-Amz-Expires=3600&X-Amz-Signature=s",
        "https://h/x?x-amz-expires=3600&x-amz-signature=s&x-amz-date=20260101T000000Z",
        "https://h/x?X-Goog-Date=20260101T000000Z&X-Goog-Expires=3600&X-Goog-Signature=s",
        "https://h/x?AWSAccessKeyId=a&Expires=1767229200&Signature=s",
        "https://h/x?Expires=1767229200&Signature=s&Key-Pair-Id=K",
        "https://h/x?sv=2023-11-03&se=2026-01-01T01%3A00%3A00Z&sr=b&sp=r&sig=s",
    ],
)
def test_a_link_ends_its_life_after_it_was_signed(url):
    assert expiry(url) == SIGNED + HOUR
    assert is_signed(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "https://h/x",
        "https://h/x?expires=3600000",
        "https://h/x?systemDate=1767225600000",
        "https://h/x?systemDate=soon&expires=3600000",
        "https://h/x?systemDate=1767225600000&expires=999999999999999999",
        "https://h/x?systemDate=-5&expires=1",
        "https://h/x?X-Amz-Date=20261301T000000Z&X-Amz-Expires=3600",
        "https://h/x?X-Amz-Date=2026-01-01&X-Amz-Expires=3600",
        "https://h/x?X-Amz-Date=20260101T000000Z&X-Amz-Expires=soon",
        "https://h/x?X-Amz-Date=20260101T000000Z",
        "https://h/x?Expires=1767229200",
        "https://h/x?se=2026-01-01T01:00:00Z",
        "https://[broken/x?systemDate=1767225600000&expires=1&sign=s",
    ],
)
def test_a_link_that_does_not_say_so_has_no_end(url):
    assert expiry(url) is None
    assert not is_signed(url)


@pytest.mark.parametrize(
    "url",
    [
        "https://h/x?systemDate=1767225600000&expires={life}000&sign=s",
        "https://h/x?X-Amz-Date=20260101T000000Z&X-Amz-Expires={life}&X-Amz-Signature=s",
    ],
)
@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize(
    ("life", "left", "ending"),
    [
        *((3600, 61, False), (3600, 60, True), (3600, -1, True)),
        *((600, 60, True), (100, 11, False), (100, 10, True), (1, 0.2, False), (1, 0.1, True)),
    ],
)
def test_a_link_ends_a_minute_before_or_a_tenth_of_a_shorter_life(url, told, life, left, ending):
    link = url.format(life=life)
    item = MediaItem("1", "7", "e", 0, link, expires_at=expiry(link) if told else None)

    assert is_ending(item, SIGNED / 1_000_000 + life - left) is ending


@pytest.mark.parametrize(
    "query", ["Signature=s&Policy=p&Key-Pair-Id=K", "sig=s&sv=2023-11-03&si=stored", "sig=s&se=x"]
)
def test_a_link_may_be_signed_and_not_tell_its_end(query):
    assert is_signed(f"https://h/x?{query}")
    assert expiry(f"https://h/x?{query}") is None


@pytest.mark.parametrize(
    "query", ["Expires=1767229200&Signature=s", "sig=s&se=2026-01-01T01:00:00Z"]
)
def test_a_link_that_tells_its_end_and_not_its_life_ends_a_minute_before(query):
    item = MediaItem("1", "7", "e", 0, f"https://h/x?{query}")

    assert is_ending(item, SIGNED / 1_000_000 + 3600 - 61) is False
    assert is_ending(item, SIGNED / 1_000_000 + 3600 - 60) is True


def test_a_link_that_tells_no_end_has_that_of_its_item():
    item = MediaItem("1", "7", "e", 0, "https://h/x", expires_at=SIGNED)

    assert is_ending(item, SIGNED / 1_000_000 - 1) is False
    assert is_ending(item, SIGNED / 1_000_000) is True
    assert is_ending(MediaItem("1", "7", "e", 0, "https://h/x"), 9e9) is False
