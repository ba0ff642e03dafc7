"""The contract of `claimx.domain.ports.ledger.Ledger`: what a cursor sets aside."""

from __future__ import annotations

from ledger_rig import (
    page,
)

from claimx.domain.cursors import Checkpoint, Gap


def test_a_gap_is_kept_in_the_step_that_moves_the_checkpoint(rig):
    moved = rig.ledger.store_page("live", None, 100, [])

    aside = rig.ledger.set_aside("live", moved, Gap(90, 500, 12), 8)

    assert aside == rig.second().checkpoint("live") == Checkpoint(500, aside.version)
    assert aside.version > moved.version
    assert rig.second().gaps("live") == [Gap(90, 500, 12)]
    assert rig.ledger.gaps("backfill") == []


def test_of_two_pollers_that_set_aside_the_second_keeps_and_moves_nothing(rig):
    """It decided on a checkpoint that is no longer, or holds a lease that ran out."""
    moved = rig.ledger.store_page("live", None, 100, [], fence=5)
    aside = rig.ledger.set_aside("live", moved, Gap(100, 500), 8, fence=6)

    assert rig.second().set_aside("live", moved, Gap(100, 600), 8, fence=7) is None
    assert rig.second().set_aside("live", None, Gap(0, 600), 8, fence=7) is None
    assert rig.second().set_aside("live", aside, Gap(100, 600), 8, fence=5) is None
    assert rig.second().store_page("live", moved, 600, [page("a")], fence=7) is None
    assert rig.ledger.gaps("live") == [Gap(100, 500)]
    assert rig.ledger.checkpoint("live") == aside


def test_the_first_start_may_set_aside(rig):
    assert rig.ledger.set_aside("live", None, Gap(5, 500), 8).source_time == 500


def test_gaps_come_oldest_first_and_are_closed_one_by_one(rig):
    at = rig.ledger.set_aside("live", None, Gap(900, 1000), 8)
    at = rig.ledger.set_aside("live", at, Gap(1500, 2000, 3), 8)
    rig.ledger.store_page(Gap(900, 0).reader, None, 950, [])

    read = rig.ledger.checkpoint(Gap(900, 0).reader)
    assert rig.ledger.close_gap("live", Gap(900, 1000), read)

    assert rig.ledger.gaps("live") == [Gap(1500, 2000, 3)]
    assert rig.ledger.checkpoint(Gap(900, 0).reader) is None, "its reader is forgotten with it"
    assert not rig.ledger.close_gap("live", Gap(900, 1000), None)


def test_a_gap_stays_when_its_reader_is_not_where_it_was_read_to(rig):
    """An older copy was put back before it is closed: its pages are lost, and are read again."""
    rig.ledger.set_aside("live", None, Gap(900, 1000), 8)
    reader = Gap(900, 1000).reader
    earlier = rig.ledger.store_page(reader, None, 930, [])
    read = rig.ledger.store_page(reader, earlier, 990, [])

    for wrong in (None, earlier, Checkpoint(991, read.version)):
        assert not rig.ledger.close_gap("live", Gap(900, 1000), wrong)

    assert rig.ledger.gaps("live") == [Gap(900, 1000)]
    assert rig.ledger.close_gap("live", Gap(900, 1000), read)


def test_a_gap_is_set_aside_only_from_the_very_checkpoint_that_was_decided_on(rig):
    """As pages are: after an older copy was put back, other moves may lead to the same version."""
    at = rig.ledger.store_page("live", None, 100, [])

    assert rig.ledger.set_aside("live", Checkpoint(90, at.version), Gap(90, 500), 8) is None
    assert rig.ledger.gaps("live") == []


def test_setting_aside_moves_no_checkpoint_back(rig):
    at = rig.ledger.store_page("live", None, 600, [])

    moved = rig.ledger.set_aside("live", at, Gap(90, 500), 8)

    assert moved.source_time == 600
    assert rig.ledger.checkpoint("live") == moved


def test_what_is_left_of_a_gap_can_be_noted(rig):
    rig.ledger.set_aside("live", None, Gap(5, 500, 70), 8)

    assert rig.ledger.recount_gap("live", Gap(5, 500), 40)
    assert rig.ledger.gaps("live") == [Gap(5, 500, 40)]
    assert not rig.ledger.recount_gap("live", Gap(6, 500), 1)
    assert not rig.ledger.recount_gap("live", Gap(5, 499), 1)


def test_too_many_gaps_are_one_with_what_lies_between(rig):
    """Reading again what was read between two of them is cheap: it is known."""
    at = None
    for begin in (100, 300, 500):
        at = rig.ledger.set_aside("live", at, Gap(begin, begin + 50, 1), 2)

    assert rig.ledger.gaps("live") == [Gap(100, 150, 1), Gap(300, 550, 2)]


def test_one_gap_too_many_goes_into_the_newest_whichever_was_kept_last(rig):
    """Into an older one, it would cover what lies between, and be read before what is older."""
    at = None
    for begin in (300, 500, 100):
        at = rig.ledger.set_aside("live", at, Gap(begin, begin + 50, 1), 3)

    rig.ledger.set_aside("live", at, Gap(510, 520, 1), 3)

    assert rig.ledger.gaps("live") == [Gap(100, 150, 1), Gap(300, 350, 1), Gap(500, 550, 2)]


def test_a_gap_that_was_extended_is_not_closed_by_who_read_it_before(rig):
    at = rig.ledger.set_aside("live", None, Gap(100, 150), 1)
    rig.ledger.store_page(Gap(100, 0).reader, None, 150, [])
    rig.ledger.set_aside("live", at, Gap(300, 350), 1)

    assert not rig.ledger.close_gap(
        "live", Gap(100, 150), rig.ledger.checkpoint(Gap(100, 150).reader)
    )
    assert rig.ledger.gaps("live") == [Gap(100, 350)]
    assert rig.ledger.checkpoint(Gap(100, 0).reader).source_time == 150, "it goes on from there"


def test_a_reader_that_is_past_the_begin_of_what_comes_to_its_gap_goes_back(rig):
    """The overlap of the live poll, for rows that came late, reaches into the gap before it."""
    at = rig.ledger.set_aside("live", None, Gap(100, 150), 1)
    read = rig.ledger.store_page(Gap(100, 0).reader, None, 150, [])
    rig.ledger.set_aside("live", at, Gap(120, 350), 1)

    assert rig.ledger.gaps("live") == [Gap(100, 350)]
    assert rig.ledger.checkpoint(Gap(100, 0).reader).source_time == 120
    assert rig.ledger.store_page(Gap(100, 0).reader, read, 160, [page("stale")]) is None


def test_a_gap_that_begins_with_a_kept_one_extends_it(rig):
    at = rig.ledger.set_aside("live", None, Gap(100, 150, 5), 8)
    rig.ledger.set_aside("live", at, Gap(100, 350, 6), 8)

    assert rig.ledger.gaps("live") == [Gap(100, 350, 11)]


def test_a_gap_is_read_from_its_begin_whatever_an_older_one_has_left(rig):
    """A reader that was very late stored its first page after the gap was closed."""
    rig.ledger.store_page(Gap(100, 0).reader, None, 140, [])

    rig.ledger.set_aside("live", None, Gap(100, 150), 8)

    assert rig.ledger.checkpoint(Gap(100, 0).reader) is None


def test_a_gap_that_begins_before_the_newest_of_too_many_takes_its_place(rig):
    at = rig.ledger.set_aside("live", None, Gap(100, 150, 5), 1)
    rig.ledger.store_page(Gap(100, 0).reader, None, 150, [])
    rig.ledger.set_aside("live", at, Gap(90, 350, 6), 1)

    assert rig.ledger.gaps("live") == [Gap(90, 350, 11)]
    assert rig.ledger.checkpoint(Gap(90, 0).reader) is None
    assert rig.ledger.checkpoint(Gap(100, 0).reader) is None
