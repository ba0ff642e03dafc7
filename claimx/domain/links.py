"""When a signed media link ends (domain page, section 3)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import parse_qsl, urlsplit

from claimx.domain.times import EARLIEST, LATEST, MICROS_PER_SECOND, Micros
from claimx.domain.values import Unconvertible
from claimx.domain.written_times import time

_AMAZON_DATE = re.compile(r"\d{8}T\d{6}Z", re.ASCII)
_SPAN = re.compile(r"\d{1,18}", re.ASCII)
_MILLISECOND = MICROS_PER_SECOND // 1000
_SIGNATURES = ("sign", "x-amz-signature")


def expiry(url: str) -> Micros | None:
    """
    Return when the link ends, None for one that does not say so; never raises.

    ClaimX's own links carry ``systemDate`` and a life in milliseconds (``expires``), S3's
    ``X-Amz-Date`` and a life in seconds (``X-Amz-Expires``).
    """
    query = _query(url)
    signed, span = query.get("systemdate", ""), query.get("expires", "")
    if _SPAN.fullmatch(signed) and _SPAN.fullmatch(span):
        return _in_range((int(signed) + int(span)) * _MILLISECOND)
    signed, span = query.get("x-amz-date", ""), query.get("x-amz-expires", "")
    if _AMAZON_DATE.fullmatch(signed) and _SPAN.fullmatch(span):
        try:
            begin = time(signed)
        except Unconvertible:
            return None
        return None if begin is None else _in_range(begin + int(span) * MICROS_PER_SECOND)
    return None


def is_signed(url: str) -> bool:
    """Say whether the link carries a signature, so that a new one can be asked for."""
    query = _query(url)
    return any(query.get(name) for name in _SIGNATURES)


@lru_cache(maxsize=64)  # a download asks several times about its link
def _query(url: str) -> Mapping[str, str]:
    """Return the query's first value for each name, names in lower case."""
    try:
        pairs = parse_qsl(urlsplit(url).query)
    except ValueError:
        return {}
    return {name.lower(): value for name, value in reversed(pairs)}


def _in_range(moment: Micros) -> Micros | None:
    return moment if EARLIEST <= moment <= LATEST else None
