"""``claimx doctor``: what is wrong, why it matters, and what to do."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import click

from claimx import bootstrap, startup
from claimx.cli.output import form_option, note, show
from claimx.domain.diagnosis import Diagnosis
from claimx.domain.errors import ClaimXError
from claimx.domain.tables import TABLES

UNHEALTHY = 7


def _redis() -> Iterator[Diagnosis]:
    try:
        runtime = bootstrap.operator_runtime()
    except ClaimXError as error:
        yield Diagnosis(
            "redis",
            "REDIS_URL",
            f"does not answer ({error})",
            "nothing moves until it does; nothing is lost either",
            "see whether it runs, and whether this host reaches it",
        )
        return
    for line in runtime.store_complaints():
        wrong, _, remedy = line.partition(": ")
        yield Diagnosis("redis", "settings", wrong, "records could be lost", remedy)


def _lake() -> Iterator[Diagnosis]:
    inspection = bootstrap.lake_of(startup.load_settings()).inspection
    for table in TABLES.values():
        try:
            yield from inspection.diagnoses(table, time.time())
        except ClaimXError as error:
            yield Diagnosis(
                "lake",
                table.name,
                f"cannot be opened ({error})",
                "its rows wait in the ledger, and readers see nothing",
                "see whether the endpoint answers and the credential may read it",
            )


AREAS: dict[str, Callable[[], Iterator[Diagnosis]]] = {"redis": _redis, "lake": _lake}


class Areas(click.ParamType[tuple[str, ...]]):
    """Names of areas by commas."""

    name = "area[,area]"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, ...]:
        """Return the names; one that is none is a usage error."""
        if isinstance(value, tuple):
            return value
        names = tuple(part.strip() for part in str(value).split(",") if part.strip())
        for name in names:
            if name not in AREAS:
                self.fail(f"{name!r} is none of {', '.join(AREAS)}", param, ctx)
        return names


@click.command()
@click.option(
    "--only", type=Areas(), default=tuple(AREAS), help=f"Of {', '.join(AREAS)}. [default: all]"
)
@form_option
def doctor(only: tuple[str, ...], form: str) -> None:
    """
    Say what is wrong, why it matters and what to do; exit 7 when anything is.

    redis: whether it answers, evicts, and keeps a file. lake: whether every table can be read, by
    Fabric's SQL endpoint and Power BI too (docs/tables.md), and whether folds keep up.
    """
    found = [diagnosis for area in only for diagnosis in AREAS[area]()]
    rows = [dataclasses.asdict(one) for one in found]
    if form != "table":
        show("diagnoses", rows, ["area", "subject", "wrong", "why", "remedy"], form)
    for one in found if form == "table" else []:
        click.echo(f"{one.area}: {one.subject} {one.wrong}")
        click.echo(f"  why it matters: {one.why}")
        click.echo(f"  what to do: {one.remedy}")
    if found:
        sys.exit(UNHEALTHY)
    note(f"nothing is wrong ({', '.join(only)})")
