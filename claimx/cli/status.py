"""``claimx status``: one screen that says what is going on and what is wrong."""

from __future__ import annotations

import sys
import time
from typing import Any

import click
import orjson

from claimx import bootstrap
from claimx.cli.output import SCHEMA_VERSION, clean, form_option
from claimx.services.status import Status, take_status

_LIMITS = {"lag": "poll_lag_seconds", "dead": "dead", "depth": "active", "missing": "missing"}


@click.command()
@click.option("--watch", is_flag=True, help="Again every 2 s until Ctrl-C.")
@click.option("--fail-on", default="", help="Limits, such as lag=120s,dead=100: exit 7 above one.")
@form_option
def status(watch: bool, fail_on: str, form: str) -> None:
    """Print stages, depths, retries by attempt, waiting, dead letters and the invariant."""
    limits = _parse_limits(fail_on)
    runtime = bootstrap.operator_runtime()
    while True:
        found = take_status(runtime)
        if watch and form == "table":
            click.clear()
        _print(found, form)
        if not watch:
            break
        time.sleep(2)
    if found.problems or any(_value(found, name) > most for name, most in limits.items()):
        sys.exit(7)


def _parse_limits(text: str) -> dict[str, float]:
    limits = {}
    for part in filter(None, (p.strip() for p in text.split(","))):
        name, _, value = part.partition("=")
        try:
            limits[name] = float(value.strip().removesuffix("s"))
        except ValueError:
            raise click.BadParameter(
                f"{part!r} is not name=number", param_hint="--fail-on"
            ) from None
        if name not in _LIMITS:
            raise click.BadParameter(
                f"{name!r} is not one of {', '.join(_LIMITS)}", param_hint="--fail-on"
            )
    return limits


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
    click.echo(f"poll lag   {lag}")
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
        click.echo(f"circuit {circuit}: {state}")
    for process in found.processes:
        click.echo(
            f"{process.get('role', '?'):<8} {process.get('name', '?')}"
            f"  health {process.get('health', 'off')}  metrics {process.get('metrics', 'off')}"
        )
    for problem in found.problems:
        click.echo(f"PROBLEM: {clean(problem)}")
