"""
claimx beside other ways to do the same work, in interleaved rounds on the same stand-in servers.

``make bench`` for everything, ``make bench-short`` for four minutes. Contenders are the floor, a
naive Celery application, dlt and claimx (`pipelines`). Each run gets a sandbox of its own, from the
same seed: the API answers after 50 ms; with media, every second event has one file of 200 KB. The
processes of claimx import much on first use, so 480 events of other projects warm them. So that a
round takes minutes, slower contenders get fewer events: what counts is events a second.
Prints a table, and ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipelines import claimx_run, dlt_peer, floor, framework, lag, naive, onelake
from pipelines.job import Job
from pipelines.measure import Run
from pipelines.mixes import MEDIA, MIXES, NO_MEDIA
from pipelines.report import Results, as_json, summary, table
from pipelines.sandbox import sandbox

CONTENDERS: Mapping[str, Callable[[Job], Run]] = {
    "floor": floor.run,
    "naive": naive.run,
    "dlt": dlt_peer.run,
    "claimx": claimx_run.run,
}
FEWEST_EVENTS = 100
LAG_PATIENCE = 40.0  # seconds for rows that come late, when there are so many
LEAST_PATIENCE = 15.0
STOP_SECONDS = 10.0  # for the processes to end
PLOT = Path(__file__).parent / "pipelines" / "plot.py"


@dataclass(frozen=True)
class Plan:
    """How much is measured: *events* by mix and contender, all *seconds* at most."""

    rounds: int
    events: Mapping[str, Mapping[str, int]]
    framework_rounds: int
    framework_events: int
    lag_rates: tuple[int, ...]
    lag_seconds: int
    seconds: float
    run_seconds: float = 180.0


FULL = Plan(
    rounds=5,
    events={
        MEDIA: {"floor": 6000, "naive": 1500, "claimx": 6000},
        NO_MEDIA: {"floor": 30_000, "naive": 3000, "dlt": 4000, "claimx": 30_000},
    },
    framework_rounds=3,
    framework_events=30_000,
    lag_rates=(100, 300, 1000),
    lag_seconds=60,
    seconds=7200,
)
SHORT = Plan(
    rounds=1,
    events={
        MEDIA: {"floor": 2000, "claimx": 2000},
        NO_MEDIA: {"floor": 8000, "naive": 800, "dlt": 1000, "claimx": 8000},
    },
    framework_rounds=1,
    framework_events=6000,
    lag_rates=(300,),
    lag_seconds=25,
    seconds=235,
    run_seconds=60.0,
)
OTHERS = Plan(
    rounds=3,
    events={
        "small-media": {"floor": 10_000, "claimx": 10_000},
        "large-media": {"floor": 300, "claimx": 300},
        "doubles": {"floor": 8000, "claimx": 8000},
        "failing": {"floor": 20_000, "claimx": 20_000},
    },
    framework_rounds=0,
    framework_events=0,
    lag_rates=(),
    lag_seconds=0,
    seconds=3600,
)


class Bench:
    """One measurement by a plan; what fails is told, and the rest goes on."""

    def __init__(self, plan: Plan, options: argparse.Namespace) -> None:
        self.results = Results()
        self._plan = plan
        self._options = options
        self._deadline = time.monotonic() + plan.seconds

    def run(self) -> None:
        """Measure everything."""
        plan = self._plan
        for number in range(self._options.rounds or plan.rounds):
            self.results.rounds.append({})
            for mix, events in plan.events.items():
                for name in CONTENDERS:
                    if name in events:
                        self._try(f"round {number + 1}, {mix}, {name}", self._contend, mix, name)
        for number in range(plan.framework_rounds):
            self._try(f"framework {number + 1}", self._framework)
        for rate in plan.lag_rates:
            self._try(f"lag at {rate}/s", self._lag, rate)

    def _try(self, what: str, measure: Callable[..., str], *arguments: object) -> None:
        if self._options.only and not any(one in what for one in self._options.only.split(",")):
            return
        begun = time.monotonic()
        try:
            self._see_that_time_is_left()
            found = measure(*arguments)
            _tell(f"{what}: {found} ({time.monotonic() - begun:.0f} s)")
        except Exception as error:  # noqa: BLE001 - an hour's figures must not go with it
            self.results.failures.append(f"{what}: {type(error).__name__}: {error}")
            _tell(f"{what} FAILED: {type(error).__name__}: {error}")

    def _contend(self, mix: str, name: str) -> str:
        events = self._scaled(self._plan.events[mix][name])
        folder = self._options.folder / name
        head = MIXES[mix].head if name == "claimx" else 0
        servers, files = self._options.folder / "sandbox", MIXES[mix].files
        with sandbox(servers, events, mix, "--head", str(head)) as told:
            job = Job.on(
                told,
                folder,
                events=events,
                files=files(events),
                head=head,
                head_files=files(head),
                settings=MIXES[mix].settings,
                in_flight=self._options.in_flight,
                seconds=self._left(),
                onelake=self._options.onelake,
            )
            if job.onelake:
                onelake.prepare(job.environment)
            run = CONTENDERS[name](job)
        self.results.rounds[-1][mix, name] = run
        return (
            f"{run.rate:.0f} events/s, {1000 * run.cpu / events:.2f} s CPU for 1000,"
            f" sandbox {run.sandbox_cpu / run.seconds:.2f} cores"
        )

    def _framework(self) -> str:
        events = self._scaled(self._plan.framework_events)
        cost = framework.run(self._options.folder / "framework", events, self._left())
        self.results.costs.append(cost)
        return f"{cost.us_per_event:.0f} µs an event"

    def _lag(self, rate: int) -> str:
        seconds = max(5, round(self._plan.lag_seconds * min(1.0, self._options.scale * 4)))
        needed = lag.HEAD_SECONDS + lag.SKIPPED_SECONDS + seconds + STOP_SECONDS
        patience = min(LAG_PATIENCE, self._deadline - time.monotonic() - needed)
        if patience < LEAST_PATIENCE:
            raise TimeoutError(f"too little time left of {self._plan.seconds:g} s")
        found = lag.run(self._options.folder / "lag", self._scaled(rate, 10), seconds, patience)
        self.results.lags.append(found)
        return f"p95 {found.p95:.1f} s with {found.rate:g} a second"

    def _see_that_time_is_left(self) -> None:
        if self._left() <= 0:
            raise TimeoutError(f"no time left of {self._plan.seconds:g} s")

    def _left(self) -> float:
        return min(self._plan.run_seconds, self._deadline - time.monotonic())

    def _scaled(self, count: int, fewest: int = FEWEST_EVENTS) -> int:
        scale: float = self._options.scale
        return max(fewest, round(count * scale))


def main() -> int:
    """Measure; 0 when nothing failed and the plot was drawn, 130 when it was interrupted."""
    options = parsed()
    options.folder.mkdir(parents=True, exist_ok=True)
    plan = SHORT if options.short else OTHERS if options.others else FULL
    bench = Bench(plan, options)
    try:
        bench.run()
    except KeyboardInterrupt:
        _tell("interrupted")
        return 130
    told = as_json(bench.results) | {"machine": _machine(), "command": " ".join(sys.argv)}
    print(table(bench.results), end="\n\n")
    name = "mixes" if options.others else "pipeline"
    drawn = True
    for folder in (options.folder, options.write and options.write / "performance"):
        if folder:
            drawn &= _write(told, folder / f"{name}.json", draw=not options.others)
    print(json.dumps(summary(bench.results)))
    return 0 if drawn and not bench.results.failures else 1


def parsed() -> argparse.Namespace:
    """Read the command line."""
    options = argparse.ArgumentParser(description=__doc__)
    add = options.add_argument
    add("--short", action="store_true", help="one small round, at most four minutes")
    add("--others", action="store_true", help="three rounds of other mixes; floor and claimx alone")
    add("--scale", type=float, default=1.0, help="times the events of the plan; for a smoke run")
    add("--only", default="", help="steps whose name holds one of these words: media,claimx,lag")
    add("--rounds", type=int, default=0, help="so many rounds instead of the plan's")
    add("--in-flight", type=int, default=200, help="API calls at a time, of every contender")
    add("--onelake", action="store_true", help="media to the stand-in of OneLake, not to a folder")
    add("--folder", type=Path, default=Path("var/bench-pipeline"))
    add("--write", type=Path, help="docs: leave JSON and plot in its folder performance")
    return options.parse_args()


def _write(told: Mapping[str, object], path: Path, *, draw: bool) -> bool:
    """Write the figures, and *draw* them; says, and returns False, when no plot came of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(told, indent=1) + "\n")
    if not draw:
        return True
    try:
        subprocess.run(  # noqa: S603 - our own program, in the environment that has matplotlib
            [dlt_peer.PYTHON, str(PLOT), str(path), str(path.with_suffix(".svg"))],
            check=True,
            timeout=120,
        )
    except (OSError, subprocess.SubprocessError) as error:
        _tell(f"no plot: {error}")
        return False
    return True


def _machine() -> dict[str, object]:
    return {
        "cpus": os.cpu_count(),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        "system": platform.platform(),
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
