"""The source of events."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

from claimx.domain.times import Micros

SourceRow: TypeAlias = dict[str, Any]
"""A row as Kusto gave it (JSON values), plus ``_ingestion_time`` as `Micros`."""

TABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_ .\-]{0,1023}")
"""What a table of the source may be called: Kusto's identifiers, as they stand in brackets."""


class EventSource(Protocol):
    """The Eventhouse table (domain page, section 1)."""

    def page(
        self, after: Micros, until: Micros, limit: int, exclude: Sequence[str] = ()
    ) -> list[SourceRow]:
        """
        Return rows with after < ingestion time <= until, oldest first, all or nothing.

        At least one whole ingestion time is returned if there is any: when *limit* would cut
        through rows of one time, all rows of that time are returned. Rows whose own id is in
        *exclude* are left out. Raises Unavailable, Throttled, Refused, TokenRejected, Unreadable.
        """

    def count(self, after: Micros, until: Micros) -> int:
        """Return how many rows have after < ingestion time <= until; raises as `page` does."""

    def nameless(self, after: Micros, until: Micros, limit: int) -> list[SourceRow]:
        """Return, as `page` does, the rows that have no id of their own."""

    def having(self, ids: Sequence[str]) -> list[SourceRow]:
        """
        Return all rows whose own id is exactly one of *ids*, whenever they were ingested.

        Takes up to 20,000 ids; costs a look through the whole table. Raises as `page` does.
        """

    def oldest(self, until: Micros) -> Micros | None:
        """Return the least ingestion time that the source still has, None for none <= *until*."""
