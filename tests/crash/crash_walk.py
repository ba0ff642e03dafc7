"""
``make crash-walk``: every crash point in both forms, a table, and a last line of JSON.

The fast form dies at the first and at the last meeting of each point of each play. The form with
processes lets the Procfile's processes die under load at every point that each type meets there.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1]), str(HERE.parent / "integration")]

from collections import Counter  # noqa: E402 - the path above is for what follows

from dying_rig import DyingRig  # noqa: E402
from pipeline_rig import PIPELINE, assert_as_it_must_be  # noqa: E402
from plays import PLAYS  # noqa: E402
from sites import all_sites  # noqa: E402
from theatre import Theatre  # noqa: E402
from walk import NOT_AGAIN, Death, Recordings, die_somewhere, own_points, unreached  # noqa: E402

LEARN_SECONDS = 60.0
SECONDS_A_DEATH = 8.0
RATE = 3.0
POKES = (
    ("maintenance", "claimx.maintain"),
    ("maintenance", "claimx.recover"),
    ("maintenance", "claimx.sweep"),
    ("maintenance", "claimx.reconcile"),
    ("control", "claimx.admin.requeue_dead_letters"),
)


def fast(folder: Path, theatres: int, plays: Sequence[str]) -> Iterator[Death]:
    """Yield the deaths of the fast form, from several theatres side by side."""
    free: SimpleQueue[Theatre] = SimpleQueue()
    opened = [Theatre(_made(folder / f"theatre{number}")) for number in range(theatres)]
    try:
        for theatre in opened:
            free.put(theatre.__enter__())
        recordings = Recordings(opened[0], folder / "plays")
        orders = [
            (play, point, nth)
            for play in PLAYS.values()
            for point in own_points(play, recordings)
            for nth in sorted({1, Counter(p for p, _ in recordings[play.name].met)[point]})
            if not plays or play.name in plays
        ]
        yield from (Death("", one, ["not reached"]) for one in unreached(all_sites(), recordings))

        def die(order: tuple[Any, str, int]) -> Death:
            theatre = free.get()
            try:
                return die_somewhere(theatre, recordings, *order)
            finally:
                free.put(theatre)

        with ThreadPoolExecutor(theatres) as pool:
            yield from pool.map(die, orders)
    finally:
        for theatre in opened:
            theatre.__exit__()


def processes(folder: Path) -> Iterator[Death]:
    """Yield the deaths of the Procfile's processes, and at last what the comparison says."""
    with DyingRig(_made(folder / "learning"), *_world(300, 6.0)) as rig:
        rig.begin()
        rig.until_announced()
        for _ in range(4):
            _poke(rig)
            time.sleep(LEARN_SECONDS / 4)
        met = {role: rig.met(role) for role in PIPELINE}
    deaths = [(role, point) for role in PIPELINE for point in met[role]]
    events = round(len(deaths) * SECONDS_A_DEATH * RATE)
    with DyingRig(_made(folder / "dying"), *_world(events, RATE)) as rig:
        rig.begin()
        rig.until_announced()
        for number, (role, point) in enumerate(deaths):
            started = time.monotonic()
            died = rig.die(role, point, group=number % 2 == 0, poke=lambda: _poke(rig))
            problems = [] if died else [NOT_AGAIN]
            yield Death(role, point, problems, time.monotonic() - started)
        try:
            rig.until_done(600)
            assert_as_it_must_be(rig)
        except AssertionError as error:
            yield Death("all", "the comparison at the end", [str(error)[:3000]])


def _world(events: int, rate: float) -> list[str]:
    return f"--events {max(100, events)} --rate {rate} --seed 22 --latency-ms 30".split()


def _poke(rig: DyingRig) -> None:
    """Ask for what beat or an operator asks for more rarely than this walk can wait."""
    for queue, task in POKES:
        if not rig.client.llen(queue):
            rig.push(queue, task)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def main() -> int:
    """Walk, print, and return 0 when nothing was lost or doubled anywhere."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--form", choices=("both", "fast", "processes"), default="both")
    options.add_argument("--play", action="append", default=[], help="only this play's points")
    options.add_argument("--theatres", type=int, default=2, help="performances side by side")
    chosen = options.parse_args()
    started = time.monotonic()
    summary: dict[str, Any] = {"sites": len(all_sites()), "points": 2 * len(all_sites())}
    failed = False
    with tempfile.TemporaryDirectory(prefix="crash-walk-") as name:
        for form in ("fast", "processes"):
            if chosen.form not in ("both", form):
                continue
            found = (
                fast(Path(name) / form, chosen.theatres, chosen.play)
                if form == "fast"
                else processes(Path(name) / form)
            )
            deaths = []
            for death in found:
                deaths.append(death)
                print(row(form, death), flush=True)  # noqa: T201 - the table
            missed = [one for one in deaths if one.problems == [NOT_AGAIN]]
            wrong = [one for one in deaths if one.problems and one not in missed]
            failed = failed or bool(wrong)
            summary[form] = {
                "deaths": len(deaths) - len(missed) - len(wrong),
                "points": len({one.point for one in deaths if not one.problems}),
                "not met again": len(missed),
                "wrong": len(wrong),
            }
    summary["seconds"] = round(time.monotonic() - started)
    print(json.dumps(summary))  # noqa: T201 - the last line
    return 1 if failed else 0


def row(form: str, death: Death) -> str:
    """Return a death's line of the table."""
    result = "as the truth" if not death.problems else "; ".join(death.problems)
    return f"{form:9}  {death.play:9}  {death.seconds:5.1f} s  {death.point:90}  {result}"


if __name__ == "__main__":
    sys.exit(main())
