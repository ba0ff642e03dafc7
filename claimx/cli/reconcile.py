"""``claimx reconcile``: the source against the tables, and what is missing brought back."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import click
import orjson

from claimx import bootstrap, startup
from claimx.cli.output import SCHEMA_VERSION, form_option, note, show
from claimx.cli.parameters import Moment
from claimx.cli.source import failed_status, source_runtime
from claimx.domain.errors import ClaimXError
from claimx.domain.tables import TABLES
from claimx.domain.times import Micros, from_seconds, to_iso
from claimx.services.reconcile import Ending, Finding, Found, ReconcileReport, keep
from claimx.services.reconcile import reconcile as run_reconcile

DEFAULT_FROM, DEFAULT_TO = "24h", "15m"
SHOWN_IDS = 10  # of each finding in a table; JSON has a thousand, lines all

_ENDS = {
    Ending.NOTHING: 3,
    Ending.TIME: 6,
    Ending.PRESSURE: 6,
    Ending.BUSY: 8,
    Ending.SUPERSEDED: 8,
    Ending.INTERRUPTED: 130,
}
_ADVICE = {
    Finding.MISSING: "missing: --fix admits them; one that is named again was not to be had",
    Finding.EXTRA: "extra: no row of the source, or no media, accounts for it. See who wrote it,"
    " and delete it from the table; --fix never does",
    Finding.DOUBLED: "doubled: delete all rows of the key from the table; then it is missing, and"
    " --fix brings one back",
}


@click.command()
@click.option(
    "--from",
    "since",
    type=Moment(),
    default=None,
    help=f"Begin, of ingestion time: a time, or 2h / 3d back. [default: {DEFAULT_FROM}]",
)
@click.option("--to", "until", type=Moment(), default=DEFAULT_TO, show_default=True, help="End.")
@click.option("--fix", is_flag=True, help="Admit exactly what is missing.")
@click.option("--dry-run", is_flag=True, help="With --fix: only say what would be admitted.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@form_option
def reconcile(
    since: Micros | None, until: Micros, fix: bool, dry_run: bool, yes: bool, form: str
) -> None:
    """
    Hold the source against claimx_events, media and attachments, over a range of ingestion time.

    Names by id what is missing, extra or doubled; exit 7 when anything is, 0 when all is well.
    Without --from, events from before the pipeline's first poll do not count.
    """
    lenient = since is None
    begin = Moment().convert(DEFAULT_FROM, None, None) if since is None else since
    if until < begin:
        raise click.UsageError(f"--to ({to_iso(until)}) is before --from ({to_iso(begin)})")
    mending = fix and not dry_run
    asking = mending and not yes
    if asking and not sys.stdin.isatty():
        note("--fix needs --yes where nobody can answer; --dry-run says what it would do")
        sys.exit(2)
    runtime = source_runtime()
    _tell_absent()

    def look(*, fixing: bool, told: Callable[[Found, bool], None]) -> ReconcileReport:
        report = run_reconcile(
            runtime,
            begin,
            until,
            sleep=time.sleep,
            fix=fixing,
            lenient=lenient,
            told=told,
            progress=_Progress(),
        )
        keep(runtime, report)
        return report

    tell = _line if form == "jsonl" else _silent
    held: list[Found] = []

    def hold(found: Found, _admitted: bool) -> None:
        if found.finding is not Finding.MISSING:  # those are told by the second look
            held.append(found)

    report = look(fixing=mending and not asking, told=hold if asking else tell)
    if asking and (missing := _missing(report)):
        _print(report, "table", err=form != "table")
        question = f"Admit what is missing ({missing}) from {to_iso(begin)} to {to_iso(until)}?"
        click.confirm(question, abort=True, err=True)
        report = look(fixing=True, told=tell)
    else:
        for found in held:
            tell(found, False)
    _print(report, form)
    _explain(report, until, would=fix and dry_run)
    sys.exit(_status(report))


def _tell_absent() -> None:
    """Say which of the three tables is not there: with a wrong path, all is missing."""
    wanted = [TABLES[name] for name in ("claimx_events", "claimx_media", "claimx_attachments")]
    inspection = bootstrap.lake_of(startup.load_settings()).inspection
    with suppress(ClaimXError):  # one that does not answer is the look's own to wait for, and tell
        for name, path in inspection.absent(wanted).items():
            note(f"{name}: there is no table at {path}, so all of it counts as missing")


class _Progress:
    """Says how far it is, once a second on a terminal and every ten seconds elsewhere."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def __call__(self, report: ReconcileReport) -> None:
        if time.monotonic() - self._last < (1 if sys.stderr.isatty() else 10):
            return
        self._last = time.monotonic()
        share = (report.reached - report.since) / max(1, report.until - report.since)
        note(f"{share:6.1%}  {report.rows} rows  {report.off} findings")


def _status(report: ReconcileReport) -> int:
    if report.ending is Ending.FAILED:
        return failed_status(report.category)
    return _ENDS.get(report.ending, 7 if report.off else 0)


def _missing(report: ReconcileReport) -> int:
    return sum(n for (_, finding), n in report.counts.items() if finding is Finding.MISSING)


def _silent(_found: Found, _admitted: bool) -> None:
    """Leave it to the report."""


def _line(found: Found, admitted: bool) -> None:
    row = {"table": found.table, "finding": found.finding.value, "id": found.id}
    click.echo(orjson.dumps(row | {"admitted": admitted}))


def _print(report: ReconcileReport, form: str, *, err: bool = False) -> None:
    document = report.as_dict()
    if form == "table":
        rows = [row | {"ids": _shown(row)} for row in document["findings"]]
        show("findings", rows, ["table", "finding", "count", "admitted", "ids"], form, err=err)
        return
    if form == "jsonl":  # its findings are printed by now
        document["findings"] = [
            {name: value for name, value in row.items() if name != "ids"}
            for row in document["findings"]
        ]
    option = orjson.OPT_INDENT_2 if form == "json" else 0
    told = {"schema_version": SCHEMA_VERSION, "reconcile": document}
    click.echo(orjson.dumps(told, option=option))


def _shown(row: dict[str, Any]) -> str:
    ids = ", ".join(row["ids"][:SHOWN_IDS])
    more = row["count"] - SHOWN_IDS
    return f"{ids} and {more} more" if more > 0 else ids


def _explain(report: ReconcileReport, asked: Micros, *, would: bool) -> None:
    """Say on stderr what was looked at, what was not, and what to do."""
    cut = report.until < min(asked, from_seconds(time.time()))
    stopped = report.since < report.reached < report.until
    note(
        f"ingested {to_iso(report.since)} to {to_iso(report.until)}: {report.events} events,"
        f" {report.finished} finished, {report.in_flight} in flight, {report.dead} dead"
    )
    for said, text in (
        (cut, "later rows are not polled yet, or may still be joined by others"),
        (report.unread, f"{report.unread} events are still the poller's to take in"),
        (report.early, f"{report.early} events are older than the first poll; name --from"),
        (
            report.media_in_flight + report.media_dead,
            f"media: {report.media_in_flight} in flight, {report.media_dead} dead",
        ),
        (report.unsure, f"{report.unsure} rows could not be judged: see docs/operations.md"),
        *((count, f"admitted {kind.value}: {count}") for kind, count in report.admitted.items()),
        (would, f"would admit what is missing: {_missing(report)}"),
        *((True, _ADVICE[one]) for one in dict.fromkeys(one for _, one in report.findings())),
        (
            report.ending is not Ending.COMPLETE,
            f"claimx: {report.error or report.ending.value}",
        ),
        (stopped, f"go on with --from {to_iso(report.reached)} --to {to_iso(report.until)}"),
    ):
        if said:
            note(text)
