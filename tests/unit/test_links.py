"""The end of signed media links."""

from __future__ import annotations

import pytest

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
        "https://[broken/x?systemDate=1767225600000&expires=1&sign=s",
    ],
)
def test_a_link_that_does_not_say_so_has_no_end(url):
    assert expiry(url) is None
    assert not is_signed(url)
