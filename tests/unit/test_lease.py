"""A lease that another has is lost at once; a store that is away is waited for, so long."""

from __future__ import annotations

import pytest

from claimx.adapters.memory.gates import MemoryGates
from claimx.domain.errors import Unavailable
from claimx.services.lease import AWAY_SECONDS, LONGEST_PAUSE_SECONDS, Lease, outlast


class Wall:
    """A clock that sleeping moves, and a store that comes back at some time of it."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.back = 0.0
        self.gates = MemoryGates(lambda: self.now)

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.gates.away = self.now < self.back

    def goes_away(self, seconds: float) -> None:
        self.gates.away, self.back = True, self.now + seconds


@pytest.fixture
def wall() -> Wall:
    return Wall()


def no_sleep(_seconds: float) -> None:
    raise AssertionError("slept")


def test_a_lease_that_another_has_taken_over_is_lost_without_waiting(wall):
    lease = Lease(wall.gates, "job", "me", 10)
    assert lease.keep(no_sleep)
    wall.now += 11
    assert wall.gates.lock("job", "another", 60) is not None

    assert not lease.keep(no_sleep)
    assert not lease.take()


class AnswersLost(MemoryGates):
    """Gives a lease, and does not say so, while *lost* is set."""

    lost = True

    def lock(self, name: str, holder: str, seconds: float) -> int | None:
        fence = super().lock(name, holder, seconds)
        if self.lost:
            raise Unavailable("timed out")
        return fence


def test_a_lease_that_was_got_without_an_answer_holds_up_nobody(wall):
    """A recovery that never began kept the next ones out for five minutes."""
    gates = AnswersLost(lambda: wall.now)
    lease = Lease(gates, "job", "me", 300)
    with pytest.raises(Unavailable):
        lease.take()

    gates.lost = False

    assert Lease(gates, "job", "another", 300).take()


def test_a_lease_that_was_extended_without_an_answer_is_kept(wall):
    gates = AnswersLost(lambda: wall.now)
    gates.lost = False
    lease = Lease(gates, "job", "me", 300)
    assert lease.take()
    gates.lost = True
    with pytest.raises(Unavailable):
        lease.take()

    gates.lost = False

    assert not Lease(gates, "job", "another", 300).take()


@pytest.mark.parametrize("seconds", [1.0, 30.0, AWAY_SECONDS - 1])
def test_a_store_that_comes_back_is_asked_within_seconds(wall, seconds):
    lease = Lease(wall.gates, "job", "me", 300)
    lease.take()
    fence = lease.fence
    wall.goes_away(seconds)

    assert lease.keep(wall.sleep)
    assert wall.now - wall.back <= LONGEST_PAUSE_SECONDS
    assert lease.fence == fence


def test_one_that_another_got_meanwhile_is_lost_as_soon_as_the_store_is_back(wall):
    lease = Lease(wall.gates, "job", "me", 10)
    lease.take()
    wall.goes_away(30)

    def sleep(seconds: float) -> None:
        wall.sleep(seconds)
        if not wall.gates.away:
            assert wall.gates.lock("job", "another", 60) is not None

    assert not lease.keep(sleep)
    assert wall.now - wall.back <= LONGEST_PAUSE_SECONDS


def test_a_fence_never_gets_less_and_grows_with_every_take(wall):
    lease = Lease(wall.gates, "job", "me", 10)
    assert lease.fence == 0
    lease.take()
    first = lease.fence
    lease.take()
    extended = lease.fence
    wall.now += 11
    lease.take()

    assert 0 < first == extended < lease.fence
    lease.give_back()
    assert wall.gates.lock("job", "another", 1) == lease.fence + 1


def test_a_store_that_stays_away_is_an_error_that_says_how_long_it_was_waited_for(wall):
    lease = Lease(wall.gates, "job", "me", 10)
    wall.goes_away(float("inf"))

    with pytest.raises(Unavailable, match=r"whose the lease job is \(waited for 120 s\)"):
        lease.keep(wall.sleep)
    assert wall.now == pytest.approx(1000.0 + AWAY_SECONDS, abs=0.1)


def test_questions_that_a_store_holds_for_long_count_as_waiting(monkeypatch):
    """The ledger's client gives up on a Redis that stands still after two minutes, each time."""
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])

    def ask() -> None:
        clock[0] += AWAY_SECONDS / 2
        raise Unavailable("no answer")

    with pytest.raises(Unavailable):
        outlast(ask, lambda _: None)
    assert clock[0] == AWAY_SECONDS


def test_what_is_no_absence_is_raised_at_once():
    def ask() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        outlast(ask, no_sleep)
