"""Azure storage's errors as ours."""

from __future__ import annotations

import time
from typing import Any

from claimx.adapters.http import retry_after
from claimx.domain.errors import (
    ClaimXError,
    Refused,
    Throttled,
    TokenRejected,
    TryLater,
    Unavailable,
)

# two uploads of one file (a lease that was lost): the one that was overtaken is told so
_OVERTAKEN = frozenset(
    ("InvalidFlushPosition", "InvalidFlushOperation", "InvalidAppendOperation", "InvalidOffset")
)


def translated(error: Exception, host: str) -> ClaimXError:  # noqa: PLR0911 - one line a status
    """
    Return our error for one of the storage client's.

    401 and 403 concern our identity and never the file, so they wait until somebody sets it
    right. The foreign message is left out, because it may quote a signature.
    """
    from azure.core.exceptions import (
        AzureError,
        ClientAuthenticationError,
        HttpResponseError,
    )

    if isinstance(error, ClaimXError):
        return error
    status = error.status_code if isinstance(error, HttpResponseError) else None
    if status is None:
        if isinstance(error, ClientAuthenticationError):
            return TokenRejected("the identity gives no token for OneLake", host=host)
        name = type(error.inner_exception or error if isinstance(error, AzureError) else error)
        return Unavailable(f"OneLake did not answer ({name.__name__})", host=host)
    code = getattr(error, "error_code", None)
    what = f"OneLake answered {status}" + (f" ({getattr(code, 'value', code)})" if code else "")
    delay = _delay_of(error)
    match status:
        case 401 | 403:
            return TokenRejected(f"{what}: check the identity's rights", delay, status, host)
        case 429 | 503:
            return Throttled(what, delay, status, host)
        case 404:
            return Unavailable(f"{what}: is ONELAKE_CLAIMX_PATH right?", delay, status, host)
        case 408 | 409 | 412 | 423 | 425:  # another upload of the same file, or a lease on it
            return TryLater(what, delay, status, host)
        case 400 if str(getattr(code, "value", code)) in _OVERTAKEN:
            return TryLater(what, delay, status, host)
        case _ if status >= 500:  # noqa: PLR2004 - HTTP
            return Unavailable(what, delay, status, host)
        case _:
            return Refused(what, delay, status, host)


def _delay_of(error: Any) -> float | None:
    headers = getattr(getattr(error, "response", None), "headers", None) or {}
    return retry_after(headers.get("Retry-After"), time.time())
