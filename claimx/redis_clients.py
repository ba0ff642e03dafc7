"""
How Redis is reached: this process's clients, and what Celery and RedBeat are told of it.

With `claimx.bootstrap` and `claimx.workers`, which build the rest, all that makes real adapters.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import redis

from claimx.adapters import redis_client
from claimx.domain.diagnosis import Diagnosis
from claimx.domain.errors import Unavailable
from claimx.setting_errors import ConfigurationError
from claimx.settings import Settings
from claimx.startup import once

if TYPE_CHECKING:
    from claimx.adapters.ledger import RedisLedger

ANSWER_SECONDS = 3.0
"""How long a command and a probe wait for Redis, instead of the minutes that work waits."""

_SECONDS_PER_HOUR = 3600.0


def broker_url_of(settings: Settings) -> str:
    """Return the broker's URL as Celery wants it."""
    return redis_client.broker_url(settings.redis_url.get_secret_value())


def redbeat_of(settings: Settings) -> tuple[str, dict[str, Any]]:
    """Return the URL and the options that RedBeat wants."""
    url = settings.redis_url.get_secret_value()
    return redis_client.redbeat_url_and_options(url, settings.redis_master)


def redis_of(settings: Settings, *, quick: bool = False) -> Any:
    """Return this process's client of Redis; *quick* is the one for gates."""
    return once("redis-quick" if quick else "redis", lambda: _connect(settings, quick=quick))


def ledger_of(settings: Settings) -> RedisLedger:
    """Return the ledger."""
    return once("ledger", lambda: _ledger(settings, redis_of(settings)))


def ask_redis(settings: Settings, *, reads_alone: bool = False) -> None:
    """
    Raise Unavailable unless Redis answers and accepts writes, within `ANSWER_SECONDS`.

    With *reads_alone* it need not accept writes.
    """
    with _connect(settings, quick=True, quick_seconds=ANSWER_SECONDS) as client:
        ledger = _ledger(settings, client)
        ledger.greet() if reads_alone else ledger.ping()


def diagnose_redis(settings: Settings) -> list[Diagnosis] | None:
    """Return what is wrong with a Redis that answers; None when it does not tell."""
    client = redis_of(settings, quick=True)
    found = redis_client.diagnoses(client)
    if clock := redis_client.clock_diagnoses(client, time.time):
        found = [*clock, *(found or ())]
    try:
        _ledger(settings, client).ping()
    except Unavailable as error:
        why = "nothing moves until it does; nothing is lost either"
        remedy = "give it room, or name the primary"
        return [Diagnosis("Redis", f"takes no writes ({error})", why, remedy), *(found or ())]
    return found


def answers(settings: Settings) -> bool:
    """Say whether Redis answers at once."""
    try:
        return bool(redis_of(settings, quick=True).ping())
    except redis.RedisError:
        return False


def _ledger(settings: Settings, client: redis.Redis) -> RedisLedger:
    from claimx.adapters.ledger import RedisLedger

    return RedisLedger(client, dedup_seconds=settings.dedup_hours * _SECONDS_PER_HOUR)


def _connect(settings: Settings, **how: Any) -> redis.Redis:
    url = settings.redis_url.get_secret_value()
    try:
        return redis_client.connect(url, settings.redis_master, **how)
    except ValueError:  # it may quote a part of the password
        wrong = "REDIS_URL is no URL: is its password percent-encoded, is its port a number?"
        raise ConfigurationError([wrong]) from None
