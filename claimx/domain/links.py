"""When a signed media link ends (domain page, section 3)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import parse_qsl, urlsplit

from claimx.domain.times import EARLIEST, LATEST, MICROS_PER_SECOND, Micros
from claimx.domain.values import Unconvertible
from claimx.domain.written_times import time

_COMPACT_DATE = re.compile(r"\d{8}T\d{6}Z", re.ASCII)
_SPAN = re.compile(r"\d{1,18}", re.ASCII)
_MILLISECOND = MICROS_PER_SECOND // 1000
_SIGNATURES = ("sign", "x-amz-signature", "x-goog-signature", "signature", "sig")
_COMPACT = (("x-amz-date", "x-amz-expires"), ("x-goog-date", "x-goog-expires"))


def expiry(url: str) -> Micros | None:
    """
    Return when the link ends, None for one that does not say so; never raises.

    ClaimX's own links carry ``systemDate`` and a life in milliseconds (``expires``), S3's
    ``X-Amz-Date`` and a life in seconds (``X-Amz-Expires``), Google's the same under their name.
    Of S3's older form and CloudFront's (``Signature``) ``Expires`` is the end itself, in epoch
    seconds, and of Azure's (``sig``) ``se``, a time.
    """
    query = _query(url)
    signed, span = query.get("systemdate", ""), query.get("expires", "")
    if _SPAN.fullmatch(signed) and _SPAN.fullmatch(span):
        return _in_range((int(signed) + int(span)) * _MILLISECOND)
    for begin, life in _COMPACT:
        signed, span = query.get(begin, ""), query.get(life, "")
        if _COMPACT_DATE.fullmatch(signed) and _SPAN.fullmatch(span):
            return _in_range(_read(signed), int(span) * MICROS_PER_SECOND)
    span = query.get("expires", "")
    if "signature" in query and _SPAN.fullmatch(span):
        return _in_range(int(span) * MICROS_PER_SECOND)
    return _in_range(_read(query.get("se", ""))) if "sig" in query else None


def is_signed(url: str) -> bool:
    """Say whether the link carries a signature, so that a new one can be asked for."""
    query = _query(url)
    return any(query.get(name) for name in _SIGNATURES)


def is_of_session(url: str) -> bool:
    """Say whether the link was signed for a session of S3, which may end before the link does."""
    return bool(_query(url).get("x-amz-security-token"))


@lru_cache(maxsize=64)  # a download asks several times about its link
def _query(url: str) -> Mapping[str, str]:
    """Return the query's first value for each name, names in lower case."""
    try:
        pairs = parse_qsl(urlsplit(url).query)
    except ValueError:
        return {}
    return {name.lower(): value for name, value in reversed(pairs)}


def _read(text: str) -> Micros | None:
    try:
        return time(text)
    except Unconvertible:
        return None


def _in_range(moment: Micros | None, life: Micros = 0) -> Micros | None:
    """Return the end of a *life* from *moment* on, if it is one."""
    return moment + life if moment is not None and EARLIEST <= moment + life <= LATEST else None
