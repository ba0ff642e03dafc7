"""
How a worker leaves in time, whatever it is doing.

Celery's soft shutdown sleeps through its whole time-out as soon as one task runs, while the
children take chunk after chunk; a warm one waits for as long as a chunk takes. Here SIGTERM begins
a warm shutdown and raises a flag, at which running chunks settle what they have and give back the
rest; what has not ended after `LEAVE_SECONDS` is killed, which costs nothing: its leases end.
"""

from __future__ import annotations

import atexit
import os
import signal
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import billiard
import structlog
from celery import bootsteps
from celery.worker import state

from claimx.adapters import leaving

log = structlog.get_logger(__name__)

LEAVE_SECONDS = 20.0  # hosts kill after 25 to 30


class LeavingStep(bootsteps.StartStopStep):  # type: ignore[misc]  # celery publishes no types
    """Takes over the worker's SIGTERM, which Celery installs just before its steps start."""

    requires = ("celery.worker.components:Pool",)

    def start(self, _worker: Any) -> None:
        """Install the handlers; a second Ctrl-C is still Celery's cold shutdown."""
        _Handlers().install()


class _Handlers:
    """What a worker does at a signal; another may come at any line of it, and do its own first."""

    def __init__(self) -> None:
        self._worker = os.getpid()
        self._interrupted = signal.getsignal(signal.SIGINT)
        self._hung_up = signal.getsignal(signal.SIGHUP)  # of a service Celery's, which begins anew
        self._unstarted = [threading.Thread(target=_bounded, daemon=True, name="leaving")]

    def install(self) -> None:
        """Put them in the place of Celery's."""
        if callable(self._hung_up):  # a terminal's own is left as it is
            signal.signal(signal.SIGHUP, self.hang_up)
        signal.signal(signal.SIGTERM, self.leave)
        signal.signal(signal.SIGINT, self.interrupt)

    def leave(self, *_: Any) -> None:
        """Begin a warm shutdown, and see that it has an end."""
        # no logging here: a handler may run in the middle of a log line
        if os.getpid() != self._worker:  # a child that was forked just now: its parent decides
            return
        try:
            watch = self._unstarted.pop()  # in one step
        except IndexError:
            return
        leaving.begin()
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        self.stay_ended()  # last, for a SIGHUP may have come in the middle of this
        state.should_stop = os.EX_OK
        with suppress(RuntimeError):  # the interpreter ends already, and starts no thread
            watch.start()

    def stay_ended(self) -> None:
        """Take back that Celery starts the worker anew at its end."""
        from celery.apps import worker as celery_worker

        atexit.unregister(celery_worker._reload_current_worker)  # noqa: SLF001 - nothing else
        atexit.unregister(_before_anew)

    def hang_up(self, number: int, frame: Any) -> None:
        """Begin anew, unless the worker is to end."""
        if callable(self._hung_up):
            self._hung_up(number, frame)
        atexit.register(_before_anew)  # after Celery's, and so before it
        if not self._unstarted:  # SIGTERM came in the middle of that
            self.stay_ended()

    def interrupt(self, number: int, frame: Any) -> None:
        """Leave, and let Celery make the next Ctrl-C a cold shutdown."""
        self.leave()
        if callable(self._interrupted):
            self._interrupted(number, frame)


def _before_anew() -> None:
    """Let whoever tells the worker to end, when it is about to begin anew, end it at once."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(os.EX_OK))
    leaving.clean_up()


def _bounded() -> None:
    """End the process when it has not ended by itself."""
    log.info("worker leaves: running chunks settle what they have", seconds=LEAVE_SECONDS)
    time.sleep(LEAVE_SECONDS)
    log.warning("worker was still busy and ends now; its leases end by themselves")
    try:
        kill(billiard.active_children())
        leaving.clean_up()
    finally:  # whatever fails, the process must end; a child that is left sees that it is alone
        os._exit(os.EX_OK)


def kill(children: Iterable[Any]) -> None:
    """Kill child processes, some of which may be just ending by themselves."""
    for child in children:
        with suppress(ProcessLookupError):
            os.kill(child.pid, signal.SIGKILL)
