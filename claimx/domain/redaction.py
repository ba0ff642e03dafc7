"""Text of unknown origin made fit for dead letters and logs: no personal data, link or secret."""

from __future__ import annotations

import re
from collections.abc import Callable

LONGEST = 300

# Each goes through a text once: no part of it is read again from one of its own parts, or a long
# word without a blank (a token of 20 kB in a foreign exception) would take seconds. So a match
# begins where a run begins, and takes all of it, "?" or not.
_RULES: tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = (
    (re.compile(r"(?<=\w)://[^@/\s]*@"), "://***@"),
    (
        re.compile(r"(?<=\w)(://[^\s?#\"'<>]*+)([?#][^\s\"'<>]*+)?"),
        lambda found: f"{found[1]}?***" if found[2] else found[1],
    ),
    (
        re.compile(
            r"(?i)(\b(?:sign|sig|signature|x-amz-[a-z-]{1,60}|password|secret|accountkey"
            r"|api[_-]?key)|token)([\"']?\s*[=:]\s*[\"']?)[^&\s\"',;}]+"
        ),
        r"\1\2***",
    ),
    (re.compile(r"(?i)\b(authorization|bearer|basic)([:\s]+)[A-Za-z0-9+/=._~-]{6,}"), r"\1\2***"),
    (re.compile(r"(?<![\w.+-])[\w.+-]++@[\w-]++(\.[\w-]+)+"), "***@***"),
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")

_NUMBER = re.compile(r"\+?\d[\d ().-]{5,}\d")


def mask(text: str) -> str:
    """Return *text* with e-mail addresses, URL queries and passwords, and secrets as ``***``."""
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    return text


def redact(text: str, longest: int = LONGEST, *, numbers: bool = True) -> str:
    """
    Return *text* in one line of at most *longest* characters.

    Beside what `mask` hides, with *numbers* runs of seven or more digits (telephone numbers, ids)
    are replaced by ``***``.
    """
    text = _CONTROL.sub(" ", mask(text[: 4 * longest]))
    if numbers:
        text = _NUMBER.sub("***", text)
    text = text.strip()
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
