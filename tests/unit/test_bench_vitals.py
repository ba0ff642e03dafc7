"""What a soak says of growth."""

from __future__ import annotations

import os

from pipelines.vitals import Sample, Vitals, growth, vitals_of


def test_growth_is_between_the_medians_of_an_early_and_a_late_part():
    """One great flush is no growth, nor are the start and the end."""
    sizes = {
        0.0: 1.0,
        0.3: 50.0,
        0.35: 900.0,
        0.4: 52.0,
        0.8: 60.0,
        0.85: 62.0,
        0.9: 61.0,
        1.0: 5.0,
    }
    samples = [Sample(at, {"writer": [Vitals(mb, 10, 4)]}) for at, mb in sizes.items()]

    assert growth(samples) == {"writer": {"rss_mb": (52, 61), "files": (10, 10), "threads": (4, 4)}}


def test_of_several_processes_of_a_kind_the_largest_counts():
    look = {"child": [Vitals(50, 10, 4), Vitals(70, 9, 5)]}
    samples = [Sample(at, look) for at in (0.3, 0.8)]

    assert growth(samples)["child"]["rss_mb"] == (70, 70)


def test_a_process_that_was_not_there_all_the_time_is_left_out():
    samples = [Sample(0.3, {}), Sample(0.8, {"late": [Vitals(1, 1, 1)]})]

    assert growth(samples) == {}


def test_a_process_is_looked_at_from_outside():
    mine = vitals_of(os.getpid())

    assert mine is not None
    assert mine.rss_mb > 1
    assert min(mine.files, mine.threads) >= 1
    assert vitals_of(2**22 + 1) is None
