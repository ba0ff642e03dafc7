"""Beat and its broker's troubles, on a scheduler that has RedBeat's outside."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import redbeat
from celery import Celery
from redis.exceptions import BusyLoadingError, ConnectionError, LockNotOwnedError  # noqa: A004 - theirs

from claimx.adapters.ticking import AGAIN_SECONDS, MOST_TICKS, outliving, sparing


class Lock:
    """A lock that is free or not."""

    def __init__(self, *, free: bool) -> None:
        self.free = free

    def acquire(self, *, blocking: bool) -> bool:
        assert not blocking
        return self.free


class Scheduler:
    """Ticks with the errors that it is given, then well."""

    def __init__(self, *errors: Exception, free: bool = True) -> None:
        self.errors = list(errors)
        self.lock: Any = Lock(free=free)
        self.set_up = 0

    def tick(self) -> float:
        if self.errors:
            raise self.errors.pop(0)
        return 0.25

    def setup_schedule(self) -> None:
        self.set_up += 1


@pytest.mark.parametrize("error", [ConnectionError("refused"), BusyLoadingError("loading")])
def test_beat_goes_on_when_redis_is_back(error):
    scheduler = Scheduler(error, error)
    tick = outliving(scheduler)

    assert [tick(), tick(), tick()] == [AGAIN_SECONDS, AGAIN_SECONDS, 0.25]
    assert scheduler.set_up == 0


def test_a_lost_lock_is_taken_again_and_the_schedule_put_in_place():
    scheduler = Scheduler(LockNotOwnedError("expired"))
    tick = outliving(scheduler)

    assert [tick(), tick()] == [AGAIN_SECONDS, 0.25]
    assert scheduler.set_up == 1


def test_a_lock_that_another_beat_has_is_waited_for():
    scheduler = Scheduler(*[LockNotOwnedError("theirs")] * 2, free=False)
    tick = outliving(scheduler)

    assert [tick(), tick()] == [AGAIN_SECONDS, AGAIN_SECONDS]
    assert scheduler.set_up == 0


def test_an_error_of_the_program_is_not_hidden():
    tick = outliving(Scheduler(ValueError("a bug")))

    with pytest.raises(ValueError, match="a bug"):
        tick()


def test_a_first_lock_that_could_not_be_had_at_the_start_is_taken_by_a_tick(redis_url):
    """Celery passes over what RedBeat raises then, and the next tick would end beat."""
    app = Celery("test", broker=redis_url, set_as_current=False)
    app.conf.update(redbeat_redis_url=redis_url, redbeat_redis_options={}, redbeat_lock_timeout=8)
    scheduler = redbeat.RedBeatScheduler(app=app, max_interval=2)
    assert scheduler.lock is None

    outliving(scheduler)()

    assert scheduler.lock.owned()


class Sending:
    """A scheduler that sends, over an app whose tasks all go to the queue ``control``."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.reserved: list[Any] = []
        route = SimpleNamespace(route=lambda _options, _task: {"queue": SimpleNamespace(name="q")})
        self.app = SimpleNamespace(amqp=SimpleNamespace(router=route))

    def apply_async(self, entry: Any, producer: Any = None, advance: bool = True) -> str:
        self.sent.append((entry, producer, advance))
        return "sent"

    def reserve(self, entry: Any) -> None:
        self.reserved.append(entry)


def test_ticks_for_a_queue_that_nobody_serves_are_left_out():
    """A beat without any worker would fill Redis; its clock goes on as if they had been sent."""
    scheduler, waiting = Sending(), [MOST_TICKS - 1, MOST_TICKS, MOST_TICKS, 0]
    entry = SimpleNamespace(task="claimx.redrive")
    send = sparing(scheduler, lambda queue: waiting.pop(0) if queue == "q" else 0)

    answers = [send(entry, producer="p") for _ in range(4)]

    assert answers == ["sent", None, None, "sent"]
    assert scheduler.sent == [(entry, "p", True)] * 2
    assert scheduler.reserved == [entry] * 2
