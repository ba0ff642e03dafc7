"""
Celery's consumer, made to outlive every malformed message.

A body of the wrong shape puts the stock worker into a crash loop: it dies, the message is restored,
it dies again. Here whatever a handler raises is kept aside and the message acknowledged; so are
messages that Celery would only log and drop (unknown task, refused content, undecodable body).
"""

from __future__ import annotations

import time
from contextlib import suppress
from functools import partial
from typing import Any

import redis
from celery.exceptions import InvalidTaskError
from celery.worker import state
from celery.worker.consumer import Consumer as StockConsumer
from kombu.exceptions import ContentDisallowed, DecodeError
from kombu.utils.encoding import safe_repr

from claimx.adapters.transport import WaitRefused
from claimx.adapters.unreadable import keep_unreadable

_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 2.0
_LONGEST_REST_SECONDS = 10.0
_CALM_SECONDS = 30.0  # of waiting for messages, after which a refusal is the first of others
_LOOK_SECONDS = 0.25  # how often a rest looks whether the worker is to end
_EVENTS_SECONDS = 0.25  # between two announcements of what tasks did, for Flower

_REFUSALS = (WaitRefused, redis.ReadOnlyError)


class Consumer(StockConsumer):  # type: ignore[misc]  # kombu is untyped
    """Named by the ``worker_consumer`` setting."""

    _rest = 0.0
    _rested_at = float("-inf")
    _overdue_at = 0.0  # when an announcement under way must have been made, monotonic

    def on_send_event_buffered(self) -> None:
        """
        Announce soon what tasks did, together.

        The stock consumer sends each event of a task by itself, in the next turn of its loop: a
        third of what a message costs a worker's parent. Events beyond a few dozen go at once.
        """
        now = time.monotonic()
        if self.hub and now >= self._overdue_at:  # none is under way, or its timer is lost
            self._overdue_at = now + 2 * _EVENTS_SECONDS
            self.hub.call_later(_EVENTS_SECONDS, self._flush_events)

    def _flush_events(self) -> None:
        self._overdue_at = 0.0
        super()._flush_events()

    def on_close(self) -> None:
        """
        Announce what is left before the connection is closed, or lost.

        What cannot be sent the dispatcher keeps for the next connection.
        """
        self._announce_rest()
        super().on_close()

    def shutdown(self) -> None:
        """Announce what the last tasks did: their children are gone by now."""
        self._announce_rest()
        super().shutdown()

    def _announce_rest(self) -> None:
        with suppress(Exception):  # the broker may be away; nothing depends on it
            self._flush_events()

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Any:
        """Return the stock handler inside a guard."""
        handle = super().create_task_handler(*args, **kwargs)

        def guarded(message: Any) -> Any:
            try:
                _check_shape(message)
                return handle(message)
            except self.connection_errors:
                raise  # the broker is away: not the message's fault
            except (DecodeError, ContentDisallowed, InvalidTaskError) as error:
                return self.on_invalid_task(None, message, error)
            except Exception as error:  # noqa: BLE001 - the worker must outlive any message
                self._keep(message, error)
                message.ack_log_error(_logger(), self.connection_errors)
                return None

        return guarded

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """
        Rest before coming back to a Redis that answers the wait for messages with an error.

        It takes connections, so nothing else would: an error that stays (a right that was taken
        away, a queue's key of another type) came several times a second, with a line each.
        """
        super().on_connection_error_after_connected(exc)
        if not isinstance(exc, _REFUSALS):
            return
        is_first = time.monotonic() - self._rested_at > _CALM_SECONDS
        self._rest = min(2 * self._rest, _LONGEST_REST_SECONDS)
        if is_first:
            self._rest = _FIRST_PAUSE_SECONDS
        for _ in range(round(self._rest / _LOOK_SECONDS)):
            if _is_leaving():
                break
            time.sleep(_LOOK_SECONDS)
        self._rested_at = time.monotonic()

    def ensure_connected(self, conn: Any) -> Any:
        """
        Return *conn* once the broker answers, asking every two seconds at least.

        The stock pauses grow to half a minute, in which a Redis that is back would wait for work.
        """
        conn.ensure_connection = partial(
            conn.ensure_connection,
            interval_start=_FIRST_PAUSE_SECONDS,
            interval_step=_FIRST_PAUSE_SECONDS,
            interval_max=_LONGEST_PAUSE_SECONDS,
        )
        return super().ensure_connected(conn)

    def on_unknown_message(self, body: Any, message: Any) -> None:
        """Keep a message without a task name."""
        self._keep(message, None)
        super().on_unknown_message(body, message)

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        """Keep a body that cannot be decoded."""
        self._keep(message, exc)
        message.ack_log_error(_logger(), self.connection_errors)

    def on_invalid_task(self, body: Any, message: Any, exc: Exception) -> None:
        """Keep refused content and bad arguments."""
        self._keep(message, exc)
        super().on_invalid_task(body, message, exc)

    def on_unknown_task(self, body: Any, message: Any, exc: Exception) -> None:
        """Keep a message for a task that this release does not have."""
        self._keep(message, exc)
        super().on_unknown_task(body, message, exc)

    def _keep(self, message: Any, error: Exception | None) -> None:
        text = f"{safe_repr(message.headers)} {safe_repr(message.body)}"
        with self.app.connection_for_write() as connection:
            client = connection.default_channel.client
            keep_unreadable(client, "message", text, error)


def _check_shape(message: Any) -> None:
    """
    Raise InvalidTaskError for a body that is not ``[args, kwargs, options]``.

    A child would meet it as an exception of the task, and nobody could tell what was wrong.
    """
    if "task" not in message.headers:
        return  # an older form of message, which the stock handler reads
    body = message.decode()
    match body:
        case [list(), dict(), dict() | None] | {"args": list()}:
            return
    raise InvalidTaskError(f"a body is [args, kwargs, options], not {type(body).__name__}")


def _is_leaving() -> bool:
    """Say whether the worker was told to end; the status 0 is such a word, too."""
    told = (state.should_stop, state.should_terminate)
    return any(one is not None and one is not False for one in told)


def _logger() -> Any:
    from celery.worker.consumer.consumer import logger

    return logger
