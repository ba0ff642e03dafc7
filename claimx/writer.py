"""The lake writer process: ``python -m claimx.writer``."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType

import structlog

from claimx import bootstrap, garbage, processes, startup
from claimx.attendance import attend
from claimx.domain.errors import ClaimXError, NotAllowed
from claimx.domain.tables import TABLES
from claimx.needs import without_path
from claimx.services.folding import FoldKeeper
from claimx.services.runtime import Runtime
from claimx.services.write import LakeWriter
from claimx.settings import Settings

log = structlog.get_logger(__name__)

_PAUSE_SECONDS = (0.5, 10.0)  # after a failure: first and longest
_LEAVE_SECONDS = 8.0  # for a step of a fold
_NEW_OBJECTS = 60_000  # a great batch holds tens of thousands, and all go when it is written


def main() -> int:
    """Write until told to stop; 0 then, 4 for wrong settings, 5 when Redis never came."""
    stopping: list[int] = []

    def stop(number: int, _frame: FrameType | None) -> None:
        stopping.append(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    settings = startup.load_settings()
    if problems := without_path(settings):
        startup.refuse(problems)
    attendance = attend("writer", settings)
    attendance.begin({"tables": str(len(TABLES))})
    try:
        processes.wait_for_redis(settings, progress=_unless(stopping, attendance.progress.made))
    except ClaimXError as error:
        log.error("Redis did not come", reason=str(error))  # noqa: TRY400 - one line is enough
        return 5
    runtime = bootstrap.build_runtime(settings)
    writer = _lake_writer(settings, runtime, attendance.progress.made)
    _ensure_tables(runtime, stopping, attendance.progress.made)
    garbage.settle(_NEW_OBJECTS)
    folding = _Folding(runtime)
    log.info("lake writer started", tables=len(TABLES))
    _write(writer, stopping, attendance.progress.made)
    folding.stop()
    try:
        writer.close()
    except ClaimXError as error:  # what it held comes again by its leases
        log.warning("writer left with rows unwritten", reason=str(error))
    attendance.stop()
    log.info("lake writer stopped")
    folding.leave()  # last, for it may end the process
    return 0


def _lake_writer(settings: Settings, runtime: Runtime, alive: Callable[[], None]) -> LakeWriter:
    return LakeWriter(
        runtime.ledger,
        runtime.lake,
        runtime.gates,
        runtime.metrics,
        runtime.now,
        sleep=time.sleep,
        consumer=runtime.holder,
        batch_rows=settings.batch_rows,
        batch_seconds=settings.batch_seconds,
        known_seconds=settings.dedup_hours * 3600.0,
        fresh_seconds=settings.project_fresh,
        alive=alive,
    )


def _write(writer: LakeWriter, stopping: list[int], progress: Callable[[], None]) -> None:
    """Write until told to stop; after a failure a little later each time."""
    pause = _PAUSE_SECONDS[0]
    while not stopping:
        progress()
        try:
            writer.step()
            pause = _PAUSE_SECONDS[0]
        except ClaimXError as error:
            log.warning("writer pauses", reason=str(error), seconds=pause)
            time.sleep(pause)
            pause = min(_PAUSE_SECONDS[1], pause * 2)


def _unless(stopping: list[int], made: Callable[[], None]) -> Callable[[], None]:
    """Return *made*, which ends the process once it was told to stop: nothing is held yet."""

    def go_on() -> None:
        if stopping:
            sys.exit(0)
        made()

    return go_on


class _Folding:
    """Large tables take in what waits beside them, in a thread of their own."""

    def __init__(self, runtime: Runtime) -> None:
        self._keeper = FoldKeeper(
            runtime.lake.large, runtime.gates, runtime.metrics, runtime.now, holder=runtime.holder
        )
        self._thread = threading.Thread(target=self._keeper.run, name="fold", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Begin nothing more."""
        self._keeper.stop()

    def leave(self) -> None:
        """
        Wait for the step that is under way; if it is too long, end the process.

        One that came back from deltalake into an interpreter which is ending would crash it.
        """
        self._thread.join(_LEAVE_SECONDS)
        if self._thread.is_alive():
            os._exit(0)


def _ensure_tables(runtime: Runtime, stopping: list[int], progress: Callable[[], None]) -> None:
    """
    Create absent tables, trying again while the lake is away: nothing can be written before.

    One that is another table than was declared holds up nobody: its rows wait until that is mended.
    """
    pause = _PAUSE_SECONDS[0]
    for table in TABLES.values():
        while not stopping:
            progress()
            try:
                runtime.lake.ensure(table)
                break
            except NotAllowed as error:
                log.error("rows of this table wait", table=table.name, reason=error.message)  # noqa: TRY400 - one line is enough
                break
            except ClaimXError as error:
                log.warning("table not ready", table=table.name, reason=str(error), seconds=pause)
                time.sleep(pause)
                pause = min(_PAUSE_SECONDS[1], pause * 2)


if __name__ == "__main__":
    sys.exit(main())
