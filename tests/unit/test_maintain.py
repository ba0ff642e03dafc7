from __future__ import annotations

import pytest
from celery import Celery
from polling_world import World
from structlog.testing import capture_logs

from claimx.adapters.memory.gates import MemoryGates
from claimx.domain.errors import Unavailable
from claimx.domain.tables import MEDIA, TABLES, TASKS
from claimx.services.maintain import maintain_lake
from claimx.tasks.operations import maintain


class CountingLake:
    """Notes what it was asked to look after; *then* happens after each table."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, bool]] = []
        self.then = lambda: None

    def maintain(self, table, *, full=False):
        self.asked.append((table.name, full))
        self.then()
        return f"{table.name} done"


@pytest.fixture
def gates():
    return MemoryGates(lambda: 0.0)


def test_every_table_is_looked_after_and_the_lease_given_back(gates):
    lake = CountingLake()

    done = maintain_lake(lake, gates, "me")

    assert done == {name: f"{name} done" for name in TABLES}
    assert gates.lock("maintenance", "other", 1.0) is not None


def test_only_one_maintains_at_a_time(gates):
    lake = CountingLake()
    gates.lock("maintenance", "other", 60.0)

    assert maintain_lake(lake, gates, "me") == {}
    assert lake.asked == []


def test_who_lost_the_lease_stops(gates):
    lake = CountingLake()

    def stolen() -> None:
        gates.unlock("maintenance", "me")
        gates.lock("maintenance", "other", 60.0)

    lake.then = stolen

    assert list(maintain_lake(lake, gates, "me", (MEDIA, TASKS))) == [MEDIA.name]


def test_who_cannot_ask_for_the_lease_is_told_so_and_does_nothing_more(gates):
    """An operator's command must not say that another process is at it."""
    lake = CountingLake()

    def away() -> None:
        gates.away = True

    lake.then = away

    with pytest.raises(Unavailable):
        maintain_lake(lake, gates, "me", (MEDIA, TASKS))
    assert lake.asked == [(MEDIA.name, False)]


def test_the_lease_is_given_back_when_something_breaks(gates):
    lake = CountingLake()

    def broken() -> None:
        raise RuntimeError

    lake.then = broken

    with pytest.raises(RuntimeError):
        maintain_lake(lake, gates, "me")
    assert gates.lock("maintenance", "other", 1.0) is not None


def test_its_task_leaves_to_the_next_run_what_redis_cannot_say():
    """No traceback of a task that beat sends again anyway, and one more among the failures."""
    world = World()
    world.gates.away = True
    with Celery("test", set_as_current=False) as app:
        app.claimx_runtime = world.runtime
        with capture_logs() as told:
            app.tasks[maintain.name]()

    assert [line["event"] for line in told] == ["maintenance ends; the next run goes on"]
    assert world.metrics.values["failed", ("maintenance", "TRANSIENT")] == 1


def test_full_upkeep_is_handed_on(gates):
    lake = CountingLake()

    maintain_lake(lake, gates, "me", (MEDIA,), full=True)

    assert lake.asked == [(MEDIA.name, True)]
