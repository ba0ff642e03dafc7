"""What gets in the way of a poll: what is away, slow, or changed meanwhile."""

from __future__ import annotations

from typing import Any

from polling_world import World

from claimx.adapters.memory.lake import MemoryLake
from claimx.adapters.memory.ledger import MemoryLedger
from claimx.domain.errors import Unavailable
from claimx.services.poll import poll_once


def having_read(name: str, seconds_ago: float) -> World:
    """Return a world with an overlap of 300 s, whose one row was read and admitted."""
    world = World(poll_overlap=300.0)
    world.happened(name, seconds_ago=seconds_ago)
    poll_once(world.runtime())
    world.ingest()
    return world


class SlowLake(MemoryLake):
    """A lake whose look-ups take *seconds*, by default longer than a poll may."""

    def __init__(self, world: World, seconds: float = 30.0) -> None:
        super().__init__()
        self._world = world
        self._seconds = seconds

    def recent_events(self, since, until, limit):
        self._world.clock += self._seconds
        return super().recent_events(since, until, limit)


class FailingAfter:
    """A ledger that goes away after it stored some pages."""

    def __init__(self, ledger: MemoryLedger, good_pages: int) -> None:
        self._ledger = ledger
        self._left = good_pages

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    def store_page(self, cursor: str, expected: Any, move_to: Any, pages: Any, *more: Any):
        if pages or self._left == 0:
            if self._left == 0:
                raise Unavailable("Redis is away")
            self._left -= 1
        return self._ledger.store_page(cursor, expected, move_to, pages, *more)


class AtNewRows:
    """A source to which something happens before it answers with rows after a time."""

    def __init__(self, source: Any, reached: int, happens: Any) -> None:
        self._source = source
        self._reached = reached
        self._happens = happens

    def count(self, *args: Any) -> int:
        return self._source.count(*args)

    def page(self, after: int, *more: Any) -> list[dict[str, Any]]:
        if after >= self._reached:
            happens, self._happens = self._happens, lambda: None
            happens()
        return self._source.page(after, *more)


def source_away() -> None:
    raise Unavailable("the source is away")


class SlowSource:
    """A source whose answers take some seconds."""

    def __init__(self, world: World, seconds: float) -> None:
        self._world = world
        self._seconds = seconds

    def count(self, *args: Any) -> int:
        return self._world.source.count(*args)

    def page(self, *args: Any) -> list[dict[str, Any]]:
        rows = self._world.source.page(*args)
        self._world.clock += self._seconds
        return rows
