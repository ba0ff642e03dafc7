"""How a worker comes back to its broker."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

import pytest
import redis
from celery import Celery
from celery.events import EventDispatcher
from celery.worker import state
from celery.worker.consumer import Consumer as StockConsumer
from kombu import Connection
from kombu.asynchronous import Hub

from claimx.adapters.consumer import Consumer
from claimx.adapters.transport import WaitRefused


class Broker:
    """A connection that notes how it is to be tried."""

    def __init__(self) -> None:
        self.options: dict[str, Any] = {}

    def ensure_connection(self, _told: Any, _tries: Any, **options: Any) -> Broker:
        self.options = options
        return self


def test_a_broker_that_was_away_is_asked_every_two_seconds_at_least():
    """Stock pauses grow to half a minute, in which a Redis that is back waits for its workers."""
    consumer = Consumer.__new__(Consumer)
    consumer.app = Celery("test", set_as_current=False)
    consumer.first_connection_attempt = False
    broker = Broker()

    assert consumer.ensure_connected(broker) is broker

    assert broker.options["interval_max"] == 2.0
    assert broker.options["interval_start"] <= broker.options["interval_max"]


@pytest.fixture
def resting(monkeypatch) -> tuple[Consumer, list[float]]:
    """Return a consumer that lost its connection, and for how long it slept: no time passes."""
    slept: list[float] = []
    monkeypatch.setattr(StockConsumer, "on_connection_error_after_connected", lambda *_: None)
    monkeypatch.setattr(time, "sleep", slept.append)
    return Consumer.__new__(Consumer), slept


@pytest.mark.parametrize("refusal", [WaitRefused("NOPERM"), redis.ReadOnlyError("READONLY")])
def test_a_redis_that_refuses_again_and_again_is_asked_less_and_less(resting, refusal):
    """It takes connections: a worker came back several times a second, for ever, a line each."""
    consumer, slept = resting
    rests = []
    for _ in range(7):
        slept.clear()
        consumer.on_connection_error_after_connected(refusal)
        rests.append(sum(slept))

    assert rests == [0.5, 1, 2, 4, 8, 10, 10]


def test_the_first_refusal_in_a_while_is_not_waited_for_long(resting, monkeypatch):
    """A primary that becomes a replica is back in seconds."""
    consumer, slept = resting
    for _ in range(5):
        consumer.on_connection_error_after_connected(WaitRefused("NOPERM"))
    later = time.monotonic() + 60.0
    monkeypatch.setattr(time, "monotonic", lambda: later)
    slept.clear()

    consumer.on_connection_error_after_connected(WaitRefused("NOPERM"))

    assert sum(slept) == 0.5


def test_a_redis_that_is_away_is_not_waited_for_here(resting):
    """That is done where connections are made."""
    consumer, slept = resting

    consumer.on_connection_error_after_connected(redis.ConnectionError("refused"))

    assert slept == []


@pytest.mark.parametrize("told", ["should_stop", "should_terminate"])
def test_a_worker_that_is_to_end_does_not_rest(resting, monkeypatch, told):
    consumer, slept = resting
    monkeypatch.setattr(state, told, 0)  # the status to end with

    consumer.on_connection_error_after_connected(WaitRefused("NOPERM"))

    assert slept == []


class Dispatcher:
    """Counts announcements."""

    def __init__(self) -> None:
        self.flushed = 0
        self.at_the_end = -1

    def flush(self) -> None:
        self.flushed += 1

    def announced(self) -> None:
        self.at_the_end = self.flushed


def announcing() -> tuple[Consumer, Dispatcher]:
    consumer = Consumer.__new__(Consumer)
    consumer.hub = Hub()
    consumer.event_dispatcher = Dispatcher()
    return consumer, consumer.event_dispatcher


def announced(consumer: Consumer, times: int) -> bool:
    """Let the loop's timers run until it was announced so often, for seconds at the most."""
    end = time.monotonic() + 5.0
    while consumer.event_dispatcher.flushed < times and time.monotonic() < end:
        consumer.hub.fire_timers()
        time.sleep(0.01)
    return consumer.event_dispatcher.flushed == times and not len(consumer.hub.timer)


def test_what_tasks_did_is_announced_together():
    """Each announcement is a message of its own, which cost a third of the parent's time."""
    consumer, _ = announcing()

    for _ in range(3):
        consumer.on_send_event_buffered()
    assert announced(consumer, 1)

    consumer.on_send_event_buffered()
    assert announced(consumer, 2), "every event is announced, and soon"


@pytest.mark.parametrize("end", ["on_close", "shutdown"])
def test_what_the_last_tasks_did_is_announced_at_the_end(end, monkeypatch):
    """Else Flower would show what ran at each deployment as running for ever."""
    consumer, dispatcher = announcing()
    for stock in ("on_close", "shutdown"):
        monkeypatch.setattr(StockConsumer, stock, lambda _: dispatcher.announced())
    consumer.on_send_event_buffered()

    getattr(consumer, end)()

    assert dispatcher.at_the_end == 1, "before the connection goes"


def test_an_announcement_that_a_lost_connection_took_along_is_made_up_for():
    consumer, _ = announcing()
    consumer.on_send_event_buffered()
    consumer.hub.timer.clear()
    time.sleep(0.6)

    consumer.on_send_event_buffered()

    assert announced(consumer, 1)


def test_what_a_lost_connection_could_not_announce_the_next_one_does(redis_url, monkeypatch):
    monkeypatch.setattr(StockConsumer, "on_close", lambda _: None)
    app = Celery("test", broker=redis_url, set_as_current=False)
    lost = EventDispatcher(Connection("redis://127.0.0.1:1"), app=app, buffer_group=["task"])
    consumer = Consumer.__new__(Consumer)
    consumer.event_dispatcher = lost
    lost.send("task-started", uuid="one")

    consumer.on_close()

    told: list[str] = []
    receiver = app.events.Receiver(
        app.connection_for_read(), {"task-started": lambda event: told.append(event["uuid"])}
    )
    with (
        receiver.consumer_context(wakeup=False) as (reading, _, _),
        app.events.default_dispatcher() as following,
    ):
        with suppress(TimeoutError):
            reading.drain_events(timeout=0.1)  # from now on it listens
        following.extend_buffer(lost)
        following.flush()
        reading.drain_events(timeout=10.0)
    assert told == ["one"]
