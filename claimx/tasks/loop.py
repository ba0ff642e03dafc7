"""One event loop for a worker process, kept between chunks so that connections stay open."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

from billiard.exceptions import SoftTimeLimitExceeded

T = TypeVar("T")


class ProcessLoop:
    """
    Runs coroutines to their end, one at a time, in one loop.

    Celery's soft time limit, which a signal raises in the middle, cancels what runs, waits for it
    to settle its records, and is raised again; as is whatever else ends the loop.
    """

    def __init__(self) -> None:
        self._loop = new_loop()
        self._loop.set_exception_handler(self._heard)
        self._running: asyncio.Task[Any] | None = None
        self._over: SoftTimeLimitExceeded | None = None

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Return the coroutine's result."""
        asyncio.set_event_loop(self._loop)
        self._over = None
        task = self._loop.create_task(coroutine)
        self._running = task
        try:
            return self._loop.run_until_complete(task)
        except BaseException:
            if not task.done():
                task.cancel()
                self._loop.run_until_complete(asyncio.wait([task], timeout=20))
            if self._over is not None:
                raise self._over from None
            raise
        finally:
            self._running = None

    def _heard(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Take what a signal raised while the loop waited, which the loop itself only logs."""
        error = context.get("exception")
        if isinstance(error, SoftTimeLimitExceeded) and self._running is not None:
            self._over = error
            self._running.cancel()
        else:
            loop.default_exception_handler(context)

    def close(self) -> None:
        """Cancel what is left and close the loop."""
        if self._loop.is_closed():
            return
        left = asyncio.all_tasks(self._loop)
        for task in left:
            task.cancel()
        if left:
            self._loop.run_until_complete(asyncio.wait(left, timeout=5))
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()


def new_loop() -> asyncio.AbstractEventLoop:
    """Return an event loop, of uvloop where it exists."""
    if sys.implementation.name == "cpython" and sys.platform != "win32":
        import uvloop

        return uvloop.new_event_loop()
    return asyncio.new_event_loop()
