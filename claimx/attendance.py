"""What stands beside a process's work: its logs, health and metrics, cycle line, announcement."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping

import structlog

from claimx import bootstrap, redis_clients, startup
from claimx.knobs import unknown_names
from claimx.settings import Settings
from claimx.telemetry import cycle, health, logs
from claimx.telemetry.metrics import exposition, totals

log = structlog.get_logger(__name__)

ANNOUNCE_SECONDS = 3.0  # uploads bound to a machine that is gone wait for this three times
_STALL_SECONDS = 60.0
_SLOW_SECONDS = 10.0  # without progress, after which it is looked why


class Attendance:
    """
    One process's health server, cycle line and announcement; stopped with the process.

    The server answers at once, while the process may still wait for Redis; the rest begins with
    its work.
    """

    def __init__(
        self,
        role: str,
        settings: Settings,
        live: health.Check | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.progress = health.Progress(_STALL_SECONDS, now)
        self._waits: list[Callable[[], bool]] = [lambda: not redis_clients.answers(settings)]
        self.live = live or self._problems
        self._role = role
        self._settings = settings
        self._stopped = threading.Event()
        self._info: dict[str, str] = {}
        self._cycle: cycle.CycleLine | None = None
        self._servers: list[health.HealthServer] = []
        host = settings.health_host
        for what, port in (("health", settings.health_port), ("metrics", settings.metrics_port)):
            if port is None:
                continue
            try:
                server = health.HealthServer(port, self.live, self._ready, self._metrics, host)
            except OSError as error:  # the work goes on; whoever probes sees that nobody answers
                log.error(  # noqa: TRY400 - one line is enough
                    "cannot listen", server=what, host=host, port=port, reason=error.strerror
                )
                continue
            server.start()
            self._servers.append(server)
            self._info[what] = server.address

    def begin(self, info: Mapping[str, str]) -> None:
        """Begin to count and to announce *info*: the process is at its work."""
        self.progress.made()
        metrics = bootstrap.metrics_of()
        self._info |= info
        self._cycle = cycle.CycleLine(lambda: totals(metrics))
        self._cycle.start()
        threading.Thread(target=self._announce, daemon=True, name="announce").start()

    def excuse(self, waits: Callable[[], bool]) -> None:
        """Let the process be alive while *waits* says that it waits: a restart would not help."""
        self._waits.append(waits)

    def stop(self) -> None:
        """Stop serving; the announcement ends by itself."""
        self._stopped.set()
        if self._cycle is not None:
            self._cycle.stop()
        for server in self._servers:
            server.stop()

    def leave_to_parent(self) -> None:
        """Let go, in a forked child, of the ports that the parent listens on."""
        for server in self._servers:
            server.let_go()

    def _problems(self) -> dict[str, str]:
        """Return the stall; who waits for what no restart would bring back stands not still."""
        if self.progress.silent_seconds() > _SLOW_SECONDS and any(one() for one in self._waits):
            self.progress.made()
        return self.progress.problems()

    def _ready(self) -> dict[str, str]:
        try:
            redis_clients.ask_redis(self._settings)
        except Exception as error:  # noqa: BLE001 - whatever it is, we are not ready
            return {"redis": type(error).__name__}
        return self.live()

    def _metrics(self) -> bytes:
        """Return what was counted: nothing before the work, since a worker counts in a folder."""
        return exposition(bootstrap.metrics_of()) if self._cycle is not None else b""

    def _announce(self) -> None:
        gates = bootstrap.gates_of(self._settings)
        name = startup.process_name()
        while True:
            try:
                gates.beat(self._role, name, self._info, ANNOUNCE_SECONDS * 3)
            except Exception as error:  # noqa: BLE001 - announcing is a courtesy
                log.debug("not announced", error=type(error).__name__)
            if self._stopped.wait(ANNOUNCE_SECONDS):
                return


def attend(role: str, settings: Settings, live: health.Check | None = None) -> Attendance:
    """
    Begin a process of type *role*: configure its logs, and answer probes.

    It is alive while its loop reports progress or it waits for Redis, or as *live* says.
    """
    logs.configure(settings.log_level, settings.log_format, process=role)
    for warning in unknown_names(os.environ):
        log.warning(warning)
    return Attendance(role, settings, live)
