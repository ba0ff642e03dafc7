"""``claimx poll`` and ``claimx backfill``: reading the source by hand."""

from __future__ import annotations

import dataclasses
import sys
import time

import click

from claimx import bootstrap, startup
from claimx.cli.output import form_option, note, show
from claimx.cli.parameters import Finite, Moment
from claimx.domain.errors import ErrorCategory
from claimx.domain.times import Micros, from_seconds, to_iso
from claimx.needs import missing_for
from claimx.services.backfill import BackfillReport, Ending
from claimx.services.backfill import backfill as run_backfill
from claimx.services.poll import Stop, poll_once
from claimx.services.runtime import Runtime
from claimx.setting_errors import ConfigurationError

_EXITS = {
    Ending.COMPLETE: 0,
    Ending.BUSY: 8,
    Ending.SUPERSEDED: 8,
    Ending.PRESSURE: 6,
    Ending.INTERRUPTED: 130,
}


def failed_status(category: ErrorCategory | None) -> int:
    """Return what a command ends with that the source failed: 1 for good, 5 when it may answer."""
    return 1 if category is ErrorCategory.PERMANENT else 5


@click.group()
def poll() -> None:
    """Poll the source by hand."""


@poll.command("once")
@click.option("--dry-run", is_flag=True, help="Read and tell, but admit nothing.")
@form_option
def once(dry_run: bool, form: str) -> None:
    """
    Poll once, now.

    Exit 8 when another poller is at work, 6 when too much is in flight, 1 when the source refuses
    for good, 5 when it does not answer.
    """
    report = poll_once(source_runtime(), dry_run=dry_run)
    row = {
        "stopped": report.stopped.value,
        "pages": report.pages,
        "rows": report.rows,
        "fresh": report.fresh,
        "known": report.known,
        "malformed": report.malformed,
        "set_aside": report.set_aside.rows if report.set_aside else 0,
        "lag_seconds": report.lag_seconds,
        "checkpoint": to_iso(report.checkpoint.source_time) if report.checkpoint else None,
        "error": report.error,
    }
    show("poll", [row], list(row), form)
    match report.stopped:
        case Stop.BUSY | Stop.SUPERSEDED:
            sys.exit(8)
        case Stop.FAILED:
            note(f"claimx: {report.error}")
            sys.exit(failed_status(report.category))
        case Stop.PRESSURE:
            sys.exit(6)


@click.command()
@click.option(
    "--from",
    "since",
    type=Moment(),
    required=True,
    help="Begin, of ingestion time: a time, or 2h / 3d back.",
)
@click.option("--to", "until", type=Moment(), default=None, help="End; now when left out.")
@click.option("--rate", type=Finite(min=0), default=0.0, help="Rows a second; 0: no bound.")
@form_option
def backfill(since: Micros, until: Micros | None, rate: float, form: str) -> None:
    """
    Admit what a past range of the source holds and nobody knows yet, beside the live poll.

    The same range run again goes on where it stopped. It waits while much work is in flight.
    """
    named, until = until, from_seconds(time.time()) if until is None else until
    if until < since:
        raise click.UsageError(f"--to ({to_iso(until)}) is before --from ({to_iso(since)})")
    runtime = source_runtime()
    if named is None:
        note(f"until {to_iso(until)}; name it with --to to resume this run")
    last = 0.0

    def tell(report: BackfillReport) -> None:
        nonlocal last
        if time.monotonic() - last < (1 if sys.stderr.isatty() else 10):
            return
        last = time.monotonic()
        waiting = f"  waiting: {report.waiting}" if report.waiting else ""
        note(f"{report.share:6.1%}  {report.rows} rows  {report.fresh} new{waiting}")

    report = run_backfill(
        runtime,
        since,
        until,
        sleep=time.sleep,
        progress=tell,
        rows_per_second=rate,
    )
    row = dataclasses.asdict(report) | {
        "since": to_iso(report.since),
        "until": to_iso(report.until),
        "ending": report.ending.value,
        "category": report.category.value if report.category else None,
    }
    show(
        "backfill", [row], ["ending", "rows", "fresh", "known", "malformed", "since", "until"], form
    )
    if report.error:
        note(f"claimx: {report.error}")
    if report.ending not in (Ending.COMPLETE, Ending.BUSY):
        note(f"resume with --from {to_iso(report.since)} --to {to_iso(until)}")
    sys.exit(_EXITS.get(report.ending, failed_status(report.category)))


def source_runtime() -> Runtime:
    """Return the runtime of a command that reads the source; raises ConfigurationError."""
    if problems := missing_for(startup.load_settings(), ["poll"]):
        raise ConfigurationError(problems)
    return bootstrap.operator_runtime()
