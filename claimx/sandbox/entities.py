"""Projects, templates, project tasks, media and videos, each as the API tells it and as it must be stored."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Any

from claimx.sandbox.files import KINDS, make
from claimx.sandbox.forms import Sheet, Vendor
from claimx.sandbox.matchers import folded, one_of

FIRST = (
    "Ada Bela Chidi Dana Emeka Fay Goran Hana Ines José Kwame Lea Miloš Nora Østen Priya".split()
)
LAST = "Abara Brandt Castillo Duran Eze Fischer Grünwald Haddad Ito Jovanović Klein Łukasik".split()
CITIES = "Brookvale Cedarton Düren Eastmere Fairholm Glenrock Harwick Ivydale".split()
LOSSES = "Hail Wind Fire Water Theft Lightning".split()


@dataclass(slots=True)
class Link:
    """How a media file's link behaves; *lives* answers are spoilt before one is good."""

    style: str = "claimx"  # claimx, s3, open, moved
    spoilt: int = 0
    how: str = ""  # expired, revoked
    host: str = ""
    serves: str = ""  # login, missing, elsewhere: what the host answers, always


@dataclass(slots=True)
class MediaFile:
    """
    One media file.

    *absent* answers do not know it yet; *unlinked* ones carry no link. *failure* lists the
    categories that its failed attachment row may have, empty when it must be completed.
    """

    media_id: int
    project_id: int
    name: str | None
    kind: str
    size: int
    raw: dict[str, Any] = field(default_factory=dict)
    row: dict[str, Any] = field(default_factory=dict)
    link: Link | None = field(default_factory=Link)
    absent: int = 0
    failure: tuple[str, ...] = ()
    plain_name: bool = True
    named_ids: bool = True
    """Whether an event names it (an event of the whole project reaches it anyway)."""

    @property
    def key(self) -> str:
        """The id as stored."""
        return str(self.media_id)

    def content(self) -> bytes:
        """Return the file; made anew each time."""
        return make(self.kind, self.key, self.size)


@dataclass(slots=True)
class Project:
    """A project; *contacts* are rows by (e-mail, type), *customer_email* the policyholder's."""

    project_id: int
    raw: dict[str, Any]
    row: dict[str, Any]
    contacts: dict[tuple[str, str], dict[str, Any]]
    customer_email: str | None
    api_mfn: str | None
    status: int = 200
    answers_as: int | None = None
    wrapped: bool = False
    media_shape: str = "list"
    honours_filter: bool = True
    media: list[MediaFile] = field(default_factory=list)
    videos: list[Video] = field(default_factory=list)
    video_shape: str = "list"

    @property
    def key(self) -> str:
        """The id as stored."""
        return str(self.project_id)


@dataclass(slots=True)
class Template:
    """What assignments are made from."""

    template_id: int
    raw: dict[str, Any]
    row: dict[str, Any]

    @property
    def key(self) -> str:
        """The id as stored."""
        return str(self.template_id)


@dataclass(slots=True)
class ProjectTask:
    """An assignment with what hangs on it; *link_row* and *contact* are None without a link."""

    assignment_id: int
    project_id: int
    raw: dict[str, Any]
    row: dict[str, Any]
    template: Template | None
    link_row: dict[str, Any] | None = None
    contact: dict[str, Any] | None = None
    media: list[MediaFile] = field(default_factory=list)
    wrapped: bool = False

    @property
    def key(self) -> str:
        """The id as stored."""
        return str(self.assignment_id)


@dataclass(slots=True)
class Video:
    """One video collaboration."""

    video_id: int
    claim_id: int
    raw: dict[str, Any]
    row: dict[str, Any]

    @property
    def key(self) -> str:
        """The id as stored."""
        return str(self.video_id)


class Maker:
    """Makes entities; everything by chance comes from one seeded generator."""

    def __init__(self, rng: Random, at: datetime, smallest: int, largest: int) -> None:
        self.rng = rng
        self.vendor = Vendor(rng)
        self.at = at
        self._sizes = (smallest, largest)

    def past(self, days: int = 200) -> datetime:
        """Return a moment in the past with microseconds."""
        return self.at - timedelta(microseconds=self.rng.randrange(1, days * 86_400_000_000))

    def project(self, number: int) -> Project:
        """Make a project with its customer, address and team."""
        v, rng = self.vendor, self.rng
        sheet = Sheet()
        put = sheet.put
        put("projectId", "project_id", v.ident(number))
        put("projectNumber", "project_number", v.text(f"PN-{number}", nulls=0.02))
        mfn = v.text(f"MFN{number:08d}", nulls=0.2)
        put(v.pick("mfn", "masterFileName"), "master_file_name", mfn)
        put("secondaryNumber", "secondary_number", v.text(f"S-{number % 977}", nulls=0.5))
        put("status", "status", v.text(v.pick("OPEN", "CLOSED", "IN_PROGRESS")))
        for name, column in (
            ("createdDate", "created_date"),
            ("dateOfLoss", "date_of_loss"),
            ("dateReceived", "date_received"),
            ("dateContacted", "date_contacted"),
            ("plannedInspectionDate", "planned_inspection_date"),
            ("dateInspected", "date_inspected"),
            ("appointmentDate", "appointment_date"),
        ):
            put(name, column, v.moment(self.past()))
        put("typeOfLoss", "type_of_loss", v.text(v.pick(*LOSSES)))
        put("causeOfLoss", "cause_of_loss", v.text(v.pick(*LOSSES)))
        put("lossDescription", "loss_description", v.text(self._story()))
        put("yearBuilt", "year_built", v.whole(rng.randrange(1890, 2026)))
        put("squareFootage", "square_footage", v.whole(rng.randrange(300, 9000)))
        put("customAttribute1", "custom_attribute1", v.text("north", nulls=0.6))
        put("customAttribute2", "custom_attribute2", v.ident(rng.randrange(1, 99), nulls=0.6))
        put("customAttribute3", "custom_attribute3", v.text("ünïcode ✓", nulls=0.6))
        unique = v.text(f"ext-{number}", nulls=0.4)
        put("customExternalUniqueId", "custom_external_unique_id", unique)
        address = Sheet()
        for name, column, value in (
            ("street1", "street1", f"{rng.randrange(1, 999)} Example Street"),
            ("street2", "street2", f"Unit {rng.randrange(1, 40)}"),
            ("city", "city", v.pick(*CITIES)),
            ("stateProvince", "state_province", v.pick("TX", "UT", "OH")),
            ("county", "county", f"{v.pick(*CITIES)} County"),
            ("country", "country", "US"),
        ):
            address.put(name, column, v.text(value, nulls=0.2))
        code = rng.randrange(10000, 99999)
        address.put(
            "zipPostcode", "zip_postcode", v.pick((code, str(code)), (f"0{code % 10000:04d}",) * 2)
        )
        sheet.row.update(address.row)
        if v.maybe(0.95):
            sheet.raw["address"] = address.raw
        else:
            sheet.row.update(dict.fromkeys(address.row))
        customer, contact, email = self._customer(number)
        sheet.row.update(customer.row)
        sheet.raw["customerInformation"] = customer.raw
        contacts: dict[tuple[str, str], dict[str, Any]] = {}
        if contact is not None and email is not None:
            contacts[(email, "POLICYHOLDER")] = contact
        team = self._team(contacts)
        company, company_value = v.text("Northwind Mutual (sample)", nulls=0.1)
        sheet.row["company_name"] = company_value
        raw = {"project": sheet.raw, "teamMembers": team, "companyName": company}
        return Project(
            project_id=number,
            raw=raw,
            row=sheet.row,
            contacts=contacts,
            customer_email=email,
            api_mfn=mfn[1],
            wrapped=v.maybe(0.6),
            media_shape=v.pick("list", "data", "media"),
            honours_filter=v.maybe(0.7),
            video_shape=v.pick("list", "data", "collaborations", "videoCollaboration", "object"),
        )

    def _story(self) -> str:
        words = 'roof tiles ceiling wet hail broken window basement garage "quoted" naïve'.split()
        return " ".join(self.rng.choice(words) for _ in range(6)) + ".\nSecond line."

    def _customer(self, number: int) -> tuple[Sheet, dict[str, Any] | None, str | None]:
        v = self.vendor
        sheet = Sheet()
        sheet.put("firstName", "customer_first_name", v.text(v.pick(*FIRST)))
        sheet.put("lastName", "customer_last_name", v.text(v.pick(*LAST)))
        sheet.put("customBusinessName", "custom_business_name", v.text("Acme Bakery", nulls=0.8))
        sheet.put("businessLineType", "business_line_type", v.text("RESIDENTIAL", nulls=0.3))
        email = self._emails(sheet, number)
        phone, code = self._phones(sheet, number)
        sheet.row["primary_email"] = None if email is None else folded(email)
        sheet.row["primary_phone"] = phone
        sheet.row["primary_phone_country_code"] = code
        if email is None:
            return sheet, None, None
        contact = {
            "first_name": sheet.row["customer_first_name"],
            "last_name": sheet.row["customer_last_name"],
            "phone_number": phone,
            "phone_country_code": code,
            "is_primary_contact": True,
            "task_assignment_id": None,
            "video_collaboration_id": None,
        }
        return sheet, contact, email.lower()

    def _emails(self, sheet: Sheet, number: int) -> str | None:
        v = self.vendor
        first, second = f"Holder{number}@Example.com", f"other.{number}@example.org"
        match int(self.rng.random() * 8):
            case 0:
                emails: Any = [
                    {"emailAddress": second, "primary": False},
                    {"emailAddress": f" {first} ", "primary": v.pick(True, "true")},
                ]
                found: str | None = first
            case 1:
                emails = [
                    {"emailAddress": "  ", "primary": True},
                    {"emailAddress": second, "primary": False},
                ]
                found = second
            case 2:
                emails, found = v.pick([], None), None
            case 3:
                emails, found = [{"emailAddress": None, "primary": True}], None
            case 4:
                emails, found = [{"emailAddress": first}, {"emailAddress": second}], first
            case _:
                emails, found = [{"emailAddress": first, "primary": True}], first
        sheet.raw["emails"] = emails
        return found

    def _phones(self, sheet: Sheet, number: int) -> tuple[str | None, str | None]:
        v = self.vendor
        local = 5550000 + number % 9999
        match int(self.rng.random() * 6):
            case 0:
                phones: Any = v.pick([], None)
                found: tuple[str | None, str | None] = (None, None)
            case 1:
                phones, found = (
                    [
                        {"phoneNumber": " ", "phoneCountryCode": 44},
                        {"phoneNumber": local, "phoneCountryCode": 1},
                    ],
                    (str(local), "1"),
                )
            case 2:
                phones, found = (
                    [{"phoneNumber": f"+1 555 {number % 9999:04d} ", "phoneCountryCode": None}],
                    (f"+1 555 {number % 9999:04d}", None),
                )
            case _:
                phones, found = (
                    [{"phoneNumber": str(local), "phoneCountryCode": v.pick(1, "1", " 1")}],
                    (str(local), "1"),
                )
        sheet.raw["phones"] = phones
        return found

    def _team(self, contacts: dict[tuple[str, str], dict[str, Any]]) -> Any:
        v = self.vendor
        if v.maybe(0.1):
            return v.pick(None, [])
        team = []
        for seat in range(self.rng.randrange(1, 3)):
            name = f"Rep.{self.rng.randrange(40)}.{seat}@carrier.example"
            primary, is_primary = v.flag(value=seat == 0)
            mfn, mfn_value = v.text(f"T-{self.rng.randrange(9999)}", nulls=0.4)
            team.append(
                {"userName": v.pick(name, f" {name}"), "primaryContact": primary, "mfn": mfn}
            )
            contacts[(name.lower(), "CLAIM_REP")] = {
                "first_name": None,
                "last_name": None,
                "phone_number": None,
                "phone_country_code": None,
                "is_primary_contact": is_primary,
                "master_file_name": mfn_value,
                "task_assignment_id": None,
                "video_collaboration_id": None,
            }
        if v.maybe(0.1):
            team.append({"userName": v.pick(None, " "), "primaryContact": False, "mfn": "no row"})
        return team

    def template(self, number: int) -> Template:
        """Make a custom task."""
        v = self.vendor
        sheet = Sheet()
        put = sheet.put
        put("taskId", "task_id", v.ident(number))
        put("compId", "comp_id", v.ident(number % 7 + 1, nulls=0.1))
        put("name", "name", v.text(f"Custom task {number}"))
        put("description", "description", v.text("Photos of every room", nulls=0.3))
        put("formId", "form_id", v.text(f"form-{number}"))
        put("formName", "form_name", v.text(f"Form {number}"))
        for name, column in (
            ("enabled", "enabled"),
            ("default", "is_default"),
            ("isManualDelivery", "is_manual_delivery"),
            ("isExternalLinkDelivery", "is_external_link_delivery"),
            ("providePortalAccess", "provide_portal_access"),
            ("notifyAssignedSendRecipient", "notify_assigned_send_recipient"),
            ("notifyAssignedSendRecipientSms", "notify_assigned_send_recipient_sms"),
            ("notifyTaskCompleted", "notify_task_completed"),
            ("allowReSubmit", "allow_resubmit"),
            ("autoGeneratePdf", "auto_generate_pdf"),
        ):
            put(name, column, v.flag(value=v.maybe(0.5)))
        put("notifyAssignedSubject", "notify_assigned_subject", v.text("You have a task"))
        put("notifyCompletedSubject", "notify_completed_subject", v.text("Done", nulls=0.5))
        put("modifiedBy", "modified_by", v.text("admin@carrier.example"))
        put("modifiedById", "modified_by_id", v.ident(77, nulls=0.2))
        put("modifiedDate", "modified_date", v.moment(self.past()))
        return Template(number, sheet.raw, sheet.row)

    def task(self, number: int, project: Project, template: Template, link_id: int) -> ProjectTask:
        """Make an assignment of *template* in *project*, most with an external link."""
        v, rng = self.vendor, self.rng
        sheet = Sheet()
        put = sheet.put
        put("assignmentId", "assignment_id", v.ident(number))
        put("taskId", "task_id", v.ident(template.template_id))
        put("taskName", "task_name", v.text(f"Task {number}"))
        put("formId", "form_id", v.text(f"form-{template.template_id}"))
        put("projectId", "project_id", v.ident(project.project_id))
        put("assigneeId", "assignee_id", v.ident(rng.randrange(1, 999), nulls=0.1))
        put("assignorId", "assignor_id", v.ident(rng.randrange(1, 999), nulls=0.1))
        assignor, assignor_email = v.text(f"boss{rng.randrange(9)}@carrier.example")
        put("assignor", "assignor_email", (assignor, assignor_email))
        for name, column in (
            ("dateAssigned", "date_assigned"),
            ("dateCompleted", "date_completed"),
            ("cancelledDate", "cancelled_date"),
            ("dateExported", "date_exported"),
            ("stpStartedDate", "stp_started_date"),
            ("fraudLanguageAcceptedDate", "fraud_language_accepted_date"),
        ):
            put(name, column, v.moment(self.past(), nulls=0.3))
        put("cancelledByResourceId", "cancelled_by_resource_id", v.ident(9, nulls=0.9))
        put("status", "status", v.text(v.pick("ASSIGNED", "COMPLETED", "CANCELLED")))
        put("pdfProjectMediaId", "pdf_project_media_id", v.ident(rng.randrange(10**6), nulls=0.7))
        put("formResponseId", "form_response_id", v.text(f"resp-{number}", nulls=0.3))
        put("stpEnabled", "stp_enabled", v.flag(value=v.maybe(0.5)))
        put("mfn", "mfn", v.text(f"MFN{project.project_id:08d}", nulls=0.3))
        put("xactimateExportable", "xactimate_exportable", v.flag(value=v.maybe(0.5)))
        resubmit = v.ident(number - 1, nulls=0.9)
        put("resubmitTaskAssignmentId", "resubmit_task_assignment_id", resubmit)
        put("url", "task_url", v.text(f"https://claimx.example/task/{number}", nulls=0.2))
        sheet.raw["customTask"] = template.raw
        task = ProjectTask(number, project.project_id, sheet.raw, sheet.row, template)
        task.wrapped = v.maybe(0.2)
        if v.maybe(0.7):
            self._external_link(task, project, link_id)
        elif v.maybe(0.5):
            task.raw["externalLinkData"] = v.pick(None, {})
        return task

    def _external_link(self, task: ProjectTask, project: Project, link_id: int) -> None:
        v = self.vendor
        sheet = Sheet()
        sheet.put("linkId", "link_id", v.ident(link_id))
        sheet.put("linkCode", "link_code", v.text(f"code{link_id}"))
        sheet.put("url", "url", v.text(f"https://claimx.example/l/{link_id}"))
        sheet.put("notificationAccessMethod", "notification_access_method", v.text("EMAIL"))
        sheet.put("countryId", "country_id", v.ident(1, nulls=0.2))
        sheet.put("stateId", "state_id", v.ident(self.rng.randrange(1, 51), nulls=0.2))
        task.link_row = {**sheet.row, "assignment_id": task.key, "project_id": project.key}
        match int(self.rng.random() * 10):
            case 0:
                email: str | None = None
            case 1 | 2 | 3:
                email = f"guest{link_id}@example.net"
            case _:
                email = project.customer_email or f"guest{link_id}@example.net"
        person = Sheet()
        person.put("firstName", "first_name", v.text(v.pick(*FIRST)))
        person.put("lastName", "last_name", v.text(v.pick(*LAST)))
        person.put("phone", "phone_number", v.text(f"555{link_id % 9999:04d}", nulls=0.2))
        person.put("phoneCountryCode", "phone_country_code", v.ident(1, nulls=0.3))
        sent = None if email is None else v.pick(email, email.upper(), f" {email}")
        task.raw["externalLinkData"] = {**sheet.raw, **person.raw, "email": sent}
        if email is not None:
            task.contact = {"contact_email": email, **person.row}

    def answers(self, task: ProjectTask, media: list[MediaFile]) -> None:
        """Put *media* into the form's answers."""
        v = self.vendor
        task.media.extend(media)
        ids: list[Any] = [v.pick(item.media_id, item.key) for item in media]
        asked: list[dict[str, Any]] = [
            {"questionText": "Name?", "responseAnswerExport": {"type": "text", "text": "Ada"}},
            {"responseAnswerExport": {"type": "option", "optionAnswer": {"name": "Yes"}}},
            {"responseAnswerExport": {"type": "number", "numberAnswer": {"value": 4}}},
            {"responseAnswerExport": None},
            {"responseAnswerExport": {"type": "image", "claimMediaIds": ids}},
            {"responseAnswerExport": {"type": "image", "claimMediaIds": None}},
        ]
        task.raw["response"] = {
            "groups": [{"questionAndAnswers": asked[:3]}, {}, {"questionAndAnswers": asked[3:]}]
        }

    def media(self, number: int, project: Project) -> MediaFile:
        """Make a media file of the usual kinds; the specials are made by `claimx.sandbox.specials`."""
        v, rng = self.vendor, self.rng
        kind = v.pick(
            *("jpg",) * 12,
            *("png",) * 3,
            *("pdf",) * 3,
            *"mp4 mov gif webp bmp heic txt csv xml json docx html".split(),
        )
        low, high = self._sizes
        size = int(low * (high / low) ** rng.random())
        extension = KINDS[kind].extension
        if kind == "jpg":
            extension = v.pick("jpg", "JPG", "jpeg")
        name: str | None = (
            v.pick(f"photo_{number}", f"IMG {number}", f"Küche-{number}", f"report.v{number % 9}")
            + f".{extension}"
        )
        if v.maybe(0.03):
            name = None
        item = MediaFile(number, project.project_id, name, kind, size)
        item.link = Link(style=v.pick("claimx", "claimx", "claimx", "s3", "s3", "open", "moved"))
        self.describe(item)
        project.media.append(item)
        return item

    def describe(self, item: MediaFile) -> None:
        """Write the item as the API has it; the link is put in when it is answered."""
        v = self.vendor
        sheet = Sheet()
        put = sheet.put
        put("mediaID", "media_id", v.ident(item.media_id))
        word = KINDS[item.kind].word
        put("mediaType", "file_type", v.text(word, nulls=0.15))
        sheet.raw["mediaName"] = item.name
        sheet.row["file_name"] = item.name
        put("mediaDescription", "media_description", v.text("kitchen, east wall", nulls=0.5))
        put("mediaComment", "media_comment", v.text("see \u201cleak\u201d", nulls=0.6))
        put("latitude", "latitude", v.real(round(self.rng.uniform(-60, 60), 6)))
        put("longitude", "longitude", v.real(round(self.rng.uniform(-170, 170), 6)))
        put("gpsSource", "gps_source", v.text("EXIF", nulls=0.5))
        put("takenDate", "taken_date", v.moment(self.past()))
        put("expiresAt", "expires_at", v.moment(self.at + timedelta(days=3), nulls=0.5))
        sheet.row["project_id"] = str(item.project_id)
        sheet.row["task_assignment_id"] = None
        item.raw, item.row = sheet.raw, sheet.row

    def video(self, number: int, project: Project) -> Video:
        """Make a video collaboration of the project."""
        v, rng = self.vendor, self.rng
        sheet = Sheet()
        put = sheet.put
        put(v.pick("videoCollaborationId", "id"), "video_collaboration_id", v.ident(number))
        put("claimId", "claim_id", v.ident(project.project_id))
        put("mfn", "mfn", v.text(f"MFN{project.project_id:08d}", nulls=0.3))
        put("claimNumber", "claim_number", v.text(f"CN-{number}"))
        put("policyNumber", "policy_number", v.text(f"POL-{number}", nulls=0.3))
        put("emailUserName", "email_user_name", v.text(f"rep{number % 40}@carrier.example"))
        put("claimRepFirstName", "claim_rep_first_name", v.text(v.pick(*FIRST)))
        put("claimRepLastName", "claim_rep_last_name", v.text(v.pick(*LAST)))
        put("claimRepFullName", "claim_rep_full_name", v.text("Rep Of The Claim"))
        for name, column in (
            ("numberOfVideos", "number_of_videos"),
            ("numberOfPhotos", "number_of_photos"),
            ("numberOfViewers", "number_of_viewers"),
            ("sessionCount", "session_count"),
        ):
            put(name, column, v.whole(rng.randrange(20)))
        seconds = round(rng.uniform(1, 4000), 3)
        put("totalTimeSeconds", "total_time_seconds", (repr(seconds), seconds))
        put("totalTime", "total_time", v.text("00:12:34"))
        put("createdDate", "created_date", v.moment(self.past()))
        put("liveCallFirstSession", "live_call_first_session", v.moment(self.past()))
        put("liveCallLastSession", "live_call_last_session", v.moment(self.past()))
        put("companyId", "company_id", v.ident(12, nulls=0.2))
        put("companyName", "company_name", v.text("Northwind Mutual (sample)"))
        put("guid", "guid", v.text(f"{number:08x}-0000-4000-8000-000000000000"))
        sheet.row["project_id"] = one_of([project.key, sheet.row["claim_id"]])
        return Video(number, project.project_id, sheet.raw, sheet.row)
