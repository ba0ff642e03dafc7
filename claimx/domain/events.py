"""Events as the source tells them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from claimx.domain.times import Micros


class EventType(StrEnum):
    """The ten types that have a handler (domain page, section 1)."""

    PROJECT_CREATED = "PROJECT_CREATED"
    PROJECT_MFN_ADDED = "PROJECT_MFN_ADDED"
    PROJECT_FILE_ADDED = "PROJECT_FILE_ADDED"
    CUSTOM_TASK_ASSIGNED = "CUSTOM_TASK_ASSIGNED"
    CUSTOM_TASK_COMPLETED = "CUSTOM_TASK_COMPLETED"
    POLICYHOLDER_INVITED = "POLICYHOLDER_INVITED"
    POLICYHOLDER_JOINED = "POLICYHOLDER_JOINED"
    VIDEO_COLLABORATION_INVITE_SENT = "VIDEO_COLLABORATION_INVITE_SENT"
    VIDEO_COLLABORATION_COMPLETED = "VIDEO_COLLABORATION_COMPLETED"
    PROJECT_AUTO_XA_LINKING_UNSUCCESSFUL = "PROJECT_AUTO_XA_LINKING_UNSUCCESSFUL"


@dataclass(frozen=True, slots=True)
class Event:
    """
    One event, parsed from a source row.

    *type* is trimmed and upper case and need not be an `EventType`. *time* is the event's own
    time: ``ingested_at``, else the source's ingestion time. Ids are text; *media_ids* holds the
    ids of ``media_ids`` in order, else the one of ``media_id``; *raw* keeps unknown columns.
    """

    event_id: str
    type: str
    project_id: str | None
    time: Micros
    source_time: Micros
    media_id: str | None = None
    media_ids: tuple[str, ...] = ()
    task_assignment_id: str | None = None
    video_collaboration_id: str | None = None
    master_file_name: str | None = None
    raw: dict[str, Any] = field(default_factory=dict)
