"""``claimx dlq``: what was given up on, why, and back to work with it."""

from __future__ import annotations

import sys
from typing import Any

import click

from claimx import bootstrap
from claimx.cli.output import clean, form_option, moment, note, show
from claimx.domain.errors import ErrorCategory
from claimx.domain.records import DeadFilter, DeadLetter, Kind, Stage, records_named
from claimx.services.dead_letters import requeue_matching


def _filters(command: Any) -> Any:
    for option in (
        click.option("--stage", type=click.Choice([s.value for s in Stage]), help="Where it died."),
        click.option("--category", type=click.Choice([c.value for c in ErrorCategory])),
        click.option("--error", help="The failure's class, such as NotFound."),
        click.option("--kind", type=click.Choice([k.value for k in Kind])),
        click.option("--limit", type=click.IntRange(1, 100_000), default=1000, show_default=True),
    ):
        command = option(command)
    return command


def _filter(ids: tuple[str, ...], options: dict[str, Any]) -> DeadFilter:
    if ids == ("-",):
        ids = tuple(line.strip() for line in sys.stdin if line.strip())
        if not ids:  # no ids would mean all of them
            note("no ids on standard input")
            sys.exit(3)
    return DeadFilter(
        ids=records_named(ids),
        stage=Stage(options["stage"]) if options["stage"] else None,
        category=ErrorCategory(options["category"]) if options["category"] else None,
        error=options["error"],
        kind=Kind(options["kind"]) if options["kind"] else None,
        limit=max(options["limit"], len(ids)),  # all that were named
    )


def _row(letter: DeadLetter) -> dict[str, Any]:
    failure = letter.failure
    return {
        "id": letter.id,
        "kind": letter.kind.value,
        "stage": letter.stage.value,
        "category": failure.category.value,
        "error": failure.error,
        "message": failure.message,
        "reason": failure.reason,
        "status": failure.status,
        "host": failure.host,
        "died_at": moment(letter.died_at),
        "attempts": letter.attempts,
        "replays": letter.replays,
        "trace": letter.trace,
    }


@click.group()
def dlq() -> None:
    """Dead letters: list, show, requeue."""


@dlq.command("ls")
@_filters
@form_option
def list_letters(form: str, **options: Any) -> None:
    """List dead letters, the newest first; exit 3 when nothing matches."""
    letters = bootstrap.operator_runtime().ledger.dead_letters(_filter((), options))
    columns = ["id", "stage", "category", "error", "reason", "died_at", "replays", "message"]
    show("dead_letters", [_row(letter) for letter in letters], columns, form)
    if not letters:
        note("no dead letter matches")
        sys.exit(3)


@dlq.command("show")
@click.argument("ids", nargs=-1, required=True)
@form_option
def show_letter(ids: tuple[str, ...], form: str) -> None:
    """
    Show dead letters with their failure and history.

    The payload may hold personal data and links, so it is not printed: its fields are named.
    """
    letters = bootstrap.operator_runtime().ledger.dead_letters(DeadFilter(ids=records_named(ids)))
    rows = [{**_row(x), "carries": sorted(x.data), "history": list(x.history)} for x in letters]
    if form != "table":
        show("dead_letters", rows, [], form)
    else:
        for row in rows:
            history = row.pop("history")
            for name, value in row.items():
                click.echo(f"{name:>10}  {clean('' if value is None else value)}")
            for step in history:
                click.echo(clean("            " + " ".join(f"{k}={v}" for k, v in step.items())))
            click.echo()
    if not letters:
        note("no dead letter of that id")
        sys.exit(3)


@dlq.command()
@click.argument("ids", nargs=-1)
@_filters
@click.option("--from-stage", type=click.Choice([s.value for s in Stage]), help="Restart there.")
@click.option("--all", "everything", is_flag=True, help="Without a filter: all of them.")
@click.option("--dry-run", is_flag=True, help="Only say what would be requeued.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def requeue(
    ids: tuple[str, ...],
    from_stage: str | None,
    everything: bool,
    dry_run: bool,
    yes: bool,
    **options: Any,
) -> None:
    """Send dead letters back to the stage they died in (IDS, or - for stdin, or a filter)."""
    filtered = any(options[name] for name in ("stage", "category", "error", "kind"))
    if not (ids or filtered or everything):
        note("say which: ids, a filter, or --all")
        sys.exit(2)
    runtime = bootstrap.operator_runtime()
    match = _filter(ids, options)
    letters = runtime.ledger.dead_letters(match)
    if not letters:
        note("no dead letter matches")
        sys.exit(3)
    if dry_run:
        show(
            "would_requeue",
            [_row(x) for x in letters],
            ["id", "stage", "error", "message"],
            "table",
        )
        note(f"would requeue {len(letters)}")
        return
    if not yes:
        if not sys.stdin.isatty():
            note(f"{len(letters)} would be requeued; --yes is needed where nobody can answer")
            sys.exit(2)
        click.confirm(f"Requeue {len(letters)}?", abort=True, err=True)
    done = requeue_matching(runtime, match, Stage(from_stage) if from_stage else None)
    note(f"requeued {done} of {len(letters)}")
    if done == 0:
        sys.exit(1)
    if done < len(letters):
        sys.exit(6)
