"""
How claimx grows with its worker processes: ``make bench-scaling``.

One to four workers of one child each beside one beat and one lake writer, in interleaved rounds, on
as many cores as there are. Ends with one line of JSON: events a second, by mix and workers
(medians of the rounds), and the cores that were busy.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import Any

from pipelines import claimx_run
from pipelines.job import Job
from pipelines.measure import Run, measured
from pipelines.mixes import HEAD_EVENTS, MEDIA, MIXES, NO_MEDIA
from pipelines.processes import Processes
from pipelines.sandbox import sandbox

from claimx.domain.errors import ClaimXError

WORKERS = (1, 2, 3, 4)
EVENTS = {MEDIA: 3000, NO_MEDIA: 12_000}
SECONDS = 180.0


def main(arguments: list[str] | None = None) -> int:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the events")
    parser.add_argument("--folder", type=Path, default=Path("var/bench-scaling"))
    options = parser.parse_args(arguments)
    found: dict[str, dict[int, list[Run]]] = {mix: defaultdict(list) for mix in EVENTS}
    failures = []
    for number in range(options.rounds):
        for mix, events in EVENTS.items():
            for workers in WORKERS:
                what = f"round {number + 1}, {mix}, {workers} workers"
                try:
                    run = one(options.folder, mix, max(200, int(events * options.scale)), workers)
                except (ClaimXError, OSError, RuntimeError) as error:
                    failures.append(f"{what}: {error}")
                    print(failures[-1], file=sys.stderr, flush=True)
                    continue
                found[mix][workers].append(run)
                print(f"{what}: {run.rate:.0f} events/s, {_cores(run):.2f} cores", flush=True)
    line: dict[str, Any] = {"cpus": os.cpu_count(), "failures": len(failures)}
    for mix, runs in found.items():
        line[mix] = {
            str(workers): {
                "rate": round(median(run.rate for run in many)),
                "cores": round(median(_cores(run) for run in many), 2),
            }
            for workers, many in runs.items()
        }
    print(json.dumps(line))
    return 1 if failures else 0


def one(folder: Path, mix: str, events: int, workers: int) -> Run:
    """Return one run."""
    files = MIXES[mix].files
    head = ("--head", str(HEAD_EVENTS))
    with sandbox(folder / "sandbox", events, mix, *head) as told:
        job = Job.on(
            told,
            folder / "claimx",
            events=events,
            files=files(events),
            seconds=SECONDS,
            head=HEAD_EVENTS,
            head_files=files(HEAD_EVENTS),
        )

        def start(stack: Processes) -> None:
            claimx_run.start(stack, job, types=("beat", "writer"))
            for number in range(1, workers + 1):
                stack.run(f"worker {number}", _worker(number))

        return measured("claimx", job, start)


def _worker(number: int) -> list[str]:
    """Return the Procfile's command line for a worker, with one child and a name of its own."""
    command = "REMAP_SIGTERM=SIGQUIT exec celery -A claimx worker --without-gossip --without-mingle"
    return ["/bin/sh", "-c", f"{command} -c 1 -n w{number}@%h"]


def _cores(run: Run) -> float:
    """Return how many cores were busy, stand-ins and Redis included."""
    return (run.cpu + run.redis_cpu + run.sandbox_cpu) / max(run.seconds, 0.001)


if __name__ == "__main__":
    sys.exit(main())
