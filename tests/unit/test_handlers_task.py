"""Project tasks with template, link, recipient and media (domain page, sections 1, 2 and 6)."""

from __future__ import annotations

import pytest
from builders import (
    ASKED,
    PROJECT,
    TASK,
    VendorInMemory,
    a_media,
    a_project,
    a_task,
    an_event,
    enriched,
    failed,
    form_answers,
    rows_of,
)

from claimx.domain.changes import Source
from claimx.domain.columns import Rule
from claimx.domain.errors import Malformed, NotFound, NotYetThere, Unreadable
from claimx.domain.ports.api import Answer
from claimx.domain.tables import CONTACTS, EXTERNAL_LINKS, TABLES, TASK_TEMPLATES, TASKS
from claimx.domain.times import to_iso
from claimx.domain.upsert import merge

EXPECTED = {
    "claimx_tasks": {
        "assignment_id": "500",
        "task_id": "41",
        "task_name": "Photos",
        "form_id": "form-1",
        "project_id": "7001",
        "assignee_id": "11",
        "assignor_id": "12",
        "assignor_email": "boss@carrier.example",
        "date_assigned": "2025-12-05T00:00:00.000000Z",
        "date_completed": "2025-12-06T00:00:00.000000Z",
        "cancelled_date": "2025-12-07T00:00:00.000000Z",
        "cancelled_by_resource_id": "9",
        "status": "COMPLETED",
        "pdf_project_media_id": "88",
        "date_exported": "2025-12-08T00:00:00.000000Z",
        "form_response_id": "resp-1",
        "stp_enabled": True,
        "stp_started_date": "2025-12-09T00:00:00.000000Z",
        "mfn": "MFN-TASK",
        "xactimate_exportable": False,
        "fraud_language_accepted_date": "2025-12-10T00:00:00.000000Z",
        "resubmit_task_assignment_id": "499",
        "task_url": "https://claimx.example/task/500",
    },
    "claimx_task_templates": {
        "task_id": "41",
        "comp_id": "3",
        "name": "Photos",
        "description": "of every room",
        "form_id": "form-1",
        "form_name": "Form",
        "enabled": True,
        "is_default": False,
        "is_manual_delivery": False,
        "is_external_link_delivery": True,
        "provide_portal_access": True,
        "notify_assigned_send_recipient": True,
        "notify_assigned_send_recipient_sms": False,
        "notify_assigned_subject": "A task",
        "notify_task_completed": True,
        "notify_completed_subject": "Done",
        "allow_resubmit": True,
        "auto_generate_pdf": False,
        "modified_by": "admin@carrier.example",
        "modified_by_id": "77",
        "modified_date": "2025-10-01T00:00:00.000000Z",
    },
    "claimx_external_links": {
        "link_id": "900",
        "assignment_id": "500",
        "project_id": "7001",
        "link_code": "code",
        "url": "https://claimx.example/l/900",
        "notification_access_method": "EMAIL",
        "country_id": "1",
        "state_id": "44",
    },
}
RECIPIENT = {
    "project_id": "7001",
    "contact_email": "guest@example.net",
    "contact_type": "POLICYHOLDER",
    "first_name": "Guest",
    "last_name": "Sample",
    "phone_number": "5550199",
    "phone_country_code": "1",
    "is_primary_contact": False,
    "master_file_name": None,
    "task_assignment_id": "500",
}


def assigned(**given):
    return an_event("CUSTOM_TASK_ASSIGNED", **({"task_assignment_id": TASK} | given))


def completed(**given):
    return an_event("CUSTOM_TASK_COMPLETED", **({"task_assignment_id": TASK} | given))


def vendor(task=None, **given):
    tasks = {TASK: a_task() if task is None else task}
    return VendorInMemory(tasks=tasks, **({"known": [PROJECT]} | given))


@pytest.mark.parametrize(
    ("table", "column"), [(table, column) for table, row in EXPECTED.items() for column in row]
)
def test_each_column_of_a_project_task_its_template_and_its_link(table, column):
    (row,) = rows_of(enriched(assigned(), vendor()), table)

    value = row[column]
    shown = to_iso(value) if TABLES[table].column(column).type == "timestamp" else value
    assert shown == EXPECTED[table][column]


@pytest.mark.parametrize("table", [TASKS, TASK_TEMPLATES, EXTERNAL_LINKS])
def test_a_full_answer_speaks_of_every_column(table):
    (row,) = rows_of(enriched(assigned(), vendor()), table.name)

    declared = {c.name for c in table.columns if c.rule is not Rule.BOOKKEEPING}
    assert set(row) == declared == set(EXPECTED[table.name])


def test_the_recipient_of_the_link_is_a_contact_that_is_not_primary():
    out = enriched(assigned(), vendor())

    assert rows_of(out, "claimx_contacts", Source.LINK) == [RECIPIENT]
    assert set(RECIPIENT) <= set(CONTACTS.column_names)


def test_the_recipients_file_name_is_the_projects():
    (row,) = rows_of(enriched(assigned(), vendor(known=[])), "claimx_contacts", Source.LINK)

    assert row == RECIPIENT | {"master_file_name": "MFN-API"}


def test_it_is_so_where_the_project_is_known():
    """A guest had none as a rule: most tasks come while their project is known."""
    out = enriched(assigned(), vendor(names={PROJECT: "MFN-API"}))

    (row,) = rows_of(out, "claimx_contacts", Source.LINK)
    assert row == RECIPIENT | {"master_file_name": "MFN-API"}


def test_it_is_so_where_the_customer_has_no_email():
    """Then the project's row is followed by those of the team, who have names of their own."""
    projects = {PROJECT: a_project(customerInformation=None)}

    out = enriched(assigned(), vendor(known=[], projects=projects))

    (row,) = rows_of(out, "claimx_contacts", Source.LINK)
    assert row["master_file_name"] == "MFN-API"


class Otherwhen(VendorInMemory):
    """A vendor whose projects are asked for at another time than the tasks."""

    distance = 50_000

    async def project(self, project_id):
        return Answer((await super().project(project_id)).data, ASKED + self.distance)


def links_of(out):
    return [change for change in out.changes if change.source is Source.LINK]


def test_an_events_link_to_the_customer_is_as_new_as_its_project():
    """The customer, asked for a moment later, outdated the event's own link: it named no task."""
    link = {"linkId": 900, "email": "ADA@example.com"}
    out = enriched(assigned(), Otherwhen(tasks={TASK: a_task(externalLinkData=link)}))

    customers = [c for c in out.changes if c.table == CONTACTS.name and c.source is Source.ANSWER]
    tasks = [change for change in out.changes if change.table == TASKS.name]
    assert [change.enriched_at for change in links_of(out)] == [ASKED + 50_000]
    assert {change.enriched_at for change in customers} == {ASKED + 50_000}
    assert [change.enriched_at for change in tasks] == [ASKED]


@pytest.mark.parametrize("known", [[], [PROJECT]])
def test_but_no_older_than_its_task(known):
    """The project may have been asked for another event, or be known."""
    api = Otherwhen(tasks={TASK: a_task()}, known=known)
    api.distance = -50_000

    out = enriched(assigned(), api)

    assert [change.enriched_at for change in links_of(out)] == [ASKED]


class AskedLater(VendorInMemory):
    """A vendor that is asked for tasks a moment after the others were."""

    async def task_assignment(self, assignment_id):
        return Answer((await super().task_assignment(assignment_id)).data, ASKED + 10_000)


@pytest.mark.parametrize("newer_comes", ["first", "last", "together"])
def test_of_two_links_to_a_guest_the_one_asked_for_later_names_them(newer_comes):
    """One whose project was fetched after both was taken for the newer."""
    newer = a_task(600, externalLinkData={"email": "guest@example.net", "firstName": "New"})
    found = links_of(enriched(assigned(), Otherwhen(tasks={TASK: a_task()})))
    last = links_of(
        enriched(
            assigned(event_id="e-2", task_assignment_id="600"),
            AskedLater(tasks={"600": newer}, known=[PROJECT]),
        )
    )
    batches = {
        "first": [last, found],
        "last": [found, last],
        "together": [[*last, *found]],
    }[newer_comes]

    row = None
    for batch in batches:
        row = merge(CONTACTS, row, batch, ASKED)

    assert (row["first_name"], row["task_assignment_id"]) == ("New", "600")


def test_an_assigned_task_costs_its_call_and_the_project_check():
    fresh, stale = vendor(), vendor(known=[])

    enriched(assigned(), fresh)
    enriched(assigned(), stale)

    assert fresh.calls == [("task_assignment", TASK)]
    assert stale.calls == [("task_assignment", TASK), ("project", PROJECT)]


def test_the_tasks_own_project_wins_and_is_checked_and_owns_media_link_and_contact():
    api = VendorInMemory(
        projects={"8": a_project(8)},
        tasks={TASK: a_task(projectId=8, response=form_answers(1))},
        media={"8": [a_media(1)]},
    )

    out = enriched(completed(), api)

    assert api.calls == [("task_assignment", TASK), ("project", "8"), ("media", "8", ("1",))]
    owners = {one.values["project_id"] for one in out.changes if "project_id" in one.values}
    assert owners == {"8"}
    assert [item.project_id for item in out.media] == ["8"]


def test_the_tasks_own_assignment_id_wins():
    out = enriched(assigned(), vendor(a_task(600)))

    assert rows_of(out, "claimx_tasks")[0]["assignment_id"] == "600"
    assert rows_of(out, "claimx_external_links")[0]["assignment_id"] == "600"
    assert rows_of(out, "claimx_contacts", Source.LINK)[0]["task_assignment_id"] == "600"


def test_what_the_task_does_not_say_the_event_does():
    out = enriched(assigned(), vendor(a_task(None, projectId=None)))

    (row,) = rows_of(out, "claimx_tasks")
    assert (row["assignment_id"], row["project_id"]) == (TASK, PROJECT)


def test_an_event_without_a_project_is_done_with_the_tasks():
    out = enriched(assigned(project_id=None), vendor())

    assert rows_of(out, "claimx_tasks")[0]["project_id"] == PROJECT


def test_a_task_of_no_project_at_all_is_malformed():
    error, out = failed(assigned(project_id=None), vendor(a_task(projectId=None)))

    assert isinstance(error, Malformed)
    assert [one.table for one in out.changes][:1] == ["claimx_tasks"]


@pytest.mark.parametrize("task", [None, "abc", "12a", "-5", "5 6", "٣"])
def test_an_assignment_id_that_is_missing_or_no_number_is_permanent_without_a_call(task):
    api = vendor()

    error, out = failed(assigned(task_assignment_id=task), api)

    assert isinstance(error, Malformed)
    assert (api.calls, out.changes) == ([], [])


@pytest.mark.parametrize("link", [None, {}, [], {"linkId": None, "email": " "}])
def test_a_task_without_a_link_has_neither_link_nor_recipient(link):
    out = enriched(assigned(), vendor(a_task(externalLinkData=link)))

    assert rows_of(out, "claimx_external_links") == []
    assert rows_of(out, "claimx_contacts", Source.LINK) == []
    assert not out.unconverted


def test_a_link_without_an_id_still_has_its_recipient():
    out = enriched(assigned(), vendor(a_task(externalLinkData={"email": "A@x", "linkId": " "})))

    (row,) = rows_of(out, "claimx_contacts", Source.LINK)
    assert row["contact_email"] == "a@x"
    assert rows_of(out, "claimx_external_links") == []


@pytest.mark.parametrize("custom", [None, {}, [], "x", 5])
def test_a_task_without_a_template_has_no_template_row(custom):
    out = enriched(assigned(), vendor(a_task(customTask=custom)))

    assert rows_of(out, "claimx_task_templates") == []
    assert len(rows_of(out, "claimx_tasks")) == 1
    assert bool(out.unconverted) == bool(custom)


@pytest.mark.parametrize("link", ["x", [1], 5])
def test_a_link_that_is_no_object_is_counted_with_its_own_table_alone(link):
    out = enriched(assigned(), vendor(a_task(externalLinkData=link)))

    assert {table for table, _ in out.unconverted} == {"claimx_external_links"}


def test_a_template_is_kept_under_its_own_id():
    out = enriched(assigned(), vendor(a_task(customTask={"taskId": 42})))

    assert rows_of(out, "claimx_task_templates")[0]["task_id"] == "42"
    assert rows_of(out, "claimx_tasks")[0]["task_id"] == "41"


def test_a_template_that_does_not_say_its_id_has_the_tasks():
    out = enriched(assigned(), vendor(a_task(customTask={"name": "N"})))

    (row,) = rows_of(out, "claimx_task_templates")
    assert (row["task_id"], row["name"]) == ("41", "N")


@pytest.mark.parametrize("data", [None, [], {}, "x", [a_task()]])
def test_an_answer_without_a_task_is_unreadable(data):
    error, _ = failed(assigned(), VendorInMemory(tasks={TASK: data}))

    assert isinstance(error, Unreadable)


def test_what_the_task_gave_is_kept_when_the_project_check_fails():
    error, out = failed(assigned(), vendor(known=[], projects={}))

    assert isinstance(error, NotFound)
    assert [one.table for one in out.changes] == [
        "claimx_tasks",
        "claimx_task_templates",
        "claimx_external_links",
        "claimx_contacts",
    ]


def test_a_completed_task_fetches_the_media_of_event_and_answers():
    api = vendor(
        a_task(response=form_answers(2, "3", 1.0, None, {})),
        media={PROJECT: [a_media(n, taskAssignmentId=None) for n in range(1, 6)]},
    )

    out = enriched(completed(media_ids=("1",), media_id="4"), api)

    assert api.calls[-1] == ("media", PROJECT, ("1", "4", "2", "3"))
    assert [item.media_id for item in out.media] == ["1", "4", "2", "3"]
    assert {row["task_assignment_id"] for row in rows_of(out, "claimx_media")} == {TASK}
    assert out.unconverted == {("claimx_media", "media_id"): 1}


@pytest.mark.parametrize(("ids", "odd"), [("1,2", 1), ({"id": 1}, 1), (5, 1), ([], 0), ("", 0)])
def test_what_is_no_list_of_media_is_counted(ids, odd):
    response = form_answers()
    response["groups"][1]["questionAndAnswers"][2]["responseAnswerExport"]["claimMediaIds"] = ids

    out = enriched(completed(), vendor(a_task(response=response)))

    assert out.unconverted.total() == out.unconverted["claimx_media", "media_id"] == odd


def test_a_question_may_have_several_answers():
    exports = [{"claimMediaIds": [1]}, "odd", {"claimMediaIds": [2]}]
    response = {"groups": [{"questionAndAnswers": [{"responseAnswerExport": exports}]}]}
    api = vendor(a_task(response=response), media={PROJECT: [a_media(1), a_media(2)]})

    out = enriched(completed(), api)

    assert [item.media_id for item in out.media] == ["1", "2"]


def test_a_media_items_own_task_wins_over_the_one_it_was_reached_by():
    api = vendor(a_task(response=form_answers(1)), media={PROJECT: [a_media(1)]})

    (row,) = rows_of(enriched(completed(), api), "claimx_media")

    assert row["task_assignment_id"] == "501"


def test_a_completed_task_without_media_asks_for_none():
    api = vendor()

    enriched(completed(), api)

    assert api.calls == [("task_assignment", TASK)]


def test_an_assigned_task_asks_for_no_media():
    api = vendor(a_task(response=form_answers(1)))

    enriched(assigned(media_ids=("1",)), api)

    assert api.calls == [("task_assignment", TASK)]


def test_media_of_a_task_that_are_absent_come_again():
    api = vendor(a_task(response=form_answers(1, 2)), media={PROJECT: [a_media(2)]})

    error, out = failed(completed(), api)

    assert isinstance(error, NotYetThere)
    assert [item.media_id for item in out.media] == ["2"]
    assert len(rows_of(out, "claimx_tasks")) == 1


@pytest.mark.parametrize(
    "response",
    [
        None,
        [],
        "x",
        {"groups": None},
        {"groups": {"a": 1}},
        {"groups": [None, 5, {"questionAndAnswers": 7}]},
        {"groups": [{"questionAndAnswers": [None, {"responseAnswerExport": "x"}]}]},
    ],
)
def test_answers_of_any_shape_are_survived(response):
    api = vendor(a_task(response=response))

    assert len(rows_of(enriched(completed(), api), "claimx_tasks")) == 1
