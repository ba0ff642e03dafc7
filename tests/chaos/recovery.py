"""How long it takes until what a trouble held up moves on, without anyone doing anything."""

from __future__ import annotations

import contextlib
import json
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import redis

from claimx.domain.records import Stage

LEASE_SECONDS = 60  # longer than any lease of a record
WATCHED_SECONDS = 60.0  # then it counts as this long
ROOT = "{claimx:0}"
BEAT_ENTRY = "claimx:redbeat:redrive"

# of a record's packed facts, see lua/common.lua
_LEASE_OF = """
local function lease_of(facts) return (select(5, struct.unpack('<sssds', facts))) end
"""

# KEYS: root; ARGV: seconds, stages -> {id, lease} of every record that somebody holds: the ledger
# looks at those again when their lease ends, within so many seconds
_HELD = """
local found = {}
local time = redis.call('TIME')
local now = tonumber(time[1])
for at = 2, #ARGV do
  local key = KEYS[1] .. ':look:' .. ARGV[at]
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', key, now - 1, now + ARGV[1])) do
    local m = redis.call('HGET', KEYS[1] .. ':record:facts', id)
    local lease = m and lease_of(m) or ''
    if lease ~= '' then
      found[#found + 1] = id
      found[#found + 1] = lease
    end
  end
end
return found
"""

# KEYS: root; ARGV: ids -> the lease of each, '' for none
_LEASES = """
local found = {}
for at, id in ipairs(ARGV) do
  local m = redis.call('HGET', KEYS[1] .. ':record:facts', id)
  found[at] = m and lease_of(m) or ''
end
return found
"""


class Held:
    """Which records are leased, and by which process: a lease names it as ``host:pid:number``."""

    def __init__(self, client: redis.Redis) -> None:
        self._script = client.register_script(_LEASE_OF + _HELD)
        self._leases = client.register_script(_LEASE_OF + _LEASES)

    def now(self) -> dict[str, str]:
        """Return the lease of every record that is held."""
        stages = [stage.value for stage in Stage]
        arguments = [LEASE_SECONDS, *stages]
        flat = [part.decode() for part in self._script(keys=[ROOT], args=arguments)]
        return dict(zip(flat[::2], flat[1::2], strict=True))

    def by(self, pids: Sequence[int]) -> dict[str, str]:
        """Return the records that these processes hold."""
        wanted = {str(pid) for pid in pids}
        return {one: lease for one, lease in self.now().items() if lease.split(":")[-2] in wanted}

    def still(self, leases: dict[str, str]) -> dict[str, str]:
        """Return those of *leases*, by record, that are still held."""
        found = self._leases(keys=[ROOT], args=list(leases)) if leases else []
        pairs = zip(leases.items(), found, strict=True)
        return {one: lease for (one, lease), now in pairs if now.decode() == lease}


@dataclass(slots=True)
class Watch:
    """What should move on again; *kind* is whose kill it was, *moved* says that it did."""

    kind: str
    moved: Callable[[], bool]
    since: float
    tainted: bool = False


@dataclass(slots=True)
class Recoveries:
    """
    Recoveries under way, and the seconds that those which are over took, by kind.

    One that something else got into (Redis away, another process of its type killed as well, a
    server that fails) is *tainted*: it must come to its end, but its time says nothing.
    """

    watches: list[Watch] = field(default_factory=list)
    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    tainted: int = 0
    late: list[str] = field(default_factory=list)

    def watch(self, kind: str, moved: Callable[[], bool]) -> None:
        """Begin to watch."""
        self.watches.append(Watch(kind, moved, time.monotonic()))

    def taint(self, kind: str = "") -> None:
        """Note that something got into the recoveries of *kind* (empty: of all)."""
        for watch in self.watches:
            watch.tainted = watch.tainted or not kind or watch.kind == kind

    def look(self) -> None:
        """Look at all that are under way."""
        with contextlib.suppress(redis.RedisError):  # one that does not answer: look again later
            for watch in list(self.watches):
                took = time.monotonic() - watch.since
                if not watch.moved():
                    if took < WATCHED_SECONDS:
                        continue
                    self.late.append(watch.kind)
                self.watches.remove(watch)
                if watch.tainted:
                    self.tainted += 1
                else:
                    self.seconds[watch.kind].append(min(took, WATCHED_SECONDS))

    def all(self) -> list[float]:
        """Return every recovery's seconds, the shortest first."""
        return sorted(took for seconds in self.seconds.values() for took in seconds)


def leases_gone(held: Held, leases: dict[str, str]) -> Callable[[], bool]:
    """Return what says that nobody waits for these leases any more; each look costs little."""
    left = dict(leases)

    def moved() -> bool:
        nonlocal left
        left = held.still(left)
        return not left

    return moved


def ticks(client: redis.Redis) -> int:
    """Return how often beat has started the redriver since its schedule began."""
    raw: Any = client.hget(BEAT_ENTRY, "meta")
    return int(json.loads(raw).get("total_run_count", 0)) if raw else 0


def ticked_on(client: redis.Redis) -> Callable[[], bool]:
    """Return what says that beat ticks again."""
    before = ticks(client)

    def moved() -> bool:
        now = ticks(client)
        return now > before or now < before  # a schedule that was lost begins anew

    return moved


def settled(client: redis.Redis) -> dict[bytes, bytes]:
    """Return the counters of the ledger."""
    found: Any = client.hgetall(f"{ROOT}:n")
    return {name: value for name, value in found.items() if not name.startswith(b"walk")}


def work_moves(client: redis.Redis) -> Callable[[], bool]:
    """Return what says that some record has changed its state since the first look."""
    seen: list[dict[bytes, bytes]] = []

    def moved() -> bool:
        now = settled(client)
        if not seen:
            seen.append(now)
        return now != seen[0]

    return moved
