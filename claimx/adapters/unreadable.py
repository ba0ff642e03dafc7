"""Messages that nobody could read, kept in a bounded list so that a person can look at them."""

from __future__ import annotations

import time
from typing import Any

import orjson
import structlog

log = structlog.get_logger(__name__)

UNREADABLE_KEY = "{claimx:0}:unreadable"
_MOST = 1000
_LONGEST = 2000  # characters of one message


def keep_unreadable(client: Any, kind: str, text: str, error: BaseException | None) -> None:
    """Keep *text* (cut) with its reason; a store that is away only costs the copy."""
    reason = type(error).__name__ if error else "unknown message"
    log.warning("unreadable message kept aside", kind=kind, reason=reason, length=len(text))
    entry = orjson.dumps(
        {"at": time.time(), "kind": kind, "reason": reason, "text": text[:_LONGEST]},
        default=str,
    )
    try:
        with client.pipeline() as pipe:
            pipe.lpush(UNREADABLE_KEY, entry)
            pipe.ltrim(UNREADABLE_KEY, 0, _MOST - 1)
            pipe.execute()
    except Exception as failure:  # noqa: BLE001 - the message carried nothing that matters
        log.warning("unreadable message not kept", error=type(failure).__name__)
