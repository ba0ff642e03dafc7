"""How long another side asks to be left alone, as HTTP says it."""

from __future__ import annotations

import math
import re
from datetime import UTC
from email.utils import parsedate_to_datetime

from claimx.domain.retry import MAX_RETRY_AFTER_SECONDS

_SECONDS = re.compile(r"[0-9]{1,12}(\.[0-9]{1,6})?")


def retry_after(header: str | None, now: float) -> float | None:
    """
    Return the delay in seconds that a ``Retry-After`` header asks for, at most an hour.

    *now* is in epoch seconds. None without a header, and for one that is negative, past or neither
    seconds nor an HTTP date.
    """
    text = (header or "").strip()
    if _SECONDS.fullmatch(text):
        seconds = float(text)
    else:
        try:
            asked = parsedate_to_datetime(text)
            # HTTP's dates are in GMT, also the one form that does not say so (RFC 9110, 5.6.7)
            seconds = (asked if asked.tzinfo else asked.replace(tzinfo=UTC)).timestamp() - now
        except (ValueError, TypeError, IndexError, OverflowError):
            return None
    if not math.isfinite(seconds) or seconds <= 0:
        return None
    return min(seconds, MAX_RETRY_AFTER_SECONDS)
