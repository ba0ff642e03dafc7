"""How the vendor writes values: each function returns what the API sends and what it means."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, TypeAlias

Written: TypeAlias = tuple[Any, Any]
"""(as the API writes it, as it must be stored)."""

LONE_SURROGATE = "\x00SURROGATE\x00"
"""Stands for a lone surrogate until the answer is encoded (see `claimx.sandbox.api`)."""


class Vendor:
    """Writes values in all listed forms, by chance from *rng* (domain page, sections 2 and 6)."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng

    def maybe(self, chance: float) -> bool:
        """Return True with this chance."""
        return self.rng.random() < chance

    def pick(self, *choices: Any) -> Any:
        """Return one of the choices."""
        return choices[int(self.rng.random() * len(choices))]

    def null(self) -> Written:
        """Write nothing, in one of its forms."""
        return self.pick(None, None, "", "   "), None

    def text(self, value: str, nulls: float = 0.08) -> Written:
        """Write text, with white space around it now and then."""
        if self.maybe(nulls):
            return self.null()
        if self.maybe(0.06):
            return self.pick(f"  {value} ", f"\u00a0{value}\u2003", f"{value}\n\t"), value
        return value, value

    def ident(self, value: int | str, nulls: float = 0.0) -> Written:
        """Write an id as a number, text, or a number with decimals."""
        if self.maybe(nulls):
            return self.null()
        if isinstance(value, str):
            return value, value
        return self.pick(value, value, str(value), str(value), float(value), f" {value} "), str(
            value
        )

    def moment(  # noqa: C901, PLR0911 - one case a form
        self, value: datetime, nulls: float = 0.15
    ) -> Written:
        """Write a time in ISO 8601, with or without zone, or as epoch milliseconds or seconds."""
        if self.maybe(nulls):
            return self.null()
        if self.maybe(0.01):
            return self.pick("soon", "2026-13-45T00:00:00Z", {"date": "unknown"}), None
        whole = value.replace(microsecond=0)
        milli = value.replace(microsecond=value.microsecond // 1000 * 1000)
        match int(self.rng.random() * 9):
            case 0:
                return _iso(milli, "milliseconds") + "Z", milli
            case 1:
                local = milli + timedelta(hours=2)
                return _iso(local, "milliseconds") + "+02:00", milli
            case 2:
                local = whole - timedelta(hours=7, minutes=30)
                return _iso(local, "seconds") + "-07:30", whole
            case 3:
                return _iso(whole, "seconds"), whole
            case 4:
                return _millis(milli), milli
            case 5:
                return str(_millis(milli)), milli
            case 6:
                return str(_millis(whole) // 1000), whole
            case 7:
                day = whole.replace(hour=0, minute=0, second=0)
                return day.date().isoformat(), day
            case _:
                return _iso(value, "microseconds") + f"{self.rng.randrange(10)}Z", value

    def flag(self, *, value: bool, nulls: float = 0.1) -> Written:
        """Write yes or no as JSON, a word or a digit."""
        if self.maybe(nulls):
            return self.null()
        if self.maybe(0.01):
            return self.pick("maybe", "on?", 7), None
        words = (
            ("true", "True", "yes", "1", "YES") if value else ("false", "FALSE", "no", "0", "No")
        )
        return self.pick(value, value, self.pick(*words)), value

    def whole(self, value: int, nulls: float = 0.15) -> Written:
        """Write a whole number, also as text or with a zero fraction; some make no sense."""
        if self.maybe(nulls):
            return self.null()
        if self.maybe(0.03):
            return self.pick(3.7, "1,200", "about 30"), None
        return self.pick(value, str(value), f"{value}.0", float(value)), value

    def real(self, value: float, nulls: float = 0.15) -> Written:
        """Write a number with decimals, also as text."""
        if self.maybe(nulls):
            return self.null()
        if self.maybe(0.01):
            return "n/a", None
        return self.pick(value, repr(value)), value


def _iso(value: datetime, precision: str) -> str:
    return value.replace(tzinfo=None).isoformat(timespec=precision)


def _millis(value: datetime) -> int:
    return (value - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


class Sheet:
    """Collects an answer's object and the row it must become, field by field."""

    __slots__ = ("raw", "row")

    def __init__(self) -> None:
        self.raw: dict[str, Any] = {}
        self.row: dict[str, Any] = {}

    def put(self, field: str, column: str, written: Written) -> None:
        """Add a field and the column it fills; a null field is left out now and then."""
        raw, value = written
        if raw is not None or len(field) % 2:
            self.raw[field] = raw
        self.row[column] = value


class Author:
    """What makes entities: one seeded generator, the vendor's hand, and the world's moment *at*."""

    def __init__(self, rng: Random, at: datetime, smallest: int, largest: int) -> None:
        self.rng = rng
        self.vendor = Vendor(rng)
        self.at = at
        self.sizes = (smallest, largest)

    def past(self, days: int = 200) -> datetime:
        """Return a moment in the past with microseconds."""
        return self.at - timedelta(microseconds=self.rng.randrange(1, days * 86_400_000_000))
