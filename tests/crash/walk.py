"""The walk in its fast form: a real process dies at each crash point, another one finishes."""

from __future__ import annotations

import fcntl
import json
import signal
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from finder import Site
from gaps import Gaps, Met
from plays import PLAYS, Play
from sites import all_sites
from theatre import Theatre

TRIES = 3  # a point that threads decide about may be missed once or twice
NOT_AGAIN = "it was met in the recording, and not again"


@dataclass(frozen=True, slots=True)
class Recording:
    """What a play met when nobody died, and the effects that no crash point led to."""

    met: list[Met]
    unlisted: list[str] = field(default_factory=list)

    @property
    def points(self) -> list[str]:
        """The points in the order in which they were first met."""
        return list(dict.fromkeys(point for point, _ in self.met))


@dataclass(frozen=True, slots=True)
class Death:
    """One death and what came of it; *problems* is empty when the lake is the truth."""

    play: str
    point: str
    problems: list[str]
    seconds: float = 0.0
    rounds: int = 0

    @property
    def line(self) -> str:
        """It in one line."""
        return f"{self.play}, {self.point}: {'; '.join(self.problems)[:600]}"


class Recordings(Mapping[str, Recording]):
    """
    The plays' recordings, kept in *folder* and each made once by whoever needs it first.

    Several processes may share the folder; they record side by side, and agree on what they read.
    """

    def __init__(self, theatre: Theatre, folder: Path) -> None:
        self._theatre = theatre
        self._folder = folder
        self._known: dict[str, Recording] = {}
        folder.mkdir(parents=True, exist_ok=True)

    def __getitem__(self, name: str) -> Recording:
        self.gather([name])
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(PLAYS)

    def __len__(self) -> int:
        return len(PLAYS)

    def gather(self, names: Iterable[str]) -> None:
        """See to it that there are recordings of these plays; first those that nobody is at."""
        left = [name for name in names if name not in self._known]
        while left:
            free = [name for name in left if self._take(name, wait=False)]
            if not free:
                self._take(left[0], wait=True)
            left = [name for name in left if name not in self._known]

    def _take(self, name: str, *, wait: bool) -> bool:
        """Read or make one recording; False when another process is at it."""
        with (self._folder / f"{name}.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                return False
            file = self._folder / f"{name}.json"
            if not file.exists():
                made = record(self._theatre, PLAYS[name])
                file.write_text(json.dumps({"met": made.met, "unlisted": made.unlisted}))
            kept = json.loads(file.read_text())
            met = [(point, thread) for point, thread in kept["met"]]
            self._known[name] = Recording(met, kept["unlisted"])
            return True


def record(theatre: Theatre, play: Play) -> Recording:
    """Give a play to its end; what is left after it must be the truth as well."""
    theatre.stage(play)
    answer = theatre.perform()
    if answer["exit"] != 0:
        raise AssertionError(f"the play {play.name} did not end well: {answer}\n{theatre.log()}")
    report = answer["report"]
    if problems := _finished(theatre)[0]:
        raise AssertionError(f"{play.name}, where nobody died: {problems}\n{theatre.log()}")
    return Recording([(point, thread) for point, thread in report["met"]], report["unlisted"])


def die_at(
    theatre: Theatre, play: Play, point: str, nth: int = 1, *, redis_too: bool = False
) -> Death:
    """
    Die at the *nth* meeting of a point, let another process finish, and compare.

    How often a point is met may hang on threads: if it was not so often, an earlier one is taken.
    With *redis_too* Redis loses everything in the same moment, so only lake and files are left.
    """
    for _ in range(TRIES):
        theatre.stage(play)
        answer = theatre.perform(die=point, nth=nth)
        if answer["signal"] == signal.SIGKILL:
            if redis_too:
                theatre.client.flushall()
            problems, rounds, seconds = _finished(theatre)
            return Death(play.name, point, problems, seconds + answer["seconds"], rounds)
        if answer["exit"] != 0:
            why = f"the play failed: {answer['report']}"
            return Death(play.name, point, [why, theatre.log()])
        nth = max(1, nth * 4 // 5)
    return Death(play.name, point, [NOT_AGAIN])


def die_somewhere(
    theatre: Theatre, recordings: Recordings, play: Play, point: str, nth: int = 1
) -> Death:
    """Die at a point in *play*, or in another that meets it: on a slow machine one met it once."""
    death = die_at(theatre, play, point, nth)
    others = [PLAYS[name] for name in PLAYS if name != play.name]
    while death.problems == [NOT_AGAIN] and others:
        other = others.pop(0)
        if point in recordings[other.name].points:
            death = die_at(theatre, other, point, nth)
    return death


def _finished(theatre: Theatre) -> tuple[list[str], int, float]:
    answer = theatre.finish()
    report = answer["report"] or {}
    if "differences" not in report:
        return [f"the work was not finished: {report.get('failure', answer)}"], 0, answer["seconds"]
    return report["differences"], report["rounds"], answer["seconds"]


def own_points(play: Play, recordings: Recordings) -> list[str]:
    """Return the points that are *play*'s to die at: those that no play before it meets."""
    before = list(PLAYS)[: list(PLAYS).index(play.name)]
    recordings.gather([*before, play.name])
    taken = {point for name in before for point in recordings[name].points}
    return [point for point in recordings[play.name].points if point not in taken]


def moments(recording: Recording, points: Iterable[str]) -> dict[str, list[str]]:
    """Return one point for each moment of *points*, with those that are the same."""
    return Gaps.of(recording.met, all_sites()).share(points)


def unreached(sites: Iterable[Site], recordings: Mapping[str, Recording]) -> Iterator[str]:
    """Yield a sentence for each point that no play meets."""
    met = {point for one in recordings.values() for point in one.points}
    for site in sites:
        for point in site.points:
            if point not in met:
                yield (
                    f"no play meets {point!r} (claimx/{site.module.replace('.', '/')}.py:"
                    f"{site.line}): extend a play in tests/crash/plays_*.py so that it comes by"
                )
