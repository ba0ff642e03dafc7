"""
When changes that wait beside a large table are brought into it.

A fold rewrites the table, so its cost grows with the table's rows. Two rules bound what that
costs: by time, a fold takes at most a fifth of one core; by changes, each pays for a bounded number
of rows that are rewritten because of it.
"""

from __future__ import annotations

from claimx.domain.ports.lake import Backlog
from claimx.domain.times import MICROS_PER_SECOND

LEAST_SECONDS = 30.0
ROW_SECONDS = 3e-6  # CPU to rewrite a row, measured by `make bench-lake`
SHARE_OF_CORE = 0.2
SHARE_OF_ROWS = 0.04  # so many changes for each row of the table are folded at once


def delay_seconds(rows: int) -> float:
    """Return how long a change waits beside a table of *rows* before a fold begins, at the most."""
    return max(LEAST_SECONDS, rows * ROW_SECONDS / SHARE_OF_CORE)


def is_due(backlog: Backlog, now: float) -> bool:
    """Say whether a fold is due at *now* (epoch seconds)."""
    if not backlog.changes or backlog.oldest is None:
        return False
    if backlog.changes >= max(1.0, backlog.rows * SHARE_OF_ROWS):
        return True
    return now - backlog.oldest / MICROS_PER_SECOND >= delay_seconds(backlog.rows)
