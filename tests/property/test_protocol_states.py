"""
Every state of the smallest pipelines, over the ledger itself: nothing wrong, nothing stuck.

A breadth-first search (`protocol.search`): one page, one or two events, perhaps a media file, one
to three workers, a lake writer; claims, outcomes, crashes, leases that end, the redriver, requeues,
rows refused or parked, Redis put back and emptied. In each state: no record forgotten, held twice
or finished twice; the counters add up; the indices fit; and if everybody dies now, healthy
processes can still finish everything.

About 50,000 states. Two of the pipelines are searched to the end. Of the others all states within
so many steps of the beginning are.
"""

from __future__ import annotations

import pytest
from protocol.search import Search
from protocol.small_world import Bounds


@pytest.mark.parametrize(
    ("bounds", "states"),
    [
        (Bounds(with_media=False, workers=3), 1865),
        (Bounds(events=("a", "b"), with_media=False), 16_769),
    ],
    ids=["three workers", "two events"],
)
def test_no_state_of_a_small_pipeline_is_wrong_or_stuck(bounds: Bounds, states: int):
    visited = Search(bounds, most=100_000).run()

    assert visited.complete
    assert visited.states >= states, "the search has become smaller"


@pytest.mark.parametrize(
    ("bounds", "states", "depth"),
    [
        (Bounds(), 10_000, 14),
        (Bounds(with_media=False, losses=True), 10_000, 13),
        (Bounds(losses=True, outcomes=("advance", "bury", "crash")), 10_000, 10),
        (Bounds(events=("a", "b"), workers=2), 5_000, 9),
    ],
    ids=["a media file", "losses", "losses and a media file", "all of it"],
)
def test_no_state_near_the_beginning_is_wrong_or_stuck(bounds: Bounds, states: int, depth: int):
    visited = Search(bounds, most=states).run()

    assert visited.states == states, "the search has become smaller"
    assert visited.depth >= depth
