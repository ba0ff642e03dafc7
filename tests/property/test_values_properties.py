"""Whatever JSON comes, a converter gives a value that its column takes, or says that it cannot."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import JSON

from claimx.domain import values
from claimx.domain.links import expiry, is_signed
from claimx.domain.reader import Reader
from claimx.domain.refusal import value_refusal
from claimx.domain.tables import TABLES
from claimx.domain.times import from_datetime, to_datetime
from claimx.domain.written_times import _USUAL, any_time, time, usual_time

CONVERTERS = [
    values.text,
    values.code_text,
    values.id_text,
    values.integer,
    values.double,
    values.boolean,
    time,
]
COLUMNS = [(table, column) for table in TABLES.values() for column in table.columns]


@pytest.mark.parametrize("convert", CONVERTERS, ids=lambda convert: convert.__name__)
@given(value=JSON)
def test_a_converter_raises_nothing_but_unconvertible_and_is_stable(convert, value):
    try:
        once = convert(value)
    except values.Unconvertible:
        return

    if convert is not time:  # of a number of microseconds nobody could tell the unit
        assert convert(once) == once


@given(st.sampled_from(COLUMNS), JSON)
def test_every_value_read_fits_its_column_and_a_lost_one_is_counted(place, value):
    table, column = place
    counts = Counter()

    found = Reader(table, counts).value(column.name, value)

    if column.type != "date":
        assert value_refusal(column, found) is None
    empty = value is None or (isinstance(value, str) and not values.clean(value))
    assert counts.total() == int(found is None and not empty)


@given(st.text(alphabet=st.characters(), max_size=30))
def test_text_is_storable_trimmed_and_otherwise_as_it_was(raw):
    found = values.text(raw)

    kept = "".join(c for c in raw if c != "\x00" and not "\ud800" <= c <= "\udfff").strip()
    assert found == (kept or None)
    (found or "").encode()


@given(
    st.datetimes(min_value=datetime(1, 1, 3), max_value=datetime(9999, 12, 29)),  # noqa: DTZ001 - zones are drawn
    st.integers(-14 * 60, 14 * 60),
    st.sampled_from(["T", " "]),
    st.text(alphabet="0123456789", max_size=6),
)
def test_iso_times_with_a_zone_mean_that_moment(moment, offset_minutes, between, more_digits):
    zone = timezone(timedelta(minutes=offset_minutes))
    local = moment.replace(tzinfo=zone)
    written = local.isoformat(sep=between, timespec="microseconds")
    stamp, sign_and_zone = written[:26], written[26:]

    assert time(f"{stamp}{more_digits}{sign_and_zone}") == from_datetime(local)


@given(st.datetimes(min_value=datetime(2001, 9, 10), max_value=datetime(2286, 11, 20)))  # noqa: DTZ001 - UTC
def test_epoch_times_are_the_same_as_number_and_as_text(moment):
    micros = from_datetime(moment.replace(tzinfo=UTC))
    milliseconds, seconds = micros // 1000, micros // 1_000_000

    assert time(milliseconds) == time(str(milliseconds)) == milliseconds * 1000
    assert time(seconds) == time(str(seconds)) == seconds * 1_000_000


@given(st.integers())
def test_any_number_as_a_time_is_a_moment_that_exists_or_none(number):
    try:
        found = time(number)
    except values.Unconvertible:
        return

    assert found is not None
    to_datetime(found)


@given(st.text(max_size=60), st.text(max_size=20), st.text(alphabet="0123456789TZ-", max_size=20))
def test_the_end_of_a_link_never_fails(url, name, value):
    for link in (url, f"https://h/x?systemDate={value}&expires={value}&{name}={value}"):
        found = expiry(link)

        assert found is None or to_datetime(found)
        assert is_signed(link) in (True, False)


@given(
    st.from_regex(_USUAL, fullmatch=True)
    | st.datetimes().map(lambda moment: f"{moment.isoformat()}Z")
    | st.from_regex(r"\d{4}-[W\d]\d-\d{1,2}T[\d:]{2,8}[.,]?\d{0,9}(Z|\+00)?", fullmatch=True)
)
def test_the_quick_reading_of_a_time_says_what_the_general_one_does(written):
    """It goes by another parser, which reads many things that are no time here."""
    usual = usual_time(written)

    if usual is not None:
        assert usual == any_time(written)
