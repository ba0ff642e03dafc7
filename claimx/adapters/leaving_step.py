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
        from celery.apps import worker as celery_worker

        interrupted = signal.getsignal(signal.SIGINT)
        hung_up = signal.getsignal(signal.SIGHUP)  # of a service Celery's, which begins anew
        watch: list[threading.Thread] = []

        def leave(*_: Any) -> None:
            # no logging here: a handler may run in the middle of a log line
            if watch:
                return
            leaving.begin()
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            stay_ended()  # last, for a SIGHUP may have come in the middle of this
            state.should_stop = os.EX_OK
            watch.append(threading.Thread(target=_bounded, daemon=True, name="leaving"))
            watch[0].start()

        def stay_ended() -> None:
            """Take back that Celery starts the worker anew at its end."""
            atexit.unregister(celery_worker._reload_current_worker)  # noqa: SLF001 - nothing else

        def hang_up(number: int, frame: Any) -> None:
            if callable(hung_up):
                hung_up(number, frame)
            if watch:  # SIGTERM came in the middle of that
                stay_ended()

        def interrupt(number: int, frame: Any) -> None:
            leave()
            if callable(interrupted):
                interrupted(number, frame)

        signal.signal(signal.SIGTERM, leave)
        signal.signal(signal.SIGINT, interrupt)
        if callable(hung_up):  # a terminal's own is left as it is
            signal.signal(signal.SIGHUP, hang_up)


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
