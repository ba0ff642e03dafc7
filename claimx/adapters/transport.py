"""
Kombu's Redis transport, made to outlive what it cannot read.

The stock channel pops an item, parses it, and dies of one that is not JSON; an item that is JSON
but no message vanishes without a word. Here both are kept in a bounded list beside the dead
letters and the worker goes on. Hints carry nothing that matters, so nothing else is lost.
"""

from __future__ import annotations

from queue import Empty
from typing import Any

import kombu.transport
import redis
import structlog
from kombu.transport import redis as stock
from kombu.transport import virtual
from kombu.utils.encoding import bytes_to_str
from kombu.utils.json import dumps, loads

from claimx.adapters.unreadable import keep_unreadable

log = structlog.get_logger(__name__)

AHEAD = "claimx-ahead"
"""A header of messages that are read before those that wait; elsewhere it means nothing."""


class WaitRefused(redis.ConnectionError):
    """Redis answered with an error to a worker that waits for messages: a lost connection to it."""


def _readable(channel: Any, raw: bytes) -> dict[str, Any] | None:
    """
    Return the item in *raw*; one that is no message is kept aside, and None returned.

    Everything that the stock code would look at before a consumer's own guard is looked at here.
    """
    text = raw.decode(errors="replace")
    try:
        item: dict[str, Any] = loads(text)
        properties = item["properties"]
        _check(item["body"], str)
        _check(item["headers"], dict)
        _check(properties, dict)
        _check(properties["delivery_info"], dict)
        _check(properties["delivery_tag"], str)
        channel.Message(item, channel=channel)  # decodes and decompresses the body
    except Exception as error:  # noqa: BLE001 - whatever is wrong with it, it is no message
        with channel.conn_or_acquire() as client:
            keep_unreadable(client, "item", text, error)
        return None
    return item


class _QoS(stock.QoS):
    """
    Stock bookkeeping of hints that are out, which cannot end the worker.

    A channel is closed because Redis went away; giving hints back on it then fails with whatever
    is left of its connection. They are handed out again by the broker's sweep or the redriver.
    """

    def ack(self, delivery_tag: str) -> None:
        """
        Take a hint off the list.

        A primary that became a replica refuses that, which is no lost connection to the stock code
        and would end the worker. The hint comes again later, and finds its work done; here it
        counts as done, or the worker would soon wait for it alone.
        """
        try:
            super().ack(delivery_tag)
        except redis.ReadOnlyError:
            log.info("hint not acknowledged: Redis is a replica")
            virtual.QoS.ack(self, delivery_tag)

    def restore_unacked_once(self, stderr: Any = None) -> None:
        """Give back what was not acknowledged, if Redis answers."""
        try:
            super().restore_unacked_once(stderr)
        except Exception as error:  # noqa: BLE001 - also AttributeError, from a half-closed transport
            log.info("hints not given back: Redis is away", error=type(error).__name__)


def _check(value: Any, kind: type) -> None:
    if not isinstance(value, kind):
        raise TypeError(f"{type(value).__name__} where {kind.__name__} belongs")


class _Guarded:
    """
    What both channels do otherwise than the stock: guard the parse, keep a client, put some ahead.

    The stock channel makes a client for every command that it sends, which costs more than most
    commands (a seventh of a worker's parent). A client holds nothing but its pool, and any thread
    may use it.

    A channel that was closed because Redis went away has none any more: what a task still wants of
    it (to acknowledge its hint) fails as on a connection that is lost, which kombu logs. The stock
    channel's AttributeError ends the worker. So does an error in place of a message, which a
    primary answers with when it becomes a replica; here the connection counts as lost.
    """

    _pooled: Any = None

    def _put(self: Any, queue: str, message: dict[str, Any], **options: Any) -> None:
        if AHEAD in (message.get("headers") or {}):
            with self.conn_or_acquire() as client:  # queues are read from the right
                client.rpush(queue, dumps(message))
            return
        super()._put(queue, message, **options)  # type: ignore[misc]  # the stock channel's

    def _create_client(self: Any, asynchronous: bool = False) -> Any:
        if self.connection is None and self._pool is None:
            raise redis.ConnectionError("the channel is closed")
        make = super()._create_client  # type: ignore[misc]  # the stock channel's
        if asynchronous:
            return make(asynchronous=True)
        if self._pooled is None or self._pooled.connection_pool is not self.pool:
            self._pooled = make()
        return self._pooled

    def _brpop_read(self: Any, **options: Any) -> Any:
        try:
            try:
                answer = self.client.parse_response(self.client.connection, "BRPOP", **options)
            except self.connection_errors:
                self.client.connection.disconnect()  # the next round connects anew
                raise
            except redis.ResponseError as error:  # a primary that was made a replica: not for good
                self.client.connection.disconnect()
                raise WaitRefused(str(error)) from error
            if not answer:
                raise Empty
            queue, raw = answer
            queue = bytes_to_str(queue).rsplit(self.sep, 1)[0]
            self._queue_cycle.rotate(queue)
            item = _readable(self, raw)
            if item is not None:
                self.connection._deliver(item, queue)  # noqa: SLF001 - as the stock channel does
            return True
        finally:
            self._in_poll = None
            self._flush_brpop_reauth()


class Channel(_Guarded, stock.Channel):  # type: ignore[misc]  # the mixin types nothing
    """Stock channel with a guarded read and end."""

    QoS = _QoS


class SentinelChannel(_Guarded, stock.SentinelChannel):  # type: ignore[misc]  # as above
    """Stock Sentinel channel with a guarded read and end."""

    QoS = _QoS


# a primary that became a replica: it takes writes again soon, or another one does
_LOST = (*stock.Transport.connection_errors, redis.ReadOnlyError)


class Transport(stock.Transport):
    """``redis://`` and ``rediss://``."""

    Channel = Channel
    connection_errors = _LOST


class SentinelTransport(stock.SentinelTransport):
    """``sentinel://``."""

    Channel = SentinelChannel
    connection_errors = _LOST


def install() -> None:
    """Make kombu use these for its Redis URLs, in this process."""
    for scheme in ("redis", "rediss"):
        kombu.transport.TRANSPORT_ALIASES[scheme] = f"{__name__}:Transport"
    kombu.transport.TRANSPORT_ALIASES["sentinel"] = f"{__name__}:SentinelTransport"
