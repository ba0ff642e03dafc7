"""The arithmetic of polling, for all inputs."""

from __future__ import annotations

import json

import orjson
from hypothesis import example, given, settings
from hypothesis import strategies as st

from claimx.domain.cursors import Checkpoint
from claimx.domain.events import Event
from claimx.domain.polling import TIME, bundles, live_window, plain_row, spans, whole_times
from claimx.domain.times import LATEST
from claimx.services.source_rows import is_copy, read_source_row

times = st.lists(st.integers(0, 12), max_size=40).map(sorted)


@given(times=times, limit=st.integers(1, 10))
def test_pages_read_one_after_the_other_give_every_row_once(times, limit):
    """The rule of the port: no page ends within one ingestion time, and each one gets on."""
    stored = [{TIME: time, "n": n} for n, time in enumerate(times)]
    found: list[int] = []
    at = -1

    while left := [row for row in stored if row[TIME] > at]:
        page, tie = whole_times(left[: limit + 1], limit)
        if tie is not None:
            page = [row for row in left if row[TIME] == tie]
        assert page
        assert len(page) <= limit or len({row[TIME] for row in page}) == 1
        found += [row["n"] for row in page]
        at = page[-1][TIME]

    assert found == list(range(len(times)))


@given(
    checkpoint=st.none() | st.builds(Checkpoint, st.integers(0, 10**15), st.integers(0, 9)),
    origin=st.integers(0, 10**15),
    now=st.integers(0, 10**9).map(float),
    overlap=st.integers(0, 10**4).map(float),
    settle=st.integers(0, 100).map(float),
)
def test_no_window_leaves_a_gap_after_the_checkpoint(checkpoint, origin, now, overlap, settle):
    window = live_window(checkpoint, origin, now, overlap, settle)

    assert window.until <= now * 1_000_000
    assert window.after <= (checkpoint.source_time if checkpoint else origin)


@given(times=st.lists(st.integers(0, 10**13), max_size=50), most=st.integers(1, 6))
def test_spans_cover_every_time_once(times, most):
    found = spans(times, most)

    assert len(found) <= most
    assert all(sum(a <= time <= b for a, b in found) == 1 for time in times)


@given(
    sizes=st.lists(st.integers(1, 50), max_size=40),
    max_rows=st.integers(1, 8),
    max_bytes=st.integers(1, 80),
)
def test_bundles_keep_every_row_in_order(sizes, max_rows, max_bytes):
    cut = list(bundles([({"n": n}, s) for n, s in enumerate(sizes)], max_rows, max_bytes))

    assert [row["n"] for bundle in cut for row in bundle] == list(range(len(sizes)))
    for bundle in cut:
        assert 1 <= len(bundle) <= max_rows
        assert len(bundle) == 1 or sum(sizes[row["n"]] for row in bundle) <= max_bytes


texts = st.text("ab \x00\u00e9\u202e\U0001f600\ud800\udfff", max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@given(row=st.dictionaries(texts, values, max_size=4))
def test_whatever_json_can_hold_is_stored_and_read_the_same(row):
    plain, size = plain_row(row)

    text = json.dumps(plain, ensure_ascii=False, allow_nan=False).encode()
    assert json.loads(text) == plain
    assert size == len(orjson.dumps(plain))
    assert plain_row(plain) == (plain, size)


@given(row=st.dictionaries(texts, values, max_size=4))
def test_a_row_of_simple_values_becomes_what_it_becomes_beside_others(row):
    """Such rows take a shorter way, which a list among them keeps them off."""
    beside, _ = plain_row({**row, "list": []})

    assert plain_row({**row, "list": 1})[0] == beside | {"list": 1}


VALUES = st.sampled_from(["1", "2", " ", "", None, 1, True, 1.0, 2**70, ["1"], [True], "\ud800"])
ALIKE = st.sampled_from(["1", 1, True, 1.0])  # the last three are equal, and not the same
TIMES = st.sampled_from([1, 2, LATEST]) | st.sampled_from([LATEST + 1, None, True, 1.0])
ROWS = st.fixed_dictionaries(  # events, more often than not
    {
        "event_id": st.just("1") | VALUES,
        "event_type": st.just("PROJECT_CREATED") | st.sampled_from(["else", None]),
        "project_id": ALIKE | VALUES,
        TIME: TIMES,
    },
    optional={"media_ids": VALUES, "eventId": VALUES},
)
CHANGES = st.fixed_dictionaries(
    {TIME: TIMES},
    optional={"event_id": VALUES, "eventId": VALUES, "project_id": ALIKE, "media_ids": VALUES},
)


@settings(max_examples=500)
@given(of=ROWS, changes=CHANGES | CHANGES.map(lambda some: {TIME: some[TIME]}))
@example(
    of={"event_id": "1", "event_type": "PROJECT_CREATED", "project_id": 1, TIME: 1},
    changes={TIME: 2, "project_id": True},
)
def test_a_row_that_is_left_unread_as_a_copy_would_have_been_a_double(of, changes):
    """Neither a dead letter nor another event is lost by the shorter way."""
    record_id, told, _ = read_source_row(of)
    row = {**of, **changes}

    if isinstance(told, Event) and is_copy(row, of, told):
        again, read, _ = read_source_row(row)
        assert (again, type(read)) == (record_id, Event)


def test_a_row_that_comes_again_is_a_copy_whatever_its_time():
    row = {"event_id": "e", "event_type": "PROJECT_CREATED", "project_id": "1", TIME: 1}
    _, event, _ = read_source_row(row)

    assert is_copy({**row, TIME: 7}, row, event)
    assert not is_copy({**row, TIME: 7, "project_id": "2"}, row, event)
