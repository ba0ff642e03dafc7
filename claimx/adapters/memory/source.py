"""A source table in memory, with rows that become visible late and failures on request."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from claimx.domain.polling import TIME, whole_times
from claimx.domain.ports.source import SourceRow
from claimx.domain.times import Micros


@dataclass(frozen=True, slots=True)
class _Stored:
    at: Micros
    visible_from: float
    row: dict[str, Any]


@dataclass(slots=True)
class MemorySource:
    """
    `EventSource` over a list.

    *now* decides which rows are visible yet; *failures* are raised by the next calls, one each;
    *calls* keeps what was asked: (after, until, limit, excluded ids).
    """

    now: Callable[[], float] = lambda: float("inf")
    failures: deque[Exception] = field(default_factory=deque)
    calls: list[tuple[Micros, Micros, int, tuple[str, ...]]] = field(default_factory=list)
    _rows: list[_Stored] = field(default_factory=list)

    def add(
        self, rows: Iterable[Mapping[str, Any]], at: Micros, visible_from: float = float("-inf")
    ) -> None:
        """Ingest *rows* at ingestion time *at*; they show once the clock reaches *visible_from*."""
        self._rows += [_Stored(at, visible_from, dict(row)) for row in rows]

    def page(
        self, after: Micros, until: Micros, limit: int, exclude: Sequence[str] = ()
    ) -> list[SourceRow]:
        """See `EventSource.page`."""
        self.calls.append((after, until, limit, tuple(exclude)))
        hidden = set(exclude) - {""}
        return self._page(after, until, limit, lambda own_id: own_id not in hidden)

    def nameless(self, after: Micros, until: Micros, limit: int) -> list[SourceRow]:
        """See `EventSource.nameless`."""
        return self._page(after, until, limit, lambda own_id: not own_id)

    def having(self, ids: Sequence[str]) -> list[SourceRow]:
        """See `EventSource.having`."""
        wanted = set(ids) - {""}
        return self._shown(lambda own_id: own_id in wanted)

    def oldest(self, until: Micros) -> Micros | None:
        """See `EventSource.oldest`."""
        return min((row[TIME] for row in self._shown() if row[TIME] <= until), default=None)

    def _shown(self, chosen: Callable[[str], bool] = lambda _: True) -> list[SourceRow]:
        """Return the rows that are visible by now, oldest first; raises what is to fail."""
        if self.failures:
            raise self.failures.popleft()
        found = (
            {**stored.row, TIME: stored.at}
            for stored in self._rows
            if stored.visible_from <= self.now() and chosen(_own_id(stored.row))
        )
        return sorted(found, key=lambda row: int(row[TIME]))

    def _page(
        self, after: Micros, until: Micros, limit: int, chosen: Callable[[str], bool]
    ) -> list[SourceRow]:
        found = [row for row in self._shown(chosen) if after < row[TIME] <= until]
        if limit < 1:
            return []
        whole, tie = whole_times(found[: limit + 1], limit)
        if tie is not None:
            return [row for row in found if row[TIME] == tie]
        return [dict(row) for row in whole]

    def count(self, after: Micros, until: Micros) -> int:
        """See `EventSource.count`."""
        if self.failures:
            raise self.failures.popleft()
        return sum(
            after < stored.at <= until and stored.visible_from <= self.now()
            for stored in self._rows
        )


def _own_id(row: Mapping[str, Any]) -> str:
    """Return the row's own id as text, empty without one."""
    for name in ("event_id", "eventId"):
        if row.get(name) not in (None, ""):
            return str(row[name])
    return ""
