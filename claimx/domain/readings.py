"""
How many rows were read of each second of the source, so that late ones show by counting.

A second holds what was ingested after its begin and up to its end, as spans of the source do.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from typing import Self

from claimx.domain.times import MICROS_PER_SECOND, Micros


class Readings:
    """Rows read of a cursor's source, by the second that they were ingested in."""

    def __init__(self, counts: dict[int, int] | None = None) -> None:
        self._counts = Counter(counts)

    @classmethod
    def from_text(cls, text: str | None) -> Self:
        """Read what `to_text` wrote; anything else is as if nothing had been read."""
        try:
            found = {int(second): int(rows) for second, rows in json.loads(text or "{}").items()}
        except (ValueError, TypeError, AttributeError):
            return cls()
        return cls(found)

    def to_text(self) -> str:
        """Return it as text, some fifteen bytes a second that had rows."""
        return json.dumps(self._counts, separators=(",", ":"))

    def total(self, after: Micros, until: Micros) -> int:
        """Return the rows read of the seconds that the span *after* < time <= *until* touches."""
        first, last = _second(after + 1), _second(until)
        return sum(rows for second, rows in self._counts.items() if first <= second <= last)

    def tally(self, times: Iterable[Micros]) -> None:
        """Count rows of these ingestion times in."""
        self._counts.update(map(_second, times))

    def replace(self, after: Micros, until: Micros, times: Iterable[Micros]) -> None:
        """Put what was found now in the place of what was counted before in a span."""
        first, last = _second(after + 1), _second(until)
        for second in [one for one in self._counts if first <= one <= last]:
            del self._counts[second]
        self.tally(times)

    def forget(self, before: Micros) -> None:
        """Drop the seconds that end before a time."""
        first = _second(before)
        for second in [one for one in self._counts if one < first]:
            del self._counts[second]


def whole_second(time: Micros) -> Micros:
    """Return where the second begins that a span after *time* begins in."""
    return time - time % MICROS_PER_SECOND


def middle_of(after: Micros, until: Micros) -> Micros | None:
    """Return the edge of a second that halves the span, None when none lies within it."""
    middle = whole_second((after + until) // 2)
    if middle <= after:
        middle = whole_second(after) + MICROS_PER_SECOND
    return middle if after < middle < until else None


def _second(time: Micros) -> int:
    return (time - 1) // MICROS_PER_SECOND
