"""What every process does beside its work: logs, health, metrics, cycle line, announcement."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import structlog
from celery import signals

from claimx import bootstrap, garbage, redis_clients, startup
from claimx.adapters import leaving, leaving_step, ticking
from claimx.adapters.hints import queue_length, queue_name, queue_named
from claimx.domain.errors import ClaimXError, Unavailable
from claimx.domain.records import Stage
from claimx.knobs import unknown_names
from claimx.needs import missing_for
from claimx.settings import Settings, host_name
from claimx.telemetry import counts_folder, cycle, health, logs
from claimx.telemetry.metrics import PrometheusMetrics, exposition, totals

log = structlog.get_logger(__name__)

ANNOUNCE_SECONDS = 3.0  # uploads bound to a machine that is gone wait for this three times
_STALL_SECONDS = 60.0
_EXIT_UNREACHABLE = 5


class Attendance:
    """One process's health server, cycle line and announcement; stopped with the process."""

    def __init__(
        self,
        role: str,
        settings: Settings,
        metrics: PrometheusMetrics,
        info: Mapping[str, str],
        live: health.Check | None = None,
    ) -> None:
        self.progress = health.Progress(_STALL_SECONDS)
        self._live = live or self.progress.problems
        self._role = role
        self._name = f"{host_name()}:{os.getpid()}"
        self._gates = bootstrap.gates_of(settings)
        self._ledger = redis_clients.ledger_of(settings)
        self._stopped = threading.Event()
        self._info = dict(info)
        self._servers: list[health.HealthServer] = []
        host = settings.health_host
        for what, port in (("health", settings.health_port), ("metrics", settings.metrics_port)):
            if port is None:
                continue
            try:
                server = health.HealthServer(
                    port, self._live, self._ready, lambda: exposition(metrics), host
                )
            except OSError as error:  # the work goes on; whoever probes sees that nobody answers
                log.error(  # noqa: TRY400 - one line is enough
                    "cannot listen", server=what, host=host, port=port, reason=error.strerror
                )
                continue
            server.start()
            self._servers.append(server)
            self._info[what] = server.address
        self._cycle = cycle.CycleLine(lambda: totals(metrics))
        self._cycle.start()
        threading.Thread(target=self._announce, daemon=True, name="announce").start()

    def stop(self) -> None:
        """Stop serving; the announcement ends by itself."""
        self._stopped.set()
        self._cycle.stop()
        for server in self._servers:
            server.stop()

    def _ready(self) -> dict[str, str]:
        try:
            self._ledger.ping()
        except Exception as error:  # noqa: BLE001 - whatever it is, we are not ready
            return {"redis": type(error).__name__}
        return self._live()

    def _announce(self) -> None:
        while True:
            try:
                self._gates.beat(self._role, self._name, self._info, ANNOUNCE_SECONDS * 3)
            except Exception as error:  # noqa: BLE001 - announcing is a courtesy
                log.debug("not announced", error=type(error).__name__)
            if self._stopped.wait(ANNOUNCE_SECONDS):
                return


def attend(
    role: str,
    settings: Settings,
    info: Mapping[str, str] | None = None,
    live: health.Check | None = None,
) -> Attendance:
    """
    Begin a process of type *role*: configure its logs and start what stands beside its work.

    It is alive while its loop reports progress, or as *live* says.
    """
    logs.configure(settings.log_level, settings.log_format, process=role)
    for warning in unknown_names(os.environ):
        log.warning(warning)
    return Attendance(role, settings, bootstrap.metrics_of(), info or {}, live)


def wait_for_redis(
    settings: Settings,
    patience_seconds: float = 600.0,
    progress: Callable[[], None] = lambda: None,
) -> None:
    """
    Return when Redis answers, saying once what is waited for; Unavailable if it never does.

    Waiting is progress: restarting the process would not bring Redis back.
    """
    deadline = time.monotonic() + patience_seconds
    delay, said = 0.2, False
    while True:
        try:
            redis_clients.ledger_of(settings).ping()
            return
        except Unavailable as error:
            if time.monotonic() > deadline:
                raise
            if not said:
                log.warning("waiting for Redis (REDIS_URL)", reason=str(error))
                said = True
            progress()
            time.sleep(delay)
            delay = min(5.0, delay * 2)


def connect(app: Any) -> None:
    """Connect a Celery app's worker and beat to all this, by its signals."""
    app.claimx_runtime = lambda: bootstrap.runtime(app)
    app.claimx_workshop = bootstrap.workshop
    app.claimx_sweeper = bootstrap.sweeper
    app.steps["worker"].add(leaving_step.LeavingStep)
    for signal_, receiver in (
        (signals.setup_logging, _set_up_logging),
        (signals.celeryd_after_setup, _take_own_uploads),
        (signals.worker_init, _before_fork),
        (signals.worker_process_init, _after_fork),
        (signals.worker_ready, _worker_ready),
        (signals.worker_shutdown, _worker_gone),
        (signals.worker_process_shutdown, _child_gone),
        (signals.beat_init, _beat_ready),
    ):
        signal_.connect(receiver, weak=False)


_attendance: list[Attendance] = []


def _set_up_logging(**_: Any) -> None:
    settings = startup.load_settings()
    logs.configure(settings.log_level, settings.log_format, process="celery")
    try:  # by itself RedBeat ends, and a worker looks less and less often
        wait_for_redis(settings)
    except ClaimXError as error:
        log.error("Redis did not come", reason=str(error))  # noqa: TRY400 - one line is enough
        sys.exit(_EXIT_UNREACHABLE)


def _take_own_uploads(instance: Any, **_: Any) -> None:
    """Check what a worker of the chosen queues needs; consume the uploads of its cache, too."""
    settings = startup.load_settings()
    queues = instance.app.amqp.queues
    if problems := missing_for(settings, queues.consume_from):
        startup.refuse(problems)
    try:  # every worker says whose cache it has
        node = bootstrap.cache_of(settings).node
    except OSError as error:
        startup.refuse([f"CACHE_DIR={settings.cache_dir!r}: {error.strerror}"])
    if "upload" in queues.consume_from:
        queues.select_add(queue_named(queue_name(Stage.UPLOAD, node)))


def _before_fork(sender: Any, **_: Any) -> None:
    startup.load_settings()  # puts into the environment what Arrow reads when it is imported
    bootstrap.preload(sender.app.amqp.queues.consume_from)
    folder = counts_folder.made(host_name())
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
    leaving.prepare(folder)
    atexit.register(_in_this_process(lambda: shutil.rmtree(folder, ignore_errors=True)))
    garbage.settle()


def _after_fork(**_: Any) -> None:
    # hosts send SIGTERM to every process at once; the parent decides when a child ends, and with
    # the remap it says so by SIGQUIT
    if os.environ.get("REMAP_SIGTERM") == "SIGQUIT":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _worker_ready(sender: Any, **_: Any) -> None:
    settings = startup.load_settings()
    queues = ",".join(sorted(sender.app.amqp.queues.consume_from))
    one = attend("worker", settings, {"queues": queues, "node": bootstrap.cache_of(settings).node})
    _attendance.append(one)
    sender.timer.call_repeatedly(5.0, one.progress.made)


def _worker_gone(**_: Any) -> None:
    for one in _attendance:
        one.stop()


def _child_gone(pid: int, **_: Any) -> None:
    from prometheus_client import multiprocess

    multiprocess.mark_process_dead(pid)
    bootstrap.close_workshop()


def _beat_ready(sender: Any, **_: Any) -> None:
    settings = startup.load_settings()
    one = attend("beat", settings)
    client = redis_clients.redis_of(settings, quick=True)
    sender.scheduler.apply_async = ticking.sparing(
        sender.scheduler, lambda queue: queue_length(client, queue)
    )
    tick = ticking.outliving(sender.scheduler)

    def watched(*args: Any, **kwargs: Any) -> Any:
        one.progress.made()
        return tick(*args, **kwargs)

    sender.scheduler.tick = watched


def _in_this_process(action: Callable[[], None]) -> Callable[[], None]:
    owner = os.getpid()

    def guarded() -> None:
        if os.getpid() == owner:  # forked children inherit exit hooks
            action()

    return guarded
