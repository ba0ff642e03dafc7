"""How the processes of Celery begin and end: what a worker and a beat do beside their work."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import billiard
import structlog
from celery import signals
from celery.app import app_or_default

from claimx import bootstrap, garbage, redis_clients, startup, workers
from claimx.adapters import leaving, leaving_step, ticking
from claimx.adapters.hints import queue_length, queue_name, queue_named
from claimx.attendance import Attendance, attend
from claimx.domain.errors import ClaimXError, Unavailable
from claimx.domain.records import Stage
from claimx.needs import WORKSHOP_QUEUES, missing_for, token_problem, unknown_queues
from claimx.settings import Settings
from claimx.telemetry import counts_folder, logs

log = structlog.get_logger(__name__)

NEEDS_CREDENTIALS = "Flower listens beyond loopback only with FLOWER_BASIC_AUTH=user:password"
LOOPBACK = ("127.0.0.1", "localhost", "::1")

_EXIT_UNREACHABLE = 5
_QUEUE_OPTIONS = {"Q": "queues", "X": "exclude_queues"}


def wait_for_redis(
    settings: Settings,
    patience_seconds: float = 600.0,
    progress: Callable[[], None] = lambda: None,
) -> None:
    """
    Return when Redis answers, saying once what is waited for; Unavailable if it never does.

    It is asked with little patience: meanwhile the process may be told to end, which *progress* may
    do. Waiting is progress; a restart would not bring Redis back.
    """
    deadline = time.monotonic() + patience_seconds
    delay, said = 0.2, False
    while True:
        try:
            redis_clients.ask_redis(settings)
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
    _lend(app)
    app.steps["worker"].add(leaving_step.LeavingStep)
    for signal_, receiver in (
        (signals.celeryd_init, _worker_begins),
        (signals.setup_logging, _set_up_logging),
        (signals.celeryd_after_setup, _take_own_uploads),
        (signals.worker_init, _before_fork),
        (signals.worker_process_init, _after_fork),
        (signals.worker_ready, _worker_ready),
        (signals.worker_shutdown, _worker_gone),
        (signals.worker_process_shutdown, _child_gone),
        (signals.beat_init, _beat_ready),
        (signals.import_modules, _shut_flower),
    ):
        signal_.connect(receiver, weak=False)


def _lend(app: Any) -> None:
    """Give an app what its tasks work with."""
    app.claimx_runtime = lambda: bootstrap.runtime(app)
    app.claimx_workshop = workers.workshop
    app.claimx_sweeper = workers.sweeper


_attendance: list[Attendance] = []


def _attended(role: str) -> Attendance:
    """Return what stands beside this process."""
    if not _attendance:
        _attendance.append(attend(role, startup.load_settings()))
    return _attendance[0]


def _worker_begins(instance: Any, options: dict[str, Any], **_: Any) -> None:
    startup.end_when_told()
    known = [*instance.app.amqp.queues]
    named = {f"-{short}": options.get(long) for short, long in _QUEUE_OPTIONS.items()}
    if problems := unknown_queues(known, named):
        startup.refuse(problems)
    served = set(named["-Q"] or known) - set(named["-X"] or ())
    if problems := missing_for(startup.load_settings(), served):
        startup.refuse(problems)
    _attended("worker")


def _set_up_logging(**_: Any) -> None:
    if billiard.current_process().name != "MainProcess":  # spawned, where workers do not fork
        settings = startup.load_settings()
        logs.configure(settings.log_level, settings.log_format, process="worker")
        return
    startup.end_when_told()
    one = _attended("beat")  # a worker is attended already
    try:  # by itself RedBeat ends, and a worker looks less and less often
        wait_for_redis(startup.load_settings(), progress=one.progress.made)
    except ClaimXError as error:
        log.error("Redis did not come", reason=str(error))  # noqa: TRY400 - one line is enough
        sys.exit(_EXIT_UNREACHABLE)


def _take_own_uploads(instance: Any, **_: Any) -> None:
    """Consume the uploads of this worker's cache, too, and see that it can be had."""
    settings = startup.load_settings()
    queues = instance.app.amqp.queues
    problem = token_problem(settings)
    if problem and WORKSHOP_QUEUES & set(queues.consume_from):  # it may come later
        log.warning("events wait for the API's token", token_file=problem)
    try:  # every worker says whose cache it has
        node = workers.cache_of(settings).node
    except OSError as error:
        startup.refuse([f"CACHE_DIR={settings.cache_dir!r}: {error.strerror}"])
    if "upload" in queues.consume_from:
        queues.select_add(queue_named(queue_name(Stage.UPLOAD, node)))


def _before_fork(sender: Any, **_: Any) -> None:
    startup.load_settings()  # puts into the environment what Arrow reads when it is imported
    workers.preload(sender.app.amqp.queues.consume_from)
    folder = counts_folder.made(startup.host_name())
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
    leaving.prepare(folder)
    atexit.register(_in_this_process(lambda: shutil.rmtree(folder, ignore_errors=True)))
    garbage.settle()


def _after_fork(**_: Any) -> None:
    # a spawned child has a copy of the app, made from its settings alone
    _lend(app_or_default())
    for one in _attendance:
        one.leave_to_parent()
    # hosts send SIGTERM to every process at once; the parent decides when a child ends, and with
    # the remap it says so by SIGQUIT
    if os.environ.get("REMAP_SIGTERM") == "SIGQUIT":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _worker_ready(sender: Any, **_: Any) -> None:
    settings = startup.load_settings()
    queues = ",".join(sorted(sender.app.amqp.queues.consume_from))
    one = _attended("worker")
    one.begin({"queues": queues, "node": workers.cache_of(settings).node})
    sender.timer.call_repeatedly(5.0, one.progress.made)


def _worker_gone(**_: Any) -> None:
    for one in _attendance:
        one.stop()


def _child_gone(pid: int, **_: Any) -> None:
    from prometheus_client import multiprocess

    multiprocess.mark_process_dead(pid)
    workers.close_workshop()


def _beat_ready(sender: Any, **_: Any) -> None:
    settings = startup.load_settings()
    one = _attended("beat")
    one.begin({})
    one.excuse(lambda: sender.scheduler.lock is None)  # another beat has it
    client = redis_clients.redis_of(settings, quick=True)
    sender.scheduler.apply_async = ticking.sparing(
        sender.scheduler, lambda queue: queue_length(client, queue)
    )
    sender.scheduler.close = ticking.letting_go(sender.scheduler, client.ping)
    tick = ticking.outliving(sender.scheduler)

    def watched(*args: Any, **kwargs: Any) -> Any:
        one.progress.made()
        return tick(*args, **kwargs)

    sender.scheduler.tick = watched


def _shut_flower(**_: Any) -> None:
    """
    Let Flower listen beyond loopback only with credentials, whoever starts it.

    `claimx.web` has seen to it before; ``celery -A claimx flower`` would listen everywhere.
    """
    flower = sys.modules.get("flower.options")
    if flower is None:
        return
    options = flower.options
    logins = [one for one in options.basic_auth or () if one.strip()]  # a blank variable is one
    if logins or options.auth or options.unix_socket:
        return
    options.address = options.address or LOOPBACK[0]
    if options.address not in LOOPBACK:
        startup.refuse([NEEDS_CREDENTIALS])


def _in_this_process(action: Callable[[], None]) -> Callable[[], None]:
    owner = os.getpid()

    def guarded() -> None:
        if os.getpid() == owner:  # forked children inherit exit hooks
            action()

    return guarded
