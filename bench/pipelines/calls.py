"""What an event asks of the API, and what it becomes; whoever drives it does the calling."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeAlias

from pipelines.rows import Found, Row, media_rows, project_rows, task_rows, video_rows
from pipelines.source import Event
from pipelines.values import moment


class Call(NamedTuple):
    """A request below the API's base URL; with *body* it is a POST."""

    path: str
    body: Row | None = None


Enriching: TypeAlias = Generator[Call, Any, Found]
"""Yields calls, is sent their parsed answers, returns rows."""


def enrich(event: Event, known: set[str]) -> Enriching:
    """
    Ask what claimx asks for an event; *known* are the projects that need no check any more.

    A project is known from its first request on. claimx waits until its row is committed, so that
    no crash can leave an event whose project nobody wrote.
    """
    found: Found = []
    calls = 0
    match event.type:
        case "PROJECT_CREATED" | "PROJECT_MFN_ADDED":
            known.add(event.project_id)
            found += project_rows(
                (yield _project(event.project_id)), event.project_id, event.file_name
            )
            calls += 1
        case "PROJECT_FILE_ADDED":
            path = f"/export/project/{event.project_id}/media?mediaIds={event.media_id}"
            found += media_rows((yield Call(path)), event.media_id or "", event.project_id)
            calls += 1
        case "CUSTOM_TASK_ASSIGNED" | "CUSTOM_TASK_COMPLETED":
            found += task_rows((yield Call(f"/customTasks/assignment/{event.task_id}?full=true")))
            calls += 1
        case "VIDEO_COLLABORATION_INVITE_SENT" | "VIDEO_COLLABORATION_COMPLETED":
            body = {
                "reportType": "VIDEO_COLLABORATION",
                "projectId": int(event.project_id),
                "senderUsername": "",
            }
            found += video_rows((yield Call("/data", body)), event.video_id, event.project_id)
            calls += 1
    if event.project_id not in known and event.type != "PROJECT_AUTO_XA_LINKING_UNSUCCESSFUL":
        known.add(event.project_id)
        found += project_rows((yield _project(event.project_id)), event.project_id)
        calls += 1
    found += _facts(event)
    _stamp(found, event)
    found.append(("claimx_events", _event_row(event, calls)))
    return found


def attachment(media: Row, stored: Row) -> tuple[str, Row]:
    """Return the row of a file that was brought in; *stored* says what is known of it."""
    return "claimx_attachments", {
        "media_id": media["media_id"],
        "project_id": media["project_id"],
        "file_name": media["file_name"],
        "file_type": media["file_type"],
        "status": "completed",
        "refreshes": 0,
        "downloaded_at": now(),
        "uploaded_at": now(),
        "event_id": media["event_id"],
        "created_at": now(),
        "updated_at": now(),
        **stored,
    }


def now() -> int:
    """Return the time in microseconds."""
    return int(datetime.now(UTC).timestamp() * 1e6)


def _project(project_id: str) -> Call:
    return Call(f"/export/project/{project_id}")


def _facts(event: Event) -> Iterable[tuple[str, Row]]:
    at = moment(event.time)
    facts: dict[str, Row] = {
        "POLICYHOLDER_INVITED": {"policyholder_invited_at": at},
        "POLICYHOLDER_JOINED": {"policyholder_joined_at": at},
        "PROJECT_AUTO_XA_LINKING_UNSUCCESSFUL": {
            "xa_autolink_fail": True,
            "xa_autolink_fail_at": at,
        },
    }
    if event.type in facts:
        yield "claimx_projects", {"project_id": event.project_id, **facts[event.type]}


def _stamp(found: Found, event: Event) -> None:
    stamp = now()
    for _, row in found:
        row["event_id"] = event.event_id
        row["created_at"] = row["updated_at"] = row["last_enriched_at"] = stamp


def _event_row(event: Event, calls: int) -> Row:
    stamp = now()
    return {
        "event_id": event.event_id,
        "event_type": event.type,
        "project_id": event.project_id,
        "media_id": event.media_id,
        "task_assignment_id": event.task_id,
        "video_collaboration_id": event.video_id,
        "master_file_name": event.file_name,
        "ingested_at": moment(event.time),
        "event_date": event.time[:10],
        "status": "enriched",
        "handler": event.type.split("_", 1)[0].lower(),
        "api_calls": calls,
        "attempts": 1,
        "processed_at": stamp,
        "created_at": stamp,
        "updated_at": stamp,
    }
