"""
Times as whole microseconds since the epoch, UTC.

Rows, events and answers carry every time as such an ``int`` (`Micros`): it compares, sorts,
travels through JSON and becomes an Arrow timestamp without conversion, and Kusto's 100 ns
ticks are binned to it before anything compares them (domain page, section 1).
Scheduling (due times, leases, delays) is in float seconds and never mixes with these.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TypeAlias

Micros: TypeAlias = int

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
MICROS_PER_SECOND = 1_000_000
_MICROS_A_DAY = 86_400 * MICROS_PER_SECOND


def from_datetime(moment: datetime) -> Micros:
    """Convert a datetime; one without a zone is UTC."""
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // _MICROSECOND


EARLIEST: Micros = from_datetime(datetime.min.replace(tzinfo=UTC))
LATEST: Micros = from_datetime(datetime.max.replace(tzinfo=UTC))
"""What a `datetime` can say: the years 1 to 9999."""


def to_datetime(moment: Micros) -> datetime:
    """Convert to an aware datetime in UTC; raises OverflowError beyond the years 1 to 9999."""
    return _EPOCH + timedelta(microseconds=moment)


def seconds_left(until: float, now: float, most: float) -> float:
    """
    Return the seconds from *now* to *until*, 0 when it is over.

    Also 0 when they are more than the *most* that such a wait ever takes: then the clock was set
    back, and the wait would be as long as the jump.
    """
    left = until - now
    return left if 0 < left < most + 1 else 0.0


def age(moment: float, now: float) -> float:
    """
    Return the seconds since *moment*, and for one that lies ahead how far that is.

    Then the clock was set back, and what is never older than nothing would be kept for the length
    of the jump.
    """
    return abs(now - moment)


def from_seconds(seconds: float) -> Micros:
    """Convert what ``time.time()`` gives."""
    return round(seconds * MICROS_PER_SECOND)


def to_iso(moment: Micros) -> str:
    """Return ``YYYY-MM-DDTHH:MM:SS.ffffffZ``, the form that event ids are hashed from."""
    return to_datetime(moment).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def day_of(moment: Micros) -> str:
    """Return the UTC day as ISO text, the partition of ``claimx_events``."""
    return _day(moment // _MICROS_A_DAY)


@lru_cache(maxsize=64)  # events come from few days at a time
def _day(number: int) -> str:
    return to_datetime(number * _MICROS_A_DAY).date().isoformat()
