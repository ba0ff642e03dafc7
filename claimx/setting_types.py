"""How text of the environment becomes a value; each says what it takes when it fails."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
)

from claimx.domain.addresses import AllowList
from claimx.domain.media import Rules
from claimx.domain.retry import LONGEST_DELAY_SECONDS

TRUE = frozenset(("true", "1", "yes"))
FALSE = frozenset(("false", "0", "no"))

LONGEST_CALL = 200.0  # one that hangs ends, and is told, before its chunk gives its event back
LONGEST_QUERY = 300.0  # its task has the time to end by itself

_SPAN = re.compile(r"(?P<amount>\d+(?:\.\d+)?)\s*(?P<unit>[smhd])", re.IGNORECASE)
_SECONDS = re.compile(r"\d+(?:\.\d+)?", re.ASCII)
_UNIT_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST = datetime(9999, 1, 1, tzinfo=UTC)
BEYOND_RECKONING = "must be between 1970 and 9999"
_DAY = 86_400.0
_MONTH = 30 * _DAY
_LONGEST_SPAN = 10 * 365 * _DAY
_MOST = 1_000_000
_MOST_RECORDS = 100_000_000  # they would take Redis 80 GB
_MOST_BYTES = 2**50
_LEAST_RATE = 0.001


def span_seconds(text: str) -> float | None:
    """
    Return the seconds of a span such as ``2h`` or ``1.5d``, None for what is none.

    Raises ValueError for more than ten years.
    """
    span = _SPAN.fullmatch(text.strip())
    return (
        None
        if span is None
        else _bounded(float(span["amount"]) * _UNIT_SECONDS[span["unit"].lower()])
    )


def _bounded(seconds: float) -> float:
    if seconds > _LONGEST_SPAN:
        msg = "must be ten years back at most"
        raise ValueError(msg)
    return seconds


def _comma_list(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    parts = tuple(part.strip().lower() for part in value.split(",") if part.strip())
    if not parts:
        msg = "must list one at least"
        raise ValueError(msg)
    return parts


def _plain_scheme(url: str) -> str:
    """Return *url* with its scheme in lower case, which is what others look for."""
    scheme, separator, rest = url.partition("://")
    return f"{scheme.lower()}{separator}{rest}" if separator else url


def _host_names(value: tuple[str, ...]) -> tuple[str, ...]:
    AllowList.of(value)
    return value


def _extensions(value: tuple[str, ...]) -> tuple[str, ...]:
    Rules.of(value)
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
    """
    Accept a time, or a span back from now (``2h``, seconds without a unit); return either.

    Digits that are a date (``20260131``) are one.
    """
    if not isinstance(value, str):
        return value
    if (span := span_seconds(value)) is not None:
        return span
    text = value.strip()
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        if _SECONDS.fullmatch(text):
            return _bounded(float(text))
        msg = "must be a time such as 2026-01-31T08:00:00Z, or a span back such as 2h or 3d"
        raise ValueError(msg) from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    if not within_reckoning(moment):
        msg = BEYOND_RECKONING
        raise ValueError(msg)
    return moment


def _rate(value: float) -> float:
    if 0 < value < _LEAST_RATE:
        msg = f"must be {_LEAST_RATE} at least, or 0, which is off"
        raise ValueError(msg)
    return value


def within_reckoning(moment: datetime) -> bool:
    """Say whether what is added to a time, and taken from it, is a time, too."""
    return _EARLIEST <= moment <= _LATEST


Words = Annotated[tuple[str, ...], BeforeValidator(_comma_list)]
Hosts = Annotated[Words, AfterValidator(_host_names)]
Extensions = Annotated[Words, AfterValidator(_extensions)]
Flag = Annotated[bool, BeforeValidator(_boolean)]

# Every number has a greatest value. What Redis cannot reckon with any more fails in the midst of a
# step of the ledger, or all gates at once; and a span in another unit than meant is noticed.
Seconds = Annotated[PositiveFloat, Field(le=_MONTH)]
SecondsOrNone = Annotated[NonNegativeFloat, Field(le=_MONTH)]
DelaySeconds = Annotated[PositiveFloat, Field(le=LONGEST_DELAY_SECONDS)]
CallSeconds = Annotated[PositiveFloat, Field(le=LONGEST_CALL)]
QuerySeconds = Annotated[PositiveFloat, Field(le=LONGEST_QUERY)]
# the whole of it lies in memory, several times over once it is read
AnswerBytes = Annotated[int, Field(ge=1024**2, le=1024**3)]
PollSeconds = Annotated[PositiveFloat, Field(ge=0.1, le=_DAY)]  # beat has no rest below that
Hours = Annotated[PositiveFloat, Field(le=_LONGEST_SPAN / 3600.0)]
Count = Annotated[PositiveInt, Field(le=_MOST)]
CountOrNone = Annotated[NonNegativeInt, Field(le=_MOST)]
Records = Annotated[PositiveInt, Field(le=_MOST_RECORDS)]
Bytes = Annotated[PositiveInt, Field(le=_MOST_BYTES)]
Rate = Annotated[NonNegativeFloat, Field(le=_MOST), AfterValidator(_rate)]
PollStart = Annotated[datetime | NonNegativeFloat, BeforeValidator(_poll_start)]
Address = Annotated[str, AfterValidator(_plain_scheme)]
