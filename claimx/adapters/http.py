"""What every HTTP client here needs: delays asked for, and errors in words."""

from __future__ import annotations

import asyncio
import math
import re
from datetime import UTC
from email.utils import parsedate_to_datetime

import aiohttp

from claimx.domain.errors import ClaimXError, Malformed, Unavailable, Unreadable
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


def translated(  # noqa: PLR0911 - one return for each kind of failure
    error: Exception, host: str | None
) -> ClaimXError:
    """
    Return our error for one of aiohttp's, a time-out or a socket's.

    The foreign message is left out, because it may quote a signed link; its class says enough.
    """
    name = type(error).__name__
    match error:
        case ClaimXError():
            return error
        case aiohttp.InvalidURL():
            return Malformed("not a URL that can be asked", host=host)
        case aiohttp.ClientPayloadError():
            return Unreadable("the body was cut short or does not decode", host=host)
        case asyncio.TimeoutError():
            return Unavailable("no answer in time", host=host)
        case aiohttp.ServerDisconnectedError():
            return Unavailable("the connection was closed before the answer", host=host)
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientSSLError():
            return Unavailable(f"no trusted TLS connection ({name})", host=host)
        case aiohttp.ClientConnectorError():
            return Unavailable("no connection", host=host)
        case _:
            return Unavailable(f"the connection failed ({name})", host=host)
