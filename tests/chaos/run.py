"""
A run of the whole pipeline under steady load while everything goes wrong, from a seed.

``make chaos MINUTES=20 SEED=7``. It prints what was done and what it cost, and ends with one line
of JSON. Exit 0 only when nothing is lost, doubled or wrong.
"""

from __future__ import annotations

import argparse
import heapq
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import redis
from ends import NoVictim, interruptible
from fleet import Fleet, posts
from pipeline_rig import Rig
from plan import Trouble, plan
from recovery import Recoveries, settled
from redis_server import RedisServer
from server_trouble import CACHE_QUOTA
from trouble import Troubles
from verdict import Verdict, judge

LOAD_SHARE = 0.9  # of the run, in which events come
HEAD_START = 6  # seconds until the first event
FEWEST_EVENTS = 400
STEP_SECONDS = 0.1
PATIENCE_SECONDS = 30.0  # a process that was killed is there again after ten or so

# Two retries cost as much as in the field; what differs is that a run has minutes and not hours.
SETTINGS = {
    "CLAIMX_POLL_START": "6h",
    "CLAIMX_POLL_OVERLAP_SECONDS": "60",
    "CLAIMX_RETRY_BASE_SECONDS": "0.5",
    "CLAIMX_RETRY_MAX_SECONDS": "10",
    "CLAIMX_CIRCUIT_OPEN_SECONDS": "2",
    "CLAIMX_BATCH_SECONDS": "2",
    "CLAIMX_API_TIMEOUT_SECONDS": "10",
    "CLAIMX_EVENTHOUSE_QUERY_TIMEOUT": "20",
    "CLAIMX_CACHE_MAX_BYTES": str(CACHE_QUOTA),
    "LOG_LEVEL": "WARNING",
}


@dataclass(slots=True)
class Options:
    """
    How long, how hard, from which seed.

    *rate* is events a second, *pace* seconds a trouble, *tail* how many seconds everything has to
    come to rest when all trouble is over.
    """

    minutes: float = 20.0
    seed: int = 7
    rate: float = 50.0
    pace: float = 3.0
    tail: float = 900.0
    folder: Path | None = None
    keep: bool = False

    @property
    def seconds(self) -> float:
        """Return the length of the trouble; coming to rest is on top."""
        return self.minutes * 60

    @property
    def events(self) -> int:
        """Return how many different events there are."""
        return max(FEWEST_EVENTS, int(self.rate * self.seconds * LOAD_SHARE))


@dataclass(slots=True)
class Run:
    """What a run did and found."""

    options: Options
    troubles: Troubles
    recoveries: Recoveries
    verdict: Verdict
    seconds: float = 0.0
    starts: dict[str, int] = field(default_factory=dict)

    def line(self) -> dict[str, Any]:
        """Return the figures of the last line."""
        times = self.recoveries.all()
        return {
            "seed": self.options.seed,
            "events": self.verdict.events,
            "kills": self.troubles.kills,
            "faults": self.troubles.done.total() - self.troubles.kills,
            "lost": self.verdict.lost,
            "doubled": self.verdict.doubled,
            "recovery_s_p50": round(times[len(times) // 2], 1) if times else None,
            "recovery_s_max": round(times[-1], 1) if times else None,
            "wrong": self.verdict.wrong,
            "minutes": round(self.seconds / 60, 1),
        }


def carry_out(options: Options, folder: Path, tell: Callable[[str], None]) -> Run:
    """Run from the first start to the verdict."""
    started = time.monotonic()
    world = ["--events", str(options.events), "--seed", str(options.seed)]
    world += ["--rate", str(options.rate), "--media-min", "300", "--media-max", "12000"]
    world += ["--latency-ms", "60", "--at", str(int(time.time()) + _build_seconds(options))]
    rig = Rig(folder, *world, settings=SETTINGS, on_onelake=True)
    rig.sandbox.start_seconds += _build_seconds(options)
    server = RedisServer(folder / "redis", rig.port, folder / "redis.log")
    recoveries = Recoveries()
    fleet: Fleet | None = None
    try:
        server.start()
        rig.start(with_redis=False)
        fleet = Fleet(rig, posts(rig))
        caches = [rig.folder / "cache", rig.folder / "cache-b"]
        troubles = Troubles(rig, fleet, server, recoveries, caches)
        tell(f"{options.events} events, seed {options.seed}, {options.minutes:g} minutes")
        _wait_until(rig.sandbox.announced["world"]["at"] - HEAD_START)
        _trouble(options, server, fleet, troubles, recoveries, tell)
        troubles.close()
        verdict = judge(rig, fleet, options.tail, tell)
        starts = {post.name: post.starts for post in fleet.posts}
        return Run(options, troubles, recoveries, verdict, time.monotonic() - started, starts)
    finally:
        rig.stop()
        server.kill()


def _build_seconds(options: Options) -> int:
    """Return how long the sandbox takes to make its world, generously, and the head start."""
    return HEAD_START + 5 + options.events // 2000


def _wait_until(moment: float) -> None:
    time.sleep(max(0.0, moment - time.time()))


def _trouble(
    options: Options,
    server: RedisServer,
    fleet: Fleet,
    troubles: Troubles,
    recoveries: Recoveries,
    tell: Callable[[str], None],
) -> None:
    started = time.monotonic()
    due: list[tuple[float, int, Trouble | Callable[[], None]]] = []
    order = count()
    for trouble in plan(options.seed, options.seconds, options.pace):
        heapq.heappush(due, (trouble.at, next(order), trouble))
    next_line = 0.0
    while (elapsed := time.monotonic() - started) < options.seconds or due:
        fleet.look_after()
        if due and due[0][0] <= elapsed:
            _, _, what = heapq.heappop(due)
            if isinstance(what, Trouble):
                begin(what, troubles, due, elapsed, order)
            else:
                _end(what, due, elapsed, order)
        recoveries.look()
        if elapsed >= next_line:
            next_line = elapsed + max(10.0, options.seconds / 30)
            tell(_progress(server.client, troubles, elapsed))
        time.sleep(STEP_SECONDS)


def begin(
    trouble: Trouble,
    troubles: Troubles,
    due: list[tuple[float, int, Trouble | Callable[[], None]]],
    elapsed: float,
    order: Any,
) -> None:
    """Begin a trouble; one that finds nobody to kill waits for somebody, for a while."""
    try:
        end = troubles.begin(trouble)
    except NoVictim:
        if elapsed < trouble.at + PATIENCE_SECONDS:
            heapq.heappush(due, (elapsed + 1.0, next(order), trouble))
        return
    if end is not None:
        heapq.heappush(due, (elapsed + trouble.seconds, next(order), end))


def _end(
    end: Callable[[], None],
    due: list[tuple[float, int, Trouble | Callable[[], None]]],
    elapsed: float,
    order: Any,
) -> None:
    """End a trouble; what another trouble keeps from ending is ended a second later."""
    try:
        end()
    except Exception:  # noqa: BLE001 - Redis or the sandbox's port may be away: it must end all the same
        heapq.heappush(due, (elapsed + 1.0, next(order), end))


def _progress(client: redis.Redis, troubles: Troubles, elapsed: float) -> str:
    try:
        found = {name.decode(): int(value) for name, value in settled(client).items()}
        names = ("event.admitted", "event.recorded", "k:event", "k:media", "d:event", "d:media")
        state = ", ".join(f"{name} {found.get(name, 0)}" for name in names)
    except redis.RedisError as error:
        state = f"no counters ({type(error).__name__})"
    return f"{elapsed:5.0f} s: {troubles.kills} kills, {troubles.done.total()} troubles, {state}"


def table(run: Run) -> str:
    """Return what was done and what it cost."""
    lines = [f"seed {run.options.seed}: {run.seconds:.0f} s, {run.verdict.events} events"]
    lines.append(f"{'trouble':<36}{'times':>6}{'requests hit':>14}")
    for kind, times in sorted(run.troubles.done.items(), key=lambda item: (-item[1], item[0])):
        lines.append(f"{kind:<36}{times:>6}{run.troubles.servers.hits.get(kind, '') or '':>14}")
    lines.append("")
    lines.append(f"{'moved on after':<36}{'times':>6}{'median s':>10}{'worst s':>9}")
    for kind, seconds in sorted(run.recoveries.seconds.items()):
        ordered = sorted(seconds)
        middle, worst = ordered[len(ordered) // 2], ordered[-1]
        lines.append(f"{kind:<36}{len(ordered):>6}{middle:>10.1f}{worst:>9.1f}")
    lines.append(f"recoveries that other troubles got into: {run.recoveries.tainted}")
    lines.append(f"starts: {', '.join(f'{name} {n}' for name, n in run.starts.items())}")
    lines.extend(run.verdict.told)
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Run; 0 when all is as it must be."""
    options = _options(arguments)
    interruptible()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="claimx-chaos-"))
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        _tell(f"{folder} is not empty: an earlier run's lake would be judged with this one's")
        return 2
    run = carry_out(options, folder, _tell)
    sys.stdout.write(f"{table(run)}\n{json.dumps(run.line())}\n")
    if run.verdict.good and not options.keep:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        _tell(f"everything lies in {folder}")
    return 0 if run.verdict.good else 1


def _tell(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def _options(arguments: list[str] | None) -> Options:
    parser = argparse.ArgumentParser(description=__doc__)
    known = Options()
    parser.add_argument("--minutes", type=float, default=known.minutes)
    parser.add_argument("--seed", type=int, default=known.seed)
    parser.add_argument("--rate", type=float, default=known.rate, help="events a second")
    parser.add_argument("--pace", type=float, default=known.pace, help="seconds a trouble")
    parser.add_argument("--tail", type=float, default=known.tail, help="seconds to come to rest")
    parser.add_argument("--folder", type=Path, help="an empty one; kept if something is wrong")
    parser.add_argument("--keep", action="store_true", help="keep it in any case")
    return Options(**vars(parser.parse_args(arguments)))


if __name__ == "__main__":
    sys.exit(main())
