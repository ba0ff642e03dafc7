"""
The nine Delta tables, declared once (domain page, section 4).

The Arrow schema, the merge, the settings' path variables, the documentation and the tests
all read these declarations; a column is added here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping

from claimx.domain.columns import Column, ColumnType, Rule, Table


def _columns(names: str, type_: ColumnType = ColumnType.TEXT) -> tuple[Column, ...]:
    return tuple(Column(name, type_) for name in names.split())


def _keys(names: str) -> tuple[Column, ...]:
    return tuple(Column(name, rule=Rule.KEY) for name in names.split())


def _kept(name: str, type_: ColumnType, doc: str) -> Column:
    return Column(name, type_, doc, Rule.BOOKKEEPING)


_T, _I, _D, _B, _TS = (
    ColumnType.TEXT,
    ColumnType.INTEGER,
    ColumnType.DOUBLE,
    ColumnType.BOOLEAN,
    ColumnType.TIME,
)

_TAIL = (
    _kept("event_id", _T, "The event that last touched the row."),
    _kept("created_at", _TS, "When the row was first written; never changed."),
    _kept("updated_at", _TS, "When a value last changed."),
)
_ENTITY_TAIL = (
    _kept("last_enriched_at", _TS, "When the API was asked for the data; null if it never was."),
    *_TAIL,
)

EVENTS = Table(
    name="claimx_events",
    setting="EVENTS",
    doc="Every event that was finished, handled or not.",
    key=("event_id",),
    partition_by=("event_date",),
    insert_only=True,
    columns=(
        *_columns("event_type project_id media_id media_ids task_assignment_id"),
        *_columns("video_collaboration_id master_file_name"),
        Column("ingested_at", _TS, "The event's own time."),
        Column("event_date", ColumnType.DAY, "UTC day of ingested_at; the partition."),
        Column("status", doc="enriched or unhandled."),
        Column("handler", doc="Who handled it; null when nobody did."),
        Column("api_calls", _I, "Calls made for it, over all tries."),
        Column("attempts", _I, "Tries; 1 when all went well."),
        Column("processed_at", _TS, "When it was enriched."),
        Column("event_id", _T, "The source's id, or the hash of what identifies it.", Rule.KEY),
        *_TAIL[1:],
    ),
)

PROJECTS = Table(
    name="claimx_projects",
    setting="PROJECTS",
    doc="One row a project (a claim).",
    key=("project_id",),
    columns=(
        *_keys("project_id"),
        *_columns("project_number"),
        Column("master_file_name", rule=Rule.NAMED, doc="From an MFN event, else the API's."),
        *_columns("secondary_number status"),
        *_columns("created_date date_of_loss", _TS),
        *_columns("type_of_loss cause_of_loss loss_description"),
        *_columns("customer_first_name customer_last_name custom_business_name"),
        *_columns("business_line_type"),
        *_columns("year_built square_footage", _I),
        *_columns("street1 street2 city county state_province zip_postcode country"),
        *_columns("primary_email primary_phone primary_phone_country_code"),
        *_columns("date_received date_contacted planned_inspection_date", _TS),
        *_columns("date_inspected appointment_date", _TS),
        *_columns("custom_attribute1 custom_attribute2 custom_attribute3"),
        *_columns("custom_external_unique_id company_name"),
        Column("policyholder_invited_at", _TS, "Time of the newest invitation.", Rule.LATEST),
        Column("policyholder_joined_at", _TS, "Time of the newest joining.", Rule.LATEST),
        Column("xa_autolink_fail", _B, "True once auto-linking failed.", Rule.EVER),
        Column("xa_autolink_fail_at", _TS, "Time of the newest failure.", Rule.LATEST),
        *_ENTITY_TAIL,
    ),
)

POLICYHOLDER = "POLICYHOLDER"
"""The type of a customer's contact, and of those to whom external links were sent."""

CONTACTS = Table(
    name="claimx_contacts",
    setting="CONTACTS",
    doc="Policyholders and claim representatives of a project.",
    key=("project_id", "contact_email", "contact_type"),
    columns=(
        *_keys("project_id contact_email contact_type"),
        *_columns("first_name last_name phone_number phone_country_code"),
        *_columns("is_primary_contact", _B),
        *_columns("master_file_name"),
        Column("task_assignment_id", doc="The task whose link went to them.", rule=Rule.STICKY),
        Column("video_collaboration_id", rule=Rule.STICKY),
        *_ENTITY_TAIL,
    ),
)

MEDIA = Table(
    name="claimx_media",
    setting="MEDIA",
    doc="One row a photo, video or document that the API knows.",
    key=("media_id",),
    columns=(
        *_keys("media_id"),
        *_columns("project_id"),
        Column("task_assignment_id", doc="The item's own, else its task's.", rule=Rule.STICKY),
        *_columns("file_type file_name media_description media_comment"),
        *_columns("latitude longitude", _D),
        *_columns("gps_source"),
        *_columns("taken_date expires_at", _TS),
        Column("downloadable", _B, "The API gave a link."),
        *_ENTITY_TAIL,
    ),
)

TASKS = Table(
    name="claimx_tasks",
    setting="TASKS",
    doc="Project tasks as assigned.",
    key=("assignment_id",),
    columns=(
        *_keys("assignment_id"),
        *_columns("task_id task_name form_id project_id assignee_id assignor_id assignor_email"),
        *_columns("date_assigned date_completed cancelled_date", _TS),
        *_columns("cancelled_by_resource_id status pdf_project_media_id"),
        *_columns("date_exported", _TS),
        *_columns("form_response_id"),
        *_columns("stp_enabled", _B),
        *_columns("stp_started_date", _TS),
        *_columns("mfn"),
        *_columns("xactimate_exportable", _B),
        *_columns("fraud_language_accepted_date", _TS),
        *_columns("resubmit_task_assignment_id task_url"),
        *_ENTITY_TAIL,
    ),
)

TASK_TEMPLATES = Table(
    name="claimx_task_templates",
    setting="TASK_TEMPLATES",
    doc="The custom tasks that assignments are made from.",
    key=("task_id",),
    columns=(
        *_keys("task_id"),
        *_columns("comp_id name description form_id form_name"),
        *_columns("enabled is_default is_manual_delivery is_external_link_delivery", _B),
        *_columns("provide_portal_access notify_assigned_send_recipient", _B),
        *_columns("notify_assigned_send_recipient_sms", _B),
        *_columns("notify_assigned_subject"),
        *_columns("notify_task_completed", _B),
        *_columns("notify_completed_subject"),
        *_columns("allow_resubmit auto_generate_pdf", _B),
        *_columns("modified_by modified_by_id"),
        *_columns("modified_date", _TS),
        *_ENTITY_TAIL,
    ),
)

EXTERNAL_LINKS = Table(
    name="claimx_external_links",
    setting="EXTERNAL_LINKS",
    doc="Links that a task sent to somebody outside.",
    key=("link_id",),
    columns=(
        *_keys("link_id"),
        *_columns("assignment_id project_id link_code url notification_access_method"),
        *_columns("country_id state_id"),
        *_ENTITY_TAIL,
    ),
)

VIDEO_COLLABORATION = Table(
    name="claimx_video_collaboration",
    setting="VIDEO_COLLABORATION",
    doc="Video sessions with the policyholder.",
    key=("video_collaboration_id",),
    columns=(
        *_keys("video_collaboration_id"),
        *_columns("claim_id project_id mfn claim_number policy_number email_user_name"),
        *_columns("claim_rep_first_name claim_rep_last_name claim_rep_full_name"),
        *_columns("number_of_videos number_of_photos number_of_viewers session_count", _I),
        *_columns("total_time_seconds", _D),
        *_columns("total_time"),
        *_columns("created_date live_call_first_session live_call_last_session", _TS),
        *_columns("company_id company_name guid"),
        *_ENTITY_TAIL,
    ),
)

ATTACHMENTS = Table(
    name="claimx_attachments",
    setting="ATTACHMENTS",
    doc="One row a media file that was, or could not be, brought into OneLake.",
    key=("media_id",),
    columns=(
        *_keys("media_id"),
        *_columns("project_id file_name file_type content_type blob_path"),
        Column("bytes", _I, "Length of the file."),
        Column("sha256", doc="Hash of the file, lower-case hex."),
        Column("status", doc="completed or failed; a completed row never becomes failed."),
        *_columns("error_category error"),
        Column("refreshes", _I, "Links asked for anew, over the record's life."),
        *_columns("downloaded_at uploaded_at", _TS),
        *_TAIL,
    ),
)

ENTITY_TABLES = (
    PROJECTS,
    CONTACTS,
    MEDIA,
    TASKS,
    TASK_TEMPLATES,
    EXTERNAL_LINKS,
    VIDEO_COLLABORATION,
)
TABLES: Mapping[str, Table] = {t.name: t for t in (*ENTITY_TABLES, EVENTS, ATTACHMENTS)}
