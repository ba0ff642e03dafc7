"""Media: a row each, and a download for those with a link (domain page, sections 2, 3 and 6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from claimx.domain.changes import Change, Enrichment, MediaItem
from claimx.domain.errors import NotYetThere, Unreadable
from claimx.domain.events import Event, EventType
from claimx.domain.links import expiry
from claimx.domain.names import nfc
from claimx.domain.ports.api import Answer, EventApi
from claimx.domain.reader import Reader, Unconverted, fields, unique
from claimx.domain.tables import MEDIA
from claimx.domain.times import Micros
from claimx.domain.values import Unconvertible, text
from claimx.handlers.project import check_project, project_of
from claimx.handlers.registry import registry
from claimx.handlers.rows import answered

FILTERED_IDS = 5
"""More media than this are picked from all of the project's."""

_SHOWN_IDS = 10
_SHOWN_LENGTH = 64
_MEDIA = fields(
    MEDIA,
    "media_description media_comment latitude longitude gps_source taken_date expires_at",
    file_type="mediaType",
    file_name="mediaName",
)


@dataclass(frozen=True, slots=True)
class Reached:
    """How an item was found: for which project and event, when the API was asked, by which task."""

    media_id: str
    project_id: str
    event: Event
    asked_at: Micros
    task_id: str | None = None


@registry.handles(EventType.PROJECT_FILE_ADDED, name="media")
async def enrich_media(event: Event, api: EventApi, out: Enrichment) -> None:
    """Fetch the event's media, all of the project's when it names none, and check the project."""
    project_id = project_of(event)
    await check_project(project_id, event, api, out)
    await fetch_media(project_id, named_media(event), event, api, out)


async def fetch_media(
    project_id: str,
    media_ids: Sequence[str],
    event: Event,
    api: EventApi,
    out: Enrichment,
    *,
    task_id: str | None = None,
) -> None:
    """
    Find *media_ids* among the project's media, all of them when none is named.

    *task_id* is the assignment through which they were reached. Raises NotYetThere, naming them,
    for those that are absent, after what was found is in *out*.
    """
    wanted = unique(media_ids)
    filtered = wanted if len(wanted) <= FILTERED_IDS else ()
    answer = await api.media(project_id, filtered)
    found = media_items(answer, out.unconverted)
    for media_id in wanted or found:
        if media_id in found:
            changes, items = media_row(
                found[media_id],
                Reached(media_id, project_id, event, answer.asked_at, task_id),
                out.unconverted,
            )
            out.changes += changes
            out.media += items
    if absent := [media_id for media_id in wanted if media_id not in found]:
        raise NotYetThere(f"project {project_id} has no media {_listed(absent)} yet")


def named_media(event: Event) -> list[str]:
    """Return the media that the event names, in ``media_ids`` or beside it."""
    return unique((*event.media_ids, event.media_id))


def media_items(answer: Answer, unconverted: Unconverted) -> dict[str, dict[str, Any]]:
    """
    Return the answer's items by id, of each the first with a link, else the first.

    Raises Unreadable for no list.
    """
    if not isinstance(answer.data, list):
        raise Unreadable("the answer holds no list of media")
    read = Reader(MEDIA, unconverted)
    found: dict[str, dict[str, Any]] = {}
    for item in read.objects("media_id", answer.data):
        media_id = read.value("media_id", item.get("mediaID"))
        if media_id is not None and (media_id not in found or _adds_link(found[media_id], item)):
            found[media_id] = item
    return found


def media_row(
    item: dict[str, Any], reached: Reached, unconverted: Unconverted
) -> tuple[list[Change], list[MediaItem]]:
    """Return the row of one item, and its download if it has a link."""
    read = Reader(MEDIA, unconverted)
    event = reached.event
    values = {
        "media_id": reached.media_id,
        "project_id": reached.project_id,
        **read.row(_MEDIA, item),
    }
    if (name := values["file_name"]) is not None:
        values["file_name"] = nfc(name)
    link = _link(item, unconverted)
    if link is not None and (ends := expiry(link)) is not None:
        values["expires_at"] = ends
    values["downloadable"] = link is not None
    task_id = read.value("task_assignment_id", item.get("taskAssignmentId")) or reached.task_id
    if task_id is not None:
        values["task_assignment_id"] = task_id
    changes = answered(MEDIA, values, event, reached.asked_at)
    if link is None:
        return changes, []
    expires_at: Micros | None = values["expires_at"]
    return changes, [
        MediaItem(
            media_id=reached.media_id,
            project_id=reached.project_id,
            event_id=event.event_id,
            event_time=event.time,
            link=link,
            file_name=values["file_name"],
            media_type=values["file_type"],
            expires_at=expires_at,
        )
    ]


def _adds_link(kept: dict[str, Any], item: dict[str, Any]) -> bool:
    uncounted = Unconverted()
    return _link(kept, uncounted) is None and _link(item, uncounted) is not None


def _link(item: dict[str, Any], unconverted: Unconverted) -> str | None:
    link = item.get("fullDownloadLink")
    try:
        if link is None or isinstance(link, str):
            return text(link)
    except Unconvertible:
        pass
    unconverted[MEDIA.name, "downloadable"] += 1
    return None


def _listed(ids: Sequence[str]) -> str:
    shown = (one[:_SHOWN_LENGTH] for one in ids[:_SHOWN_IDS])
    more = len(ids) - _SHOWN_IDS
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")
