"""
The stage ENRICH alone on one core: ``make bench-enrich``.

A worker of the queue ``enrich`` (four children, as in the Procfile), bound to one core, and an API
that answers after 50 ms on the others. Each event needs a project of its own, so it is one call.
Ends with one line of JSON: calls a second and microseconds of CPU a call, Redis and API apart.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import redis
from celery import Celery
from pipelines.processes import Meter, Processes, processes
from pipelines.serving import port_in

from claimx.adapters.hints import CeleryHints
from claimx.adapters.ledger import RedisLedger
from claimx.domain.events import Event
from claimx.domain.records import Kind, NewRecord, Stage, event_record_id, page_record_id
from claimx.domain.times import from_seconds

EVENTS = 20_000
WARM_EVENTS = 800
IN_FLIGHT = 400
PAGE = 1000
SECONDS = 120.0
LOOK_SECONDS = 0.05


def main(arguments: list[str] | None = None) -> int:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--events", type=int, default=EVENTS)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="claimx-enrich-") as name:
        folder = Path(name)
        with processes(folder, {}) as stack:
            bench = Bench(stack, folder)
            bench.run(WARM_EVENTS)
            rounds = [bench.run(options.events) for _ in range(options.rounds)]
    line = {
        "calls_per_s": round(median(one[0] for one in rounds)),
        "us_per_call": round(median(one[1] for one in rounds)),
    }
    print(json.dumps(line))
    return 0


class Bench:
    """A worker bound to one core, and what it needs."""

    def __init__(self, stack: Processes, folder: Path) -> None:
        url = stack.start_redis()
        told = folder / "api.port"
        stack.run("api", [sys.executable, "-m", "pipelines.api_server", str(told)])
        stack.environment |= {
            "CLAIMX_API_URL": f"http://127.0.0.1:{port_in(told)}",
            "CLAIMX_API_TOKEN": "bench",
            "CLAIMX_API_CONCURRENCY": str(IN_FLIGHT),
            "CLAIMX_ALLOW_LOOPBACK": "true",
            "CLAIMX_LAKE_PATH": str(folder / "lake"),
            "ONELAKE_CLAIMX_PATH": str(folder / "files"),
            "CACHE_DIR": str(folder / "cache"),
            "REMAP_SIGTERM": "SIGQUIT",
        }
        quiet = ["-c", "1", "--without-gossip", "--without-mingle"]
        command = [sys.executable, "-m", "celery", "-A", "claimx", "worker", "-Q", "enrich", *quiet]
        stack.run("worker", command)
        worker = dict(stack.started)["worker"]
        os.sched_setaffinity(worker.pid, {max(os.sched_getaffinity(0))})  # its children's, too
        self._meter = Meter({worker.pid: "worker"})
        self._client: Any = redis.Redis.from_url(url)
        self._ledger = RedisLedger(self._client)
        self._hints = CeleryHints(Celery("bench", broker=url, set_as_current=False), self._client)
        self._number = 0

    def run(self, events: int) -> tuple[float, float]:
        """Enrich so many events; returns calls a second and microseconds of CPU a call."""
        ids = [one for _ in range(-(-events // PAGE)) for one in self._admitted(min(PAGE, events))]
        before, begun = self._cpu(), time.monotonic()
        for at in range(0, len(ids), PAGE):
            self._hints.send(Stage.ENRICH, ids[at : at + PAGE])
        while self._left():
            if time.monotonic() - begun > SECONDS:
                raise TimeoutError(f"{self._left()} of {len(ids)} events after {SECONDS:g} s")
            time.sleep(LOOK_SECONDS)
        seconds = time.monotonic() - begun
        found = len(ids) / seconds, 1e6 * (self._cpu() - before) / len(ids)
        print(f"{len(ids)} calls: {found[0]:.0f} a second, {found[1]:.0f} us each", flush=True)
        return found

    def _admitted(self, events: int) -> list[str]:
        """Admit a page of events of projects that nobody knows; returns their records."""
        at = from_seconds(time.time())
        checkpoint = self._ledger.checkpoint("bench")
        name = page_record_id(f"bench:{self._number}")
        page = NewRecord(name, Kind.PAGE, Stage.INGEST, {"rows": []}, "trace")
        self._ledger.store_page("bench", checkpoint, at, [page])
        (claimed,) = self._ledger.claim(Stage.INGEST, [name], 30.0)
        new = []
        for number in range(self._number, self._number + events):
            event = Event(f"{number:032x}", "POLICYHOLDER_JOINED", str(10_000 + number), at, at)
            new.append(
                NewRecord(
                    event_record_id(event.event_id),
                    Kind.EVENT,
                    Stage.ENRICH,
                    event.to_json(),
                    "trace",
                )
            )
        self._number += events
        admitted = self._ledger.admit(claimed, new, [], 3600.0)
        assert admitted is not None  # noqa: S101 - nobody else is here
        return list(admitted.ids)

    def _left(self) -> int:
        counts = self._client.hgetall("{claimx:0}:n")
        return sum(int(n) for name, n in counts.items() if name.startswith(b"s:enrich:"))

    def _cpu(self) -> float:
        self._meter.look()
        return sum(self._meter.cpu.values())


if __name__ == "__main__":
    sys.exit(main())
