"""What our transport adds to kombu's."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from kombu import Connection

from claimx.adapters.transport import Channel, SentinelChannel, Transport


class ClosingChannel:
    """A channel whose connection has lost its settings already, as after Redis went away."""

    do_restore = True

    def conn_or_acquire(self, _client: Any = None) -> Any:
        raise AttributeError("'NoneType' object has no attribute 'hostname'")


@pytest.mark.parametrize("channel", [Channel, SentinelChannel])
def test_hints_that_cannot_be_given_back_do_not_end_the_worker(channel):
    qos = channel.QoS(ClosingChannel())
    qos._delivered["tag"] = object()

    qos.restore_unacked_once()

    assert qos._delivered.restored


def test_an_acknowledgement_on_a_closed_channel_is_a_lost_connection(redis_url, caplog):
    """
    Redis went away while a task ran: its worker must not end of that.

    The hint comes again, and finds its work done.
    """
    with Connection(redis_url, transport=Transport) as connection:
        queue = connection.SimpleQueue("acknowledged-too-late")
        queue.put({})
        message = queue.get(timeout=5)
        message.channel.close()
        message.channel._disconnect_pools()

        message.ack_log_error(logging.getLogger("kombu"), connection.connection_errors)

    assert [one.levelname for one in caplog.records if "Couldn't ack" in one.message]


def test_a_channel_keeps_one_client_for_its_commands(redis_url):
    """Making one costs more than most commands do."""
    with Connection(redis_url, transport=Transport) as connection:
        channel = connection.channel()
        with channel.conn_or_acquire() as first, channel.conn_or_acquire() as second:
            assert first is second
            assert first.ping()
            assert first is not channel.client, "which holds a connection that waits for messages"

        channel.connection.close_channel(channel)
        another = connection.channel()
        with another.conn_or_acquire() as third:
            assert third.connection_pool is another.pool
            assert third.ping()


def test_a_channel_whose_pool_was_dropped_makes_a_client_of_the_new_one(redis_url):
    with Connection(redis_url, transport=Transport) as connection:
        channel = connection.channel()
        with channel.conn_or_acquire() as before:
            assert before.ping()
        channel._disconnect_pools()

        with channel.conn_or_acquire() as after:
            assert after is not before
            assert after.ping()
