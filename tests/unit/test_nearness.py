"""Which files are searched for an event that may come again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from claimx.adapters.lake.nearness import ALWAYS_MICROS, near
from claimx.domain.times import from_datetime

AT = datetime(2026, 5, 1, tzinfo=UTC)
MINUTE = 60_000_000


def file_of(name: str, low: int, high: int, rows: int = 100, nulls: int = 0) -> dict:
    """One whose times lie between two minutes."""
    return {
        "path": name,
        "num_records": rows,
        "min.at": AT + timedelta(minutes=low),
        "max.at": AT + timedelta(minutes=high),
        "null_count.at": nulls,
    }


def minute(number: int) -> int:
    return from_datetime(AT) + number * MINUTE


def test_a_small_table_is_searched_whole():
    files = [file_of("old", -90_000, -80_000), file_of("new", 0, 5)]

    assert near(files, "at", [minute(1)], 1000) == {"old", "new"}


def test_of_a_large_table_the_nearest_files_are_searched():
    """Late ones and a backfill's are looked for where they belong."""
    files = [file_of(f"{n}", n * 60, n * 60 + 59) for n in range(100)]

    assert near(files, "at", [minute(50 * 60 + 5)], 200) == {"49", "50"}
    found = near(files, "at", [minute(10 * 60 + 30), minute(80 * 60 + 30)], 200)
    assert found == {"10", "80"}


def test_files_very_near_are_searched_however_large_they_are():
    files = [file_of("one", 0, 30, rows=10**7), file_of("two", 31, 60, rows=10**7)]

    assert near(files, "at", [minute(25)], 1000) == {"one", "two"}


def test_a_file_of_unknown_times_is_searched():
    files = [file_of("known", 0, 1, rows=900), file_of("nulls", 0, 1, nulls=1)]
    files.append({"path": "bare", "num_records": None})

    assert near(files, "at", [minute(10_000)], 500) >= {"nulls", "bare"}


@given(
    st.lists(st.tuples(st.integers(0, 500), st.integers(0, 90)), min_size=1, max_size=20),
    st.lists(st.integers(0, 600), min_size=1, max_size=5),
    st.integers(0, 2000),
)
def test_the_file_that_holds_a_moment_is_always_searched(spans, minutes, most):
    files = [file_of(f"{n}", low, low + more) for n, (low, more) in enumerate(spans)]
    moments = sorted(minute(one) for one in minutes)

    found = near(files, "at", moments, most)

    for n, (low, more) in enumerate(spans):
        margin = ALWAYS_MICROS // MINUTE
        if any(low - margin <= one <= low + more + margin for one in minutes):
            assert f"{n}" in found
