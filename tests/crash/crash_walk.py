"""
``make crash-walk``: every crash point in three forms, a table, and a last line of JSON.

The fast form dies at the first and at the last meeting of each point of each play. In the form
emptied, Redis loses everything in the same moment. The form with processes lets the Procfile's
processes die under load at every point that each type meets there.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Self

HERE = Path(__file__).parent
TESTS = HERE.parent
sys.path[:0] = [str(HERE), str(TESTS), str(TESTS.parent), str(TESTS / "integration")]

from dying_rig import DyingRig  # noqa: E402 - the path above is for what follows
from pipeline_rig import PIPELINE, assert_as_it_must_be  # noqa: E402
from plays import PLAYS, Play  # noqa: E402
from sites import all_sites  # noqa: E402
from theatre import Theatre  # noqa: E402
from walk import (  # noqa: E402
    NOT_AGAIN,
    Death,
    Recordings,
    die_at,
    die_somewhere,
    moments,
    own_points,
    unreached,
)

FORMS = ("fast", "emptied", "processes")
EMPTIED = ("life",)
RIGHT, WRONG, MISSED = "as the truth", "wrong", "not met again"

LEARN_SECONDS = 60.0
SECONDS_A_DEATH = 8.0
RATE = 3.0
POKES = (
    ("maintenance", "claimx.maintain", {}),
    ("maintenance", "claimx.recover", {}),
    ("maintenance", "claimx.sweep", {}),
    ("maintenance", "claimx.reconcile", {}),
    ("control", "claimx.admin.requeue_dead_letters", {"all": True}),
)


@dataclass(frozen=True, slots=True)
class Order:
    """One death to be carried out."""

    play: Play
    point: str
    nth: int = 1


def fast(stages: Stages, plays: Sequence[str]) -> Iterator[Death]:
    """Yield the deaths at every point, and a line for each that no play meets."""
    recordings = stages.recordings
    yield from (Death("", one, ["not reached"]) for one in unreached(all_sites(), recordings))
    orders = [
        Order(play, point, nth)
        for play in PLAYS.values()
        if not plays or play.name in plays
        for point in own_points(play, recordings)
        for nth in sorted({1, Counter(one for one, _ in recordings[play.name].met)[point]})
    ]
    yield from stages.carry_out(
        orders,
        lambda theatre, one: die_somewhere(theatre, recordings, one.play, one.point, one.nth),
    )


def emptied(stages: Stages, plays: Sequence[str]) -> Iterator[Death]:
    """Yield the deaths of the ordinary way, one a moment, in which Redis loses all it has."""
    orders = [
        Order(PLAYS[name], point)
        for name in plays or EMPTIED
        for point in moments(stages.recordings[name], stages.recordings[name].points)
    ]
    yield from stages.carry_out(
        orders, lambda theatre, one: die_at(theatre, one.play, one.point, redis_too=True)
    )


class Stages:
    """Several theatres that play side by side, and what was recorded in the first of them."""

    def __init__(self, folder: Path, count: int) -> None:
        self._theatres = [Theatre(_made(folder / f"theatre{number}")) for number in range(count)]
        self._free: SimpleQueue[Theatre] = SimpleQueue()
        self.recordings = Recordings(self._theatres[0], folder / "plays")

    def __enter__(self) -> Self:
        for theatre in self._theatres:
            self._free.put(theatre.__enter__())
        return self

    def __exit__(self, *_: object) -> None:
        for theatre in self._theatres:
            theatre.__exit__()

    def carry_out(
        self, orders: Sequence[Order], die: Callable[[Theatre, Order], Death]
    ) -> Iterator[Death]:
        """Yield what comes of each order, in their order."""

        def one(order: Order) -> Death:
            theatre = self._free.get()
            try:
                return die(theatre, order)
            finally:
                self._free.put(theatre)

        with ThreadPoolExecutor(len(self._theatres)) as pool:
            yield from pool.map(one, orders)


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
    for queue, task, arguments in POKES:
        if not rig.client.llen(queue):
            rig.push(queue, task, **arguments)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def deaths_of(form: str, folder: Path, theatres: int, plays: Sequence[str]) -> Iterator[Death]:
    """Yield the deaths of one form."""
    if form == "processes":
        yield from processes(folder)
        return
    with Stages(folder, theatres) as stages:
        yield from (fast if form == "fast" else emptied)(stages, plays)


def main() -> int:
    """Walk, print, and return 0 when nothing was lost or doubled anywhere."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--form", choices=FORMS, action="append", help="only these forms")
    options.add_argument("--play", choices=PLAYS, action="append", help="only these plays")
    options.add_argument("--theatres", type=int, default=2, help="performances side by side")
    chosen = options.parse_args()
    started = time.monotonic()
    summary: dict[str, Any] = {"sites": len(all_sites()), "points": 2 * len(all_sites())}
    failed = False
    with tempfile.TemporaryDirectory(prefix="crash-walk-") as name:
        for form in chosen.form or FORMS:
            counts = Counter[str]()
            points = set()
            for death in deaths_of(form, Path(name) / form, chosen.theatres, chosen.play or ()):
                print(row(form, death), flush=True)  # noqa: T201 - the table
                counts[verdict(death)] += 1
                points |= {death.point} if verdict(death) == RIGHT else set()
            summary[form] = {"deaths": counts[RIGHT], "points": len(points), **counts}
            del summary[form][RIGHT]
            failed = failed or counts[WRONG] > 0
    summary["seconds"] = round(time.monotonic() - started)
    print(json.dumps(summary))  # noqa: T201 - the last line
    return 1 if failed else 0


def verdict(death: Death) -> str:
    """Say in a word what came of a death."""
    if not death.problems:
        return RIGHT
    return MISSED if death.problems == [NOT_AGAIN] else WRONG


def row(form: str, death: Death) -> str:
    """Return a death's line of the table."""
    result = RIGHT if not death.problems else "; ".join(death.problems)
    return f"{form:9}  {death.play:9}  {death.seconds:5.1f} s  {death.point:90}  {result}"


if __name__ == "__main__":
    sys.exit(main())
