"""One process that plays every part of the pipeline in turn, on what `bootstrap` builds."""

from __future__ import annotations

import atexit
import base64
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from clock import Clock

ASIDE = ".aside"
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


class Machine:
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
        from claimx import bootstrap
        from claimx.adapters.ledger import RedisLedger
        from claimx.celery import app

        self.clock = clock
        self.app = app
        self.bootstrap = bootstrap
        self.settings = settings = bootstrap.load_settings()
        self.client = bootstrap.redis_of(settings)
        ledger = RedisLedger(
            self.client,
            dedup_seconds=settings.dedup_hours * 3600.0,
            clock=clock,
            takeover_seconds=takeover_seconds,
        )
        bootstrap._built[os.getpid(), "ledger"] = ledger  # on the clock of the test
        self.runtime = bootstrap.runtime(app)
        self.ledger = self.runtime.ledger

    @property
    def workshop(self) -> Any:
        """What a worker does its chunks with."""
        return self.bootstrap.workshop()

    @property
    def cache(self) -> Any:
        """The cache of this machine."""
        return self.bootstrap.cache_of(self.settings)

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

    def ensure_tables(self) -> None:
        """Create the tables, as the writer's process does when it starts."""
        from claimx.writer import _ensure_tables

        _ensure_tables(self.runtime, [], lambda: None)

    def poll_and_work(self, *, without: str = "none") -> None:
        """Poll once and do all that follows from it, but what lies in queues *without* it."""
        self.task("poll")
        self.task("redrive")
        self.deliver(*(queue for queue in self._queues() if not queue.startswith(without)))

    # what befalls it

    def ids(self, stage: str) -> list[str]:
        """Return the ids of the records in a stage."""
        found = self.client.zrange(f"{{claimx:0}}:look:{stage}", 0, -1)
        return [one.decode() for one in found]

    def doubled_entry(self) -> None:
        """Put a second entry of a record on the lake stream, as a late redriver does."""
        ((_, fields),) = self.client.xrange("{claimx:0}:rows", count=1)
        self.client.xadd("{claimx:0}:rows", fields)

    def fault(self, **rule: Any) -> None:
        """Let the stand-ins fail."""
        self._control("POST", "faults", rule)

    def no_faults(self) -> None:
        """Let the stand-ins be well."""
        self._control("DELETE", "faults")

    def accept_token(self, token: str) -> None:
        """Let the API accept another token, and no more the one before."""
        self._control("POST", "token", {"token": token})

    def once(self, look: Callable[[], bool], act: Callable[[], None]) -> None:
        """Have a thread act as soon as *look* says so."""

        def wait() -> None:
            wait_until(look)
            act()

        threading.Thread(target=wait, daemon=True).start()

    @contextmanager
    def interrupted(self) -> Iterator[None]:
        """Interrupt the main thread, as a time limit does, once a fault has a request in hand."""

        def interrupt(*_: object) -> None:
            raise KeyboardInterrupt

        def hit() -> bool:
            return bool(self._control("GET", "faults")[-1]["hits"])

        before = signal.signal(signal.SIGALRM, interrupt)
        self.once(hit, lambda: os.kill(os.getpid(), signal.SIGALRM))
        try:
            with suppress(KeyboardInterrupt):
                yield
        finally:
            signal.signal(signal.SIGALRM, before)
            self.no_faults()

    def _control(self, method: str, path: str, body: Any = None) -> Any:
        import requests

        url = f"{os.environ['CRASH_CONTROL']}/sandbox/{path}"
        answer = requests.request(method, url, json=body, timeout=10)
        answer.raise_for_status()
        return answer.json()

    def break_table(self, name: str) -> None:
        """Put something in a table's place that is none."""
        place = self.lake_folder / name
        place.rename(place.with_suffix(ASIDE))
        place.write_text("no table")

    def mend_tables(self) -> None:
        """Put what was set aside back into its place."""
        for aside in self.lake_folder.glob(f"*{ASIDE}"):
            place = aside.with_suffix("")
            place.unlink(missing_ok=True)
            aside.rename(place)

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
        self.bootstrap.close_workshop()


def wait_until(look: Callable[[], Any], seconds: float = 20.0) -> None:
    """Return once *look* says so; an error when it does not for that long."""
    deadline = time.monotonic() + seconds
    while not look():
        if time.monotonic() > deadline:
            raise AssertionError("waited in vain")
        time.sleep(0.01)


def command(*words: str, code: int = 0) -> None:
    """Run a command of the command line in this process; it must end with *code*."""
    from claimx.cli.main import main

    try:
        main(list(words))
    except SystemExit as end:
        if (end.code or 0) != code:
            raise AssertionError(f"claimx {' '.join(words)}: {end.code}") from end


def message(task: Any, body: bytes, **headers: Any) -> dict[str, Any]:
    """Return an item as kombu writes it; without a *task* it names none."""
    tag = str(uuid4())
    return {
        "body": base64.b64encode(body).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {
            "lang": "py",
            **({} if task is None else {"task": task}),
            "id": tag,
            "root_id": tag,
            "parent_id": None,
            "group": None,
            "argsrepr": "()",
            "kwargsrepr": "{}",
            **headers,
        },
        "properties": {
            "correlation_id": tag,
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": "enrich"},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": tag,
        },
    }
