"""
Beat's tick, made to outlive a Redis that goes away for a while, and workers that do.

RedBeat ends with the first error of its broker, and when its lock has run out meanwhile. Nobody
may be there to start it again, and without its tick nothing is polled or retried. And it sends on
into queues that nobody serves.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import structlog
from redis.exceptions import LockError, RedisError

log = structlog.get_logger(__name__)

AGAIN_SECONDS = 1.0
MOST_TICKS = 500
"""
Messages in a queue beyond which a tick is left out.

Workers drop a tick that is too old, but only once they come to it: without any, a beat would fill
Redis by some hundred megabytes a day.
"""


def outliving(scheduler: Any) -> Callable[..., float]:
    """
    Return the tick of a RedBeat *scheduler* that never raises what Redis does.

    Without Redis, and while another beat holds the lock, it asks again after a second. Whoever
    takes a lost lock puts the schedule in place anew, since Redis may have lost that as well.
    """
    tick = scheduler.tick
    away = False

    def tick_on(*args: Any, **kwargs: Any) -> float:
        nonlocal away
        try:
            try:
                if scheduler.lock is None:
                    _take_first(scheduler)
                seconds: float = tick(*args, **kwargs)
            except LockError:
                seconds = _took_over(scheduler)
        except RedisError as error:
            if not away:
                log.warning("beat waits for Redis (REDIS_URL)", error=type(error).__name__)
            away = True
            return AGAIN_SECONDS
        if away:
            log.info("beat goes on")
        away = False
        return seconds

    return tick_on


def letting_go(scheduler: Any, ask: Callable[[], Any]) -> Callable[[], None]:
    """
    Return the end of a RedBeat *scheduler*, which never raises what Redis does, and comes soon.

    A signal's handler calls it in the midst of a tick, which would take such an error for its own
    and go on for good. *ask* asks Redis with little patience; RedBeat itself has more. Without an
    answer the lock is left to end by itself.
    """
    close = scheduler.close

    def let_go() -> None:
        try:
            if scheduler.lock is not None:
                ask()
            close()
        except RedisError:
            scheduler.lock = None
            close()

    return let_go


def sparing(scheduler: Any, length_of: Callable[[str], int]) -> Callable[..., Any]:
    """
    Return the *scheduler*'s sending without ticks for queues that are long already.

    *length_of* tells how many messages wait in a queue.
    """
    send = scheduler.apply_async
    left_out: set[str] = set()

    def apply_async(entry: Any, producer: Any = None, advance: bool = True, **options: Any) -> Any:
        queue = scheduler.app.amqp.router.route({}, entry.task)["queue"].name
        if length_of(queue) < MOST_TICKS:
            left_out.discard(queue)
            return send(entry, producer=producer, advance=advance, **options)
        if queue not in left_out:
            log.warning("beat leaves ticks out: nobody serves the queue", queue=queue)
            left_out.add(queue)
        if advance:
            scheduler.reserve(entry)
        return None

    return apply_async


def _take_first(scheduler: Any) -> None:
    """Take the lock that RedBeat could not take at its start, because Redis went away just then."""
    from redbeat.schedulers import acquire_distributed_beat_lock  # connects itself to a signal

    acquire_distributed_beat_lock(SimpleNamespace(scheduler=scheduler))


def _took_over(scheduler: Any) -> float:
    """Take the lost lock again unless another beat has it; returns seconds until the next tick."""
    if scheduler.lock.acquire(blocking=False):
        log.warning("beat had lost its lock, and has it again")
        scheduler.setup_schedule()
    return AGAIN_SECONDS
