"""
How far to read, where a page ends and how the checkpoint moves: arithmetic only.

All times are `Micros` of the source's ingestion time. A span of the source is always half open:
*after* is excluded and *until* included.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeAlias, TypeVar

import orjson

from claimx.domain.cursors import BACKFILL, Checkpoint
from claimx.domain.errors import Malformed
from claimx.domain.readings import whole_second
from claimx.domain.times import MICROS_PER_SECOND, Micros, from_seconds, to_iso

_T = TypeVar("_T")

TIME = "_ingestion_time"
"""The key under which a source row carries its ingestion time."""

LIVE = "live"
"""The cursor of the poller that runs for ever."""

READ = f"{LIVE}:read"
"""Beside it: up to when the source was last read without finding more."""

SIMPLE = frozenset((str, int, bool, type(None)))
"""The types of a row's values that need no closer look: none lies within another."""

MAX_DEPTH = 60  # of a row's nested JSON; beyond it a parser somewhere down the line may give up
DAY_MICROS = 86_400 * MICROS_PER_SECOND

Row: TypeAlias = Mapping[str, Any]
_RowT = TypeVar("_RowT", bound=Row)


@dataclass(frozen=True, slots=True)
class Window:
    """What one poll reads: after < ingestion time <= until."""

    after: Micros
    until: Micros

    @property
    def empty(self) -> bool:
        """Say whether nothing can be in it."""
        return self.until <= self.after


def live_window(
    checkpoint: Checkpoint | None,
    origin: Micros,
    now: float,
    overlap_seconds: float,
    settle_seconds: float,
) -> Window:
    """
    Return what the next poll reads.

    It ends *settle_seconds* before *now* (rows younger than that may still be joined by others of
    the same time) and begins *overlap_seconds* before the checkpoint, in whole seconds, for rows
    that became visible late, but never before *origin*, where the very first poll began (unless
    the checkpoint itself was put before it).
    """
    until = from_seconds(now - settle_seconds)
    if checkpoint is None:
        return Window(origin, until)
    floor = min(origin, checkpoint.source_time)
    begin = whole_second(checkpoint.source_time - from_seconds(overlap_seconds))
    return Window(max(floor, begin), until)


def whole_times(rows: Sequence[_RowT], limit: int) -> tuple[list[_RowT], Micros | None]:
    """
    Cut a reading of up to *limit* + 1 rows, oldest first, to whole ingestion times.

    Returns the rows that certainly are all rows of their times. When the reading holds nothing but
    a part of one time, returns no rows and that time: all of it must be read on its own.
    """
    if len(rows) <= limit:
        return list(rows), None
    cut = rows[-1][TIME]
    whole = [row for row in rows if row[TIME] < cut]
    return (whole, None) if whole else ([], cut)


def moved(checkpoint: Checkpoint | None, last: Micros) -> Micros:
    """Return where the checkpoint goes after a page that ends at *last*; never backwards."""
    return last if checkpoint is None else max(checkpoint.source_time, last)


def backfill_cursor(since: Micros, until: Micros) -> str:
    """Return the cursor of a backfill; the same range always has the same one, so it resumes."""
    return f"{BACKFILL}{to_iso(since)}..{to_iso(until)}"


def share_done(window: Window, at: Micros) -> float:
    """Return how much of the window's time lies behind *at*, in [0, 1]."""
    if window.empty:
        return 1.0
    return min(1.0, max(0.0, (at - window.after) / (window.until - window.after)))


def spans(times: Iterable[Micros], most: int = 5) -> list[tuple[Micros, Micros]]:
    """
    Group times into at most *most* spans, apart where more than a day lies between two of them.

    So one row that claims to be from 1970 does not make a look-up of yesterday's ids read every
    day since.
    """
    found: list[tuple[Micros, Micros]] = []
    for time in sorted(times):
        if found and (time - found[-1][1] <= DAY_MICROS or len(found) == most):
            found[-1] = (found[-1][0], time)
        else:
            found.append((time, time))
    return found


def bundles(rows: Iterable[tuple[_T, int]], max_rows: int, max_bytes: int) -> Iterator[list[_T]]:
    """Cut (row, bytes) pairs into lists of at most *max_rows* rows and *max_bytes*, or one row."""
    bundle: list[_T] = []
    held = 0
    for row, size in rows:
        if bundle and (len(bundle) >= max_rows or held + size > max_bytes):
            yield bundle
            bundle, held = [], 0
        bundle.append(row)
        held += size
    if bundle:
        yield bundle


def plain_row(row: Row) -> tuple[dict[str, Any], int]:
    """
    Return the row as JSON that every store takes, and its size in bytes.

    Lone surrogates are removed, numbers that JSON lacks become null, decimals become text. Raises
    Malformed for anything else that is no JSON value.
    """
    if SIMPLE.issuperset(map(type, row.values())):  # nearly all rows
        try:
            return dict(row), len(orjson.dumps(row))
        except TypeError:
            pass  # something in it must be made plain
    try:
        plain = {_text(str(key)): _plain(value, 1) for key, value in row.items()}
        return plain, len(orjson.dumps(plain))
    except (TypeError, ValueError, RecursionError, OverflowError) as error:
        raise Malformed(f"the row is no JSON: {error}") from error


def _plain(value: Any, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise ValueError(f"nested deeper than {MAX_DEPTH}")
    plain: Any
    match value:
        case str():
            plain = _text(value)
        case None | bool():
            plain = value
        case int():
            plain = value if -(2**63) <= value < 2**64 else str(value)
        case float():
            plain = value if math.isfinite(value) else None
        case Decimal():
            plain = str(value)
        case Mapping():
            plain = {_text(str(key)): _plain(item, depth + 1) for key, item in value.items()}
        case list() | tuple():
            plain = [_plain(item, depth + 1) for item in value]
        case _:
            raise TypeError(f"a value is a {type(value).__name__}")
    return plain


def _text(text: str) -> str:
    return text.encode("utf-8", "ignore").decode() if not text.isascii() else text
