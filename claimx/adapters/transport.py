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
from kombu.transport import redis as stock
from kombu.utils.encoding import bytes_to_str
from kombu.utils.json import loads

from claimx.adapters.unreadable import keep_unreadable


class _Guard:
    """Replaces what the stock channels deliver to, for the time of one read."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel

    def loads(self, text: str) -> Any:
        """Parse an item; one that is no message becomes None, kept aside."""
        try:
            item = loads(text)
            properties = item["properties"]
            _ = item["body"], item["headers"], properties["delivery_tag"]
            _ = properties["delivery_info"]
        except Exception as error:  # noqa: BLE001 - whatever is wrong with it, it is no message
            with self._channel.conn_or_acquire() as client:
                keep_unreadable(client, "item", text, error)
            return None
        return item


class _Reading:
    """The read of a stock channel with the parse guarded (mixed into both channels)."""

    def _brpop_read(self: Any, **options: Any) -> Any:
        try:
            try:
                answer = self.client.parse_response(self.client.connection, "BRPOP", **options)
            except self.connection_errors:
                self.client.connection.disconnect()  # the next round connects anew
                raise
            if not answer:
                raise Empty
            queue, text = answer
            queue = bytes_to_str(queue).rsplit(self.sep, 1)[0]
            self._queue_cycle.rotate(queue)
            item = _Guard(self).loads(text.decode(errors="replace"))
            if item is not None:
                self.connection._deliver(item, queue)  # noqa: SLF001 - as the stock channel does
            return True
        finally:
            self._in_poll = None
            self._flush_brpop_reauth()


class Channel(_Reading, stock.Channel):  # type: ignore[misc]  # the mixin types nothing
    """Stock channel with a guarded read."""


class SentinelChannel(_Reading, stock.SentinelChannel):  # type: ignore[misc]  # as above
    """Stock Sentinel channel with a guarded read."""


class Transport(stock.Transport):
    """``redis://`` and ``rediss://``."""

    Channel = Channel


class SentinelTransport(stock.SentinelTransport):
    """``sentinel://``."""

    Channel = SentinelChannel


def install() -> None:
    """Make kombu use these for its Redis URLs, in this process."""
    for scheme in ("redis", "rediss"):
        kombu.transport.TRANSPORT_ALIASES[scheme] = f"{__name__}:Transport"
    kombu.transport.TRANSPORT_ALIASES["sentinel"] = f"{__name__}:SentinelTransport"
