"""The arithmetic of polling, edge by edge."""

from __future__ import annotations

from decimal import Decimal

import orjson
import pytest

from claimx.domain.cursors import Checkpoint
from claimx.domain.errors import Malformed
from claimx.domain.polling import (
    DAY_MICROS,
    TIME,
    Window,
    backfill_cursor,
    bundles,
    live_window,
    moved,
    plain_row,
    share_done,
    spans,
    whole_times,
)

SECOND = 1_000_000


def rows_at(*times: int) -> list[dict[str, int]]:
    return [{TIME: time, "n": n} for n, time in enumerate(times)]


def test_the_first_window_begins_where_polling_began_and_ends_where_rows_have_settled():
    window = live_window(None, origin=7 * SECOND, now=100.0, overlap_seconds=30, settle_seconds=5)

    assert window == Window(7 * SECOND, 95 * SECOND)


def test_later_windows_begin_an_overlap_before_the_checkpoint():
    window = live_window(Checkpoint(80 * SECOND, 3), 7 * SECOND, 100.0, 30, 5)

    assert window == Window(50 * SECOND, 95 * SECOND)


def test_an_overlap_never_reaches_back_before_the_first_start():
    """Rows older than CLAIMX_POLL_START are nobody's wish."""
    window = live_window(Checkpoint(20 * SECOND, 3), 7 * SECOND, 100.0, 30, 5)

    assert window.after == 7 * SECOND


def test_a_checkpoint_put_before_the_first_start_is_obeyed():
    """An operator who sets it back means it; the old start would skip what he asked for."""
    window = live_window(Checkpoint(3 * SECOND, 9), 7 * SECOND, 100.0, 30, 5)

    assert window.after == 3 * SECOND


def test_a_window_that_ends_before_it_begins_is_empty():
    assert Window(5, 5).empty
    assert not Window(5, 6).empty


@pytest.mark.parametrize(
    ("times", "limit", "kept", "tie"),
    [
        ((), 2, 0, None),
        ((1, 2), 2, 2, None),
        ((1, 2, 3), 2, 2, None),
        ((1, 2, 2), 2, 1, None),
        ((2, 2, 2), 2, 0, 2),
        ((1, 1, 2), 2, 2, None),
        ((5, 5), 1, 0, 5),
    ],
)
def test_a_page_is_cut_to_whole_ingestion_times(times, limit, kept, tie):
    whole, found = whole_times(rows_at(*times), limit)

    assert (len(whole), found) == (kept, tie)


def test_a_checkpoint_never_moves_back():
    assert moved(None, 5) == 5
    assert moved(Checkpoint(9, 1), 5) == 9
    assert moved(Checkpoint(9, 1), 12) == 12


def test_the_same_range_has_the_same_cursor():
    assert backfill_cursor(0, SECOND) == backfill_cursor(0, SECOND)
    assert backfill_cursor(0, SECOND) != backfill_cursor(0, SECOND + 1)


def test_progress_is_a_share_of_the_time():
    assert share_done(Window(100, 200), 150) == 0.5
    assert share_done(Window(100, 200), 999) == 1.0
    assert share_done(Window(100, 200), 0) == 0.0
    assert share_done(Window(100, 100), 100) == 1.0


def test_a_time_far_away_is_a_span_of_its_own():
    assert spans([9 * DAY_MICROS, 3, 9 * DAY_MICROS + 5, 1]) == [
        (1, 3),
        (9 * DAY_MICROS, 9 * DAY_MICROS + 5),
    ]


def test_there_are_never_more_spans_than_asked_for():
    found = spans([n * 3 * DAY_MICROS for n in range(20)], most=4)

    assert len(found) == 4
    assert found[-1][1] == 57 * DAY_MICROS


def test_bundles_are_bounded_by_rows_and_bytes_and_hold_at_least_one_row():
    sized = [({"n": n}, size) for n, size in enumerate([10, 10, 95, 5, 200, 1])]

    cut = [[row["n"] for row in bundle] for bundle in bundles(sized, max_rows=3, max_bytes=100)]

    assert cut == [[0, 1], [2, 3], [4], [5]]
    assert [len(b) for b in bundles(sized, max_rows=2, max_bytes=10_000)] == [2, 2, 2]


def test_a_row_becomes_json_that_every_store_takes():
    row = {
        "text": "a\ud800b\x00",
        "nan": float("nan"),
        "deep": [{"inf": float("inf"), "t": (1, True, None)}],
        "big": 2**80,
        "exact": Decimal("1.50"),
        TIME: 5,
    }

    plain, size = plain_row(row)

    assert plain == {
        "text": "ab\x00",
        "nan": None,
        "deep": [{"inf": None, "t": [1, True, None]}],
        "big": str(2**80),
        "exact": "1.50",
        TIME: 5,
    }
    assert size == len(orjson.dumps(plain))


def nested(depth: int) -> list:
    inner: list = []
    for _ in range(depth):
        inner = [inner]
    return inner


@pytest.mark.parametrize(
    "value",
    [object(), b"bytes", {1, 2}, nested(100), nested(100_000)],
    ids=lambda v: type(v).__name__,
)
def test_a_row_that_is_no_json_is_malformed(value):
    with pytest.raises(Malformed, match="no JSON"):
        plain_row({"x": value, TIME: 1})
