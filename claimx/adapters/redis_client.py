"""Clients of Redis from one URL: plain, TLS, or through Sentinel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

import hiredis
import redis
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel

from claimx.domain.diagnosis import Diagnosis
from claimx.domain.errors import Malformed

SENTINEL_PORT = 26379
CLOCKS_APART_SECONDS = 60.0  # of hosts whose clocks are set by NTP a part of a second
QUICK_SECONDS = 0.5  # a starved machine answers that late
_ASK_SECONDS = 5.0  # of a Sentinel; of RedBeat's Redis, too


@dataclass(frozen=True, slots=True)
class Sentinels:
    """
    What ``sentinel://[user:password@]host:port;sentinel://host:port/database`` says.

    User, password and database are the master's, and may stand at any of the nodes.
    """

    nodes: tuple[tuple[str, int], ...]
    database: int = 0
    username: str | None = None
    password: str | None = None

    @classmethod
    def of(cls, url: str) -> Self:
        """Read a URL."""
        parts = [urlsplit(part) for part in url.split(";")]
        named = next((part for part in reversed(parts) if part.password), None)
        return cls(
            tuple((part.hostname or "127.0.0.1", part.port or SENTINEL_PORT) for part in parts),
            next((int(path) for part in reversed(parts) if (path := part.path.strip("/"))), 0),
            unquote(named.username) if named and named.username else None,
            unquote(named.password) if named and named.password else None,
        )

    def as_url(self) -> str:
        """Return the URL with all that is said at every node: Celery goes by the one it is at."""
        login = ""
        if self.password is not None:
            login = f"{quote(self.username or '', safe='')}:{quote(self.password, safe='')}@"
        hosts = [(f"[{host}]" if ":" in host else host, port) for host, port in self.nodes]
        return ";".join(f"sentinel://{login}{host}:{port}/{self.database}" for host, port in hosts)


def with_tls_checked(url: str) -> str:
    """Return *url* with certificate checking spelled out, which Celery demands of ``rediss://``."""
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    if parts.scheme != "rediss" or "ssl_cert_reqs" in query:
        return url
    return urlunsplit(parts._replace(query=urlencode({**query, "ssl_cert_reqs": "required"})))


def broker_url(url: str) -> str:
    """
    Return *url* as Celery takes it.

    Of the options behind the ``?`` it takes those of TLS alone, and ends with a traceback for any
    other. What they say of the login and the database is put where Celery reads it, as redis-py
    understands both; of time-outs and the like it has its own.
    """
    if _is_sentinel(url):
        return Sentinels.of(url).as_url()
    parts = urlsplit(with_tls_checked(url))
    said = dict(parse_qsl(parts.query))
    kept = {name: value for name, value in said.items() if name.startswith("ssl_")}
    place = parts.netloc
    if "@" not in place and ("username" in said or "password" in said):
        login = ":".join(quote(said.get(name, ""), safe="") for name in ("username", "password"))
        place = f"{login}@{place}"
    path = f"/{said['db']}" if "db" in said else parts.path
    return urlunsplit(parts._replace(netloc=place, path=path, query=urlencode(kept)))


def asking_sentinels() -> dict[str, Any]:
    """Return how Celery and RedBeat ask a Sentinel: without a retry, since there are others."""
    return {
        "socket_timeout": _ASK_SECONDS,
        "socket_connect_timeout": _ASK_SECONDS,
        "retry": Retry(NoBackoff(), 0),
    }


def redbeat_url_and_options(url: str, master: str) -> tuple[str, dict[str, Any]]:
    """
    Return the ``redbeat_redis_url`` and ``redbeat_redis_options`` of *url*.

    RedBeat takes Sentinels as options. A tick that fails is tried again by beat, a second later.
    """
    if not _is_sentinel(url):
        bounds = {"socket_timeout": _ASK_SECONDS, "socket_connect_timeout": _ASK_SECONDS}
        return with_tls_checked(url), {**bounds, "retry": Retry(ExponentialBackoff(0.5, 0.1), 1)}
    said = Sentinels.of(url)
    return "redis-sentinel://", {
        "sentinels": list(said.nodes),
        "service_name": master,
        "db": said.database,
        "username": said.username,
        "password": said.password,
        "socket_timeout": _ASK_SECONDS,
        "sentinel_kwargs": asking_sentinels(),
    }


def connect(
    url: str, master: str, *, quick: bool = False, quick_seconds: float = QUICK_SECONDS
) -> redis.Redis:
    """
    Return a client with time-outs and bounded retries; no connection is made yet.

    *quick* is for gates, which must not wait for a Redis that does not answer: no retry, and
    *quick_seconds* for each answer. Otherwise 5 s to connect, 30 s to answer and three retries over
    about a second.
    Raises Malformed for a URL of another scheme.
    """
    options: dict[str, Any] = {
        "socket_timeout": quick_seconds if quick else 30.0,
        "socket_connect_timeout": quick_seconds if quick else 5.0,
        "socket_keepalive": True,
        "health_check_interval": 25,
        "retry": Retry(NoBackoff(), 0) if quick else Retry(ExponentialBackoff(0.5, 0.1), 3),
        "retry_on_error": [] if quick else [redis.ConnectionError, redis.TimeoutError],
        "command_packer": _Packer(),
    }
    scheme = url.partition("://")[0]
    match scheme:
        case "redis" | "rediss":
            return redis.Redis.from_url(with_tls_checked(url), **options)
        case "sentinel":
            return _behind_sentinel(url, master, options)
        case _:
            raise Malformed(
                f"REDIS_URL must begin redis://, rediss:// or sentinel://, not {scheme}://"
            )


def diagnoses(client: redis.Redis) -> list[Diagnosis] | None:
    """
    Return what is wrong with how Redis is set up, None when it does not tell.

    Managed Redis often forbids CONFIG; then its operator must see to it.
    """
    try:
        info: dict[str, str] = {
            str(name): str(value)
            for wanted in ("maxmemory-policy", "appendonly")
            for name, value in client.config_get(wanted).items()
        }
    except redis.RedisError:
        return None
    found = []
    policy = info.get("maxmemory-policy", "noeviction")
    if policy != "noeviction":
        remedy = "set maxmemory-policy noeviction"
        found.append(Diagnosis("Redis", f"evicts ({policy})", "records can vanish", remedy))
    if info.get("appendonly", "yes") != "yes":
        why = "a restart loses work"
        found.append(Diagnosis("Redis", "keeps no append-only file", why, "set appendonly yes"))
    return found


def clock_diagnoses(client: redis.Redis, now: Callable[[], float]) -> list[Diagnosis]:
    """Say that Redis' clock, by which the source is read, is far from this host's; or nothing."""
    try:
        seconds, micros = client.time()
    except redis.RedisError:
        return []
    ahead = seconds + micros / 1e6 - now()
    if abs(ahead) < CLOCKS_APART_SECONDS:
        return []
    wrong = f"has a clock {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} this host's"
    why = "rows of the source are read before others of their time have shown"
    if ahead < 0:
        why = "rows of the source are read so much later, and no lag shows it"
    return [Diagnosis("Redis", wrong, f"if it is that one, {why}", "have NTP set both")]


class _Packer:
    """
    Packs commands, whose names are text, as redis-py's own does, but without a look at each type.

    That look is more than half of what packing takes, and a step of the ledger has thousands.
    """

    def pack(self, *command: Any) -> list[bytes]:
        """Return a command as the connection sends it; raises DataError for what it cannot send."""
        name, *arguments = command
        try:
            # the words of CONFIG GET and the like go by themselves
            return [hiredis.pack_command((*name.encode().split(), *arguments))]
        except TypeError as error:
            raise redis.DataError(str(error)) from error


def _is_sentinel(url: str) -> bool:
    return url.startswith("sentinel://")


def _behind_sentinel(url: str, master: str, options: dict[str, Any]) -> redis.Redis:
    said = Sentinels.of(url)
    patience = options["socket_connect_timeout"]
    asking = {**asking_sentinels(), "socket_timeout": patience, "socket_connect_timeout": patience}
    sentinel = Sentinel(said.nodes, sentinel_kwargs=asking)
    found: redis.Redis = sentinel.master_for(
        master, db=said.database, username=said.username, password=said.password, **options
    )
    return found
