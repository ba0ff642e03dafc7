"""Arithmetic over what was committed when."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise
from typing import TypeAlias

Curve: TypeAlias = Sequence[tuple[float, float]]
"""(seconds, rows so far), both rising."""

LOW, HIGH = 0.10, 0.95


def from_nothing(begin: float, points: Curve) -> Curve:
    """
    Return the curve with its origin: no rows at *begin*.

    A commit brings the rows of the time before it, so between two commits the work is taken to go
    on evenly; without the origin the work for the first commit would count for nothing.
    """
    return [(begin, 0.0), *((max(begin, at), rows) for at, rows in points)]


def rows_at(curve: Curve, moment: float) -> float:
    """Return the rows at a moment, on the straight line between the points around it."""
    at = bisect_left(curve, (moment, -math.inf))
    if at == len(curve):
        return curve[-1][1]
    if at == 0:
        return curve[0][1]
    (left, below), (right, above) = curve[at - 1], curve[at]
    return below + (above - below) * (moment - left) / (right - left)


def added(curves: Sequence[Curve]) -> Curve:
    """Return the sum of several curves, at every moment that any of them knows."""
    moments = sorted({moment for curve in curves for moment, _ in curve})
    return [(moment, sum(rows_at(curve, moment) for curve in curves)) for moment in moments]


def reached(curve: Curve, rows: float) -> float:
    """Return when *rows* were there; raises ValueError when they never were."""
    for (left, below), (right, above) in pairwise(curve):
        if below <= rows <= above and above > below:
            return left + (right - left) * (rows - below) / (above - below)
    msg = f"{rows:g} rows were never reached"
    raise ValueError(msg)


def rate(curve: Curve, total: float, events: int) -> float:
    """Return events a second between 10 % and 95 % of *total* rows."""
    span = reached(curve, HIGH * total) - reached(curve, LOW * total)
    return events * (HIGH - LOW) / span


def quantile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that *share* of the values do not exceed; raises for none."""
    if not values:
        msg = "no values"
        raise ValueError(msg)
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
