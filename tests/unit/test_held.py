"""What a lake writer holds: its leases are renewed in time, and what it lost is let go."""

from __future__ import annotations

from typing import Any

import pytest
from ledger_rig import Rig, memory_rig
from structlog.testing import capture_logs

from claimx.domain.errors import Unavailable
from claimx.domain.records import Advance, Stage
from claimx.services.flush import Item
from claimx.services.held import HeldItems

LEASE = 9.0


@pytest.fixture
def rig() -> Rig:
    return memory_rig()


def holding(rig: Rig, *names: str) -> tuple[HeldItems, _Asked]:
    """Return what holds the rows of these events, and the ledger that it asks."""
    for name in names:
        rig.ledger.settle([Advance(rig.one(name), Stage.WRITE, {}, b"rows")])
    asked = _Asked(rig.ledger)
    held: Any = HeldItems(asked, rig.clock, LEASE)
    entries = {record_id: entry for entry, record_id in rig.read()}
    records = rig.claim(Stage.WRITE, *entries, seconds=LEASE)
    held.add([Item(entries[record.id], record, []) for record in records])
    return held, asked


def test_leases_are_renewed_once_in_a_third_of_their_time(rig):
    """Each is a round trip for every 500 records, and a step asks many times a second."""
    held, asked = holding(rig, "a")

    for _ in range(60):
        rig.clock.pass_(0.5)
        held.keep_leases()

    assert asked.renewals == 10
    assert rig.claim(Stage.WRITE, "e:a") == []


def test_leases_that_are_late_are_renewed_all_the_same(rig):
    """A step took long: they ran out, and are still ours if nobody took the records."""
    held, _ = holding(rig, "a")
    rig.clock.pass_(LEASE + 1)

    held.keep_leases()

    assert len(held) == 1
    assert rig.claim(Stage.WRITE, "e:a") == []


def test_a_clock_that_was_set_back_does_not_put_renewals_off(rig):
    held, asked = holding(rig, "a")
    rig.clock.pass_(-3600)

    held.keep_leases()

    assert asked.renewals == 1


def test_nothing_held_costs_no_renewal(rig):
    held, asked = holding(rig)
    rig.clock.pass_(LEASE)

    held.keep_leases()

    assert asked.renewals == 0


def test_what_another_has_by_now_is_let_go_and_told(rig):
    held, _ = holding(rig, "a", "b", "c")
    rig.clock.pass_(LEASE)
    rig.claim(Stage.WRITE, "e:b")

    with capture_logs() as lines:
        held.keep_leases()

    assert [item.record.id for item in held.items] == ["e:a", "e:c"]
    assert held.rows == 2
    assert [(line["event"], line["count"]) for line in lines] == [("leases lost", 1)]


def test_leases_that_hold_are_no_line(rig):
    held, _ = holding(rig, "a", "b")
    rig.clock.pass_(LEASE / 3)

    with capture_logs() as lines:
        held.keep_leases()

    assert (len(held), lines) == (2, [])


def test_in_the_midst_of_a_flush_they_are_renewed_as_well(rig):
    held, asked = holding(rig, "a")
    rig.clock.pass_(LEASE / 3)

    held.keep_leases_quietly()

    assert asked.renewals == 1


def test_a_flush_goes_on_while_leases_cannot_be_renewed_and_they_are_tried_again(rig):
    held, asked = holding(rig, "a")
    rig.clock.pass_(LEASE / 3)
    asked.away = True
    held.keep_leases_quietly()
    assert len(held) == 1
    with pytest.raises(Unavailable):
        held.keep_leases()
    asked.away = False

    held.keep_leases_quietly()

    assert asked.renewals == 1


class _Asked:
    """A ledger that counts renewals, and may be away."""

    def __init__(self, ledger: Any) -> None:
        self._ledger = ledger
        self.renewals = 0
        self.away = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    def renew(self, *arguments: Any) -> set[str]:
        if self.away:
            raise Unavailable("away")
        self.renewals += 1
        found: set[str] = self._ledger.renew(*arguments)
        return found
