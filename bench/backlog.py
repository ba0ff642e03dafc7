"""
A source that is very many events behind, taken in beside live events, by the real processes.

``make bench-backlog``, or ``python bench/backlog.py --rows 200000 --minutes 10``. Starts Redis, the
sandbox and the Procfile's beat, worker and writer on loopback, waits until the backlog is in the
lake or the time is up, and ends with one line of JSON. The backlog's events have no handler, so
each goes through ingest, enrich and the lake writer without a call of the API; the live ones are a
world's ordinary mix, with API calls and media, and their lag is from ingestion to committed row.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import statistics
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis

sys.path.insert(0, str(Path(__file__).parents[1]))

from pipelines.processes import Meter

from claimx.cli.stack import Stack

LOOK_SECONDS = 2.0
LINE_SECONDS = 30.0
MARKER = ".claimx-bench-backlog"
WARM_SECONDS = 12.0  # the first live events come when the processes are up
SETTINGS = {
    "CLAIMX_POLL_INTERVAL_SECONDS": "5",
    "CLAIMX_RETRY_BASE_SECONDS": "1",
    "CLAIMX_HEALTH_PORT": "0",
    "CLAIMX_LOG_FORMAT": "json",
}


@dataclass
class Seen:
    """What was looked at while it ran."""

    redis_mb: list[float] = field(default_factory=list)
    records: list[int] = field(default_factory=list)
    rss_mb: dict[str, float] = field(default_factory=dict)
    rates: list[tuple[int, int, float]] = field(default_factory=list)  # second, done, rows/s
    split: float = float("inf")  # what was ingested later is live: the gap ends here
    seconds: float = 0.0
    done: int = 0


def main() -> int:
    """Run; 0 when the whole backlog came through, 1 when not, 130 when it was interrupted."""
    options = parsed()
    folder: Path = options.folder
    if folder.exists() and not (folder / MARKER).exists() and any(folder.iterdir()):
        print(f"{folder} is not empty and not this benchmark's", file=sys.stderr)
        return 2
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / MARKER).touch()
    stack = Stack(folder)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stack.interrupted)
    seen = Seen()
    try:
        sandbox = started(stack, options)
        watch(stack, options, seen)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    finally:
        stack.stop()
    report = verdict(options, sandbox, seen, folder)
    print(json.dumps(report))
    return 0 if report["missing"] == 0 and report["doubled"] == 0 else 1


def parsed() -> argparse.Namespace:
    """Read the command line."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rows", type=int, default=1_000_000)
    options.add_argument("--live-rate", type=float, default=5.0, help="live events a second")
    options.add_argument("--minutes", type=float, default=30.0, help="at most")
    options.add_argument("--max-in-flight", type=int, default=100_000)
    options.add_argument("--seed", type=int, default=7)
    options.add_argument("--folder", type=Path, default=Path("var/bench-backlog"))
    return options.parse_args()


def started(stack: Stack, options: argparse.Namespace) -> dict[str, Any]:
    """Start everything; returns what the sandbox says of itself."""
    stack.environment.pop("REDIS_URL", None)
    os.environ.pop("REDIS_URL", None)  # never somebody's real one
    stack.start_redis()
    live = max(100, int(options.live_rate * options.minutes * 60))
    sandbox = stack.start_sandbox(
        ["--backlog", str(options.rows), "--events", str(live), "--seed", str(options.seed),
         "--rate", str(options.live_rate), "--at", str(int(time.time() + WARM_SECONDS)),
         "--data", str(stack.folder), "--no-specials", "--media-max", "8000"],
    )  # fmt: skip
    stack.environment.update(
        SETTINGS
        | {
            "CLAIMX_POLL_START": "26h",
            "CLAIMX_MAX_IN_FLIGHT": str(options.max_in_flight),
            "CLAIMX_LAKE_PATH": str((stack.folder / "lake").resolve()),
            "CACHE_DIR": str((stack.folder / "cache").resolve()),
        }
    )
    stack.start_pipeline(("beat", "worker", "writer"))
    return sandbox


def watch(stack: Stack, options: argparse.Namespace, seen: Seen) -> None:
    """Look until the backlog is in the lake or the time is up."""
    client = redis.Redis.from_url(stack.environment["REDIS_URL"])
    meter = Meter({process.pid: name for name, process in stack.started})
    begun = time.monotonic()
    told, told_done = 0.0, 0
    while seen.seconds < options.minutes * 60 and seen.done < options.rows:
        time.sleep(LOOK_SECONDS)
        stack.check()
        seen.seconds = time.monotonic() - begun
        counts = {k.decode(): int(v) for k, v in client.hgetall("{claimx:0}:n").items()
                  if v.lstrip(b"-").isdigit()}  # fmt: skip
        seen.done = counts.get("event.unhandled", 0)
        for value in client.hgetall("{claimx:0}:gaps:live").values():
            seen.split = min(seen.split, int(value.split()[0]) / 1e6)
        active = {kind: counts.get(f"k:{kind}", 0) for kind in ("page", "event", "media")}
        seen.records.append(sum(active.values()))
        seen.redis_mb.append(client.info("memory")["used_memory"] / 2**20)
        meter.look()
        seen.rss_mb = meter.peaks
        if seen.seconds - told >= LINE_SECONDS:
            rate = (seen.done - told_done) / (seen.seconds - told)
            seen.rates.append((round(seen.seconds), seen.done, round(rate, 1)))
            print(f"{seen.seconds:5.0f} s  {seen.done:>8} of the backlog  {rate:6.0f} rows/s"
                  f"  redis {seen.redis_mb[-1]:.0f} MB  in flight {active}"
                  f"  live recorded {counts.get('event.recorded', 0)}",
                  file=sys.stderr, flush=True)  # fmt: skip
            told, told_done = seen.seconds, seen.done
    client.close()


def verdict(
    options: argparse.Namespace, sandbox: dict[str, Any], seen: Seen, folder: Path
) -> dict[str, Any]:
    """Count the lake's rows and the lag of live events; only after every process has ended."""
    from deltalake import DeltaTable

    from claimx.sandbox.world import World

    table = DeltaTable(str(folder / "lake" / "claimx_events")).to_pyarrow_table(
        columns=["event_id", "created_at"]
    )
    ids = table.column("event_id").to_pylist()
    created = table.column("created_at").to_pylist()
    backlog = [one for one in ids if one.startswith("backlog-")]
    in_lake = {one: at.timestamp() for one, at in zip(ids, created, strict=True)}
    world = World(**sandbox["world"])
    ended = max(in_lake.values(), default=0.0)
    lags, waiting = [], 0
    for event in world.events:
        moment = event.ingestion.timestamp() if event.ingestion else 0.0
        if moment <= seen.split:
            continue
        if event.key in in_lake:
            lags.append(in_lake[event.key] - moment)
        elif moment < ended - 60:
            waiting += 1
    return {
        "rows": options.rows,
        "in_lake": len(set(backlog)),
        "missing": options.rows - len(set(backlog)),
        "doubled": len(backlog) - len(set(backlog)),
        "seconds": round(seen.seconds, 1),
        "rows_per_second": round(seen.done / max(seen.seconds, 1.0), 1),
        "rates": seen.rates,
        "redis_mb_start": round(seen.redis_mb[0], 1) if seen.redis_mb else None,
        "redis_mb_end": round(seen.redis_mb[-1], 1) if seen.redis_mb else None,
        "redis_mb_peak": round(max(seen.redis_mb, default=0.0), 1),
        "records_peak": max(seen.records, default=0),
        "rss_mb_peak": {name: round(mb) for name, mb in sorted(seen.rss_mb.items())},
        "live_events": len(lags),
        "live_not_within_60_s": waiting,
        "live_lag_p50": round(statistics.median(lags), 1) if lags else None,
        "live_lag_p95": round(sorted(lags)[int(len(lags) * 0.95)], 1) if lags else None,
        "live_lag_max": round(max(lags), 1) if lags else None,
        "live_rate": options.live_rate,
        "max_in_flight": options.max_in_flight,
        "cpus": os.cpu_count(),
    }


if __name__ == "__main__":
    sys.exit(main())
