"""A service that stops before each call of a port until it is told to go on, or dies there."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

ENDLESS = 10**9
WAIT_SECONDS = 60.0  # for one call of a port: whoever takes longer hangs


class Killed(BaseException):
    """The process is gone; nothing of it runs any more."""


class Service:
    """
    *body* runs in a thread of its own, and of all threads only one runs at a time.

    It is given the ports' wrapper. So several services run side by side in an order that a test
    decides on, call by call, which is the order in which others see what they do.
    """

    def __init__(self, body: Callable[[Callable[[T], T]], Any]) -> None:
        self._body = body
        self._go, self._stopped = threading.Semaphore(0), threading.Semaphore(0)
        self._calls = 0
        self._death = ""
        self._error: BaseException | None = None
        self.ended = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def go_on(self, calls: int = ENDLESS) -> bool:
        """Let it make so many calls more; True when it has ended. Raises what it raised."""
        if not self.ended:
            self._calls = calls
            self._go.release()
            assert self._stopped.acquire(timeout=WAIT_SECONDS), "a service hangs"
            if self._error:
                raise self._error
        return self.ended

    def die(self, *, acts: bool = False) -> None:
        """End it where it stands, after its next call acted or before."""
        self._death = "after" if acts else "before"
        self.go_on(1)
        self._thread.join(WAIT_SECONDS)

    def _run(self) -> None:
        self._go.acquire()
        try:
            self._body(lambda port: _Stopping(port, self._turn))
        except Killed:
            pass
        except BaseException as error:  # noqa: BLE001 - the test's own thread raises it
            self._error = error
        self.ended = True
        self._stopped.release()

    def _turn(self, act: Callable[[], Any]) -> Any:
        if self._calls <= 0 and not self._death:
            self._stopped.release()
            self._go.acquire()
        self._calls -= 1
        if not self._death:
            return act()
        if self._death == "after":
            self._death = "done"
            act()
        self._death = "done"
        raise Killed


class _Stopping:
    def __init__(self, port: Any, turn: Callable[[Callable[[], Any]], Any]) -> None:
        self._port = port
        self._turn = turn

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._port, name)
        return lambda *args, **options: self._turn(lambda: method(*args, **options))
