"""Makes custom tasks, and their assignments with external links and answers."""

from __future__ import annotations

from typing import Any

from claimx.sandbox.entities import MediaFile, Project, ProjectTask, Template
from claimx.sandbox.forms import Author, Sheet
from claimx.sandbox.people import FIRST, LAST


class TaskAuthor(Author):
    """Writes custom tasks and assignments."""

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
