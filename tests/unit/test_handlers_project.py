"""Projects, their contacts and what events say of them (domain page, sections 1, 2 and 6)."""

from __future__ import annotations

from collections import Counter

import pytest
from builders import (
    ASKED,
    EVENT_TIME,
    PROJECT,
    VendorInMemory,
    a_project,
    an_answer,
    an_event,
    enriched,
    failed,
    rows_of,
)

from claimx.domain.changes import Change, Source
from claimx.domain.columns import Rule
from claimx.domain.errors import Malformed, NotFound, Refused, Unreadable
from claimx.domain.tables import PROJECTS
from claimx.domain.times import to_iso
from claimx.handlers.project import project_changes

EXPECTED = {
    "project_id": "7001",
    "project_number": "PN-1",
    "master_file_name": "MFN-API",
    "secondary_number": "S-1",
    "status": "OPEN",
    "created_date": "2025-12-01T10:00:00.000000Z",
    "date_of_loss": "2025-11-30T00:00:00.000000Z",
    "type_of_loss": "Hail",
    "cause_of_loss": "Wind",
    "loss_description": "roof\ttiles",
    "customer_first_name": "Ada",
    "customer_last_name": "Sample",
    "custom_business_name": "Bakery",
    "business_line_type": "RESIDENTIAL",
    "year_built": 1987,
    "square_footage": 2100,
    "street1": "1 Example Street",
    "street2": "Unit 2",
    "city": "Brookvale",
    "county": "Sample County",
    "state_province": "UT",
    "zip_postcode": "84043",
    "country": "US",
    "primary_email": "Ada@Example.com",
    "primary_phone": "5550100",
    "primary_phone_country_code": "1",
    "date_received": "2025-12-01T10:00:00.000000Z",
    "date_contacted": "2025-12-01T10:00:00.000000Z",
    "planned_inspection_date": "2025-12-02T08:00:00.000000Z",
    "date_inspected": "2025-12-03T10:00:00.123456Z",
    "appointment_date": "2025-12-04T10:00:00.000000Z",
    "custom_attribute1": "north",
    "custom_attribute2": "12",
    "custom_attribute3": "3.5",
    "custom_external_unique_id": "ext-1",
    "company_name": "Northwind (sample)",
}


def changes(data, **given):
    return project_changes(
        an_answer(data), PROJECT, an_event(), given.pop("counts", Counter()), **given
    )


def row(data, **given):
    return changes(data, **given)[0].values


def contacts(data, **given):
    return {
        (one.values["contact_email"], one.values["contact_type"]): one.values
        for one in changes(data, **given)[1:]
    }


@pytest.mark.parametrize("column", EXPECTED)
def test_each_column_of_a_project(column):
    value = row(a_project())[column]

    shown = to_iso(value) if PROJECTS.column(column).type == "timestamp" else value
    assert shown == EXPECTED[column]


def test_a_full_answer_speaks_of_every_column_but_those_that_events_fill():
    facts = {
        "policyholder_invited_at",
        "policyholder_joined_at",
        "xa_autolink_fail",
        "xa_autolink_fail_at",
    }
    declared = {c.name for c in PROJECTS.columns if c.rule is not Rule.BOOKKEEPING}

    assert set(row(a_project())) == declared - facts == set(EXPECTED)


def test_what_an_answer_leaves_out_is_null_and_clears():
    values = row({"project": {"projectId": 7001}})

    assert {name for name, value in values.items() if value is not None} == {"project_id"}
    assert set(values) == set(EXPECTED)


def test_a_change_carries_when_the_api_was_asked_and_the_events_time():
    change = changes(a_project())[0]

    assert (change.source, change.event_id, change.event_time, change.enriched_at) == (
        Source.ANSWER,
        "e-1",
        EVENT_TIME,
        ASKED,
    )


def test_the_other_name_of_the_master_file_name():
    assert row(a_project(mfn=None, masterFileName="B"))["master_file_name"] == "B"


def test_the_customer_is_the_primary_contact_and_the_team_are_claim_reps():
    assert contacts(a_project()) == {
        ("ada@example.com", "POLICYHOLDER"): {
            "project_id": "7001",
            "contact_email": "ada@example.com",
            "contact_type": "POLICYHOLDER",
            "first_name": "Ada",
            "last_name": "Sample",
            "phone_number": "5550100",
            "phone_country_code": "1",
            "is_primary_contact": True,
            "master_file_name": "MFN-API",
        },
        ("rep@carrier.example", "CLAIM_REP"): {
            "project_id": "7001",
            "contact_email": "rep@carrier.example",
            "contact_type": "CLAIM_REP",
            "is_primary_contact": True,
            "master_file_name": "T-1",
        },
    }


@pytest.mark.parametrize(
    ("emails", "expected"),
    [
        ([{"emailAddress": "a@x"}, {"emailAddress": "b@x", "primary": True}], "b@x"),
        ([{"emailAddress": " ", "primary": True}, {"emailAddress": " b@x "}], "b@x"),
        (
            [{"emailAddress": "a@x", "primary": "no"}, {"emailAddress": "b@x", "primary": "YES"}],
            "b@x",
        ),
        ([{"emailAddress": "a@x"}, {"emailAddress": "b@x", "primary": "?"}], "a@x"),
        ([None, "c@x", {"emailAddress": {}}, {"emailAddress": "b@x"}], "b@x"),
        ([{"emailAddress": None, "primary": True}], None),
        ([], None),
        (None, None),
        ({"emailAddress": "a@x"}, None),
    ],
)
def test_the_email_is_the_primary_one_that_is_not_blank_else_the_first(emails, expected):
    data = a_project(customerInformation={"emails": emails})

    found = contacts(data)

    assert row(data)["primary_email"] == expected
    assert ((expected, "POLICYHOLDER") in found) == (expected is not None)


def test_the_country_code_is_that_of_the_chosen_phone():
    phones = [
        {"phoneNumber": "", "phoneCountryCode": 44, "primary": True},
        {"phoneNumber": "1", "phoneCountryCode": None},
        {"phoneNumber": "2", "phoneCountryCode": "49"},
    ]

    values = row(a_project(customerInformation={"phones": phones}))

    assert (values["primary_phone"], values["primary_phone_country_code"]) == ("1", None)


def test_a_team_member_without_an_email_is_no_row_and_of_two_alike_the_first_counts():
    data = a_project(customerInformation=None)
    data["teamMembers"] = [
        {"userName": " ", "mfn": "x"},
        {"userName": "Rep@x", "primaryContact": None, "mfn": "first"},
        {"userName": "rep@x", "primaryContact": True, "mfn": "second"},
        None,
        "odd",
    ]

    (rep,) = contacts(data).values()

    assert (rep["contact_email"], rep["master_file_name"], rep["is_primary_contact"]) == (
        "rep@x",
        "first",
        None,
    )


def test_values_that_cannot_be_converted_are_null_and_counted_once():
    counts = Counter()
    data = a_project(yearBuilt=3.7, dateOfLoss="soon", address="nowhere")

    values = row(data, counts=counts)

    assert (values["year_built"], values["date_of_loss"], values["city"]) == (None, None, None)
    assert counts["claimx_projects", "year_built"] == 1
    assert counts["claimx_projects", "date_of_loss"] == 1
    assert counts["claimx_projects", "city"] == 1
    assert counts.total() == 9


@pytest.mark.parametrize("project_id", [7001, "7001", 7001.0, " 7001 ", None, "07001", {"id": 1}])
def test_a_project_is_kept_under_the_id_that_was_asked(project_id):
    assert row(a_project(project_id))["project_id"] == "7001"


def test_another_project_than_was_asked_is_refused():
    with pytest.raises(Refused, match="7002"):
        changes(a_project(7002))


def test_a_project_that_is_not_wrapped_is_understood():
    assert row(a_project()["project"])["project_number"] == "PN-1"


def test_an_answer_that_names_its_project_beside_it_is_read_as_any():
    assert row(a_project() | {"projectId": 7001})["project_number"] == "PN-1"


@pytest.mark.parametrize("emails", [{"emailAddress": "a@x"}, "a@x", 5])
def test_what_is_no_list_of_emails_is_counted(emails):
    counts = Counter()

    changes(a_project(customerInformation={"emails": emails}), counts=counts)

    assert counts == {("claimx_projects", "primary_email"): 1}


@pytest.mark.parametrize(
    "data", [None, [], {}, "x", 5, [a_project()], {"project": None}, {"project": {}}]
)
def test_an_answer_without_a_project_is_unreadable(data):
    with pytest.raises(Unreadable):
        changes(data)


def test_a_created_event_fetches_the_project_even_when_it_is_known():
    vendor = VendorInMemory(known=[PROJECT])

    out = enriched(an_event("PROJECT_CREATED"), vendor)

    assert vendor.calls == [("project", PROJECT)]
    assert len(out.changes) == 3
    assert out.media == []


def test_the_name_of_an_mfn_event_is_a_fact_of_the_event_and_the_policyholders():
    vendor = VendorInMemory(known=[PROJECT])

    out = enriched(an_event("PROJECT_MFN_ADDED", master_file_name="MFN-EVENT"), vendor)

    assert vendor.calls == [("project", PROJECT)]
    facts = [change for change in out.changes if change.source is Source.EVENT]
    named = {"project_id": PROJECT, "master_file_name": "MFN-EVENT"}
    customer = named | {"contact_email": "ada@example.com", "contact_type": "POLICYHOLDER"}
    assert facts == [
        Change("claimx_projects", named, Source.EVENT, "e-1", EVENT_TIME),
        Change("claimx_contacts", customer, Source.EVENT, "e-1", EVENT_TIME),
    ]
    assert rows_of(out, "claimx_projects")[0]["master_file_name"] == "MFN-API"
    assert rows_of(out, "claimx_contacts")[0]["master_file_name"] == "MFN-API"
    assert rows_of(out, "claimx_contacts")[1]["master_file_name"] == "T-1"


def test_an_mfn_event_without_a_name_is_handled_as_created():
    created = enriched(an_event("PROJECT_CREATED"), VendorInMemory())
    unnamed = enriched(an_event("PROJECT_MFN_ADDED"), VendorInMemory())
    named = enriched(an_event("PROJECT_CREATED", master_file_name="ignored"), VendorInMemory())

    assert created == unnamed == named


@pytest.mark.parametrize(
    ("type_", "column"),
    [
        ("POLICYHOLDER_INVITED", "policyholder_invited_at"),
        ("POLICYHOLDER_JOINED", "policyholder_joined_at"),
    ],
)
def test_a_policyholders_event_notes_its_time_and_checks_the_project(type_, column):
    fresh = VendorInMemory(known=[PROJECT])
    stale = VendorInMemory()
    fact = Change(
        "claimx_projects",
        {"project_id": PROJECT, column: EVENT_TIME},
        Source.EVENT,
        "e-1",
        EVENT_TIME,
    )

    assert enriched(an_event(type_), fresh).changes == [fact]
    assert fresh.calls == []
    assert enriched(an_event(type_), stale).changes == [*changes(a_project()), fact]
    assert stale.calls == [("project", PROJECT)]


def test_a_fact_about_a_project_that_the_api_does_not_know_is_not_written():
    error, out = failed(an_event("POLICYHOLDER_INVITED"), VendorInMemory(projects={}))

    assert isinstance(error, NotFound)
    assert out.changes == []


def test_a_failed_link_is_noted_without_a_call():
    vendor = VendorInMemory(projects={})

    out = enriched(an_event("PROJECT_AUTO_XA_LINKING_UNSUCCESSFUL"), vendor)

    assert vendor.calls == []
    (change,) = out.changes
    assert change.source is Source.EVENT
    assert change.enriched_at is None
    assert change.values == {
        "project_id": PROJECT,
        "xa_autolink_fail": True,
        "xa_autolink_fail_at": EVENT_TIME,
    }


def test_an_event_stored_without_its_project_is_malformed():
    error, _ = failed(an_event("PROJECT_CREATED", project_id=None), VendorInMemory())

    assert isinstance(error, Malformed)
