"""Events, as the pipeline carries them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum
from typing import Any, Self

from claimx.domain.errors import Malformed
from claimx.domain.times import Micros
from claimx.domain.value import value


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


@value
class Event:
    """
    One event, parsed from a source row.

    *type* is trimmed and upper case and need not be an `EventType`. *time* is the event's own
    time: ``ingested_at``, else the source's ingestion time. Ids are text; *media_ids* holds the
    ids of ``media_ids`` in order, without that of ``media_id``; *raw* keeps unknown columns.
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

    def to_json(self) -> dict[str, Any]:
        """Return what the event says as a JSON object; `from_json` of later releases reads it."""
        plain: dict[str, Any] = {
            "event_id": self.event_id,
            "type": self.type,
            "time": self.time,
            "source_time": self.source_time,
        }
        for name in TEXTS:  # most events lack most of it, and Redis copies it many times
            said = getattr(self, name)
            if said is not None:
                plain[name] = said
        if self.media_ids:
            plain["media_ids"] = list(self.media_ids)
        if self.raw:
            plain["raw"] = self.raw
        return plain

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """
        Read an event that any release has written; names that are not known are left out.

        Raises Malformed when what makes an event is missing or of another type.
        """
        try:
            event = cls(
                data["event_id"],
                data["type"],
                data.get("project_id"),
                data["time"],
                data["source_time"],
                data.get("media_id"),
                tuple(data.get("media_ids") or ()),
                data.get("task_assignment_id"),
                data.get("video_collaboration_id"),
                data.get("master_file_name"),
                data.get("raw") or {},
            )
        except (KeyError, TypeError) as error:
            raise Malformed(f"what is stored is no event: {error}") from None
        if not event._is_sound():
            raise Malformed(
                "what is stored is no event: an id, the type or a time is of another kind"
            )
        return event

    def _is_sound(self) -> bool:
        needed: tuple[Any, ...] = (self.event_id, self.type, *self.media_ids)
        for one in needed:
            if not one or not isinstance(one, str):
                return False
        for name in TEXTS:
            one = getattr(self, name)
            if one is not None and not isinstance(one, str):
                return False
        return isinstance(self.time, int) and isinstance(self.source_time, int)


TEXTS = "project_id media_id task_assignment_id video_collaboration_id master_file_name".split()
"""What an event may say besides, each a text."""
