"""What a row of an answer's object holds, against the rule in its plainest form."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from strategies import JSON

from claimx.domain.reader import Reader, fields
from claimx.domain.tables import MEDIA

READ = fields(
    MEDIA,
    "latitude taken_date",
    file_name="mediaName name title",
    file_type="mediaType",
)
NAMES = {
    "latitude": ["latitude"],
    "taken_date": ["takenDate"],
    "file_name": ["mediaName", "name", "title"],
    "file_type": ["mediaType"],
}
OBJECTS = st.dictionaries(
    st.sampled_from(["other", *(name for names in NAMES.values() for name in names)]), JSON
)


def first_that_says(column: str, source: dict[str, Any], read: Reader) -> Any:
    for name in NAMES[column]:
        found = read.value(column, source.get(name))
        if found is not None:
            return found
    return None


@given(OBJECTS)
def test_a_column_holds_the_first_of_its_names_that_says_something(source):
    counted: Counter[tuple[str, str]] = Counter()
    expected: Counter[tuple[str, str]] = Counter()
    plain = Reader(MEDIA, expected)

    row = Reader(MEDIA, counted).row(READ, source)

    assert row == {column: first_that_says(column, source, plain) for column in NAMES}
    assert list(row) == list(NAMES)
    assert counted == expected


@given(JSON.filter(lambda value: not isinstance(value, dict)))
def test_what_is_no_object_is_a_row_of_nulls_and_counted_unless_it_is_empty(source):
    counted: Counter[tuple[str, str]] = Counter()

    row = Reader(MEDIA, counted).row(READ, source)

    assert row == dict.fromkeys(NAMES)
    assert counted == ({(MEDIA.name, column): 1 for column in NAMES} if source else {})


def test_rows_of_one_declaration_are_no_parts_of_each_other():
    read = Reader(MEDIA, Counter())

    first = read.row(READ, None)
    first["file_name"] = "a"

    assert read.row(READ, None)["file_name"] is None


@given(st.lists(JSON))
def test_of_a_list_the_objects_are_read_and_what_else_says_something_is_counted(entries):
    counted: Counter[tuple[str, str]] = Counter()

    found = Reader(MEDIA, counted).objects("media_id", entries)

    assert found == [one for one in entries if isinstance(one, dict)]
    odd = [one for one in entries if one and not isinstance(one, dict)]
    assert counted[MEDIA.name, "media_id"] == len(odd)
