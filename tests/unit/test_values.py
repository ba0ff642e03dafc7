"""Converters and the reader of answers (domain page, sections 2 and 6)."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

import pytest

from claimx.adapters.claimx_answers import WrittenFloat
from claimx.domain import values
from claimx.domain.reader import Reader, fields
from claimx.domain.tables import CONTACTS, PROJECTS
from claimx.domain.times import from_datetime
from claimx.domain.values import Unconvertible
from claimx.domain.written_times import time

BAD = object()
MORNING = from_datetime(datetime(2026, 1, 31, 8, 0, tzinfo=UTC))
MIDNIGHT = from_datetime(datetime(2026, 1, 31, tzinfo=UTC))


class Written(float):
    def __str__(self) -> str:
        return "12.50"


def converted(convert, value):
    try:
        return convert(value)
    except Unconvertible:
        return BAD


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ("", None),
        ("  \t\u00a0\u2003", None),
        ("\u00a0 a b \u2003\n", "a b"),
        ("nul\x00 and\ud800 tab\there", "nul and tab\there"),
        (" \x00 ", None),
        ("half\ud800 ", "half"),
        (84043, "84043"),
        (3.5, "3.5"),
        (3.0, "3.0"),
        (Written(12.5), "12.50"),
        (True, "true"),
        (False, "false"),
        ([], BAD),
        ({"a": 1}, BAD),
        (float("nan"), BAD),
        pytest.param(10**5000, BAD, id="a number of 5000 digits"),
    ],
)
def test_text_is_trimmed_and_numbers_stay_as_written(value, expected):
    assert converted(values.text, value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (" ", None),
        (7001, "7001"),
        (7001.0, "7001"),
        (7001.9, "7001"),
        (" 7001 ", "7001"),
        ("007", "007"),
        ("../etc", "../etc"),
        (10**20, "1" + "0" * 20),
        (WrittenFloat("9007199254740993.0"), "9007199254740993"),
        (True, BAD),
        ({"id": 1}, BAD),
        ([1], BAD),
        (float("inf"), BAD),
    ],
)
def test_ids_become_text_and_numbers_lose_their_decimals(value, expected):
    assert converted(values.id_text, value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ("", None),
        (3, 3),
        (3.0, 3),
        ("3.0", 3),
        (" 3 ", 3),
        ("-4", -4),
        ("1e3", 1000),
        (3.7, BAD),
        ("3.7", BAD),
        ("1,200", BAD),
        ("about 30", BAD),
        ("1_000", BAD),
        (True, BAD),
        (2**63 - 1, 2**63 - 1),
        (2**63, BAD),
        ("9" * 300, BAD),
        ("1e999", BAD),
        (1e300, BAD),
        ([3], BAD),
    ],
)
def test_whole_numbers(value, expected):
    assert converted(values.integer, value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (" ", None),
        (1, 1.0),
        ("75.25", 75.25),
        (".5", 0.5),
        ("-.25", -0.25),
        (".", BAD),
        ("-1.5e2", -150.0),
        ("n/a", BAD),
        ("nan", BAD),
        ("inf", BAD),
        ("1e999", BAD),
        (10**400, BAD),
        (float("inf"), BAD),
        (False, BAD),
        ({}, BAD),
    ],
)
def test_doubles_are_finite(value, expected):
    assert converted(values.double, value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ("", None),
        (True, True),
        (False, False),
        *((word, True) for word in ("true", "TRUE", "1", "Yes", " yes ")),
        *((word, False) for word in ("false", "False", "0", "NO")),
        (1, True),
        (0, False),
        (1.0, True),
        ("maybe", BAD),
        ("on", BAD),
        ("t", BAD),
        (7, BAD),
        (-1, BAD),
        ([], BAD),
        ({}, BAD),
    ],
)
def test_yes_and_no(value, expected):
    assert converted(values.boolean, value) is expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (" ", None),
        ("2026-01-31T08:00:00Z", MORNING),
        ("2026-01-31T08:00:00z", MORNING),
        ("2026-01-31T08:00:00", MORNING),
        ("2026-01-31 08:00:00", MORNING),
        ("2026-01-31T08:00", MORNING),
        ("2026-01-31T10:00:00+02:00", MORNING),
        ("2026-01-31T10:00:00+0200", MORNING),
        ("2026-01-31T00:30:00-07:30", MORNING),
        ("2026-01-31T08:00:00+00", MORNING),
        ("20260131T080000Z", MORNING),
        ("2026-01-31T08Z", MORNING),
        ("2026-01-31T10+02", MORNING),
        ("2026-01-31 08", MORNING),
        ("20260131T08", MORNING),
        ("2026-01-30T24:00:00Z", MIDNIGHT),
        ("20260130T24", MIDNIGHT),
        ("2026-02-28T24:00", from_datetime(datetime(2026, 3, 1, tzinfo=UTC))),
        ("2026-01-30T24:00:00.0000001Z", BAD),
        ("2026-01-30T24:01", BAD),
        ("9999-12-31T24:00:00Z", BAD),
        ("9999-12-31T24:00:00+00:01", from_datetime(datetime(9999, 12, 31, 23, 59, tzinfo=UTC))),
        (" 2026-01-31 ", MIDNIGHT),
        ("2026-01-31T08:00:00.1Z", MORNING + 100_000),
        ("2026-01-31T08:00:00.1234569Z", MORNING + 123_456),
        ("2026-01-31T08:00:00,5", MORNING + 500_000),
        (MORNING // 1000, MORNING),
        (MORNING // 1_000_000, MORNING),
        (str(MORNING // 1000), MORNING),
        (str(MORNING // 1_000_000), MORNING),
        (float(MORNING // 1000), MORNING),
        (MORNING / 1_000_000 + 0.5, MORNING + 500_000),
        (999_999_999, 999_999_999_000),
        (9_999_999_999, 9_999_999_999_000_000),
        (10_000_000_000, 10_000_000_000_000),
        (915_148_800_000, from_datetime(datetime(1999, 1, 1, tzinfo=UTC))),
        (-86_400_000, -86_400_000_000),
        (datetime(2026, 1, 31, 8), MORNING),  # noqa: DTZ001 - no zone is UTC
        ("12345", BAD),
        ("123456789012", BAD),
        (MORNING, BAD),
        ("soon", BAD),
        ("2026-13-45T00:00:00Z", BAD),
        ("2026-01-31T25:00:00Z", BAD),
        ("2026-01-31T08:00:00+99:00", BAD),
        ("2026-01-31T08:00:00+24:00", BAD),
        ("2026-01-31T08:00:00+0060", BAD),
        ("0001-01-01T00:00:00+02:00", BAD),
        ("9999-12-31T23:59:59-02:00", BAD),
        ("01/31/2026", BAD),
        (10**30, BAD),
        (float("nan"), BAD),
        (True, BAD),
        ({"date": "unknown"}, BAD),
        ([], BAD),
    ],
)
def test_times(value, expected):
    assert converted(time, value) == expected


@pytest.mark.parametrize(
    ("value", "expected"), [(1, "1"), (1.0, "1"), (12.5, "12.5"), (" 1", "1"), ("+44", "+44")]
)
def test_a_code_is_text_without_an_empty_fraction(value, expected):
    assert values.code_text(value) == expected


@pytest.mark.parametrize(
    ("table", "column", "written", "expected"),
    [
        (CONTACTS, "phone_country_code", "1.0", "1"),
        (PROJECTS, "custom_attribute1", "1.0", "1"),
        (PROJECTS, "custom_attribute2", "12.50", "12.50"),
        (PROJECTS, "zip_postcode", "84043.0", "84043.0"),
        (PROJECTS, "custom_external_unique_id", "12.5", "12"),
        (PROJECTS, "year_built", "1990.0", 1990),
    ],
)
def test_a_column_says_what_becomes_of_a_number(table, column, written, expected):
    counts = Counter()

    assert Reader(table, counts).value(column, WrittenFloat(written)) == expected
    assert not counts


def test_same_ids():
    assert values.same_id("7", "007")
    assert values.same_id("a", "a")
    assert not values.same_id("7", "70")
    assert not values.same_id("", "0")


def test_a_value_that_cannot_be_converted_is_null_and_counted_by_table_and_column():
    counts = Counter()
    read = Reader(PROJECTS, counts)

    names = fields(PROJECTS, "year_built status")
    row = read.row(names, {"yearBuilt": "1,200", "status": " OPEN "})

    assert row == {"year_built": None, "status": "OPEN"}
    assert counts == {("claimx_projects", "year_built"): 1}


def test_of_several_names_the_first_that_says_something_counts():
    read = Reader(PROJECTS, Counter())
    names = fields(PROJECTS, "", master_file_name="mfn masterFileName")

    assert read.row(names, {"mfn": " ", "masterFileName": "B"}) == {"master_file_name": "B"}
    assert read.row(names, {"mfn": "A", "masterFileName": "B"}) == {"master_file_name": "A"}


@pytest.mark.parametrize(("section", "counted"), [(None, 0), ({}, 0), ([], 0), ([1], 2), ("x", 2)])
def test_a_section_that_is_no_object_is_null_and_each_of_its_columns_counted(section, counted):
    counts = Counter()

    row = Reader(PROJECTS, counts).row(fields(PROJECTS, "city county"), section)

    assert row == {"city": None, "county": None}
    assert counts.total() == counted


def test_a_list_with_odd_entries_gives_its_objects_and_counts_the_rest():
    counts = Counter()
    read = Reader(CONTACTS, counts)

    assert read.objects("contact_email", [{"a": 1}, None, "x", [1]]) == [{"a": 1}]
    assert read.objects("contact_email", {"a": 1}) == []
    assert read.ids("project_id", [1, " 1 ", None, 2.0, {}]) == ["1", "2"]
    assert counts == {
        ("claimx_contacts", "contact_email"): 3,
        ("claimx_contacts", "project_id"): 1,
    }
