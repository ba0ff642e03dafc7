"""Processes that are killed, and a Redis that is away: nothing is lost, nothing doubled."""

from __future__ import annotations

import signal

import pytest
from pipeline_rig import PIPELINE, Rig, Running, assert_as_it_must_be, assert_equal_to_the_truth

from claimx.domain.records import Kind

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(240),
    pytest.mark.xdist_group("pipeline"),
]


def recorded(rig: Rig) -> int:
    return rig.status().counters.get("event", {}).get("recorded", 0)


def in_flight(rig: Rig) -> int:
    return sum(rig.status().active.values())


def all_came(rig: Rig) -> bool:
    return bool(rig.control("GET", "progress")["done"])


def replaced(rig: Rig, running: Running, number: int) -> Running:
    """Kill a process with its children and start another in its place."""
    running.kill()
    return rig.process(running.name.split()[0], as_=f"{running.name.split()[0]} {number}")


def test_killing_each_process_under_load_loses_and_doubles_nothing(tmp_path):
    """Events come for 12 s; meanwhile each process is killed in the middle of its work."""
    world = ("--events", "300", "--seed", "3", "--rate", "30", "--latency-ms", "150")
    with Rig(tmp_path, *world) as rig:
        running = {name: rig.process(name) for name in PIPELINE}
        rig.until("the first events in the lake", lambda: recorded(rig) > 20)

        for number, name in enumerate(("worker", "beat", "worker", "writer")):
            # on a slow machine all may be done before the last is killed
            rig.until("work in flight", lambda: in_flight(rig) > 3 or all_came(rig))
            running[name] = replaced(rig, running[name], number)
            rig.until("the new process", lambda n=name: has_worked(rig, running[n]))
        rig.until_done(120)

        assert_as_it_must_be(rig)


def has_worked(rig: Rig, running: Running) -> bool:
    """Say whether a process that was started anew has begun to work."""
    names = [one["name"] for one in rig.runtime.gates.processes()]
    return any(name.endswith(f":{running.pid}") for name in names)


def test_a_writer_that_is_told_to_stop_writes_what_it_holds_and_leaves(tmp_path):
    settings = {"CLAIMX_BATCH_SECONDS": "30", "CLAIMX_BATCH_ROWS": "100000"}
    with Rig(tmp_path, "--events", "100", "--no-specials", settings=settings) as rig:
        rig.processes("beat", "worker")
        writer = rig.process("writer")
        rig.until("rows held by the writer", lambda: rig.status().stream_pending > 50)

        writer.terminate()

        assert writer.wait(25) == 0, rig.tails()
        assert recorded(rig) > 50
        rig.environment["CLAIMX_BATCH_SECONDS"] = "1"
        rig.process("writer", as_="second writer")
        rig.until_done()
        assert_as_it_must_be(rig)


def test_beat_ends_when_it_is_told_to(tmp_path):
    with Rig(tmp_path, "--events", "100") as rig:
        beat = rig.process("beat")
        rig.until_announced("beat")

        beat.signal_group(signal.SIGTERM)

        assert beat.wait(25) == 0, rig.tails()


def test_processes_wait_for_redis_with_one_line_and_then_work(tmp_path):
    rig = Rig(tmp_path, "--events", "100", "--no-specials")
    try:
        rig.start(with_redis=False)
        running = [rig.process(name) for name in PIPELINE]
        rig.until(
            "a line of each process that waits",
            lambda: all(waiting_lines(rig, name) for name in PIPELINE),
        )
        assert [one.status for one in running] == [None, None, None]

        rig.start_redis()
        rig.until_done()

        assert_as_it_must_be(rig)
        for name in PIPELINE:
            assert len(waiting_lines(rig, name)) == 1, rig.tails()
    finally:
        rig.stop()


def waiting_lines(rig: Rig, name: str) -> list[str]:
    """Return the lines of a process that say that it waits for Redis."""
    lines = rig.text_of_log(name).splitlines()
    return [line for line in lines if "waiting for Redis" in line]


def test_redis_that_restarts_from_its_file_costs_a_pause(tmp_path):
    world = ("--events", "200", "--seed", "4", "--rate", "30", "--latency-ms", "100")
    with Rig(tmp_path, *world) as rig:
        rig.processes()
        rig.until("the first events in the lake", lambda: recorded(rig) > 10)

        rig.stop_redis()
        rig.start_redis()

        rig.until_done(120)
        assert_as_it_must_be(rig)
        assert [one.status for one in rig.running] == [None, None, None], rig.tails()


def test_redis_that_lost_everything_is_filled_again_from_source_and_lake(tmp_path):
    """The running processes notice nothing but missing keys: groups, bindings, beat's schedule."""
    with Rig(tmp_path, "--events", "100", "--seed", "6") as rig:
        rig.processes()
        done = rig.until_done()
        dead = {letter.id for letter in rig.letters(kind=Kind.EVENT)}

        rig.client.flushall()

        rig.until_idle(done.dead["event"], 60)
        assert {letter.id for letter in rig.letters(kind=Kind.EVENT)} == dead
        assert_equal_to_the_truth(rig)
