"""The demo's eyes: progress while it runs, and the verdict at its end."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import click
import requests
import structlog

from claimx import bootstrap
from claimx.cli.output import near
from claimx.cli.stack import Stack
from claimx.domain.errors import ClaimXError
from claimx.domain.records import DeadFilter, Kind, Stage
from claimx.services.runtime import Runtime
from claimx.services.status import Status, take_status
from claimx.settings import Settings

_LINE_SECONDS = 10.0
_CALM_LOOKS = 3  # consecutive looks that find nothing to do


class Watch:
    """Follows the pipeline until the source is dry and nothing is in flight."""

    def __init__(self, stack: Stack, sandbox: dict[str, Any], timeout: float) -> None:
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
        self.runtime: Runtime = bootstrap.build_runtime(Settings.load(stack.environment))
        self.seconds = 0.0
        self.last: Status | None = None
        self._stack = stack
        self._control = sandbox["control"].rstrip("/") + "/sandbox"
        self._asking = requests.Session()
        self._asking.trust_env = False  # a proxy of the environment does not lead to this machine
        self._rows = int(sandbox["rows"])
        self._timeout = timeout

    def until_done(self) -> bool:
        """Return True when all is done, False at the time-out; raises when a process has ended."""
        started = time.monotonic()
        calm, next_line, live = 0, 0.0, None
        interval = self.runtime.limits.poll_interval
        if sys.stderr.isatty():
            from rich.live import Live

            live = Live(refresh_per_second=4, transient=True)
            live.start()
        try:
            while self.seconds < self._timeout:
                self.seconds = time.monotonic() - started
                self._stack.check()
                released, dry = self._released()
                try:
                    self.last = take_status(self.runtime)
                except ClaimXError:
                    time.sleep(0.5)  # Redis under load: look again
                    continue
                if live:
                    live.update(_screen(self.last, released, self._rows, self.seconds, interval))
                elif self.seconds >= next_line:
                    next_line += _LINE_SECONDS
                    line = _line(self.last, released, self._rows, self.seconds, interval)
                    click.echo(line, err=True)
                calm = calm + 1 if dry and self._idle(self.last) else 0
                if calm >= _CALM_LOOKS:
                    return True
                time.sleep(0.5)
        finally:
            if live:
                live.stop()
        return False

    def _released(self) -> tuple[int, bool]:
        progress = self._asking.get(f"{self._control}/progress", timeout=10).json()
        read = (self.runtime.ledger.checkpoint("live") or _NOTHING).source_time / 1e6
        # the last row is read once the checkpoint has come to it (late rows: to its overlap)
        dry = progress["done"] and time.time() - progress["last_visible"] > 8  # noqa: PLR2004 - seconds without a new row
        return int(progress["released"]), bool(dry and read)

    @staticmethod
    def _idle(found: Status) -> bool:
        waiting = any(
            row[s] for row in found.stages for s in ("ready", "leased", "retrying", "waiting")
        )
        return not waiting and found.stream_length == 0


class _Nothing:
    source_time = 0


_NOTHING = _Nothing()


def verdict(stack: Stack, sandbox: dict[str, Any], folder: Path, watch: Watch) -> int:
    """Print the summary and return the exit status; 0 only when everything is as it must be."""
    checked = subprocess.run(  # noqa: S603 - deltalake must not be used where processes are started
        [
            sys.executable,
            "-m",
            "claimx.cli.demo_check",
            str(folder / "sandbox.json"),
            str(folder / "lake"),
        ],
        capture_output=True,
        text=True,
        check=False,
        env=stack.environment,
    )
    if checked.returncode not in (0, 1):
        click.echo(checked.stderr, err=True)
        return 1
    report: dict[str, Any] = json.loads(checked.stdout)
    status = take_status(watch.runtime)
    click.echo("")
    click.echo(f"{'table':<28}{'rows':>8}{'expected':>10}  differences")
    for name, row in report["tables"].items():
        click.echo(f"{name:<28}{row['rows']:>8}{row['expected']:>10}  {row['differences']}")
    click.echo(
        f"{'media files':<28}{report['files']:>8}{report['files_expected']:>10}"
        f"  {report['file_differences']}"
    )
    click.echo("")
    click.echo(f"bytes stored     {report['bytes']:,}")
    click.echo(
        f"lag              p50 {report['lag_p50']:.1f} s, p95 {report['lag_p95']:.1f} s"
        " (source row visible to row committed)"
    )
    click.echo(f"time             {watch.seconds:.0f} s for {sandbox['rows']} source rows")
    letters = watch.runtime.ledger.dead_letters(DeadFilter(limit=10_000))
    causes = Counter((x.stage.value, x.failure.category.value, x.failure.error) for x in letters)
    click.echo("dead letters     " + (f"{len(letters)} by cause:" if letters else "none"))
    for (stage, category, error), count in sorted(causes.items()):
        click.echo(f"  {count:>6}  {stage:<10}{category:<14}{error}")
    holds = all(not count for count in status.missing.values())
    for kind in (Kind.EVENT, Kind.MEDIA):
        totals = status.counters.get(kind.value, {})
        click.echo(
            f"{kind.value:<6} admitted {totals.get('admitted', 0)}"
            f" = recorded {totals.get('recorded', 0)}"
            f" + unhandled {totals.get('unhandled', 0)} + dead {status.dead[kind.value]}"
            f" + in flight {status.active[kind.value]}   {'holds' if holds else 'DOES NOT HOLD'}"
        )
    dead = {x.id for x in letters if x.kind is not Kind.MEDIA}
    dead_problems = _dead_differences(report, letters)
    for text in report["examples"] + dead_problems:
        click.echo(f"DIFFERENCE  {text}")
    click.echo("")
    click.echo(
        f"The lake lies in {folder / 'lake'}/<table> (Delta),"
        f" the media in {sandbox['media_folder']}."
    )
    # to_pyarrow_table() aborts half of such short processes when they end
    click.echo(
        f'Look at it:  {near(Path(sys.executable))} -c "from deltalake import DeltaTable as T;'
        f" print(T('{folder / 'lake'}/claimx_projects').to_pyarrow_dataset().head(5))\""
    )
    good = report["ok"] and holds and not dead_problems and len(dead) == report["dead_expected"]
    click.echo("VERDICT: everything is as it must be" if good else "VERDICT: NOT as it must be")
    return 0 if good else 1


def _dead_differences(report: dict[str, Any], letters: list[Any]) -> list[str]:
    """Compare the dead events with those that the sandbox knows must die."""
    expected = report["dead_events"]
    found = {
        x.id.removeprefix("e:"): x.failure.category.value for x in letters if x.kind is Kind.EVENT
    }
    # a row that is no event has no id to be found by: those are compared by their number
    arrived = [x for x in letters if x.stage is Stage.INGEST]
    nameless = {
        key for key in expected.keys() - found.keys() if "ingest" in expected[key]["stages"]
    }
    problems = [
        f"event {key} must be dead ({expected[key]['note']}) and is not"
        for key in sorted(expected.keys() - found.keys() - nameless)
    ]
    if len(arrived) != len(nameless):
        problems.append(
            f"{len(nameless)} malformed rows, but {len(arrived)} dead letters of stage ingest"
        )
    for x in letters:
        key = x.id.removeprefix("e:")
        if x.kind is Kind.EVENT and x.stage is not Stage.INGEST:
            if key not in expected:
                problems.append(
                    f"event {key} is dead ({x.failure.error}: {x.failure.message}) and must not be"
                )
            elif x.failure.category.value not in expected[key]["categories"]:
                problems.append(
                    f"event {key} died of {x.failure.category.value},"
                    f" not {expected[key]['categories']}"
                )
    return problems[:50]


def reading(found: Status, interval: float) -> str:
    """Say how far behind now the source is read, and what it waits for when a poll has failed."""
    lag = found.poll_lag_seconds
    text = "not polled yet" if lag is None else f"read up to {lag:.0f} s ago"
    if found.poll_failure is None:
        return text
    next_one = f"the next comes within {interval:g} s"
    return f"{text}; the last poll failed, {next_one}: {found.poll_failure}"


def _line(found: Status, released: int, rows: int, seconds: float, interval: float) -> str:
    stages = " ".join(
        f"{row['stage']} {sum(row[s] for s in ('ready', 'leased', 'retrying', 'waiting'))}"
        for row in found.stages
    )
    count = found.counters.get("event", {})
    done = count.get("recorded", 0) + count.get("unhandled", 0)
    return (
        f"{seconds:4.0f} s  released {released}/{rows}  done {done}  {stages}"
        f"  dead {sum(found.dead.values())}  {reading(found, interval)}"
    )


def _screen(found: Status, released: int, rows: int, seconds: float, interval: float) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=f"claimx demo, {seconds:.0f} s", title_justify="left", box=None)
    table.caption, table.caption_justify = Text(reading(found, interval)), "left"
    for name in ("stage", "ready", "working", "retrying", "waiting"):
        table.add_column(name, justify="left" if name == "stage" else "right")
    for row in found.stages:
        table.add_row(
            row["stage"],
            str(row["ready"]),
            str(row["leased"]),
            str(row["retrying"]),
            str(row["waiting"]),
        )
    for kind in ("event", "media"):
        count = found.counters.get(kind, {})
        done = count.get("recorded", 0) + count.get("unhandled", 0)
        table.add_row(
            f"{kind}: {done} of {count.get('admitted', 0)}",
            f"{done / max(seconds, 1):.0f}/s",
            f"{found.active[kind]} in flight",
            f"{found.dead[kind]} dead",
            f"{released}/{rows} released" if kind == "event" else "",
        )
    return table


def median_and_p95(values: list[float]) -> tuple[float, float]:
    """Return p50 and p95; zeros for nothing."""
    if not values:
        return 0.0, 0.0
    ordered = sorted(values)
    return statistics.median(ordered), ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))]
