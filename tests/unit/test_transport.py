"""What our transport adds to kombu's."""

from __future__ import annotations

import logging
import threading
from typing import Any

import pytest
import redis
from kombu import Connection

from claimx.adapters.transport import (
    Channel,
    SentinelChannel,
    SentinelTransport,
    Transport,
)


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


def test_an_error_in_place_of_a_message_is_a_lost_connection(redis_url, redis_client):
    """A primary that becomes a replica sends one to all that wait; workers ended of it."""

    def unblock() -> None:
        ours = redis_client.client_info()["db"]
        waiting: list[Any] = []
        while not waiting:
            clients = [one for one in redis_client.client_list() if one["db"] == str(ours)]
            waiting = [one for one in clients if one["cmd"] == "brpop"]
        redis_client.execute_command("CLIENT", "UNBLOCK", waiting[0]["id"], "ERROR")

    with Connection(redis_url, transport=Transport) as connection:
        queue = connection.SimpleQueue("demoted")
        interruption = threading.Thread(target=unblock)
        interruption.start()

        with pytest.raises(connection.connection_errors, match="UNBLOCKED"):
            queue.get(timeout=20)

        interruption.join()
        queue.put({"a": 1})
        assert queue.get(timeout=5).payload == {"a": 1}


@pytest.mark.parametrize("transport", [Transport, SentinelTransport])
def test_a_refused_write_is_a_lost_connection(transport):
    """A primary that became a replica refuses them, until another one is found."""
    assert issubclass(redis.ReadOnlyError, transport.connection_errors)
