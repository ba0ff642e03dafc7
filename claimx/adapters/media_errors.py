"""What the answers of media hosts mean, in our errors."""

from __future__ import annotations

import aiohttp

from claimx.adapters.asked_to_wait import retry_after
from claimx.adapters.http import translated
from claimx.domain.errors import (
    ClaimXError,
    LinkExpired,
    NotFound,
    Refused,
    Throttled,
    TryLater,
    Unavailable,
    Unreadable,
)
from claimx.domain.links import is_of_session, is_signed

REDIRECTS = frozenset((301, 302, 303, 307, 308))
_SIGNATURE_OVER = frozenset((401, 403, 410))
NO_SUCH_PART = frozenset((412, 416))


class BadRedirect(Refused):
    """A redirect that is not followed."""


def refusal(
    response: aiohttp.ClientResponse, now: float, links: tuple[str, ...], *, resuming: bool
) -> ClaimXError | None:
    """
    Return what a status means for a media file, None for one that is followed, read or begun anew.

    *links* led to it, one of them signed or none; *resuming* says that a part was asked for.
    """
    status, host = response.status, response.url.host
    if status == 200 or status in REDIRECTS:  # noqa: PLR2004 - HTTP
        return None
    if resuming and (status == 206 or status in NO_SUCH_PART):  # noqa: PLR2004 - HTTP
        return None
    delay = retry_after(response.headers.get("Retry-After"), now)
    kind: type[ClaimXError]
    if (status in _SIGNATURE_OVER and any(map(is_signed, links))) or (
        status == 400 and any(map(is_of_session, links))  # noqa: PLR2004 - HTTP; ExpiredToken
    ):
        kind = LinkExpired
    elif status in (404, 410):
        kind = NotFound
    elif status == 429:  # noqa: PLR2004 - HTTP
        kind = Throttled
    elif status in (408, 425):
        kind = TryLater
    elif status >= 500:  # noqa: PLR2004 - HTTP
        kind = Unavailable
    elif status >= 400:  # noqa: PLR2004 - HTTP
        kind = Refused
    else:
        kind = Unreadable
    return kind(f"the media host answered {status}", delay, status, host)


def known_error(error: BaseException, host: str) -> ClaimXError | None:
    """Return our error for what went wrong, None for a cancellation or a mistake of ours."""
    match error:
        case ClaimXError():
            return error
        case aiohttp.ClientResponseError():
            return Unreadable("the answer is not valid HTTP", host=host)
        case aiohttp.ClientError() | TimeoutError() | OSError():
            return translated(error, host)
        case _:
            return None
