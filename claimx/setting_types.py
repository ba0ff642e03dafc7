"""How text of the environment becomes a value; each says what it takes when it fails."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BeforeValidator, NonNegativeFloat

_DURATION = re.compile(r"(?P<amount>\d+(?:\.\d+)?)\s*(?P<unit>[smhd]?)", re.IGNORECASE)
TRUE = frozenset(("true", "1", "yes"))
FALSE = frozenset(("false", "0", "no"))

_LONGEST_SPAN = 10 * 365 * 86400.0
_UNIT_SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def _comma_list(value: Any) -> Any:
    if isinstance(value, str):
        return tuple(part.strip().lower() for part in value.split(",") if part.strip())
    return value


def _boolean(value: Any) -> Any:
    if isinstance(value, str):
        text = value.strip().lower()
        if text not in TRUE | FALSE:
            msg = "must be true, false, 1, 0, yes or no"
            raise ValueError(msg)
        return text in TRUE
    return value


def _poll_start(value: Any) -> Any:
    """Accept a time, or a span back from now (``2h``, seconds without a unit); return either."""
    if not isinstance(value, str):
        return value
    if span := _DURATION.fullmatch(value.strip()):
        seconds = float(span["amount"]) * _UNIT_SECONDS[span["unit"].lower()]
        if seconds > _LONGEST_SPAN:
            msg = "must be ten years back at most"
            raise ValueError(msg)
        return seconds
    try:
        moment = datetime.fromisoformat(value.strip())
    except ValueError:
        msg = "must be a time such as 2026-01-31T08:00:00Z, or a span back such as 2h or 3d"
        raise ValueError(msg) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


Hosts = Annotated[tuple[str, ...], BeforeValidator(_comma_list)]
Flag = Annotated[bool, BeforeValidator(_boolean)]
PollStart = Annotated[datetime | NonNegativeFloat, BeforeValidator(_poll_start)]
