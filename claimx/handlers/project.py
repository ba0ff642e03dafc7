"""Projects and their contacts (domain page, sections 1, 2 and 6)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from claimx.domain.changes import Change, Enrichment, Source, Values
from claimx.domain.columns import Table
from claimx.domain.errors import Malformed, Refused
from claimx.domain.events import Event, EventType
from claimx.domain.ports.api import Answer, EventApi
from claimx.domain.reader import Fields, Reader, Unconverted, fields
from claimx.domain.shared_rows import SharedRows
from claimx.domain.tables import CONTACTS, POLICYHOLDER, PROJECTS
from claimx.domain.values import Unconvertible, boolean, same_id
from claimx.handlers.registry import registry
from claimx.handlers.rows import fact, object_of, shared_rows

CLAIM_REP = "CLAIM_REP"

_PROJECT = fields(
    PROJECTS,
    "project_number secondary_number status created_date date_of_loss type_of_loss cause_of_loss"
    " loss_description year_built square_footage date_received date_contacted"
    " planned_inspection_date date_inspected appointment_date custom_attribute1"
    " custom_attribute2 custom_attribute3 custom_external_unique_id",
    master_file_name="mfn masterFileName",
)
_CUSTOMER = fields(
    PROJECTS,
    "custom_business_name business_line_type",
    customer_first_name="firstName",
    customer_last_name="lastName",
)
_ADDRESS = fields(PROJECTS, "street1 street2 city county state_province zip_postcode country")
_COMPANY = fields(PROJECTS, "company_name")
_EMAIL = fields(PROJECTS, "", primary_email="emailAddress")
_PHONE = fields(
    PROJECTS, "", primary_phone="phoneNumber", primary_phone_country_code="phoneCountryCode"
)
_MEMBER = fields(
    CONTACTS,
    "",
    contact_email="userName",
    is_primary_contact="primaryContact",
    master_file_name="mfn",
)


@registry.handles(EventType.PROJECT_CREATED, EventType.PROJECT_MFN_ADDED, name="project")
async def enrich_project(event: Event, api: EventApi, out: Enrichment) -> None:
    """Fetch the project, always; the name that an MFN event gives it is authoritative."""
    project_id = project_of(event)
    named = event.master_file_name if event.type == EventType.PROJECT_MFN_ADDED else None
    answer = await api.project(project_id)
    changes = project_changes(answer, project_id, event, out.unconverted)
    out.changes += changes
    if named is not None:
        out.changes.append(fact(event, project_id, master_file_name=named))
        out.changes += _policyholders_name(changes, event, named)


async def check_project(
    project_id: str, event: Event, api: EventApi, out: Enrichment
) -> Change | None:
    """
    Fetch the project unless it is known; its row and contacts are written as for a CREATED event.

    Returns the project's row, None when nothing was fetched.
    """
    answer = await api.project_unless_known(project_id)
    if answer is None:
        return None
    changes = project_changes(answer, project_id, event, out.unconverted)
    out.changes += changes
    return changes[0]


def project_of(event: Event) -> str:
    """Return the event's project; raises Malformed for an event that was stored without one."""
    if not event.project_id:
        raise Malformed(f"project_id is missing, and {event.type} needs a project")
    return event.project_id


def project_changes(
    answer: Answer,
    project_id: str,
    event: Event,
    unconverted: Unconverted,
) -> list[Change]:
    """
    Return the project's row first, then its contacts.

    Raises Unreadable when the answer holds no project, Refused when it is another one than
    *project_id*.
    """
    shared: SharedRows | None = answer.notes.get(project_id)
    if shared is None:  # one answer serves many events, and reading it costs more than a call
        rows = _rows(answer, project_id, unconverted)
        shared = answer.notes[project_id] = shared_rows(rows, answer.asked_at)
    return shared.changes(event.event_id, event.time)


def _policyholders_name(changes: Iterable[Change], event: Event, name: str) -> list[Change]:
    """Return what the event itself says of the policyholder among *changes*: the name."""
    return [
        Change(
            CONTACTS.name,
            {column: change.values[column] for column in CONTACTS.key} | {"master_file_name": name},
            Source.EVENT,
            event.event_id,
            event.time,
        )
        for change in changes
        if change.values.get("contact_type") == POLICYHOLDER
    ]


def _rows(answer: Answer, project_id: str, unconverted: Unconverted) -> list[tuple[Table, Values]]:
    data = object_of(answer.data, "project")
    inner = data.get("project")
    bare = "projectId" in data and not isinstance(inner, dict)
    project = object_of(data if bare else inner, "project")
    read = Reader(PROJECTS, unconverted)
    told = read.value("project_id", project.get("projectId"))
    if told is not None and not same_id(told, project_id):
        raise Refused(f"asked for project {project_id}, the API answered project {told}")
    customer = project.get("customerInformation")
    values: Values = {
        "project_id": project_id,
        **read.row(_PROJECT, project),
        **read.row(_CUSTOMER, customer),
        **read.row(_ADDRESS, project.get("address")),
        **_primary(read, "primary_email", _of(customer, "emails"), _EMAIL),
        **_primary(read, "primary_phone", _of(customer, "phones"), _PHONE),
        **read.row(_COMPANY, data),
    }
    team = _team(data.get("teamMembers"), project_id, unconverted)
    return [(PROJECTS, values), *((CONTACTS, one) for one in (_policyholder(values), *team))]


def folded(email: str | None) -> str | None:
    """Return an e-mail address as it stands in a contact's key."""
    return None if email is None else email.lower()


def _policyholder(project: Values) -> Values:
    return {
        "project_id": project["project_id"],
        "contact_email": folded(project["primary_email"]),
        "contact_type": POLICYHOLDER,
        "first_name": project["customer_first_name"],
        "last_name": project["customer_last_name"],
        "phone_number": project["primary_phone"],
        "phone_country_code": project["primary_phone_country_code"],
        "is_primary_contact": True,
        "master_file_name": project["master_file_name"],
    }


def _team(members: Any, project_id: str, unconverted: Unconverted) -> list[Values]:
    """Return the team's contacts; of two of one address the first."""
    read = Reader(CONTACTS, unconverted)
    found: dict[str | None, Values] = {}
    for member in read.objects("contact_email", members):
        values = read.row(_MEMBER, member)
        email = values["contact_email"] = folded(values["contact_email"])
        contact = {"project_id": project_id, "contact_type": CLAIM_REP, **values}
        found.setdefault(email, contact)
    return list(found.values())


def _primary(read: Reader, column: str, entries: Any, names: Fields) -> Values:
    """Return the columns of the primary entry that is not blank, else of the first such."""
    best: Values | None = None
    for entry in read.objects(column, entries):
        values = read.row(names, entry)
        if values[column] is None:
            continue
        if _is_primary(entry):
            return values
        best = best or values
    return best or names.blank.copy()


def _is_primary(entry: dict[str, Any]) -> bool:
    try:
        return boolean(entry.get("primary")) is True
    except Unconvertible:
        return False


def _of(section: Any, name: str) -> Any:
    return section.get(name) if isinstance(section, dict) else None
