"""
What each stage costs, one after the other in one process: nothing waits, and nothing is beside it.

Half of the events are a new file each, a quarter need their project, a quarter nobody handles. The
ledger is in a real Redis, hints go to its queues, the tables are Delta on disk; source, API, media
host and media store are in memory, so no HTTP is in the figures.
"""

from __future__ import annotations

import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from celery import Celery

from claimx.adapters.cache import DiskCache
from claimx.adapters.gates import RedisGates
from claimx.adapters.hints import CeleryHints, chunk_size
from claimx.adapters.lake import make_lake
from claimx.adapters.ledger import RedisLedger
from claimx.adapters.memory.claimx_api import MemoryClaimXApi
from claimx.adapters.memory.media import MemoryBlobStore, MemoryMediaFetcher
from claimx.adapters.memory.source import MemorySource
from claimx.adapters.redis_client import connect
from claimx.domain.circuit import CircuitSettings
from claimx.domain.media import Rules
from claimx.domain.records import Kind, Stage
from claimx.domain.retry import RetryPolicy
from claimx.domain.tables import TABLES
from claimx.domain.times import from_seconds
from claimx.services.ingest import ingest
from claimx.services.poll import poll_once
from claimx.services.runtime import Limits, Runtime
from claimx.services.write import LakeWriter
from claimx.tasks.loop import ProcessLoop
from claimx.tasks.workshop import Workshop
from claimx.telemetry.metrics import PrometheusMetrics

TYPES = ("PROJECT_FILE_ADDED", "POLICYHOLDER_INVITED", "PROJECT_FILE_ADDED", "BENCH_NOTHING")
FILE = b"\xff\xd8\xff\xe0" + bytes(20_000)
_STEPS = ("evalsha", "eval")
_CALLS = ("call", "c_call")
WRITE_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class StageCost:
    """
    Of one stage, for each event of the source.

    Microseconds of CPU of this process and of Redis, commands that Redis carried out (those inside
    scripts, too), *steps* (scripts that were called), *messages*, table *commits*. If traced:
    the *calls* of Python's functions, its built-in ones too, and the greatest number of *bytes*
    that its objects took.
    """

    client_us: float
    redis_us: float
    commands: float
    steps: float
    messages: float
    commits: float
    calls: float
    bytes: float


class Bench:
    """One run in *folder* and the empty Redis at *url*."""

    def __init__(self, folder: Path, url: str, events: int, *, traced: bool = False) -> None:
        self._client: Any = connect(url, "")
        self._events = events
        self._projects = max(1, events // 8)
        self._traced = traced
        self._calls = 0
        self._folder = folder
        self._lake = make_lake({name: str(folder / "lake" / name) for name in TABLES}, "", None)
        self._hints = _Hints(Celery("bench", broker=url, set_as_current=False), self._client)
        gates = RedisGates(self._client, circuit=CircuitSettings())
        self._runtime = Runtime(
            ledger=RedisLedger(self._client),
            gates=gates,
            hints=self._hints,
            metrics=PrometheusMetrics(),
            retry=RetryPolicy(),
            limits=Limits(
                poll_settle=0.0,
                poll_interval=1000.0,
                max_in_flight=2 * events,
                far_pages=events,  # all of them lie before the first poll
            ),
            now=time.time,
            jitter=lambda: 0.0,
            holder="bench:1",
            make_lake=lambda: self._lake,
            make_source=self._source,
        )
        api, files = self._vendor()
        cache = DiskCache(folder / "cache", 1 << 30, spare_bytes=0)
        fetcher = MemoryMediaFetcher(cache, files, Rules.of(["jpg"]), time.time)
        store = MemoryBlobStore()
        self._workshop = Workshop(ProcessLoop(), self._runtime, api, fetcher, cache, store)

    def run(self) -> dict[str, StageCost]:
        """Bring all events through every stage; returns what each cost."""
        for table in TABLES.values():
            self._lake.ensure(table)
        shop = self._workshop
        if self._traced:
            threading.setprofile(self._count_call)
        found = {
            "poll": self._measured(lambda: poll_once(self._runtime)),
            "ingest": self._measured(self._ingest_all),
            "enrich": self._measured(self._through(Stage.ENRICH, shop.enrich)),
            "download": self._measured(self._through(Stage.DOWNLOAD, shop.download)),
            "upload": self._measured(self._through(Stage.UPLOAD, shop.upload)),
            "record": self._measured(self._through(Stage.RECORD, shop.record)),
            "write": self._measured(self._write),
        }
        threading.setprofile(None)
        shop.close()
        return found

    def _count_call(self, _frame: object, event: str, _argument: object) -> None:
        self._calls += event in _CALLS

    def _measured(self, work: Callable[[], object]) -> StageCost:
        before, commits, messages = self._redis(), self._commits(), self._hints.messages
        calls = self._calls
        if self._traced:
            tracemalloc.start()
            sys.setprofile(self._count_call)
        begun = time.process_time()
        work()
        client = time.process_time() - begun
        sys.setprofile(None)
        peak = tracemalloc.get_traced_memory()[1] if self._traced else 0
        tracemalloc.stop()
        after, events = self._redis(), self._events
        return StageCost(
            client_us=1e6 * client / events,
            redis_us=1e6 * (after[0] - before[0]) / events,
            commands=(after[1] - before[1]) / events,
            steps=(after[2] - before[2]) / events,
            messages=(self._hints.messages - messages) / events,
            commits=(self._commits() - commits) / events,
            calls=(self._calls - calls) / events,
            bytes=peak / events,
        )

    def _through(self, stage: Stage, work: Callable[[list[str]], object]) -> Callable[[], None]:
        """Return what does the chunks that were hinted."""

        def all_chunks() -> None:
            for ids in self._hints.taken(stage):
                work(ids)

        return all_chunks

    def _ingest_all(self) -> None:
        for ids in self._hints.taken(Stage.INGEST):
            ingest(self._runtime, ids)
        if (there := self._runtime.ledger.active(Kind.EVENT)) != self._events:
            raise RuntimeError(f"{there} of {self._events} events are there: no figure would hold")

    def _write(self) -> None:
        runtime = self._runtime
        writer = LakeWriter(
            runtime.ledger,
            self._lake,
            runtime.gates,
            runtime.metrics,
            runtime.now,
            sleep=time.sleep,
            consumer="bench",
        )
        deadline = time.monotonic() + WRITE_SECONDS
        while runtime.ledger.active():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{runtime.ledger.active()} records are not written")
            writer.step()
        writer.close()

    def _redis(self) -> tuple[float, int, int]:
        """Return Redis's CPU seconds, the commands it has carried out, and the scripts' calls."""
        cpu = self._client.info("cpu")
        stats = self._client.info("commandstats")
        calls = {name.removeprefix("cmdstat_"): one["calls"] for name, one in stats.items()}
        seconds = float(cpu["used_cpu_user"]) + float(cpu["used_cpu_sys"])
        return seconds, sum(calls.values()), sum(calls.get(name, 0) for name in _STEPS)

    def _commits(self) -> int:
        logs = (self._folder / "lake").glob("*/_delta_log/*.json")
        return sum(1 for _ in logs)

    def _source(self) -> MemorySource:
        source = MemorySource()
        at = from_seconds(time.time() - 60)
        for number, type_ in zip(range(self._events), _cycle(TYPES), strict=False):
            row = {
                "event_id": f"{number:032x}",
                "event_type": type_,
                "project_id": str(7000 + number % self._projects),
                "media_id": str(number) if type_ == TYPES[0] else None,
                "ingested_at": "2026-01-01T12:00:00Z",
            }
            source.add([row], at + number)
        return source

    def _vendor(self) -> tuple[MemoryClaimXApi, dict[str, bytes]]:
        api = MemoryClaimXApi(time.time)
        files = {}
        for number in range(self._projects):
            project = {"projectId": 7000 + number, "projectNumber": f"N{number}"}
            api.projects[str(7000 + number)] = {"project": project}
        for number, type_ in zip(range(self._events), _cycle(TYPES), strict=False):
            if type_ == TYPES[0]:
                link = f"https://media.example/{number}.jpg"
                files[link] = FILE
                item = {"mediaID": number, "mediaName": f"{number}.jpg", "fullDownloadLink": link}
                api.media_items.setdefault(str(7000 + number % self._projects), []).append(item)
        return api, files


class _Hints(CeleryHints):
    """Sends for real, and keeps what it sent: the worker is this very process."""

    def __init__(self, app: Any, client: Any) -> None:
        super().__init__(app, client)
        self.sent: list[tuple[Stage, list[str]]] = []
        self.messages = 0

    def send(
        self,
        stage: Stage,
        ids: Sequence[str],
        affinity: str = "",
        *,
        waiting: int = 0,
        ahead: bool = False,
    ) -> None:
        super().send(stage, ids, affinity, waiting=waiting, ahead=ahead)
        size = chunk_size(stage, len(ids), waiting)
        chunks = [list(ids[at : at + size]) for at in range(0, len(ids), size)]
        self.sent += [(stage, chunk) for chunk in chunks]
        self.messages += len(chunks)

    def backlog(self, stage: Stage, affinity: str = "") -> int:
        """Return 0, as nobody reads the queues here; Redis is asked all the same, for its cost."""
        super().backlog(stage, affinity)
        return 0

    def taken(self, stage: Stage) -> list[list[str]]:
        """Return the chunks of a stage, and forget them."""
        found = [ids for at, ids in self.sent if at is stage]
        self.sent = [one for one in self.sent if one[0] is not stage]
        return found


def _cycle(types: Sequence[str]) -> Any:
    return (types[number % len(types)] for number in count())
