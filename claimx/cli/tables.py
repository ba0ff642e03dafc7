"""``claimx tables``: the nine Delta tables, how they lie, and what can be done about it."""

from __future__ import annotations

import dataclasses
import sys
from typing import TYPE_CHECKING, Any

import click

from claimx import bootstrap, startup
from claimx.cli.output import form_option, note, show
from claimx.cli.table_page import tables_page
from claimx.domain.columns import Table
from claimx.domain.errors import ClaimXError
from claimx.domain.now_view import now_view
from claimx.domain.tables import TABLES

if TYPE_CHECKING:
    from claimx.adapters.lake import DeltaLake

NOTHING, UNHEALTHY, BUSY = 3, 7, 8
MOST_COMMITS = 10_000

one_table = click.argument("name", type=click.Choice(list(TABLES)), metavar="TABLE")


@click.group()
def tables() -> None:
    """Look at the tables, or look after them; TABLE is one of the nine names."""


@tables.command("ls")
@form_option
def list_tables(form: str) -> None:
    """
    Print rows, files, the last commit of each.

    *pieces* are the ranges of keys that it lies in, *waiting* what is not folded yet. Exit 3 when
    there is no table, 7 when one cannot be read: it is named and left out.
    """
    lake = _lake()
    states, broken = [], []
    for table in TABLES.values():
        try:
            states.append(lake.inspection.state(table))
        except ClaimXError as error:
            broken.append(error)
    if not states:  # the storage, rather than the tables
        raise broken[0]
    rows = [dataclasses.asdict(state) for state in states]
    columns = ["name", "rows", "files", "bytes", "pieces", "waiting", "version", "last_commit"]
    show("tables", rows, columns, form)
    for why in broken:
        note(f"claimx: {why}")
    if broken:
        sys.exit(UNHEALTHY)
    if not any(state.exists for state in states):
        _tell_absent({state.name: state.path for state in states})
        sys.exit(NOTHING)


@tables.command("show")
@one_table
@form_option
def show_table(name: str, form: str) -> None:
    """
    Print all that is known of one table.

    Exit 3 when it is not there.
    """
    state = _lake().inspection.state(TABLES[name])
    found = dataclasses.asdict(state)
    rows = [found] if form != "table" else _pairs(found)
    show("table", rows, ["name", "value"], form)
    if not state.exists:
        _tell_absent({name: state.path})
        sys.exit(NOTHING)


@tables.command()
@one_table
@form_option
def schema(name: str, form: str) -> None:
    """
    Print the declared columns.

    Each with its type, how a newer value replaces an older one, and its meaning.
    """
    table = TABLES[name]
    rows = [
        {
            "column": column.name,
            "type": column.type.value,
            "rule": column.rule.value,
            "meaning": column.doc,
        }
        for column in table.columns
    ]
    show("columns", rows, ["column", "type", "rule", "meaning"], form)


@tables.command()
@click.argument("names", nargs=-1, type=click.Choice(list(TABLES)), metavar="[TABLE]...")
@form_option
def diff(names: tuple[str, ...], form: str) -> None:
    """
    Print what differs from the declaration.

    Exit 7 when any does, exit 3 when there is no table; of several, those that are not there are
    named.
    """
    lake = _lake()
    rows = [
        {"table": table.name, "difference": line}
        for table in _there(names)
        for line in lake.inspection.differences(table)
    ]
    show("differences", rows, ["table", "difference"], form)
    if rows:
        sys.exit(UNHEALTHY)
    note("nothing differs")


@tables.command()
@one_table
@click.option(
    "--limit",
    type=click.IntRange(1, MOST_COMMITS),
    default=20,
    show_default=True,
    help="How many at most.",
)
@form_option
def history(name: str, limit: int, form: str) -> None:
    """
    Print the newest commits of a table.

    Exit 3 when it is not there.
    """
    inspection = _lake().inspection
    rows = inspection.history(TABLES[name], limit)
    show("commits", rows, ["version", "at", "operation", "metrics"], form)
    if not rows:
        _tell_absent(inspection.absent([TABLES[name]]))
        sys.exit(NOTHING)


@tables.command()
@click.argument("names", nargs=-1, type=click.Choice(list(TABLES)), metavar="[TABLE]...")
def compact(names: tuple[str, ...]) -> None:
    """
    Make one file of many, drop expired logs.

    Beat does it every ten minutes. Exit 8 when another process is at it.
    """
    _maintain(names, full=False)


@tables.command()
@click.argument("names", nargs=-1, type=click.Choice(list(TABLES)), metavar="[TABLE]...")
def vacuum(names: tuple[str, ...]) -> None:
    """
    Compact, and remove what killed writers left.

    That is files of two days ago and before, which no version names.
    """
    _maintain(names, full=True)


@tables.command()
@click.argument("names", nargs=-1, type=click.Choice(list(TABLES)), metavar="[TABLE]...")
def fold(names: tuple[str, ...]) -> None:
    """
    Bring what waits into the large tables, now.

    Exit 8 when a writer is at it, or took it over before the end: what waits, waits on.
    """
    from claimx.services.folding import FoldKeeper

    runtime = bootstrap.operator_runtime()
    keeper = FoldKeeper(
        runtime.lake.large, runtime.gates, runtime.metrics, runtime.now, holder=runtime.holder
    )
    busy = found = False
    for table in _there(names):
        waiting = 0 if table.insert_only else runtime.lake.large.backlog(table).changes
        if not waiting:
            continue
        found = True
        done = keeper.fold(table)
        if done is None:
            note(f"{table.name}: {waiting} changes wait, and another process is at it")
            busy = True
        else:
            rest = "" if done.ended else "; not all: another process took over, or Redis is away"
            note(f"{table.name}: {done.inserted} rows added, {done.updated} changed{rest}")
            busy = busy or not done.ended
    if not found:
        note("nothing waits")
    if busy:
        sys.exit(BUSY)


@tables.command()
@one_table
def view(name: str) -> None:
    """
    Print SQL that shows a large table right now.

    What waits beside it is in what the SQL shows.
    """
    table = TABLES[name]
    if table.insert_only:
        note(f"{name} takes rows at once: the table itself is right now")
        sys.exit(NOTHING)
    click.echo(now_view(table, name, f"{name}_changes"))


@tables.command("page", hidden=True)
def page() -> None:
    """Print docs/tables.md; a test holds the file to it (`make docs`)."""
    click.echo(tables_page(), nl=False)


def _maintain(names: tuple[str, ...], *, full: bool) -> None:
    from claimx.services.maintain import maintain_lake

    runtime = bootstrap.operator_runtime()
    lake: Any = runtime.lake
    wanted = _there(names)
    done = maintain_lake(lake, runtime.gates, runtime.holder, wanted, full=full)
    problems = [line for one in done.values() for line in one.problems]
    for name, one in done.items():
        note(f"{name}: {one.compacted_files} files made fewer, {one.removed_files} removed")
    for line in problems:
        note(line)
    if len(done) < len(wanted):
        note("another process is at it")
        sys.exit(BUSY)
    if problems:
        sys.exit(UNHEALTHY)


def _there(names: tuple[str, ...]) -> list[Table]:
    """Return those of the tables that are there, and name the others; exit 3 without any."""
    chosen = [TABLES[name] for name in names or TABLES]
    absent = _lake().inspection.absent(chosen)
    _tell_absent(absent)
    if len(absent) == len(chosen):
        sys.exit(NOTHING)
    return [table for table in chosen if table.name not in absent]


def _tell_absent(absent: dict[str, str]) -> None:
    for name, path in absent.items():
        note(f"{name}: there is no table at {path}")
    if len(absent) == len(TABLES):
        note("a writer makes them when it starts: none has yet, or the path is another")


def _lake() -> DeltaLake:
    return bootstrap.lake_of(startup.load_settings())


def _pairs(found: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"name": name, "value": value} for name, value in found.items()]
