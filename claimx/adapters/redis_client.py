"""Clients of Redis from one URL: plain, TLS, or through Sentinel."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

import redis
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel

from claimx.domain.diagnosis import Diagnosis
from claimx.domain.errors import Malformed

SENTINEL_PORT = 26379


def with_tls_checked(url: str) -> str:
    """Return *url* with certificate checking spelled out, which Celery demands of ``rediss://``."""
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    if parts.scheme != "rediss" or "ssl_cert_reqs" in query:
        return url
    return urlunsplit(parts._replace(query=urlencode({**query, "ssl_cert_reqs": "required"})))


def connect(url: str, master: str, *, quick: bool = False) -> redis.Redis:
    """
    Return a client with time-outs and bounded retries; no connection is made yet.

    *quick* is for gates, which must not wait for a Redis that does not answer: no retry, 0.5 s (a
    starved machine answers that late). Otherwise 5 s to connect, 30 s to answer and three retries
    over about a second.
    Raises Malformed for a URL of another scheme.
    """
    options: dict[str, Any] = {
        "socket_timeout": 0.5 if quick else 30.0,
        "socket_connect_timeout": 0.5 if quick else 5.0,
        "socket_keepalive": True,
        "health_check_interval": 25,
        "retry": Retry(NoBackoff(), 0) if quick else Retry(ExponentialBackoff(0.5, 0.1), 3),
        "retry_on_error": [] if quick else [redis.ConnectionError, redis.TimeoutError],
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


def _behind_sentinel(url: str, master: str, options: dict[str, Any]) -> redis.Redis:
    """Follow Celery's form: ``sentinel://[:password@]host:port;sentinel://host:port/db``."""
    nodes: list[tuple[str, int]] = []
    password, database = None, 0
    for part in url.split(";"):
        parsed = urlsplit(part)
        nodes.append((parsed.hostname or "127.0.0.1", parsed.port or SENTINEL_PORT))
        password = unquote(parsed.password) if parsed.password else password
        database = int(parsed.path.strip("/") or database)
    sentinel = Sentinel(nodes, socket_timeout=options["socket_connect_timeout"])
    found: redis.Redis = sentinel.master_for(master, db=database, password=password, **options)
    return found
