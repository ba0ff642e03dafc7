"""After the trouble: let everything come to rest, then hold lake, files and ledger to the truth."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from fleet import Fleet
from ledger_check import problems
from pipeline_rig import Rig, is_idle

from claimx.domain.records import DeadFilter, DeadLetter, Kind
from claimx.sandbox.truth import Difference, compare, read_lake, verify_files
from claimx.services.dead_letters import requeue_matching

CALM_LOOKS = 4
LOOK_SECONDS = 0.5
SHOWN = 15
COMPARED_EVERY_SECONDS = 10.0


@dataclass(slots=True)
class Verdict:
    """
    What is not as it must be.

    *lost* rows and files are missing, *doubled* ones there twice; *wrong* are other differences:
    values, rows that must not be, dead letters, records that went astray. *told* are lines.
    """

    events: int = 0
    lost: int = 0
    doubled: int = 0
    wrong: int = 0
    told: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Say whether all is as it must be."""
        return not (self.lost or self.doubled or self.wrong)


def judge(rig: Rig, fleet: Fleet, seconds: float, tell: Callable[[str], None]) -> Verdict:
    """
    Wait until nothing is under way, at most *seconds*, then compare.

    Dead letters that the troubles made are requeued, as an operator does once a cause is gone.
    """
    rig.control("DELETE", "faults")
    truth = rig.world.truth
    verdict = Verdict(events=len(rig.world.rows))
    requeued: Counter[str] = Counter()
    deadline, calm, next_compare = time.monotonic() + seconds, 0, 0.0
    differences: list[Difference] = []
    while True:
        fleet.look_after()
        for letter in _unexpected(rig):
            requeued[letter.failure.error] += 1
            requeue_matching(rig.runtime, DeadFilter(ids=(letter.id,)))
        now = time.monotonic()
        calm = calm + 1 if _at_rest(rig) else 0
        if calm >= CALM_LOOKS and now >= next_compare:
            # what a lost Redis had under way comes back from the lake by and by
            differences = _differences(rig)
            if not differences or now >= deadline:
                break
            tell(
                f"at rest with {len(differences)} differences, such as {str(differences[0])[:200]}"
            )
            next_compare = now + COMPARED_EVERY_SECONDS
        if now >= deadline and calm < CALM_LOOKS:
            verdict.told.append(f"not at rest after {seconds:.0f} s: {rig.status()}")
            verdict.wrong += 1
            differences = _differences(rig)
            break
        time.sleep(LOOK_SECONDS)
    _count(verdict, differences)
    _look_at_the_ledger(rig, verdict)
    if requeued:
        verdict.told.append(f"dead letters requeued at the end: {dict(requeued)}")
    verdict.told.append(
        f"{len(truth.tables['claimx_events'])} event rows, {len(truth.stored)} files:"
        f" {verdict.lost} lost, {verdict.doubled} doubled, {verdict.wrong} wrong"
    )
    return verdict


def _unexpected(rig: Rig) -> list[DeadLetter]:
    truth = rig.world.truth
    return [
        letter
        for letter in rig.letters()
        if letter.stage.value != "ingest"
        and letter.id.partition(":")[2] not in truth.dead
        and letter.id.partition(":")[2] not in truth.failed
    ]


def _at_rest(rig: Rig) -> bool:
    found = rig.status()
    progress = rig.control("GET", "progress")
    behind = found.poll_lag_seconds is None or found.poll_lag_seconds > _patience(rig)
    return progress["done"] and not behind and is_idle(found, 0)


def _patience(rig: Rig) -> float:
    """Return how far a poller that is dry may be behind: it polls once a second."""
    return 5.0 + float(rig.environment["CLAIMX_POLL_SETTLE_SECONDS"])


def _differences(rig: Rig) -> list[Difference]:
    tables = read_lake(rig.lake)
    found = compare(rig.world.truth.tables, tables)
    return found + verify_files(rig.world, tables, Path(rig.sandbox.announced["media_folder"]))


def _count(verdict: Verdict, differences: list[Difference]) -> None:
    for one in differences:
        if one.problem in {"missing row", "missing file"}:
            verdict.lost += 1
        elif one.problem == "doubled row" or one.problem.startswith("surplus file"):
            verdict.doubled += 1
        else:
            verdict.wrong += 1
    verdict.told.extend(str(one)[:300] for one in differences[:SHOWN])


def _look_at_the_ledger(rig: Rig, verdict: Verdict) -> None:
    status = rig.status()
    if any(status.missing.values()):
        verdict.wrong += 1
        verdict.told.append(f"records went astray: {status.missing}")
    astray = problems(rig.client)
    verdict.wrong += len(astray)
    verdict.told.extend(astray[:SHOWN])
    truth = rig.world.truth
    letters = rig.letters()
    events = {x.id.removeprefix("e:") for x in letters if x.kind is Kind.EVENT}
    media = {x.id.removeprefix("m:") for x in letters if x.kind is Kind.MEDIA}
    if len(events) != len(truth.dead) or not media <= truth.failed.keys():
        verdict.wrong += 1
        verdict.told.append(
            f"dead letters: {len(events)} events for {len(truth.dead)} expected,"
            f" media {sorted(media - truth.failed.keys())[:SHOWN]}"
        )
