"""Azure storage's errors as ours."""

from __future__ import annotations

import time

from claimx.adapters.asked_to_wait import retry_after
from claimx.adapters.datalake import StorageRefusal
from claimx.domain.errors import (
    ClaimXError,
    Refused,
    Throttled,
    TokenRejected,
    TryLater,
    Unavailable,
)

DAMAGED = frozenset(("Md5Mismatch", "Crc64Mismatch"))
"""Of a chunk that was damaged on its way: sent again, it is well."""

_NO_CAPACITY = "Capacity"  # Fabric's is paused: with which status, its APIs do not agree
# two uploads of one file (a lease that was lost): the one that was overtaken is told so
_OVERTAKEN = frozenset(
    ("InvalidFlushPosition", "InvalidFlushOperation", "InvalidAppendOperation", "InvalidOffset")
)


def translated(error: Exception, host: str) -> ClaimXError:  # noqa: PLR0911 - one line a status
    """
    Return our error for one of the storage's, or of a file's.

    401 and 403 concern our identity and never the file, so they wait until somebody sets it
    right.
    """
    if isinstance(error, ClaimXError):
        return error
    if not isinstance(error, StorageRefusal):
        return Unavailable(f"OneLake did not answer ({type(error).__name__})", host=host)
    status, code = error.status, error.code
    what = f"OneLake answered {status}" + (f" ({code})" if code else "")
    delay = retry_after(error.retry_after, time.time())
    match status:
        case 401 | 403:
            return TokenRejected(f"{what}: check the identity's rights", delay, status, host)
        case 429 | 430 | 503:  # 430 is Fabric's own, for a capacity that is used up
            return Throttled(what, delay, status, host)
        case _ if code.startswith(_NO_CAPACITY):
            return Unavailable(f"{what}: does the Fabric capacity run?", delay, status, host)
        case 404:
            return Unavailable(f"{what}: is ONELAKE_CLAIMX_PATH right?", delay, status, host)
        case 408 | 409 | 412 | 423 | 425:  # another upload of the same file, or a lease on it
            return TryLater(what, delay, status, host)
        case 400 if code in _OVERTAKEN | DAMAGED:
            return TryLater(what, delay, status, host)
        case _ if status >= 500 or status < 400:  # noqa: PLR2004 - HTTP; somebody between sends away
            return Unavailable(what, delay, status, host)
        case _:
            return Refused(what, delay, status, host)
