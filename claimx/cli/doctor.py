"""``claimx doctor``: what is wrong, why it matters, and what to do."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Iterator
from typing import Any

import click

from claimx import bootstrap, startup
from claimx.cli.output import clean, form_option, note, show
from claimx.domain.diagnosis import Diagnosis
from claimx.domain.errors import ClaimXError
from claimx.domain.tables import TABLES
from claimx.needs import token_problem
from claimx.setting_errors import ConfigurationError

UNHEALTHY = 7


def _redis() -> Iterator[Diagnosis]:
    try:
        found = bootstrap.reader_runtime().diagnose_store()
    except ClaimXError as error:
        yield Diagnosis(
            "REDIS_URL",
            f"leads nowhere ({error})",
            "nothing moves until Redis answers; nothing is lost either",
            "see whether it runs, and whether this host reaches it",
        )
        return
    if found is None:
        note("Redis does not tell how it is set up: see that it never evicts and keeps its file")
    yield from found or []


def _lake() -> Iterator[Diagnosis]:
    inspection = bootstrap.lake_of(startup.load_settings()).inspection
    for table in TABLES.values():
        try:
            yield from inspection.diagnoses(table, time.time())
        except ClaimXError as error:
            yield Diagnosis(
                table.name,
                f"cannot be opened ({error})",
                "its rows wait in the ledger, and readers see nothing",
                "see whether the endpoint answers and the credential may read it",
            )


def _api() -> Iterator[Diagnosis]:
    if problem := token_problem(startup.load_settings()):
        yield Diagnosis(
            "CLAIMX_API_TOKEN_FILE",
            problem,
            "workers on this host have no token for the ClaimX API, and events wait",
            "put the token there; workers read it by themselves",
        )


AREAS = ("redis", "lake", "api")


class Areas(click.ParamType[tuple[str, ...]]):
    """Names of areas by commas."""

    name = "area[,area]"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, ...]:
        """Return the names; one that is none is a usage error, and so is no name."""
        if isinstance(value, tuple):
            return value
        names = tuple(part.strip() for part in str(value).split(",") if part.strip())
        for name in names or ("",):
            if name not in AREAS:
                self.fail(f"{name!r} is no area; there are {', '.join(AREAS)}", param, ctx)
        return names


@click.command()
@click.option("--only", type=Areas(), default=AREAS, help=f"Of {', '.join(AREAS)}. [default: all]")
@form_option
def doctor(only: tuple[str, ...], form: str) -> None:
    """
    Say what is wrong, why it matters and what to do; exit 7 when anything is.

    redis: whether it answers, evicts, keeps a file, and has the right time. lake: whether the
    tables are there and can be read, by Fabric's SQL endpoint and Power BI too (docs/tables.md),
    and whether folds keep up. api: whether the token's file can be read here.
    """
    rows = []
    for area in only:
        for one in _examined(area):
            rows.append({"area": area, **dataclasses.asdict(one)})
            if form == "table":
                click.echo(clean(f"{area}: {one.subject} {one.wrong}"))
                click.echo(clean(f"  why it matters: {one.why}"))
                click.echo(clean(f"  what to do: {one.remedy}"))
    if form != "table":
        show("diagnoses", rows, ["area", "subject", "wrong", "why", "remedy"], form)
    if rows:
        sys.exit(UNHEALTHY)
    note(f"nothing is wrong ({', '.join(only)})")


def _examined(area: str) -> Iterator[Diagnosis]:
    """Yield what is wrong in an area; one that cannot be looked at is wrong as well."""
    try:
        match area:
            case "redis":
                yield from _redis()
            case "lake":
                yield from _lake()
            case "api":
                yield from _api()
    except ConfigurationError as error:
        for problem in error.problems:
            why = "nothing of this can be looked at"
            yield Diagnosis("settings", problem, why, "set it, or leave the area out with --only")
