"""How commands print: a table for people, JSON for programs; data on stdout, the rest on stderr."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import click
import orjson

SCHEMA_VERSION = 1
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def form_option(command: Any) -> Any:
    """Add ``-o table|json|jsonl`` to a command; the parameter is called *form*."""
    return click.option(
        "-o",
        "form",
        type=click.Choice(["table", "json", "jsonl"]),
        default="table",
        show_default=True,
        help="How to print.",
    )(command)


def clean(text: Any) -> str:
    """Return text from outside without terminal escapes, control and direction characters."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", str(text))


def moment(seconds: float) -> str:
    """Return epoch seconds as ISO 8601."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def show(
    name: str,
    rows: Iterable[Mapping[str, Any]],
    columns: Sequence[str],
    form: str,
    *,
    err: bool = False,
) -> None:
    """Print *rows*; JSON carries everything, a table the named columns. With *err*, on stderr."""
    found = list(rows)
    match form:
        case "json":
            document = {"schema_version": SCHEMA_VERSION, name: found}
            click.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2, default=str), err=err)
        case "jsonl":
            for row in found:
                click.echo(orjson.dumps(row, default=str), err=err)
        case _:
            _table(found, columns, err=err)


def _table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, err: bool) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        numeric = bool(rows) and isinstance(rows[0].get(column), int | float)
        # folded, not cut: an id or a time without its end is of no use
        justify: Literal["left", "right"] = "right" if numeric else "left"
        table.add_column(column.replace("_", " "), justify=justify, overflow="fold")
    for row in rows:
        table.add_row(*(Text(clean("" if row.get(c) is None else row[c])) for c in columns))
    width = None if (sys.stderr if err else sys.stdout).isatty() else 200
    console = Console(stderr=err, no_color="NO_COLOR" in os.environ, width=width, soft_wrap=True)
    console.print(table)


def near(path: Path) -> Path:
    """Return a path as it is shortest to type in the working folder."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def program() -> str:
    """Return how this command line is called: by the script beside its Python, if there is one."""
    python = Path(sys.executable)
    script = python.with_name("claimx")
    return str(near(script)) if script.exists() else f"{near(python)} -m claimx"


def note(text: str) -> None:
    """Say something that is not data."""
    click.echo(clean(text), err=True)
