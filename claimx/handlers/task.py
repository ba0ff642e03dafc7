"""Project tasks with their template, link and answers (domain page, sections 1, 2 and 6)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from claimx.domain.changes import Change, Enrichment, Source, Values
from claimx.domain.errors import Malformed
from claimx.domain.events import Event, EventType
from claimx.domain.ports.api import Answer, EventApi
from claimx.domain.reader import Reader, Unconverted, fields
from claimx.domain.tables import (
    CONTACTS,
    EXTERNAL_LINKS,
    MEDIA,
    POLICYHOLDER,
    TASK_TEMPLATES,
    TASKS,
)
from claimx.handlers.media import fetch_media, named_media
from claimx.handlers.project import check_project, folded
from claimx.handlers.registry import registry
from claimx.handlers.rows import answered, object_of

NAME = "project task"

_NUMBER = re.compile(r"\d+", re.ASCII)
_TASK = fields(
    TASKS,
    "assignment_id task_id task_name form_id project_id assignee_id assignor_id date_assigned"
    " date_completed cancelled_date cancelled_by_resource_id status pdf_project_media_id"
    " date_exported form_response_id stp_enabled stp_started_date mfn xactimate_exportable"
    " fraud_language_accepted_date resubmit_task_assignment_id",
    assignor_email="assignor",
    task_url="url",
)
_TEMPLATE = fields(
    TASK_TEMPLATES,
    "task_id comp_id name description form_id form_name enabled is_manual_delivery"
    " is_external_link_delivery provide_portal_access notify_assigned_send_recipient"
    " notify_assigned_send_recipient_sms notify_assigned_subject notify_task_completed"
    " notify_completed_subject auto_generate_pdf modified_by modified_by_id modified_date",
    is_default="default",
    allow_resubmit="allowReSubmit",
)
_LINK = fields(
    EXTERNAL_LINKS,
    "link_id link_code url notification_access_method country_id state_id",
)
_RECIPIENT = fields(
    CONTACTS, "first_name last_name phone_country_code", contact_email="email", phone_number="phone"
)


@registry.handles(EventType.CUSTOM_TASK_ASSIGNED, name=NAME)
async def enrich_assigned(event: Event, api: EventApi, out: Enrichment) -> None:
    """Fetch the assignment and check the project that it belongs to."""
    await _enrich_task(event, api, out)


@registry.handles(EventType.CUSTOM_TASK_COMPLETED, name=NAME)
async def enrich_completed(event: Event, api: EventApi, out: Enrichment) -> None:
    """As for an assigned one; then fetch the media that the event or the form's answers name."""
    task, answer = await _enrich_task(event, api, out)
    media_ids = [*named_media(event), *answered_media(answer.data, out.unconverted)]
    if media_ids:
        await fetch_media(
            task["project_id"], media_ids, event, api, out, task_id=task["assignment_id"]
        )


async def _enrich_task(event: Event, api: EventApi, out: Enrichment) -> tuple[Values, Answer]:
    asked = assignment_of(event)
    answer = await api.task_assignment(asked)
    task = task_values(answer, asked, event, out.unconverted)
    out.changes += task_changes(answer, task, event, out.unconverted)
    project_id = task["project_id"]
    if project_id is None:
        raise Malformed(f"neither the event nor project task {asked} names a project")
    project: Change | None = None
    try:
        project = await check_project(project_id, event, api, out)
    finally:  # the recipient was found already, whatever became of the project
        name = project.values["master_file_name"] if project else api.name_of_known(project_id)
        recipient = _recipient(answer, task, name, out.unconverted)
        asked_at = answer.asked_at
        if project and recipient["contact_email"] == folded(project.values["primary_email"]):
            # asked a moment later, the customer must not outdate the link that went to them; others
            # have links alone, and of those the newer counts
            asked_at = max(asked_at, project.enriched_at or 0)
        out.changes += answered(CONTACTS, recipient, event, asked_at, Source.LINK)
    return task, answer


def assignment_of(event: Event) -> str:
    """Return the event's assignment; raises Malformed when it is missing or no number."""
    found = event.task_assignment_id
    if found is None:
        raise Malformed("task_assignment_id is missing")
    if not _NUMBER.fullmatch(found):
        raise Malformed("task_assignment_id is not a number")
    return found


def task_values(answer: Answer, asked: str, event: Event, unconverted: Unconverted) -> Values:
    """Return the task's columns; its own ids win over the event's. Raises Unreadable."""
    values = Reader(TASKS, unconverted).row(_TASK, object_of(answer.data, "project task"))
    values["assignment_id"] = values["assignment_id"] or asked
    values["project_id"] = values["project_id"] or event.project_id
    return values


def task_changes(
    answer: Answer, task: Values, event: Event, unconverted: Unconverted
) -> list[Change]:
    """Return the rows of the task, its template and its external link."""
    changes = answered(TASKS, task, event, answer.asked_at)
    custom = answer.data.get("customTask")
    template = Reader(TASK_TEMPLATES, unconverted).row(_TEMPLATE, custom)
    if custom and isinstance(custom, dict):
        template["task_id"] = template["task_id"] or task["task_id"]
    changes += answered(TASK_TEMPLATES, template, event, answer.asked_at)
    link = Reader(EXTERNAL_LINKS, unconverted).row(_LINK, answer.data.get("externalLinkData"))
    link |= {name: task[name] for name in ("assignment_id", "project_id")}
    return changes + answered(EXTERNAL_LINKS, link, event, answer.asked_at)


def answered_media(task: dict[str, Any], unconverted: Unconverted) -> list[str]:
    """Return the media that the form's answers name, in order."""
    read = Reader(MEDIA, unconverted)
    found: list[str] = []
    for export in _exports(task.get("response")):
        found += read.ids("media_id", export.get("claimMediaIds"))
    return found


def _recipient(answer: Answer, task: Values, name: str | None, unconverted: Unconverted) -> Values:
    """Return the contact that the external link was sent to; *name* is its project's."""
    link = answer.data.get("externalLinkData")
    # a link that is no object is counted once, with its own table
    values = Reader(CONTACTS, unconverted).row(_RECIPIENT, link if isinstance(link, dict) else None)
    return values | {
        "project_id": task["project_id"],
        "contact_email": folded(values["contact_email"]),
        "contact_type": POLICYHOLDER,
        "is_primary_contact": False,
        "master_file_name": name,
        "task_assignment_id": task["assignment_id"],
    }


def _exports(response: Any) -> Iterator[dict[str, Any]]:
    for group in _list(response, "groups"):
        for question in _list(group, "questionAndAnswers"):
            export = question.get("responseAnswerExport") if isinstance(question, dict) else None
            # some forms give a question several answers
            yield from (one for one in _as_list(export) if isinstance(one, dict))


def _list(holder: Any, name: str) -> list[Any]:
    found = holder.get(name) if isinstance(holder, dict) else None
    return found if isinstance(found, list) else []


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
