"""
Which files of ``claimx_events`` may hold an event that comes again: those that are near in time.

An event that the source delivers twice has the same own time both times, so its row lies where its
time is. How much more is searched is bounded by rows, not by days: a look through a day of ten
million events for every flush would cost more the more there are.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from claimx.domain.times import MICROS_PER_SECOND, Micros, from_datetime

MOST_ROWS = 2_000_000  # whose ids are read for a flush; some tens of milliseconds a million
ALWAYS_MICROS = 600 * MICROS_PER_SECOND  # files that near are searched whatever they hold


def near(
    actions: Iterable[Mapping[str, Any]],
    column: str,
    moments: Sequence[Micros],
    most_rows: int = MOST_ROWS,
) -> set[str]:
    """
    Return the paths of the files nearest to one of the sorted *moments*, up to *most_rows*.

    A file whose times are not known is always among them.
    """
    by_distance = sorted(
        (_distance(action, column, moments), str(action["path"]), int(action["num_records"] or 0))
        for action in actions
    )
    found: set[str] = set()
    rows = 0
    for distance, path, count in by_distance:
        rows += count
        if rows > most_rows and distance > ALWAYS_MICROS:
            break
        found.add(path)
    return found


def _distance(action: Mapping[str, Any], column: str, moments: Sequence[Micros]) -> Micros:
    """Return how far a file's times are from the nearest moment; 0 within them."""
    low, high = action.get(f"min.{column}"), action.get(f"max.{column}")
    nulls = action.get(f"null_count.{column}")
    if low is None or high is None or nulls or not moments:
        return 0
    first, last = from_datetime(low), from_datetime(high)
    at = bisect_left(moments, first)
    after = moments[at] - last if at < len(moments) else None
    before = first - moments[at - 1] if at > 0 else None
    return max(0, min(one for one in (after, before) if one is not None))
