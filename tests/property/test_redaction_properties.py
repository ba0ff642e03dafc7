"""What is hidden in a text of unknown origin, and that no text is read more than once for it."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claimx.domain.redaction import mask

# the same rules written down as they are meant, whatever time they take
PLAIN_RULES = (
    (r"(\w+://)[^@/\s]*@", r"\1***@"),
    (r"(\w+://[^\s?#\"'<>]*)[?#][^\s\"'<>]*", r"\1?***"),
    (
        (
            r"(?i)\b(sign|sig|signature|x-amz-[a-z-]+|[a-z_-]*token|password|secret|accountkey"
            r"|api[_-]?key)([\"']?\s*[=:]\s*[\"']?)[^&\s\"',;}]+"
        ),
        r"\1\2***",
    ),
    (r"(?i)\b(authorization|bearer|basic)([:\s]+)[A-Za-z0-9+/=._~-]{6,}", r"\1\2***"),
    (r"[\w.+-]+@[\w-]+(\.[\w-]+)+", "***@***"),
)
PARTS = [
    *("https://", "://", "h.example", "/", "?", "#", "@", ".", "-", "_", "+", " ", "=", ":", '"'),
    *("a", "Token", "sig", "x-amz-", "Secret", "api_key", "Bearer", "basic ", "abcdefgh", "\xe9 "),
]
HUNDRED_KB = 100_000
SLOW = ["a", "a-", "a.", "_", "a://", "a@", "a@a-", "token ", "bearer ", "x-amz-", 'sig"', "1 "]


@given(st.lists(st.sampled_from(PARTS), max_size=25).map("".join))
def test_what_is_hidden_is_what_the_rules_say(text):
    meant = text
    for pattern, replacement in PLAIN_RULES:
        meant = re.sub(pattern, replacement, meant)

    assert mask(text) == meant


@pytest.mark.parametrize("part", SLOW)
@pytest.mark.timeout(60)  # by the rules as they are meant, some take minutes
def test_a_long_text_without_anything_to_hide_is_read_once(part):
    """
    A foreign exception that quotes a token or a body, in a log line.

    The process stood still for seconds at 20 kB, and four times as long at twice that.
    """
    text = part * (HUNDRED_KB // len(part))

    assert mask(text).startswith(part[0])
