"""The collector is set once, and what was there before stays out of its looks."""

from __future__ import annotations

import gc

import pytest

from claimx import garbage


@pytest.fixture(autouse=True)
def _as_before():
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


def test_what_is_imported_is_left_out_and_new_objects_are_looked_at_less_often():
    garbage.settle()

    assert gc.get_freeze_count() > 10_000
    assert gc.get_threshold()[0] == garbage.THRESHOLDS[0] > 700
    assert gc.isenabled(), "cycles of libraries must still go"
