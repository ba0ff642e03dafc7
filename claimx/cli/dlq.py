"""``claimx dlq``: what was given up on, why, and back to work with it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import click

from claimx import bootstrap
from claimx.cli.output import clean, form_option, moment, note, show
from claimx.domain.errors import ErrorCategory
from claimx.domain.records import DeadFilter, DeadLetter, Kind, Stage, records_named
from claimx.domain.requeueing import Selection
from claimx.services.dead_letters import requeue_selected, select

SHOWN_IDS = 10  # of those that stay dead, and of those that none are


class Word(click.ParamType[str]):
    """What is typed: a name that is no UTF-8 can be none of ours."""

    name = "text"

    def convert(self, value: Any, param: Any, ctx: Any) -> str:
        """Return it as it is; what is no text is a usage error."""
        try:
            value.encode()
        except UnicodeEncodeError:
            self.fail(f"{value!r} is not UTF-8", param, ctx)
        return str(value)


def _filters(command: Any) -> Any:
    filters: list[Any] = [
        click.option("--stage", type=click.Choice([s.value for s in Stage]), help="Where it died."),
        click.option(
            "--category",
            type=click.Choice([c.value for c in ErrorCategory]),
            help="What kind of failure it was (docs/errors-and-retries.md).",
        ),
        click.option("--error", type=Word(), help="The failure's class, such as NotFound."),
        click.option("--kind", type=click.Choice([k.value for k in Kind]), help="What it is."),
    ]
    for option in filters:
        command = option(command)
    return command


def _filter(ids: tuple[str, ...], options: dict[str, Any], limit: int | None = None) -> DeadFilter:
    return DeadFilter(
        ids=records_named(ids),
        stage=Stage(options["stage"]) if options["stage"] else None,
        category=ErrorCategory(options["category"]) if options["category"] else None,
        error=options["error"],
        kind=Kind(options["kind"]) if options["kind"] else None,
        limit=limit,
        bare=True,
    )


def _named(ids: tuple[str, ...]) -> tuple[str, ...]:
    """Return the ids that were named, with those of standard input where a ``-`` stands."""
    if "-" not in ids:
        return ids
    try:
        lines = sys.stdin.buffer.read().decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        note("what is on standard input is not UTF-8: one id a line")
        sys.exit(2)
    ids = tuple(one for one in ids if one != "-") + tuple(filter(None, map(str.strip, lines)))
    if not ids:  # no ids would mean all of them
        note("no ids on standard input")
        sys.exit(3)
    return ids


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


def _step(noted: dict[str, Any]) -> dict[str, Any]:
    return noted | {"at": moment(noted["at"])}


@click.group()
def dlq() -> None:
    """Dead letters: list, show, requeue."""


@dlq.command("ls")
@_filters
@click.option(
    "--limit",
    type=click.IntRange(1, 100_000),
    default=1000,
    show_default=True,
    help="How many at most.",
)
@form_option
def list_letters(form: str, limit: int, **options: Any) -> None:
    """
    List dead letters, the newest first.

    Exit 3 when nothing matches.
    """
    letters = bootstrap.reader_runtime().ledger.dead_letters(_filter((), options, limit + 1))
    columns = ["id", "stage", "category", "error", "reason", "died_at", "replays", "message"]
    show("dead_letters", [_row(letter) for letter in letters[:limit]], columns, form)
    if len(letters) > limit:
        note(f"there are more than {limit}; raise --limit")
    if not letters:
        note("no dead letter matches")
        sys.exit(3)


@dlq.command("show")
@click.argument("ids", nargs=-1, required=True, type=Word())
@form_option
def show_letter(ids: tuple[str, ...], form: str) -> None:
    """
    Show dead letters with failure and history.

    IDS may be - for standard input. The payload may hold personal data and links, so it is not
    printed: its fields are named.
    """
    ids = _named(ids)
    match = DeadFilter(ids=records_named(ids), limit=None)
    letters = bootstrap.reader_runtime().ledger.dead_letters(match)
    rows = [
        {**_row(x), "carries": sorted(x.data), "history": [_step(one) for one in x.history]}
        for x in letters
    ]
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
    _name_strangers(ids, letters, "no dead letter of")
    if not letters:
        sys.exit(3)


@dlq.command()
@click.argument("ids", nargs=-1, type=Word())
@_filters
@click.option("--limit", type=click.IntRange(min=1), help="The newest alone. [default: all]")
@click.option("--from-stage", type=click.Choice([s.value for s in Stage]), help="Restart there.")
@click.option("--all", "everything", is_flag=True, help="Without a filter: all of them.")
@click.option("--dry-run", is_flag=True, help="Only say what would be requeued.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def requeue(
    ids: tuple[str, ...],
    limit: int | None,
    from_stage: str | None,
    everything: bool,
    dry_run: bool,
    yes: bool,
    **options: Any,
) -> None:
    """
    Send dead letters back to work.

    They go back to the stage they died in. Which: IDS, or - for standard input, or a filter, or
    --all. Those that are there when the command begins: what dies meanwhile is left alone.
    """
    filtered = any(options[name] for name in ("stage", "category", "error", "kind"))
    if not (ids or filtered or everything):
        note("say which: ids, a filter, or --all")
        sys.exit(2)
    ids = _named(ids)
    runtime = bootstrap.operator_runtime()
    match = _filter(ids, options, limit)
    chosen = select(runtime, match, Stage(from_stage) if from_stage else None)
    if not chosen.letters:
        note("no dead letter matches")
        sys.exit(3)
    going = chosen.fitting
    _name_misfits(chosen)
    if limit is None:  # beyond one, others may have matched
        _name_strangers(ids, chosen.letters, "no dead letter that matches:")
    if dry_run:
        columns = ["id", "stage", "error", "message"]
        show("would_requeue", [_row(x) for x in going], columns, "table")
        note(f"would requeue {len(going)} of {len(chosen.letters)}")
        sys.exit(_status(len(going), chosen))
    if going and not yes:
        if not sys.stdin.isatty():
            note(f"{len(going)} would be requeued; --yes is needed where nobody can answer")
            sys.exit(2)
        click.confirm(f"Requeue {len(going)}?", abort=True, err=True)
    done = requeue_selected(runtime, chosen)
    note(f"requeued {done} of {len(chosen.letters)}")
    if done < len(going):
        note(f"no longer dead: {len(going) - done}")
    sys.exit(_status(done, chosen))


def _status(done: int, chosen: Selection) -> int:
    if not done:
        return 1
    return 0 if done == len(chosen.letters) else 6


def _name_misfits(chosen: Selection) -> None:
    ids = [letter.id for letter in chosen.misfits]
    if ids and chosen.stage:
        note(f"no business in {chosen.stage.value}: {_shown(ids)}")


def _name_strangers(ids: tuple[str, ...], letters: Sequence[DeadLetter], what: str) -> None:
    """Say which of the ids that were named are no dead letter's: one may be mistyped."""
    dead = {letter.id for letter in letters}
    if strange := [one for one in dict.fromkeys(ids) if dead.isdisjoint(records_named([one]))]:
        note(f"{what} {_shown(strange)}")


def _shown(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - SHOWN_IDS} more" if len(ids) > SHOWN_IDS else ""
    return ", ".join(ids[:SHOWN_IDS]) + more
