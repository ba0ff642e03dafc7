"""What one event or media file says about one row of one table."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeAlias

from claimx.domain.times import Micros
from claimx.domain.value import value

Values: TypeAlias = dict[str, Any]
"""Column -> value: text, int, float, bool or None; times are `Micros`, a day is ISO text."""


class Source(StrEnum):
    """Whose word a change is; it decides how the change is ordered against others."""

    ANSWER = "answer"  # an answer of the API: ordered by enriched_at
    EVENT = "event"  # the event's own facts: ordered by event_time
    LINK = "link"  # a contact from a task's external link: fills what the customer's data left
    RESULT = "result"  # our own result for a media file or an event


@value
class Change:
    """
    A row, or a part of one.

    *values* holds the key and exactly the columns that the change speaks of: an absent column is
    left as it is, a None clears. Bookkeeping columns are never in it. *event_time* is the own time
    of the event, *enriched_at* when the API was asked (None when no answer is behind it).
    """

    table: str
    values: Values
    source: Source
    event_id: str
    event_time: Micros
    enriched_at: Micros | None = None


@value
class MediaItem:
    """
    A media file to bring into OneLake, as the API described it when it was found.

    *link* is a bearer secret: never logged, never in a table, never in a task's arguments.
    *file_name* is the API's name (NFC, trimmed) or None, *media_type* its coarse word or None,
    *expires_at* the end that the link tells, the declared one of a link that tells none.
    """

    media_id: str
    project_id: str
    event_id: str
    event_time: Micros
    link: str
    file_name: str | None = None
    media_type: str | None = None
    expires_at: Micros | None = None


@dataclass(slots=True)
class Enrichment:
    """
    What a handler collects while it works.

    A handler that fails half-way leaves here what it had already found, and that is written
    even when the event ends among the dead letters (domain page, section 6).
    *unconverted* counts values that became null by (table, column).
    """

    changes: list[Change] = field(default_factory=list)
    media: list[MediaItem] = field(default_factory=list)
    unconverted: Counter[tuple[str, str]] = field(default_factory=Counter)
