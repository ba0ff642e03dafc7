"""One process that plays every part of the pipeline in turn, on what `bootstrap` builds."""

from __future__ import annotations

import atexit
import base64
import json
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from clock import Clock
from mishaps import Mishaps

QUEUES = ("poll", "ingest", "enrich", "download", "upload", "record", "control", "maintenance")

# What production does for thousands of rows is done here for a handful: the same steps, sooner.
SMALLER = {
    "claimx.adapters.ledger.chunks.CHUNK_RECORDS": 4,
    "claimx.services.held.CHUNK": 4,
    "claimx.services.pages.RECORDS_A_STEP": 1,
    "claimx.services.pages.RECORD_ROWS": 4,
    "claimx.services.recover.RECORDS_A_STEP": 2,
    "claimx.services.recover.ROWS_AT_A_TIME": 2,
    "claimx.services.chunk.SETTLE_SECONDS": 0.02,
    "claimx.services.chunk.WIND_UP_SECONDS": 0.1,
    "claimx.adapters.lake.upkeep.SMALL_FILES": 2,
    "claimx.services.folding._KEEP_SECONDS": 0.0,
    "claimx.adapters.slots._BALANCE_SECONDS": 0.05,
    "claimx.adapters.slots._RENEW_SECONDS": 0.05,
}

SETTINGS = {
    "CLAIMX_POLL_SETTLE_SECONDS": "0.2",
    "CLAIMX_POLL_OVERLAP_SECONDS": "2",  # more would read again what a death has lost
    "CLAIMX_POLL_START": "2h",
    "CLAIMX_POLL_BATCH_SIZE": "5",
    "CLAIMX_RETRY_BASE_SECONDS": "1",
    "CLAIMX_CIRCUIT_FAILURES": "2",
    "CLAIMX_CIRCUIT_OPEN_SECONDS": "5",
    "CLAIMX_BATCH_SECONDS": "0.01",
    "CLAIMX_LOG_FORMAT": "json",
    "LOG_LEVEL": "INFO",
}


def make_smaller() -> None:
    """Lower the numbers above; one that is gone is an error, not a wider net."""
    for name, value in SMALLER.items():
        module, _, constant = name.rpartition(".")
        __import__(module)
        if not hasattr(sys.modules[module], constant):
            raise AttributeError(name)
        setattr(sys.modules[module], constant, value)


class Machine(Mishaps):
    """
    The pipeline of one process over *environment*; times are *clock*'s.

    Hints go through Redis as Celery's messages do; `deliver` runs their tasks. *takeover_seconds*
    is how long a writer may be silent: nothing, when everybody else is known to be dead.
    """

    def __init__(
        self, environment: Mapping[str, str], clock: Clock, *, takeover_seconds: float = 15.0
    ) -> None:
        os.environ.update(environment)
        clock.go_on(Path(environment["CRASH_CLOCK"]))
        from claimx import bootstrap, redis_clients, startup, workers
        from claimx.adapters.ledger import RedisLedger
        from claimx.celery import app

        self.clock = clock
        self.app = app
        self.bootstrap = bootstrap
        self.workers = workers
        self.settings = settings = startup.load_settings()
        self.client = redis_clients.redis_of(settings)
        ledger = RedisLedger(
            self.client,
            dedup_seconds=settings.dedup_hours * 3600.0,
            clock=clock,
            takeover_seconds=takeover_seconds,
        )
        startup.keep("ledger", ledger)  # on the clock of the test
        self.runtime = bootstrap.runtime(app)
        self.ledger = self.runtime.ledger
        self.keeper: Any = None  # the last that folded

    @property
    def workshop(self) -> Any:
        """What a worker does its chunks with."""
        return self.workers.workshop()

    @property
    def cache(self) -> Any:
        """The cache of this machine."""
        return self.workers.cache_of(self.settings)

    @property
    def lake_folder(self) -> Path:
        """Where the tables lie, when they lie in a folder."""
        return Path(os.environ["CLAIMX_LAKE_PATH"])

    def pass_(self, seconds: float) -> None:
        """Let time pass, for everybody."""
        self.clock.pass_(seconds, self.client, Path(self.settings.cache_dir))
        for circuit in self.runtime.gates._circuits.values():
            circuit._believed_until = 0.0  # what it saw is as old as that

    # the tasks

    def task(self, name: str, *args: Any, **kwargs: Any) -> None:
        """Run a task as a worker does; coming again is the ledger's business."""
        from celery.exceptions import Retry

        with suppress(Retry):
            self.app.tasks[f"claimx.{name}"](*args, **kwargs)

    def deliver(self, *queues: str, most: int = 200) -> int:
        """Run the tasks of all messages that lie in the queues, and of those that follow."""
        done = 0
        while done < most:
            for queue in queues or self._queues():
                if (raw := self.client.rpop(queue)) is not None:
                    break
            else:
                return done
            self._run(raw)
            done += 1
        raise AssertionError(f"more than {most} messages")

    def _run(self, raw: bytes) -> None:
        """Run a message's task; what is none is dropped, as a worker does (see `worker`)."""
        try:
            message = json.loads(raw)
            args, kwargs, _ = json.loads(base64.b64decode(message["body"]))
            name = message["headers"]["task"].removeprefix("claimx.")
            known = f"claimx.{name}" in self.app.tasks
        except (ValueError, KeyError, TypeError, AttributeError):
            return
        if known:
            self.task(name, *args, **kwargs)

    def drop_messages(self) -> None:
        """Lose all hints, as a broker may."""
        self.client.delete(*self._queues())

    def _queues(self) -> tuple[str, ...]:
        return (*QUEUES, self.own_uploads)

    # the writer

    def writer(self, **options: Any) -> Any:
        """Return a lake writer as its process builds it."""
        from claimx.services.write import LakeWriter

        settings, runtime = self.settings, self.runtime
        return LakeWriter(
            runtime.ledger,
            runtime.lake,
            runtime.gates,
            runtime.metrics,
            runtime.now,
            **{
                "sleep": lambda _: None,
                "consumer": runtime.holder,
                "batch_rows": settings.batch_rows,
                "batch_seconds": 0.0,
                "known_seconds": settings.dedup_hours * 3600.0,
                "fresh_seconds": settings.project_fresh,
                **options,
            },
        )

    def fold(self, *names: str) -> None:
        """Bring what waits beside large tables into them, as the writer's process does."""
        from claimx.domain.tables import TABLES
        from claimx.services.folding import FoldKeeper

        runtime = self.runtime
        self.keeper = FoldKeeper(
            runtime.lake.large, runtime.gates, runtime.metrics, runtime.now, holder=runtime.holder
        )
        for table in TABLES.values():
            if not table.insert_only and (not names or table.name in names):
                self.keeper.look(table)

    def waits_beside_tables(self) -> bool:
        """Say whether some large table has not taken in all that was said of it."""
        from claimx.domain.tables import TABLES

        large = self.runtime.lake.large
        return any(large.backlog(table).changes for table in TABLES.values())

    def ensure_tables(self) -> None:
        """Create the tables, as the writer's process does when it starts."""
        from claimx.writer import _ensure_tables

        _ensure_tables(self.runtime, [], lambda: None)

    def poll_and_work(self, *, without: str = "none") -> None:
        """Poll once and do all that follows from it, but what lies in queues *without* it."""
        self.task("poll")
        self.task("redrive")
        self.deliver(*(queue for queue in self._queues() if not queue.startswith(without)))

    def forget_uploaded(self) -> None:
        """Let the worker look after the files that it has uploaded, as its thread does."""
        self.workshop._upload._uploaded.clear()

    @property
    def own_uploads(self) -> str:
        """The queue of this cache's uploads."""
        return f"upload.{self.cache.node}"

    def exit(self) -> None:
        """Do what an interpreter does at its end."""
        atexit._run_exitfuncs()

    def close(self) -> None:
        """Close what a worker's child closes."""
        self.workers.close_workshop()


def command(*words: str, code: int = 0) -> None:
    """Run a command of the command line in this process; it must end with *code*."""
    from claimx.cli.main import main

    try:
        main(list(words))
    except SystemExit as end:
        if (end.code or 0) != code:
            raise AssertionError(f"claimx {' '.join(words)}: {end.code}") from end
