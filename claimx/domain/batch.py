"""When a batch of rows is due."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

_REST = 0.8  # of the longest age, between small ones: few more batches than by age alone
_WORTH_ROWS = 500  # a batch of so many rows is no small file


class Batch:
    """
    Counts rows by table: due at *max_rows* in any one table, or *max_seconds* after the first.

    *now* is a clock in seconds. An empty batch is never due. One that gets no more rows may go
    earlier, unless it is small and the last small one went a moment ago: many small files are dear
    to read. What a large one has left over need not wait.
    """

    def __init__(self, max_rows: int, max_seconds: float, now: Callable[[], float]) -> None:
        if max_rows < 1 or max_seconds < 0:
            msg = f"a batch of {max_rows} rows or {max_seconds} s is never one"
            raise ValueError(msg)
        self._max_rows = max_rows
        self._max_seconds = max_seconds
        self._now = now
        self._rows: Counter[str] = Counter()
        self._since: float | None = None
        self._small_went = now()

    def add(self, tables: Iterable[str]) -> None:
        """Count one row for each name; adding none still starts the clock (a record waits)."""
        self._rows.update(tables)
        if self._since is None:
            self._since = self._now()

    @property
    def rows(self) -> int:
        """Rows over all tables."""
        return self._rows.total()

    @property
    def full(self) -> bool:
        """Whether a table has its rows."""
        return max(self._rows.values(), default=0) >= self._max_rows

    @property
    def due(self) -> bool:
        """Whether to flush now."""
        return self._since is not None and (self.full or self.seconds_left <= 0)

    @property
    def may_go(self) -> bool:
        """Whether it may go early: it is large enough, or the last small one is long ago."""
        if self._since is None:
            return False
        # of a clock that was set back nobody knows how long ago it was
        return not self._small or not (
            0 <= self._now() - self._small_went < _REST * self._max_seconds
        )

    @property
    def _small(self) -> bool:
        return max(self._rows.values(), default=0) < min(_WORTH_ROWS, self._max_rows)

    @property
    def seconds_left(self) -> float:
        """Seconds until it is due by its age, at most *max_seconds*; all of them when empty."""
        if self._since is None:
            return self._max_seconds
        now = self._now()
        # a clock that was set back must not make it wait for as long: then its age begins anew
        self._since = min(self._since, now)
        return max(0.0, self._since + self._max_seconds - now)

    def clear(self) -> None:
        """Begin anew: this one has gone."""
        if self._since is not None and self._small:
            self._small_went = self._now()
        self._rows.clear()
        self._since = None
