"""A reader of the source keeps its lease while it waits; given back, it is free."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
from polling_world import World

from claimx.adapters.memory.gates import MemoryGates
from claimx.domain.errors import Unavailable
from claimx.services.poll import poll_once
from claimx.services.poll_report import Stop
from claimx.services.reader_lease import ReaderLease

NAME = "poll:live"
SECONDS = 0.3


class Gates(MemoryGates):
    """Gates whose time a test moves on, as fast as the holder "one" looks after its lease."""

    def __init__(self) -> None:
        self.time = 100.0
        self.asked = 0
        super().__init__(lambda: self.time)

    def lock(self, name: str, holder: str, seconds: float) -> int | None:
        try:
            return super().lock(name, holder, seconds)
        finally:
            self.asked += holder == "one"

    def looked_after(self) -> None:
        """Wait for three looks: one may be under way, and one may fail."""
        enough = self.asked + 3
        until(lambda: self.asked >= enough)

    def go_on(self, leases: float) -> None:
        """Let so many times a lease's length pass."""
        for _ in range(round(leases / 0.5)):
            self.time += SECONDS / 2
            self.looked_after()

    def is_anothers(self) -> None:
        """Let another have the lease: it ran out, while the machine was suspended."""
        self._locks[NAME] = ("other", 9, self.time + 60.0)


def until(look: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not look():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.fixture
def world() -> World:
    """A world whose leases run out when its gates' time goes on."""
    world = World(reader_lease=SECONDS)
    world.gates = Gates()
    return world


def test_a_lease_is_kept_for_as_long_as_its_holder_waits(world: World):
    """
    Kusto may take minutes for a query.

    Each poll that finds the lease free waits for it as well: four of them, and a worker of four
    children does nothing else.
    """
    with ReaderLease(world.runtime(), NAME) as lease:
        assert lease.held
        world.gates.go_on(3.0)  # it asks the source, and renews nothing
        with ReaderLease(world.runtime("other"), NAME) as second:
            assert not second.held
        assert lease.renewed()


def test_a_lease_is_kept_on_after_something_unforeseen(world: World):
    class Failing(Gates):
        def lock(self, name: str, holder: str, seconds: float) -> int | None:
            if self.asked == 1 and holder == "one":
                self.asked += 1
                raise RuntimeError("unforeseen")
            return super().lock(name, holder, seconds)

    world.gates = Failing()
    with ReaderLease(world.runtime(), NAME):
        world.gates.go_on(3.0)
        with ReaderLease(world.runtime("other"), NAME) as second:
            assert not second.held


def test_a_poll_ends_at_once_while_another_waits_for_the_source(world: World):
    """It must not take a child of its own."""
    with ReaderLease(world.runtime(), NAME):
        world.gates.go_on(2.0)
        report = poll_once(world.runtime("other"))

    assert report.stopped is Stop.BUSY
    assert not world.source.calls


def test_a_lease_that_was_given_back_is_free_at_once(world: World):
    """The thread that kept it must not take it again."""
    for _ in range(3):
        with ReaderLease(world.runtime(), NAME):
            time.sleep(SECONDS / 3)  # about when the thread renews it
        with ReaderLease(world.runtime("other"), NAME) as second:
            assert second.held


def test_a_lease_is_given_back_when_its_holder_fails(world: World):
    """A poll that a time limit ends may be followed by the next one."""
    with pytest.raises(KeyboardInterrupt), ReaderLease(world.runtime(), NAME):
        raise KeyboardInterrupt
    with ReaderLease(world.runtime("other"), NAME) as second:
        assert second.held


def test_a_holder_that_gets_nowhere_loses_its_lease_in_the_end(world: World):
    """A command that hangs for ever must not keep all others from the source."""
    with ReaderLease(world.runtime(), NAME, keep_seconds=0.0):
        until(lambda: not _threads())
        world.gates.time += 1.5 * SECONDS
        with ReaderLease(world.runtime("other"), NAME) as second:
            assert second.held


def test_a_lease_that_another_has_got_is_not_taken_from_it(world: World):
    """After a machine was suspended there may be another reader."""
    with ReaderLease(world.runtime(), NAME) as lease:
        world.gates.is_anothers()
        until(lambda: not _threads())

        assert not lease.renewed()
    assert world.gates.lock(NAME, "third", 1.0) is None


def test_its_thread_ends_as_soon_as_another_has_it(world: World):
    """Not a lease's length later: its answer is certain."""
    with ReaderLease(world.runtime(), NAME):
        world.gates.is_anothers()
        before = world.gates.asked
        until(lambda: not _threads())

        assert world.gates.asked - before <= 2  # the first may have been under way


@pytest.mark.parametrize("leases", [0.5, 3.0])
def test_a_store_that_is_away_loses_no_lease_that_nobody_has_got(world: World, leases: float):
    """Its holder may wait for the source all the while, and longer than the lease."""
    with ReaderLease(world.runtime(), NAME):
        world.gates.away = True
        world.gates.go_on(leases)
        world.gates.away = False
        world.gates.looked_after()
        with ReaderLease(world.runtime("other"), NAME) as second:
            assert not second.held


def test_a_reader_that_the_next_one_follows_does_not_wait_for_a_store(world: World):
    world.gates.away = True
    with pytest.raises(Unavailable), ReaderLease(world.runtime(), NAME):
        pass
    assert not _threads()

    world.gates.away = False
    with ReaderLease(world.runtime(), NAME) as lease:
        world.gates.away = True
        with pytest.raises(Unavailable):
            lease.renewed()
        world.gates.away = False
        assert lease.renewed()


def test_a_reader_that_can_sleep_waits_for_a_store_and_not_for_another_reader(world: World):
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        world.gates.away = sum(slept) < 20

    world.gates.away = True
    with ReaderLease(world.runtime(), NAME, sleep=sleep) as lease:
        assert lease.held
        assert 20 <= sum(slept) <= 25
        slept.clear()
        world.gates.away = True
        assert lease.renewed()
        assert slept
        slept.clear()
        with ReaderLease(world.runtime("other"), NAME, sleep=sleep) as second:
            assert not second.held
    assert not slept


def test_its_thread_ends_with_it(world: World):
    """A worker polls thousands of times a day."""
    with ReaderLease(world.runtime(), NAME):
        pass

    until(lambda: not _threads())


def _threads() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name == f"lease-{NAME}"]
