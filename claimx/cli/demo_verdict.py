"""The verdict at the end of a demo."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import click

from claimx.cli.demo_watch import Watch
from claimx.cli.output import near
from claimx.cli.stack import Stack
from claimx.domain.records import DeadFilter, DeadLetter, Kind, Stage
from claimx.services.status import Status, take_status


def verdict(stack: Stack, sandbox: dict[str, Any], folder: Path, watch: Watch) -> int:
    """Print the summary and return the exit status; 0 only when everything is as it must be."""
    report = _checked(stack, folder)
    if report is None:
        return 1
    status = take_status(watch.runtime)
    letters = watch.runtime.ledger.dead_letters(DeadFilter(limit=10_000))
    holds = all(not count for count in status.missing.values())
    dead = {x.id for x in letters if x.kind is not Kind.MEDIA}
    dead_problems = dead_differences(report, letters)
    _tell_tables(report)
    click.echo(f"time             {watch.seconds:.0f} s for {sandbox['rows']} source rows")
    _tell_letters(letters)
    _tell_invariant(status, holds=holds)
    for text in report["examples"] + dead_problems:
        click.echo(f"DIFFERENCE  {text}")
    _tell_where(folder, sandbox["media_folder"])
    good = report["ok"] and holds and not dead_problems and len(dead) == report["dead_expected"]
    click.echo("VERDICT: everything is as it must be" if good else "VERDICT: NOT as it must be")
    return 0 if good else 1


def _checked(stack: Stack, folder: Path) -> dict[str, Any] | None:
    """Return what `claimx.cli.demo_check` found, None when it failed, which is told."""
    checked = subprocess.run(  # noqa: S603 - deltalake must not be used where processes are started
        [
            sys.executable,
            "-m",
            "claimx.cli.demo_check",
            str(folder / "sandbox.json"),
            str(folder / "lake"),
        ],
        capture_output=True,
        text=True,
        check=False,
        env=stack.environment,
    )
    if checked.returncode not in (0, 1):
        click.echo(checked.stderr, err=True)
        return None
    report: dict[str, Any] = json.loads(checked.stdout)
    return report


def _tell_tables(report: dict[str, Any]) -> None:
    click.echo("")
    click.echo(f"{'table':<28}{'rows':>8}{'expected':>10}  differences")
    for name, row in report["tables"].items():
        click.echo(f"{name:<28}{row['rows']:>8}{row['expected']:>10}  {row['differences']}")
    click.echo(
        f"{'media files':<28}{report['files']:>8}{report['files_expected']:>10}"
        f"  {report['file_differences']}"
    )
    click.echo("")
    click.echo(f"bytes stored     {report['bytes']:,}")
    click.echo(
        f"lag              p50 {report['lag_p50']:.1f} s, p95 {report['lag_p95']:.1f} s"
        " (source row visible to row committed)"
    )


def _tell_letters(letters: list[DeadLetter]) -> None:
    causes = Counter((x.stage.value, x.failure.category.value, x.failure.error) for x in letters)
    click.echo("dead letters     " + (f"{len(letters)} by cause:" if letters else "none"))
    for (stage, category, error), count in sorted(causes.items()):
        click.echo(f"  {count:>6}  {stage:<10}{category:<14}{error}")


def _tell_invariant(status: Status, *, holds: bool) -> None:
    for kind in (Kind.EVENT, Kind.MEDIA):
        totals = status.counters.get(kind.value, {})
        click.echo(
            f"{kind.value:<6} admitted {totals.get('admitted', 0)}"
            f" = recorded {totals.get('recorded', 0)}"
            f" + unhandled {totals.get('unhandled', 0)} + dead {status.dead[kind.value]}"
            f" + in flight {status.active[kind.value]}   {'holds' if holds else 'DOES NOT HOLD'}"
        )


def _tell_where(folder: Path, media_folder: str) -> None:
    click.echo("")
    click.echo(f"The lake lies in {folder / 'lake'}/<table> (Delta), the media in {media_folder}.")
    # to_pyarrow_table() aborts half of such short processes when they end
    click.echo(
        f'Look at it:  {near(Path(sys.executable))} -c "from deltalake import DeltaTable as T;'
        f" print(T('{folder / 'lake'}/claimx_projects').to_pyarrow_dataset().head(5))\""
    )


def dead_differences(report: dict[str, Any], letters: list[DeadLetter]) -> list[str]:
    """Compare the dead events with those that the sandbox knows must die."""
    expected = report["dead_events"]
    found = {
        x.id.removeprefix("e:"): x.failure.category.value for x in letters if x.kind is Kind.EVENT
    }
    # a row that is no event has no id to be found by: those are compared by their number
    arrived = [x for x in letters if x.stage is Stage.INGEST]
    nameless = {
        key for key in expected.keys() - found.keys() if "ingest" in expected[key]["stages"]
    }
    problems = [
        f"event {key} must be dead ({expected[key]['note']}) and is not"
        for key in sorted(expected.keys() - found.keys() - nameless)
    ]
    if len(arrived) != len(nameless):
        problems.append(
            f"{len(nameless)} malformed rows, but {len(arrived)} dead letters of stage ingest"
        )
    for x in letters:
        key = x.id.removeprefix("e:")
        if x.kind is Kind.EVENT and x.stage is not Stage.INGEST:
            if key not in expected:
                problems.append(
                    f"event {key} is dead ({x.failure.error}: {x.failure.message}) and must not be"
                )
            elif x.failure.category.value not in expected[key]["categories"]:
                problems.append(
                    f"event {key} died of {x.failure.category.value},"
                    f" not {expected[key]['categories']}"
                )
    return problems[:50]
