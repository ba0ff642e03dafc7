"""The collector is set once, and what was there before stays out of its looks."""

from __future__ import annotations

import gc

import pytest

from claimx import garbage
from claimx.domain.codec import decode_stored, encode_changes
from claimx.domain.shared_rows import SharedRows, SharedValues


@pytest.fixture(autouse=True)
def _as_before():
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


def test_what_is_imported_is_left_out_and_new_objects_are_looked_at_less_often():
    garbage.settle()

    assert gc.get_freeze_count() > 10_000
    assert gc.get_threshold()[0] == garbage.NEW_OBJECTS > 2000
    assert gc.isenabled(), "cycles of libraries must still go"


def test_rows_that_events_share_are_freed_without_a_collector():
    """A cycle in them would stay for ten thousands of events: 15 kB for each project."""
    before = alive()
    gc.disable()
    try:
        rows = SharedRows([("claimx_projects", {"project_id": "7"})], 1)
        stored = decode_stored(encode_changes(rows.changes("e1", 5)), {})
        held = alive() - before

        del rows, stored

        assert (held, alive() - before) == (2, 0)
    finally:
        gc.enable()


def alive() -> int:
    return sum(type(one) is SharedValues for one in gc.get_objects())
