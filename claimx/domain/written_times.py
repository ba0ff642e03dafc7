"""Times as the source and the API write them."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from claimx.domain.times import EARLIEST, LATEST, MICROS_PER_SECOND, Micros, from_datetime
from claimx.domain.values import Unconvertible, clean

_EPOCH = re.compile(r"(?:\d{10}|\d{13})(?:\.\d{0,30})?", re.ASCII)
_ZONE = r"(?P<zone>[Zz]|(?P<sign>[+-])(?P<zone_hour>\d\d)(?::?(?P<zone_minute>\d\d))?)?"
_EXTENDED = re.compile(
    r"(?P<year>\d{4})-(?P<month>\d\d)-(?P<day>\d\d)"
    r"(?:[Tt ](?P<hour>\d\d)(?::(?P<minute>\d\d)"
    r"(?::(?P<second>\d\d)(?:[.,](?P<fraction>\d+))?)?)?"
    rf" ?{_ZONE})?",
    re.ASCII,
)
_BASIC = re.compile(
    r"(?P<year>\d{4})(?P<month>\d\d)(?P<day>\d\d)"
    r"(?:[Tt](?P<hour>\d\d)(?:(?P<minute>\d\d)"
    r"(?:(?P<second>\d\d)(?:[.,](?P<fraction>\d+))?)?)?"
    rf"{_ZONE})?",
    re.ASCII,
)
_HOURS_MINUTES = r"(?:[01]\d|2[0-3]):[0-5]\d"
_USUAL = re.compile(
    rf"\d{{4}}-\d\d-\d\d(?:T{_HOURS_MINUTES}:\d\d(?:\.\d{{1,9}})?(?:Z|[+-]{_HOURS_MINUTES})?)?",
    re.ASCII,
)
_SECONDS_DIGITS = range(10**9, 10**10)  # ten digits are epoch seconds, the years 2001 to 2286
_DAY_HOURS = 24
_HOUR_MINUTES = 60


def time(value: Any) -> Micros | None:
    """
    Convert to microseconds UTC: ISO 8601 (no zone is UTC, a day is its midnight) or epoch.

    Of numbers, those of ten digits are epoch seconds and all others milliseconds; in text, only
    ten and thirteen digits are a time. Digits beyond the microsecond are cut.
    """
    found: Micros | None
    if isinstance(value, str):  # nearly all that there are, and nearly all as everybody writes them
        found = usual_time(value)
        if found is None:
            written = clean(value)
            if not written:
                return None
            found = _of_text(written)
    else:
        match value:
            case None:
                return None
            case datetime():
                found = from_datetime(value)
            case int() if not isinstance(value, bool):
                found = _of_epoch(value)
            case float() if math.isfinite(value):
                found = _of_epoch(Decimal(float.__repr__(value)))
            case _:
                raise Unconvertible(type(value).__name__)
    if not EARLIEST <= found <= LATEST:
        raise Unconvertible("beyond the years 1 to 9999")
    return found


def _of_epoch(number: int | Decimal) -> Micros:
    if not -(10**15) < number < 10**15:  # milliseconds beyond the year 9999, either way
        raise Unconvertible("no epoch time")
    seconds = abs(int(number)) in _SECONDS_DIGITS
    return int(number * (MICROS_PER_SECOND if seconds else 1000))


def usual_time(written: str) -> Micros | None:
    """
    Return a time as nearly everybody writes it, else None.

    That is ``2026-01-31``, and ``2026-01-31T12:00:00`` with or without a fraction and a zone. What
    this reads, `any_time` reads the same, at five times the cost.
    """
    if _USUAL.fullmatch(written) is None:
        return None
    try:
        moment = datetime.fromisoformat(written)
    except ValueError:
        return None
    return from_datetime(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def _of_text(written: str) -> Micros:
    usual = usual_time(written)
    return any_time(written) if usual is None else usual


def any_time(written: str) -> Micros:
    """Return a time in any of the forms that are read; raises Unconvertible for what is none."""
    if _EPOCH.fullmatch(written):
        return _of_epoch(int(written) if written.isdecimal() else Decimal(written))
    found = _EXTENDED.fullmatch(written) or _BASIC.fullmatch(written)
    if found is None:
        raise Unconvertible("no time")
    part = found.groupdict("")
    within = part["minute"] + part["second"] + part["fraction"]
    ends_day = part["hour"] == "24" and not within.strip("0")  # ISO's other midnight
    try:
        moment = datetime(
            int(part["year"]),
            int(part["month"]),
            int(part["day"]),
            0 if ends_day else int(part["hour"] or 0),
            int(part["minute"] or 0),
            int(part["second"] or 0),
            int(part["fraction"][:6].ljust(6, "0")),
            UTC,
        )
    except ValueError:
        raise Unconvertible("no such time") from None
    hours, minutes = int(part["zone_hour"] or 0), int(part["zone_minute"] or 0)
    if hours >= _DAY_HOURS or minutes >= _HOUR_MINUTES:
        raise Unconvertible("no such zone")
    ahead = hours * _HOUR_MINUTES + minutes
    later = (ahead if part["sign"] == "-" else -ahead) + ends_day * _DAY_HOURS * _HOUR_MINUTES
    return from_datetime(moment) + later * 60 * MICROS_PER_SECOND
