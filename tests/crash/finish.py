"""What comes after a death: another process finishes the work, and the result is compared."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from machine import Machine
from tiny_world import TinyWorld

LAPSE_SECONDS = 61.0  # a round's: beyond every lease of work
ROUNDS = 25
RANGE_SECONDS = 6 * 3600.0
A_DAY = 25 * 3600.0


def finish(machine: Machine, *, requeues: bool, reconciles: bool) -> int:
    """
    Work until nothing is left to do; returns the rounds that took, fails if it never ends.

    With *requeues* all dead letters are then brought back, as by an operator, with *reconciles*
    what is missing, and the work goes on.
    """
    if not os.environ["CLAIMX_LAKE_PATH"].startswith("abfss:"):
        machine.mend_tables()
    machine.ensure_tables()
    writer = machine.writer()
    rounds = work(machine, writer)
    if requeues:
        bring_back(machine)
        rounds += work(machine, writer)
    if reconciles:
        bring_back_missing(machine)
        rounds += work(machine, writer)
    writer.close()
    machine.pass_(A_DAY)
    machine.task("sweep")
    media = os.environ["ONELAKE_CLAIMX_PATH"]
    if "://" not in media:
        upload_again(machine, Path(media))
    return rounds


def upload_again(machine: Machine, media: Path) -> None:
    """Send a file once more, as a later event would: what a death left in the folder goes."""
    file = next(one for one in media.rglob("*/media/*") if one.is_file())
    content = file.read_bytes()
    shop, digest = machine.workshop, hashlib.sha256(content).hexdigest()
    place = file.relative_to(media).as_posix()
    put = shop._upload._store.put
    shop._loop.run(put(place, str(file), len(content), digest, "text/plain"))


def work(machine: Machine, writer: Any) -> int:
    """Go round until everything is at rest; returns how often that was."""
    from claimx.domain.polling import LIVE
    from claimx.services.poll import poll_once
    from claimx.services.poll_report import Stop
    from claimx.services.recover import Recovery, recover_media

    for done in range(ROUNDS):
        machine.pass_(LAPSE_SECONDS)
        polled = poll_once(machine.runtime)
        machine.task("catch_up")
        recovered = recover_media(machine.runtime)
        machine.task("redrive")
        machine.deliver()
        writer.step()
        machine.fold()
        complete = recovered.ended in (Recovery.NOT_NEEDED, Recovery.DONE)
        complete = complete and not machine.ledger.gaps(LIVE)
        if complete and polled.stopped is Stop.DRY and at_rest(machine):
            return done + 1
    how = f"poll {polled.stopped}, recovery {recovered.ended}, {machine.ledger.gaps(LIVE)}"
    raise AssertionError(f"not at rest after {ROUNDS} rounds: {how}, {machine.ledger.census()}")


def bring_back(machine: Machine) -> None:
    """Requeue what died: what the lake refused is made anew, the rest goes to where it died."""
    from claimx.domain.records import DeadFilter, Kind, Stage
    from claimx.services.dead_letters import requeue_matching

    refused = DeadFilter(stage=Stage.WRITE, kind=Kind.EVENT)
    requeue_matching(machine.runtime, refused, Stage.ENRICH)
    requeue_matching(machine.runtime, DeadFilter())


def bring_back_missing(machine: Machine) -> None:
    """Admit what the source has, and neither the ledger nor the lake."""
    from claimx.domain.times import from_seconds
    from claimx.services.reconcile import Ending, reconcile

    for _ in range(ROUNDS):
        now = machine.runtime.now()
        since, until = from_seconds(now - RANGE_SECONDS), from_seconds(now - 1.0)
        report = reconcile(machine.runtime, since, until, sleep=machine.pass_, fix=True)
        if report.ending is Ending.COMPLETE:
            return
        machine.pass_(LAPSE_SECONDS)  # the one who died has the lease
    raise AssertionError(f"not reconciled: {report.ending} {report.error}")


def at_rest(machine: Machine) -> bool:
    """Say whether nothing waits, is worked on, or lies on the stream."""
    census = machine.ledger.census()
    busy = any(count for states in census.stages.values() for count in states.values())
    return not busy and not census.stream_length and not machine.waits_beside_tables()


def differences(machine: Machine, world: TinyWorld, lake: Path, media: Path) -> list[str]:
    """Return everything that is not as the world's truth says."""
    from claimx.domain.records import DeadFilter, Kind
    from claimx.sandbox.truth import compare, read_lake, verify_files

    tables = read_lake(lake)
    found = [str(one) for one in compare(world.truth.tables, tables)]
    found += [str(one) for one in verify_files(world, tables, media)]
    census = machine.ledger.census()
    for kind in (Kind.EVENT, Kind.MEDIA, Kind.PAGE):
        if count := census.missing(kind):
            found += [f"the invariant of {kind.value} is off by {count}"]
    letters = machine.ledger.dead_letters(DeadFilter(limit=1000))
    found += _dead(world, letters)
    left = sorted(one.name for one in machine.cache.folder.iterdir())
    found += [f"left in the cache: {name}" for name in left]
    return found


def _dead(world: TinyWorld, letters: list[Any]) -> list[str]:
    from claimx.domain.records import Kind

    events = {one.id.removeprefix("e:"): one for one in letters if one.kind is Kind.EVENT}
    media = {one.id.removeprefix("m:"): one for one in letters if one.kind is Kind.MEDIA}
    found = []
    named = {key for key in events if key in world.truth.dead}
    if len(events) != len(world.truth.dead):
        found.append(f"dead events {sorted(events)}, expected {sorted(world.truth.dead)}")
    found += [
        f"{key} died in {events[key].stage.value}"
        for key in named
        if events[key].stage.value not in world.truth.dead[key].stages
    ]
    if media.keys() != world.truth.failed.keys():
        found.append(f"dead media {sorted(media)}, expected {sorted(world.truth.failed)}")
    return found
