"""Text of unknown origin made fit for dead letters and logs: no personal data, link or secret."""

from __future__ import annotations

import re

LONGEST = 300

_RULES = (
    (re.compile(r"(\w+://)[^@/\s]*@"), r"\1***@"),
    (re.compile(r"(\w+://[^\s?#\"'<>]*)[?#][^\s\"'<>]*"), r"\1?***"),
    (
        re.compile(
            r"(?i)\b(sign|sig|signature|x-amz-[a-z-]+|[a-z_-]*token|password|secret|accountkey"
            r"|api[_-]?key)([\"']?\s*[=:]\s*[\"']?)[^&\s\"',;}]+"
        ),
        r"\1\2***",
    ),
    (re.compile(r"(?i)\b(authorization|bearer|basic)([:\s]+)[A-Za-z0-9+/=._~-]{6,}"), r"\1\2***"),
    (re.compile(r"[\w.+-]+@[\w-]+(\.[\w-]+)+"), "***@***"),
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
