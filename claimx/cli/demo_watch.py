"""The demo's eyes: its progress while it runs."""

from __future__ import annotations

import sys
import time
from typing import Any

import click
import requests
import structlog

from claimx import bootstrap
from claimx.cli.stack import Stack
from claimx.domain.errors import ClaimXError
from claimx.domain.polling import LIVE
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
        read = self.runtime.ledger.checkpoint(LIVE) is not None
        # the last row is read once the checkpoint has come to it (late rows: to its overlap)
        dry = progress["done"] and time.time() - progress["last_visible"] > 8  # noqa: PLR2004 - seconds without a new row
        return int(progress["released"]), dry and read

    @staticmethod
    def _idle(found: Status) -> bool:
        waiting = any(
            row[s] for row in found.stages for s in ("ready", "leased", "retrying", "waiting")
        )
        return not waiting and found.stream_length == 0


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
