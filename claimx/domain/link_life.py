"""When a media link is too old to be asked (domain page, section 3)."""

from __future__ import annotations

import math
from urllib.parse import parse_qsl, urlsplit

from claimx.domain.changes import MediaItem
from claimx.domain.links import expiry
from claimx.domain.times import MICROS_PER_SECOND

MARGIN_SECONDS = 60.0
_SHARE_OF_LIFE = 10
_SPANS = {"expires": 1000.0, "x-amz-expires": 1.0, "x-goog-expires": 1.0}


def is_ending(item: MediaItem, now: float) -> bool:
    """
    Say whether the item's link is over or about to be, so that asking for it is useless.

    *now* is in epoch seconds. About to be: within a minute, or a tenth of its life where that is
    shorter. A link that does not tell its end is over when the item's ``expires_at`` has passed.
    """
    known = item.expires_at  # also what the link tells: nearly all links need no reading here
    if known is not None and now < known / MICROS_PER_SECOND - MARGIN_SECONDS:
        return False
    end = expiry(item.link)
    if end is None:
        return known is not None and known <= now * MICROS_PER_SECOND
    if now < end / MICROS_PER_SECOND - MARGIN_SECONDS:
        return False  # the margin is no longer than that
    margin = min(MARGIN_SECONDS, _life_seconds(item.link) / _SHARE_OF_LIFE)
    return end - margin * MICROS_PER_SECOND <= now * MICROS_PER_SECOND


def _life_seconds(link: str) -> float:
    """Return the life of a link whose end is known; one that does not tell it has a long one."""
    spans = [
        float(value) / _SPANS[name.lower()]
        for name, value in parse_qsl(urlsplit(link).query)
        if name.lower() in _SPANS and value.isdecimal()
    ]
    return min(spans, default=math.inf)
