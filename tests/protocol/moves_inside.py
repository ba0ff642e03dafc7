"""What happens to records: hints, workers, lake writers and operators, each at its own pace."""

from __future__ import annotations

from hypothesis import strategies as st
from ledger_rig import FAILURE

from claimx.domain.records import Advance, DeadFilter, Outcome, Record, Retried, Stage, Waited
from protocol.move import Draw, move
from protocol.pipeline import Pipeline
from protocol.workers import STAGES, Worker, forward, given_up
from protocol.world import LEASE_SECONDS

DELAYS = st.sampled_from([0.0, 0.0, 3.0, 40.0])
WHO = st.sampled_from([0, 1])


# the queues


@move(6, lambda line: line.hints)
def deliver(line: Pipeline, draw: Draw) -> None:
    """Any hint, however late; a doubled one stays and comes again."""
    hint = draw(st.sampled_from(line.hints), "hint")
    how = draw(st.sampled_from(["once", "once", "doubled", "lost"]), "how")
    if how != "doubled":
        line.world.queues.waiting.remove(hint)
    if hint[0] is not line.paused and how != "lost":
        draw(st.sampled_from(line.workers), "worker").take(*hint)


@move(8, lambda line: any(line.at(stage) for stage in STAGES))
def hint(line: Pipeline, draw: Draw) -> None:
    """One from nowhere, that names what never was as well."""
    stage = draw(st.sampled_from([stage for stage in STAGES if line.at(stage)]), "stage")
    ids = draw(st.lists(st.sampled_from(line.at(stage)), min_size=1, max_size=3), "ids")
    draw(st.sampled_from(line.workers), "worker").take(stage, (*ids, "e:?"))


@move(1, lambda line: line.units)
def stray(line: Pipeline, draw: Draw) -> None:
    """A hint for a stage that is none of theirs."""
    draw(st.sampled_from(line.workers), "worker").take(
        draw(st.sampled_from(STAGES), "stage"), tuple(line.units)
    )


# the workers


def _holding(line: Pipeline, draw: Draw) -> tuple[Worker, Record]:
    worker = draw(st.sampled_from(line.busy), "worker")
    return worker, worker.held[draw(st.integers(0, len(worker.held) - 1), "record")]


@move(20, lambda line: line.busy)
def settle(line: Pipeline, draw: Draw) -> None:
    """One record, perhaps of a lease that is over, perhaps a second time."""
    worker, record = _holding(line, draw)
    now, delay = line.world.clock.now, draw(DELAYS, "delay")
    outcome: Outcome
    match draw(st.sampled_from("forward forward back retry wait bury found".split()), "outcome"):
        case "forward":
            outcome = forward(record, now)
        case "back":
            outcome = Advance(record, record.stage, record.data, delay=delay)
        case "retry":
            outcome = Retried(record, delay, FAILURE, record.data | {"again": 1})
        case "wait":
            outcome = Waited(record, delay, FAILURE)
        case what:
            outcome = given_up(record, now, found=what == "found")
    worker.settle([outcome], again=draw(st.sampled_from([False, False, True]), "again"))


@move(2, lambda line: any(len(worker.held) > 1 for worker in line.workers))
def settle_all(line: Pipeline, draw: Draw) -> None:
    """A chunk in one step, stale ones among them."""
    worker = draw(st.sampled_from(line.busy), "worker")
    now = line.world.clock.now
    worker.settle([forward(record, now) for record in worker.held])


@move(2, lambda line: line.busy)
def renew(line: Pipeline, draw: Draw) -> None:
    worker, _ = _holding(line, draw)
    line.world.ledger.renew(worker.held, LEASE_SECONDS)


@move(2, lambda line: line.busy)
def release(line: Pipeline, draw: Draw) -> None:
    _, record = _holding(line, draw)
    line.world.ledger.release([record])


@move(1, lambda line: line.units)
def poison(line: Pipeline, draw: Draw) -> None:
    """A record whose workers die again and again; after the tenth time it is put aside."""
    record_id = draw(st.sampled_from(sorted(line.units)), "id")
    for _ in range(draw(st.sampled_from([3, 11]), "times")):
        if stage := record_id in line.units and line.units[record_id].place:
            line.world.ledger.claim(stage, [record_id], LEASE_SECONDS)
            line.world.pass_(LEASE_SECONDS + 1)


@move(2, lambda line: line.busy)
def crash(line: Pipeline, draw: Draw) -> None:
    draw(st.sampled_from(line.busy), "worker").crash()


# the lake writers


@move(6, lambda line: line.at(Stage.WRITE))
def read(line: Pipeline, draw: Draw) -> None:
    writer = draw(st.sampled_from(line.writers), "writer")
    if line.paused is not Stage.WRITE:
        writer.read(draw(st.sampled_from([1, 100]), "count"))


@move(25, lambda line: any(writer.pairs and not writer.next_table for writer in line.writers))
def claim(line: Pipeline, draw: Draw) -> None:
    ready = [one for one in line.writers if one.pairs and not one.next_table]
    draw(st.sampled_from(ready), "writer").claim()


@move(30, lambda line: any(writer.unwritten for writer in line.writers))
def commit(line: Pipeline, draw: Draw) -> None:
    writer = draw(st.sampled_from([one for one in line.writers if one.unwritten]), "writer")
    for _ in range(draw(st.sampled_from([1, 3, 3]), "tables")):
        writer.commit(draw(st.sampled_from(["", "", "", "before", "after"]), "failing"))


@move(30, lambda line: any(writer.written for writer in line.writers))
def finish(line: Pipeline, draw: Draw) -> None:
    writer = draw(st.sampled_from([one for one in line.writers if one.written]), "writer")
    if draw(st.sampled_from([False, False, True]), "dies"):
        writer.crash()
    else:
        writer.settle()


@move(1, lambda line: any(writer.pairs or writer.held for writer in line.writers))
def writer_crashes(line: Pipeline, draw: Draw) -> None:
    draw(st.sampled_from(line.writers), "writer").crash()


# the operators


@move(3, lambda line: any(unit.dead for unit in line.units.values()))
def look_at_letters(line: Pipeline, draw: Draw) -> None:
    letters = line.world.ledger.dead_letters(DeadFilter())
    line.operators[draw(WHO, "who")] = tuple(letter.id for letter in letters)


@move(5, lambda line: any(line.operators))
def requeue(line: Pipeline, draw: Draw) -> None:
    """What they saw may be another's work by now."""
    stages = st.sampled_from([None, None, Stage.ENRICH, Stage.UPLOAD, Stage.WRITE])
    ids = draw(st.sampled_from([seen for seen in line.operators if seen]), "ids")
    line.world.ledger.requeue(ids, draw(stages, "stage"))
