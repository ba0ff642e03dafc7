"""Small builders of events, source rows and answers, of which a test shows what matters."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

from claimx.domain.changes import Enrichment, Source, Values
from claimx.domain.errors import ClaimXError, NotFound
from claimx.domain.events import Event, EventType
from claimx.domain.polling import TIME
from claimx.domain.ports.api import Answer
from claimx.handlers.registry import handler_for

EVENT_TIME = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z
INGESTED = EVENT_TIME + 2_000_000
ASKED = EVENT_TIME + 60_000_000
PROJECT = "7001"
TASK = "500"
LINK = (
    "https://www.claimxperience.com/media/1.jpg"
    "?systemDate=1767225600000&expires=3600000&sign=invented"
)


def a_row(**columns: Any) -> dict[str, Any]:
    """A row of the source: a PROJECT_CREATED event unless *columns* say otherwise."""
    row = {
        "event_id": "e-1",
        "event_type": "PROJECT_CREATED",
        "project_id": PROJECT,
        "ingested_at": "2026-01-01T00:00:00Z",
        TIME: INGESTED,
    }
    return row | columns


def an_event(type_: str = EventType.PROJECT_CREATED, **given: Any) -> Event:
    """An event of project 7001."""
    fields = {"event_id": "e-1", "project_id": PROJECT, "time": EVENT_TIME, "source_time": INGESTED}
    return Event(type=str(type_), **(fields | given))


def an_answer(data: Any) -> Answer:
    """An answer of the API, asked for a minute after the event."""
    return Answer(data, ASKED)


def a_project(project_id: Any = 7001, **fields: Any) -> dict[str, Any]:
    """A full project answer; *fields* replace those of the inner object."""
    project = {
        "projectId": project_id,
        "projectNumber": " PN-1 ",
        "mfn": "MFN-API",
        "secondaryNumber": "S-1",
        "createdDate": "2025-12-01T10:00:00Z",
        "status": "OPEN",
        "dateOfLoss": "2025-11-30",
        "typeOfLoss": "Hail",
        "causeOfLoss": "Wind",
        "lossDescription": "roof\ttiles",
        "yearBuilt": "1987.0",
        "squareFootage": 2100,
        "dateReceived": 1764583200000,
        "dateContacted": "1764583200",
        "plannedInspectionDate": "2025-12-02T10:00:00+02:00",
        "dateInspected": "2025-12-03T10:00:00.1234567",
        "appointmentDate": "2025-12-04T10:00",
        "customAttribute1": "north",
        "customAttribute2": 12,
        "customAttribute3": 3.5,
        "customExternalUniqueId": "ext-1",
        "customerInformation": {
            "firstName": "Ada",
            "lastName": "Sample",
            "customBusinessName": "Bakery",
            "businessLineType": "RESIDENTIAL",
            "emails": [
                {"emailAddress": "second@example.com", "primary": False},
                {"emailAddress": "Ada@Example.com", "primary": True},
            ],
            "phones": [{"phoneNumber": 5550100, "phoneCountryCode": 1}],
        },
        "address": {
            "street1": "1 Example Street",
            "street2": "Unit 2",
            "city": "Brookvale",
            "stateProvince": "UT",
            "zipPostcode": 84043,
            "county": "Sample County",
            "country": "US",
        },
    }
    return {
        "project": project | fields,
        "teamMembers": [
            {"userName": " Rep@Carrier.example", "primaryContact": "yes", "mfn": "T-1"}
        ],
        "companyName": "Northwind (sample)",
    }


def a_task(assignment_id: Any = 500, **fields: Any) -> dict[str, Any]:
    """A full task assignment with template, external link and answers without media."""
    task = {
        "assignmentId": assignment_id,
        "taskId": 41,
        "taskName": "Photos",
        "formId": "form-1",
        "projectId": 7001,
        "assigneeId": 11,
        "assignorId": 12.0,
        "assignor": "boss@carrier.example",
        "dateAssigned": "2025-12-05T00:00:00Z",
        "dateCompleted": "2025-12-06T00:00:00Z",
        "cancelledDate": "2025-12-07T00:00:00Z",
        "cancelledByResourceId": 9,
        "status": "COMPLETED",
        "pdfProjectMediaId": 88,
        "dateExported": "2025-12-08T00:00:00Z",
        "formResponseId": "resp-1",
        "stpEnabled": "1",
        "stpStartedDate": "2025-12-09T00:00:00Z",
        "mfn": "MFN-TASK",
        "xactimateExportable": False,
        "fraudLanguageAcceptedDate": "2025-12-10T00:00:00Z",
        "resubmitTaskAssignmentId": 499,
        "url": "https://claimx.example/task/500",
        "customTask": {
            "taskId": 41,
            "compId": 3,
            "name": "Photos",
            "description": "of every room",
            "formId": "form-1",
            "formName": "Form",
            "enabled": True,
            "default": "no",
            "isManualDelivery": 0,
            "isExternalLinkDelivery": 1,
            "providePortalAccess": "TRUE",
            "notifyAssignedSendRecipient": True,
            "notifyAssignedSendRecipientSms": False,
            "notifyAssignedSubject": "A task",
            "notifyTaskCompleted": True,
            "notifyCompletedSubject": "Done",
            "allowReSubmit": True,
            "autoGeneratePdf": False,
            "modifiedBy": "admin@carrier.example",
            "modifiedById": 77,
            "modifiedDate": "2025-10-01T00:00:00Z",
        },
        "externalLinkData": {
            "linkId": 900,
            "linkCode": "code",
            "url": "https://claimx.example/l/900",
            "notificationAccessMethod": "EMAIL",
            "countryId": 1,
            "stateId": 44,
            "email": " Guest@Example.net ",
            "firstName": "Guest",
            "lastName": "Sample",
            "phone": "5550199",
            "phoneCountryCode": 1.0,
        },
        "response": {"groups": []},
    }
    return task | fields


def form_answers(*media_ids: Any) -> dict[str, Any]:
    """A form's response whose answers name *media_ids*."""
    exports: list[Any] = [
        {"type": "text", "text": "Ada"},
        {"type": "option", "optionAnswer": {"name": "Yes"}},
        {"type": "image", "claimMediaIds": list(media_ids)},
        None,
        {"type": "image", "claimMediaIds": None},
    ]
    asked = [{"responseAnswerExport": export} for export in exports]
    return {"groups": [{}, {"questionAndAnswers": asked}, None]}


def a_media(media_id: Any = 1, **fields: Any) -> dict[str, Any]:
    """A full media item with a link of ClaimX's own."""
    item = {
        "mediaID": media_id,
        "mediaType": "IMAGE",
        "mediaName": " re\u0301sume\u0301.jpg ",
        "mediaDescription": "kitchen",
        "mediaComment": "east wall",
        "latitude": "40.5",
        "longitude": -111.25,
        "gpsSource": "EXIF",
        "takenDate": "2025-12-01T00:00:00Z",
        "fullDownloadLink": LINK,
        "expiresAt": "2030-01-01T00:00:00Z",
        "taskAssignmentId": 501,
    }
    return item | fields


def a_video(video_id: Any = 31, **fields: Any) -> dict[str, Any]:
    """A full video collaboration."""
    video = {
        "videoCollaborationId": video_id,
        "claimId": 7001,
        "mfn": "MFN-API",
        "claimNumber": "CN-1",
        "policyNumber": "POL-1",
        "emailUserName": "rep@carrier.example",
        "claimRepFirstName": "Rep",
        "claimRepLastName": "Sample",
        "claimRepFullName": "Rep Sample",
        "numberOfVideos": 1,
        "numberOfPhotos": "2",
        "numberOfViewers": 3.0,
        "sessionCount": "4.0",
        "totalTimeSeconds": "75.25",
        "totalTime": "00:01:15",
        "createdDate": "2025-12-01T00:00:00Z",
        "liveCallFirstSession": "2025-12-02T00:00:00Z",
        "liveCallLastSession": "2025-12-03T00:00:00Z",
        "companyId": 12,
        "companyName": "Northwind (sample)",
        "guid": "0000-1",
    }
    return video | fields


class VendorInMemory:
    """
    The `EventApi` of a small vendor; an exception among the answers is raised.

    *known* are the projects that are fresh, with their *names*, *calls* what was asked for.
    """

    def __init__(self, **answers: Any) -> None:
        self.projects: dict[str, Any] = answers.get("projects", {PROJECT: a_project()})
        self.media_lists: dict[str, Any] = answers.get("media", {})
        self.tasks: dict[str, Any] = answers.get("tasks", {})
        self.videos: dict[str, Any] = answers.get("videos", {})
        self.known: set[str] = set(answers.get("known", ()))
        self.names: dict[str, str] = answers.get("names", {})
        self.calls: list[tuple[Any, ...]] = []

    async def project(self, project_id: str) -> Answer:
        self.calls.append(("project", project_id))
        return _found(self.projects, project_id)

    async def project_unless_known(self, project_id: str) -> Answer | None:
        return None if project_id in self.known else await self.project(project_id)

    def name_of_known(self, project_id: str) -> str | None:
        return self.names.get(project_id)

    async def media(self, project_id: str, media_ids: Sequence[str] = ()) -> Answer:
        self.calls.append(("media", project_id, tuple(media_ids)))
        return _found(self.media_lists, project_id)

    async def task_assignment(self, assignment_id: str) -> Answer:
        self.calls.append(("task_assignment", assignment_id))
        return _found(self.tasks, assignment_id)

    async def video_report(self, project_id: str) -> Answer:
        self.calls.append(("video_report", project_id))
        return _found(self.videos, project_id)


def _found(known: dict[str, Any], key: str) -> Answer:
    found = known.get(key, NotFound(f"no {key}", status=404))
    if isinstance(found, Exception):
        raise found
    return an_answer(deepcopy(found))


async def handle(event: Event, vendor: VendorInMemory, out: Enrichment) -> None:
    """Run the event's handler."""
    found = handler_for(event.type)
    assert found is not None
    await found[1](event, vendor, out)


def enriched(event: Event, vendor: VendorInMemory) -> Enrichment:
    """What the event's handler finds."""
    out = Enrichment()
    asyncio.run(handle(event, vendor, out))
    return out


def failed(event: Event, vendor: VendorInMemory) -> tuple[ClaimXError, Enrichment]:
    """The expected failure of the event's handler, and what it had found before."""
    out = Enrichment()
    try:
        asyncio.run(handle(event, vendor, out))
    except ClaimXError as error:
        return error, out
    raise AssertionError(f"{event.type} did not fail")


def rows_of(out: Enrichment, table: str, source: Source = Source.ANSWER) -> list[Values]:
    """The values that were found for a table."""
    return [one.values for one in out.changes if one.table == table and one.source is source]
