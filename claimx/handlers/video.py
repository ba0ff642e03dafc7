"""Video collaborations (domain page, sections 2 and 6)."""

from __future__ import annotations

from collections import Counter
from typing import Any

from claimx.domain.changes import Change, Enrichment
from claimx.domain.errors import Unreadable
from claimx.domain.events import Event, EventType
from claimx.domain.ports.api import Answer, EventApi
from claimx.domain.reader import Reader, Unconverted, fields
from claimx.domain.tables import VIDEO_COLLABORATION
from claimx.domain.values import same_id
from claimx.handlers.project import check_project, project_of
from claimx.handlers.registry import registry
from claimx.handlers.rows import answered

_VIDEO = fields(
    VIDEO_COLLABORATION,
    "claim_id mfn claim_number policy_number email_user_name claim_rep_first_name"
    " claim_rep_last_name claim_rep_full_name number_of_videos number_of_photos"
    " number_of_viewers session_count total_time_seconds total_time created_date"
    " live_call_first_session live_call_last_session company_id company_name guid",
    video_collaboration_id="videoCollaborationId id",
)
_IDS = fields(VIDEO_COLLABORATION, "claim_id", video_collaboration_id="videoCollaborationId id")


@registry.handles(
    EventType.VIDEO_COLLABORATION_INVITE_SENT,
    EventType.VIDEO_COLLABORATION_COMPLETED,
    name="video",
)
async def enrich_video(event: Event, api: EventApi, out: Enrichment) -> None:
    """Check the project and fetch its video report; none at all is a success without a row."""
    project_id = project_of(event)
    await check_project(project_id, event, api, out)
    answer = await api.video_report(project_id)
    out.changes += video_changes(answer, project_id, event, out.unconverted)


def video_changes(
    answer: Answer, project_id: str, event: Event, unconverted: Unconverted
) -> list[Change]:
    """
    Return the row of the item that the event means, if there is any.

    That is the item which the event names, else the first of the project, else the first.
    """
    read = Reader(VIDEO_COLLABORATION, unconverted)
    items = _items(answer.data, read)
    if not items:
        return []
    chosen = _chosen(items, event.video_collaboration_id, project_id)
    values = {"project_id": project_id, **read.row(_VIDEO, chosen)}
    return answered(VIDEO_COLLABORATION, values, event, answer.asked_at)


def _chosen(items: list[dict[str, Any]], wanted: str | None, project_id: str) -> dict[str, Any]:
    if len(items) == 1:  # whatever it says
        return items[0]
    # of objects nothing is counted here: only the chosen one's values can become null in the table
    read = Reader(VIDEO_COLLABORATION, Counter())
    rows = [(read.row(_IDS, item), item) for item in items]
    named = (item for row, item in rows if row["video_collaboration_id"] == wanted)
    mine = (item for row, item in rows if same_id(row["claim_id"] or "", project_id))
    found = next(named, None) if wanted is not None else None
    return found or next(mine, items[0])


def _items(data: Any, read: Reader) -> list[dict[str, Any]]:
    if isinstance(data, dict):
        data = [data]
    if data is None:
        return []
    if not isinstance(data, list):
        raise Unreadable("the answer holds no video collaborations")
    return [item for item in read.objects("video_collaboration_id", data) if item]
