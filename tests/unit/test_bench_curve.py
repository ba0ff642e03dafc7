"""What a measurement makes of the times at which rows were committed."""

from __future__ import annotations

import json
import os
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pipelines.commits import CommitLog
from pipelines.curve import added, from_nothing, quantile, rate, reached, rows_at

curves = st.lists(st.tuples(st.floats(0.1, 10), st.integers(1, 1000)), min_size=1, max_size=20).map(
    lambda steps: from_nothing(
        0.0, list(zip(_sums(s for s, _ in steps), _sums(r for _, r in steps), strict=True))
    )
)


def _sums(values):
    total = 0
    for value in values:
        total += value
        yield total


@pytest.fixture
def table(tmp_path):
    """Write commits of a table: each call one more."""
    numbers = count()
    (tmp_path / "_delta_log").mkdir()

    def commit(at, *actions):
        path = tmp_path / "_delta_log" / f"{next(numbers):020d}.json"
        path.write_text("\n".join(json.dumps(action) for action in actions))
        os.utime(path, (at, at))

    return tmp_path, commit


def added_file(path, rows, *, new=True):
    stats = json.dumps({"numRecords": rows})
    return {"add": {"path": path, "stats": stats, "dataChange": new}}


def test_between_two_commits_the_work_goes_on_evenly():
    curve = from_nothing(100.0, [(110.0, 50), (120.0, 100)])

    assert rows_at(curve, 105.0) == 25
    assert reached(curve, 75) == 115.0


def test_one_great_commit_at_the_end_is_the_rate_of_the_whole_run():
    """A contender that commits once is not measured as if it had done all in an instant."""
    curve = from_nothing(0.0, [(20.0, 1000)])

    assert rate(curve, total=1000, events=1000) == pytest.approx(50.0)


def test_events_are_counted_and_not_the_rows_of_their_files():
    events, files = from_nothing(0.0, [(10.0, 100)]), from_nothing(0.0, [(10.0, 50)])

    assert rate(added([events, files]), total=150, events=100) == pytest.approx(10.0)


def test_a_slow_start_and_a_slow_end_are_left_out():
    steady = [(float(second), 100 * (second - 9)) for second in range(10, 20)]
    curve = from_nothing(0.0, [*steady, (60.0, 1001)])

    assert rate(curve, total=1000, events=1000) == pytest.approx(100.0)


def test_what_was_never_reached_is_told():
    with pytest.raises(ValueError, match="20 rows were never reached"):
        reached(from_nothing(0.0, [(1.0, 10)]), 20)


@given(curves, st.floats(0.01, 1))
def test_a_curve_has_as_many_rows_as_were_reached(curve, share):
    rows = share * curve[-1][1]

    assert rows_at(curve, reached(curve, rows)) == pytest.approx(rows)


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0.01, 1))
def test_a_quantile_is_a_value_that_so_many_do_not_exceed(values, share):
    found = quantile(values, share)

    assert found in values
    assert sum(value <= found for value in values) >= share * len(values) - 1e-6


def test_a_log_tells_when_each_file_came(table):
    path, commit = table
    commit(10, {"metaData": {}})
    commit(20, added_file("a", 5))
    commit(30, added_file("b", 7))
    log = CommitLog(path)

    assert log.read() == 12
    assert log.points == [(20, 5), (30, 12)]
    assert log.files == {"a": 20, "b": 30}


def test_a_log_is_read_on_and_replaced_files_count_once(table):
    path, commit = table
    log = CommitLog(path)
    commit(10, added_file("a", 5))
    log.read()
    commit(20, {"remove": {"path": "a"}}, added_file("c", 6))

    assert log.read() == 6
    assert log.points == [(10, 5), (20, 6)]


def test_a_compaction_brings_no_row_and_no_time(table):
    path, commit = table
    commit(10, added_file("a", 5))
    commit(90, {"remove": {"path": "a"}}, added_file("c", 5, new=False))
    log = CommitLog(path)

    assert log.read() == 5
    assert log.points == [(10, 5)]
    assert log.files == {"a": 10}


def test_a_table_that_is_not_there_yet_has_no_rows(tmp_path):
    assert CommitLog(tmp_path / "later").read() == 0
