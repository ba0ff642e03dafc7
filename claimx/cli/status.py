"""``claimx status``: one screen that says what is going on and what is wrong."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping
from typing import Any, NoReturn

import click
import orjson

from claimx import bootstrap
from claimx.cli.output import SCHEMA_VERSION, clean, form_option, note
from claimx.domain.errors import ClaimXError
from claimx.services.status import Status, take_status
from claimx.setting_types import span_seconds

_LIMITS = {"lag": "poll_lag_seconds", "dead": "dead", "depth": "active", "missing": "missing"}
_EVERY_SECONDS = 2.0


@click.command()
@click.option("--watch", is_flag=True, help="Again every 2 s until Ctrl-C.")
@click.option("--fail-on", default="", help="Limits, such as lag=120s,dead=100: exit 7 above one.")
@form_option
def status(watch: bool, fail_on: str, form: str) -> None:
    """Print stages, depths, retries by attempt, waiting, dead letters and the invariant."""
    limits = parse_limits(fail_on)
    if watch:
        _watch(form)
    found = take_status(bootstrap.reader_runtime())
    _print(found, form)
    if found.problems or any(_value(found, name) > most for name, most in limits.items()):
        sys.exit(7)


def _watch(form: str) -> NoReturn:
    """Print it again and again until Ctrl-C; while Redis is away, say so and go on."""
    while True:
        try:
            found = take_status(bootstrap.reader_runtime())
        except ClaimXError as error:
            note(f"claimx: {error}; asked again every {_EVERY_SECONDS:g} s")
        else:
            if form == "table":
                click.clear()
            _print(found, form)
        time.sleep(_EVERY_SECONDS)


def parse_limits(text: str) -> dict[str, float]:
    """Return the limits of ``--fail-on`` by name; raises BadParameter for what is none."""
    limits = {}
    for part in filter(None, (p.strip() for p in text.split(","))):
        name, _, value = part.partition("=")
        if name not in _LIMITS:
            raise click.BadParameter(
                f"{name!r} is not one of {', '.join(_LIMITS)}", param_hint="--fail-on"
            )
        try:
            limits[name] = _limit(name, value)
        except ValueError:
            takes = "a time such as 120, 120s, 5m or 2h" if name == "lag" else "a number"
            raise click.BadParameter(
                f"{part!r}: {name} takes {takes}", param_hint="--fail-on"
            ) from None
    return limits


def circuit_words(state: Mapping[str, Any]) -> str:
    """Say how a circuit stands, of what `Gates.circuits` tells of it."""
    waits = f" for {state['open_for_seconds']:.0f} s more" if state["open_for_seconds"] else ""
    fails = f", {state['failures']} failed in a row" if state["failures"] else ""
    return f"{state['state']}{waits}{fails}"


def _limit(name: str, value: str) -> float:
    """Return a limit that can be exceeded; raises ValueError for what is none."""
    span = span_seconds(value) if name == "lag" else None
    limit = float(value) if span is None else span
    if not 0 <= limit < math.inf:  # not a number, either: nothing is above it
        raise ValueError(value)
    return limit


def _value(found: Status, name: str) -> float:
    match name:
        case "lag":
            return found.poll_lag_seconds or 0.0
        case "dead":
            return float(sum(found.dead.values()))
        case "depth":
            return float(sum(found.active.values()))
        case _:
            return float(sum(abs(n) for n in found.missing.values()))


def _print(found: Status, form: str) -> None:
    document = found.as_dict()
    if form != "table":
        option = orjson.OPT_INDENT_2 if form == "json" else 0
        click.echo(orjson.dumps({"schema_version": SCHEMA_VERSION, **document}, option=option))
        return
    lag = "never polled" if found.poll_lag_seconds is None else f"{found.poll_lag_seconds:.0f} s"
    failed = f"; the last poll failed: {clean(found.poll_failure)}" if found.poll_failure else ""
    click.echo(f"poll lag   {lag}{failed}")
    for gap in found.catch_up:
        click.echo(
            f"catch-up   {gap['since']} to {gap['until']}: {gap['share']:.1%} of the time read,"
            f" {gap['left_seconds'] / 3600:.1f} h and about {gap['rows_left']} rows left"
        )
    click.echo(
        f"{'stage':<10}{'ready':>8}{'leased':>8}{'retrying':>10}{'waiting':>9}  oldest   by attempt"
    )
    for row in found.stages:
        attempts = " ".join(f"{n}:{count}" for n, count in sorted(row["by_attempt"].items()) if n)
        click.echo(
            f"{row['stage']:<10}{row['ready']:>8}{row['leased']:>8}{row['retrying']:>10}"
            f"{row['waiting']:>9}  {row['oldest_seconds']:>5.0f} s  {attempts}"
        )
    click.echo(f"lake stream: {found.stream_length} entries, {found.stream_pending} with a writer")
    for kind in ("event", "media"):
        count: dict[str, Any] = found.counters.get(kind, {})
        unhandled = f" + {count.get('unhandled', 0)} unhandled" if kind == "event" else ""
        verdict = "holds" if not found.missing[kind] else f"OFF BY {found.missing[kind]}"
        click.echo(
            f"{kind:<6} {count.get('admitted', 0)} admitted = {count.get('recorded', 0)} recorded"
            f"{unhandled} + {found.dead[kind]} dead + {found.active[kind]} waiting or in flight"
            f"   ({verdict})"
        )
    for circuit, state in found.circuits.items():
        click.echo(f"circuit {circuit}: {circuit_words(state)}")
    for process in found.processes:
        click.echo(
            f"{process.get('role', '?'):<8} {process.get('name', '?')}"
            f"  health {process.get('health', 'off')}  metrics {process.get('metrics', 'off')}"
        )
    for problem in found.problems:
        click.echo(f"PROBLEM: {clean(problem)}")
