"""Very many rows of the past, made inside the database: what a source holds after an outage."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from claimx.sandbox.kql import HIDDEN

TYPE = "SANDBOX_BACKLOG"
"""No handler knows it, so such an event ends as *unhandled* without a call of the API."""

EXTENT = 100  # rows that share one ingestion time


@dataclass(frozen=True, slots=True)
class Backlog:
    """
    *count* events spread evenly over the *hours* before *until*; their ids begin with ``backlog-``.

    The world does not know them: they are counted, not compared. Raises ValueError for numbers
    that make none.
    """

    count: int
    until: datetime
    hours: float = 24.0

    def __post_init__(self) -> None:
        if not 0 <= self.count <= 10_000_000:
            msg = f"backlog={self.count}: 0 to 10,000,000 rows"
            raise ValueError(msg)
        if self.hours <= 0:
            msg = f"backlog of {self.hours:g} hours: it must lie in some time"
            raise ValueError(msg)

    @property
    def since(self) -> datetime:
        """The ingestion time of the oldest."""
        return self.until - timedelta(hours=self.hours)

    def add_to(self, connection: Any) -> None:
        """Insert the rows into ``_rows``."""
        extents = max(1, -(-self.count // EXTENT))
        step = int(self.hours * 3_600_000_000) // extents
        # Names and numbers are ours; nothing of it comes from outside.
        connection.execute(
            f"INSERT INTO _rows BY NAME SELECT"  # noqa: S608 - as above
            f" format('backlog-{{:08d}}', n) AS event_id, '{TYPE}' AS event_type,"
            f" to_json(n % 5000 + 1) AS project_id, moment AS ingested_at, 'sample' AS tenant,"
            f" CAST(moment AS TIMESTAMP_NS) AS {HIDDEN}, 0 AS _visible_at"
            f" FROM (SELECT n, ?::TIMESTAMP + to_microseconds((n // {EXTENT}) * {step}) AS moment"
            f" FROM range({self.count}) AS _(n))",
            [self.since.replace(tzinfo=None)],
        )
