"""Source rows: what each event is, how the source writes it, and when it can be seen."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Any

from claimx.domain.times import from_datetime, to_iso

CAMEL = {
    "event_id": "eventId",
    "event_type": "eventType",
    "project_id": "projectId",
    "media_id": "mediaId",
    "media_ids": "mediaIds",
    "task_assignment_id": "taskAssignmentId",
    "video_collaboration_id": "videoCollaborationId",
    "master_file_name": "masterFileName",
    "ingested_at": "ingestedAt",
}
HELD = 7_258_118_400.0  # the year 2200: not to be seen until it is released
DYNAMIC_COLUMNS = (
    "project_id",
    "media_id",
    "media_ids",
    "task_assignment_id",
    "video_collaboration_id",
)


@dataclass(slots=True)
class Planned:
    """
    One event before it becomes rows.

    Ids are what the source writes: text, numbers, or nonsense. *outcome* is ``enriched``,
    ``unhandled``, ``dead`` or ``shadowed`` (an event id that another content took first);
    *categories* and *stages* are those that its dead letter may carry, *calls* the least number
    of calls. *media_list* is what ``media_ids`` means, *has_list* whether the row carries it.
    """

    type: str | None
    project: Any = None
    event_id: str | None = None
    media_id: Any = None
    media_list: list[Any] | None = None
    raw_media_ids: Any = None
    task: Any = None
    video: Any = None
    mfn: str | None = None
    outcome: str = "enriched"
    categories: tuple[str, ...] = ()
    stages: tuple[str, ...] = ("enrich",)
    calls: int = 0
    camel: bool = False
    late: bool = False
    copies: int = 0
    copy_in_extent: bool = False
    without_time: bool = False
    note: str = ""
    own_time: datetime | None = None
    ingestion: datetime | None = None
    tick: int = 0

    @property
    def time(self) -> datetime:
        """The event's own time: ``ingested_at``, else the source's ingestion time."""
        moment = self.own_time if self.own_time is not None else self.ingestion
        if moment is None:
            msg = f"event {self.event_id} was never scheduled"
            raise ValueError(msg)
        return moment

    @property
    def key(self) -> str:
        """The row's own id, else the hash of what identifies it."""
        if self.event_id is not None:
            return self.event_id
        if self.ingestion is None:
            msg = "an event without an id has no key before it is scheduled"
            raise ValueError(msg)
        parts = [
            str(self.project),
            str(self.type).strip().upper(),
            to_iso(from_datetime(self.ingestion)),
        ]
        media = self.media_list or ([self.media_id] if self.media_id else [])
        if media:
            parts.append("media:" + ",".join(str(one) for one in media))
        if self.task is not None:
            parts.append(f"task:{self.task}")
        if self.video is not None:
            parts.append(f"video:{self.video}")
        if self.mfn is not None:
            parts.append(f"file:{self.mfn}")
        return hashlib.sha256("|".join(parts).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class SourceRow:
    """A row of the source table: *values* by column, *visible_at* seconds since the epoch."""

    values: dict[str, Any]
    ingestion: datetime
    tick: int
    visible_at: float

    @property
    def ingestion_text(self) -> str:
        """The ingestion time as Kusto writes it, with its 100 ns digit."""
        return self.ingestion.strftime("%Y-%m-%dT%H:%M:%S.%f") + f"{self.tick}Z"


@dataclass(slots=True)
class Schedule:
    """
    When rows are ingested and become visible.

    Without a *rate* all of them lie in the *span* seconds before *at*, but for the late ones,
    which show up some seconds after it with an older ingestion time. With a *rate* (events a
    second) they appear from *at* on. An extent is *extent* rows (or one second) that share one
    ingestion time. With a *head*, only so many events can be seen before the others are released.
    """

    at: datetime
    rate: float = 0.0
    span: float = 600.0
    extent: int = 40
    head: int = 0

    def spread(self, events: list[Planned], rng: Random) -> list[SourceRow]:
        """Give every event its times and return the source rows in the order they appear."""
        rows: list[SourceRow] = []
        start = self.at - timedelta(seconds=self.span)
        count = max(1, len(events))
        moment, tick, visible = start, 1, 0.0
        number = -1
        for index, event in enumerate(events):
            extent = int(index / self.rate) if self.rate else index // self.extent
            if extent != number:
                number = extent
                tick = rng.randrange(1, 5)
                jitter = timedelta(microseconds=rng.randrange(1_000_000))
                if self.rate:
                    moment = self.at + timedelta(seconds=number) + jitter
                    visible = moment.timestamp() + 0.2
                else:
                    share = index / count
                    moment = start + timedelta(seconds=share * (self.span - 12)) + jitter
                    held = 0 < self.head <= index
                    visible = HELD if held else self.at.timestamp()
            self._place(event, moment, tick, rng)
            rows.extend(self._rows(event, visible, rng))
        rows.sort(key=lambda row: (row.visible_at, row.ingestion))
        return rows

    def _place(self, event: Planned, moment: datetime, tick: int, rng: Random) -> None:
        event.ingestion, event.tick = moment, tick
        if event.late and not self.rate:
            event.ingestion = self.at - timedelta(seconds=rng.uniform(12, 28))
        if not event.without_time:
            event.own_time = event.ingestion - timedelta(microseconds=rng.randrange(1, 8_000_000))

    def _rows(self, event: Planned, visible: float, rng: Random) -> list[SourceRow]:
        if event.ingestion is None:
            return []
        values = written(event, rng)
        seen = visible + (rng.uniform(3, 12) if event.late else 0.0)
        rows = [SourceRow(values, event.ingestion, event.tick, seen)]
        if event.copy_in_extent:
            rows.append(SourceRow(values, event.ingestion, event.tick, seen))
        for _ in range(event.copies):
            later = event.ingestion + timedelta(seconds=rng.uniform(1, 40))
            if not self.rate:
                later = min(later, self.at - timedelta(seconds=6))
            later = max(later, event.ingestion)
            again = max(seen, later.timestamp() + 0.2)
            rows.append(SourceRow(values, later, rng.randrange(1, 5), again))
        return rows


def written(event: Planned, rng: Random) -> dict[str, Any]:
    """Return the columns of the row as the source has them."""
    values: dict[str, Any] = {
        "event_id": event.event_id,
        "event_type": event.type,
        "project_id": _id(event.project, rng),
        "media_id": _id(event.media_id, rng),
        "media_ids": event.raw_media_ids,
        "task_assignment_id": _id(event.task, rng),
        "video_collaboration_id": _id(event.video, rng),
        "master_file_name": event.mfn,
        "ingested_at": event.own_time,
    }
    if event.media_list is not None and event.raw_media_ids is None:
        ids = [_id(one, rng) for one in event.media_list]
        values["media_ids"] = json.dumps(ids) if rng.random() < 0.4 else ids
    if event.camel:
        values = {CAMEL[name]: value for name, value in values.items()}
    values["tenant"] = "sample"
    values["payload"] = {"source": "claimx", "attempt": 1} if rng.random() < 0.2 else None
    return values


def _id(value: Any, rng: Random) -> Any:
    """Write a numeric id as a number or as text."""
    if isinstance(value, int) and rng.random() < 0.5:
        return str(value)
    return value
