"""How a worker comes back to its broker."""

from __future__ import annotations

from typing import Any

from celery import Celery

from claimx.adapters.consumer import Consumer


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
