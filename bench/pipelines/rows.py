"""From an answer of the API to rows of the nine tables, as a program of one afternoon does it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

from claimx.domain import tables
from claimx.domain.columns import Table
from claimx.domain.reader import api_names
from pipelines.values import converter, flag, ident, link_end

Row: TypeAlias = dict[str, Any]
Object: TypeAlias = dict[str, Any]
Found: TypeAlias = list[tuple[str, Row]]
"""Table and row."""

Pick: TypeAlias = Callable[[Object], Row]


def picker(table: Table, columns: str, **renamed: str) -> Pick:
    """Return what takes *columns* out of an object; names as in `claimx.domain.reader.fields`."""
    plan = [
        (name, keys, converter(table.column(name)))
        for name, keys in api_names(columns, **renamed).items()
    ]
    single = [(name, keys[0], convert) for name, keys, convert in plan if len(keys) == 1]
    several = [one for one in plan if len(one[1]) > 1]

    def pick(source: Object) -> Row:
        get = source.get
        row = {name: convert(get(key)) for name, key, convert in single}
        for name, keys, convert in several:
            found = (convert(get(key)) for key in keys)
            row[name] = next((one for one in found if one is not None), None)
        return row

    return pick


_project = picker(
    tables.PROJECTS,
    "project_number secondary_number status created_date date_of_loss type_of_loss cause_of_loss"
    " loss_description year_built square_footage date_received date_contacted"
    " planned_inspection_date date_inspected appointment_date custom_attribute1"
    " custom_attribute2 custom_attribute3 custom_external_unique_id",
    master_file_name="mfn masterFileName",
)
_customer = picker(
    tables.PROJECTS,
    "custom_business_name business_line_type",
    customer_first_name="firstName",
    customer_last_name="lastName",
)
_address = picker(
    tables.PROJECTS, "street1 street2 city county state_province zip_postcode country"
)
_company = picker(tables.PROJECTS, "company_name")
_email = picker(tables.PROJECTS, "", primary_email="emailAddress")
_phone = picker(
    tables.PROJECTS,
    "",
    primary_phone="phoneNumber",
    primary_phone_country_code="phoneCountryCode",
)
_member = picker(
    tables.CONTACTS,
    "",
    contact_email="userName",
    is_primary_contact="primaryContact",
    master_file_name="mfn",
)
_media = picker(
    tables.MEDIA,
    "media_description media_comment latitude longitude gps_source taken_date expires_at"
    " task_assignment_id",
    media_id="mediaID",
    file_type="mediaType",
    file_name="mediaName",
)
_task = picker(
    tables.TASKS,
    "assignment_id task_id task_name form_id project_id assignee_id assignor_id date_assigned"
    " date_completed cancelled_date cancelled_by_resource_id status pdf_project_media_id"
    " date_exported form_response_id stp_enabled stp_started_date mfn xactimate_exportable"
    " fraud_language_accepted_date resubmit_task_assignment_id",
    assignor_email="assignor",
    task_url="url",
)
_template = picker(
    tables.TASK_TEMPLATES,
    "task_id comp_id name description form_id form_name enabled is_manual_delivery"
    " is_external_link_delivery provide_portal_access notify_assigned_send_recipient"
    " notify_assigned_send_recipient_sms notify_assigned_subject notify_task_completed"
    " notify_completed_subject auto_generate_pdf modified_by modified_by_id modified_date",
    is_default="default",
    allow_resubmit="allowReSubmit",
)
_link = picker(
    tables.EXTERNAL_LINKS, "link_id link_code url notification_access_method country_id state_id"
)
_recipient = picker(
    tables.CONTACTS,
    "first_name last_name phone_country_code",
    contact_email="email",
    phone_number="phone",
)
_video = picker(
    tables.VIDEO_COLLABORATION,
    "claim_id mfn claim_number policy_number email_user_name claim_rep_first_name"
    " claim_rep_last_name claim_rep_full_name number_of_videos number_of_photos"
    " number_of_viewers session_count total_time_seconds total_time created_date"
    " live_call_first_session live_call_last_session company_id company_name guid",
    video_collaboration_id="videoCollaborationId id",
)


def project_rows(answer: Object, project_id: str, named: str | None = None) -> Iterator[Any]:
    """Return the project and its contacts; *named* is the name that the event gives it."""
    data = answer.get("data") or answer
    project = data["project"]
    customer = project.get("customerInformation") or {}
    row = {
        "project_id": project_id,
        **_project(project),
        **_customer(customer),
        **_address(project.get("address") or {}),
        **_primary(customer.get("emails"), _email, "primary_email"),
        **_primary(customer.get("phones"), _phone, "primary_phone"),
        **_company(data),
    }
    if named:
        row["master_file_name"] = named
    yield "claimx_projects", row
    if email := row["primary_email"]:
        yield (
            "claimx_contacts",
            {
                "project_id": project_id,
                "contact_email": email.lower(),
                "contact_type": "POLICYHOLDER",
                "first_name": row["customer_first_name"],
                "last_name": row["customer_last_name"],
                "phone_number": row["primary_phone"],
                "phone_country_code": row["primary_phone_country_code"],
                "is_primary_contact": True,
                "master_file_name": row["master_file_name"],
            },
        )
    for member in data.get("teamMembers") or ():
        contact = _member(member)
        if contact["contact_email"]:
            contact["contact_email"] = contact["contact_email"].lower()
            yield (
                "claimx_contacts",
                {"project_id": project_id, "contact_type": "CLAIM_REP", **contact},
            )


def media_rows(answer: Any, media_id: str, project_id: str) -> Iterator[Any]:
    """Return the row of the one item, with its link under ``link``."""
    items = answer if isinstance(answer, list) else answer.get("data") or answer.get("media")
    for item in items:
        if ident(item.get("mediaID")) == media_id:
            link = item.get("fullDownloadLink")
            row = {**_media(item), "project_id": project_id, "downloadable": link is not None}
            if link and (ends := link_end(link)):
                row["expires_at"] = ends
            yield "claimx_media", row | {"link": link}
            return


def task_rows(answer: Object) -> Iterator[Any]:
    """Return the task, its template, its link, and the contact that the link went to."""
    task = _task(answer)
    yield "claimx_tasks", task
    if template := answer.get("customTask"):
        yield "claimx_task_templates", _template(template)
    if link := answer.get("externalLinkData"):
        ids = {name: task[name] for name in ("assignment_id", "project_id")}
        yield "claimx_external_links", {**_link(link), **ids}
        contact = _recipient(link)
        if contact["contact_email"]:
            yield (
                "claimx_contacts",
                {
                    **contact,
                    "contact_email": contact["contact_email"].lower(),
                    "contact_type": "POLICYHOLDER",
                    "project_id": task["project_id"],
                    "is_primary_contact": False,
                    "task_assignment_id": task["assignment_id"],
                },
            )


def video_rows(answer: Any, video_id: str | None, project_id: str) -> Iterator[Any]:
    """Return the row of the item that the event names."""
    if isinstance(answer, dict):
        inner = (answer.get(name) for name in ("data", "collaborations", "videoCollaboration"))
        answer = next((one for one in inner if one), answer)
    for item in [answer] if isinstance(answer, dict) else answer or ():
        row = _video(item)
        if row["video_collaboration_id"] == video_id:
            yield "claimx_video_collaboration", {"project_id": project_id, **row}
            return


def _primary(entries: Any, pick: Pick, column: str) -> Row:
    """Return the primary entry's columns, else those of the first that is not blank."""
    rows = [(entry, pick(entry)) for entry in entries or ()]
    filled = [(entry, row) for entry, row in rows if row[column]]
    first = next((row for entry, row in filled if flag(entry.get("primary"))), None)
    return first or (filled[0][1] if filled else pick({}))
