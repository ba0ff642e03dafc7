"""The ledger's scripts run in one Redis; whatever goes wrong there is Unavailable, and says why."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import redis
from redis.commands.core import Script

from claimx.adapters.ledger.scripts import NAMES, source_of
from claimx.adapters.ledger.wire import Argument
from claimx.domain.errors import Unavailable


class Connection:
    """
    A client of Redis, the ledger's keys below *root*, and its scripts.

    *clock* stands in for the server's in tests. Everything raises Unavailable when Redis does not
    answer or refuses to write.
    """

    def __init__(
        self, client: redis.Redis, root: str, clock: Callable[[], float] | None = None
    ) -> None:
        self._client = client
        self._root = root
        self._clock = clock
        self._host = _host_of(client)
        self._scripts: dict[str, Script] = {
            name: client.register_script(source_of(name)) for name in NAMES
        }

    def run(self, name: str, *arguments: Argument) -> Any:
        """Run a script; returns what it answers."""
        now = "" if self._clock is None else repr(self._clock())
        with self._translated():
            return self._scripts[name](keys=[self._root], args=[now, *arguments])

    def greet(self) -> None:
        """Raise Unavailable unless Redis answers, be it that it takes no writes."""
        with self._translated():
            self._client.ping()

    def ping(self) -> None:
        """Raise Unavailable unless Redis answers and accepts writes."""
        self.greet()
        with self._translated():
            self._client.set(f"{self._root}:ping", b"", ex=60)

    def now(self) -> float:
        """Return the server's time in epoch seconds."""
        if self._clock is not None:
            return self._clock()
        with self._translated():
            seconds, micros = self._client.time()
        return float(seconds) + float(micros) / 1_000_000

    def fields(self, key: str, *names: str) -> list[bytes | None]:
        """Return fields of the hash *key* (below the root), None for those it lacks."""
        with self._translated():
            found: Any = self._client.hmget(f"{self._root}:{key}", list(names))
        return list(found)

    def wait_for_entries(
        self, key: str, group: str, consumer: str, count: int, seconds: float
    ) -> list[tuple[bytes, dict[bytes, bytes]]]:
        """Block for new entries of the stream *key*: a command, since scripts cannot wait."""
        with self._translated():
            found: Any = self._client.xreadgroup(
                group,
                consumer,
                {f"{self._root}:{key}": ">"},
                count=count,
                block=max(1, round(seconds * 1000)),
            )
        streams = found.values() if isinstance(found, dict) else [s[1] for s in found or ()]
        return [entry for entries in streams for entry in _flat(entries)]

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except redis.RedisError as error:
            reason = f"Redis at {self._host} (REDIS_URL): {_why(error)}"
            raise Unavailable(reason, host=self._host) from error


def _host_of(client: redis.Redis) -> str:
    """Return what to call the server in messages; never a password."""
    pool = client.connection_pool
    service = getattr(pool, "service_name", None)
    if service:
        return f"sentinel:{service}"
    options = pool.connection_kwargs
    host, port = options.get("host", "localhost"), options.get("port", 6379)  # its own defaults
    return str(options.get("path") or f"{host}:{port}")


def _why(error: redis.RedisError) -> str:
    if isinstance(error, redis.exceptions.OutOfMemoryError):
        return "out of memory; give it more (maxmemory), it must never evict"
    if isinstance(error, redis.exceptions.ReadOnlyError):
        return "a replica that takes no writes; the URL must name the primary"
    if isinstance(error, redis.sentinel.MasterNotFoundError):
        return "no Sentinel answers with its primary; check the URL and the master's name"
    if isinstance(error, redis.AuthenticationError):
        return "refuses the password in REDIS_URL"
    return f"{type(error).__name__}: {str(error)[:300]}"


def _flat(entries: Any) -> Iterator[tuple[bytes, dict[bytes, bytes]]]:
    """Go through the entries of a reply, which RESP 3 nests one level deeper than RESP 2."""
    for entry in entries:
        if entry and isinstance(entry[0], bytes):
            yield entry[0], entry[1]
        else:
            yield from entry
