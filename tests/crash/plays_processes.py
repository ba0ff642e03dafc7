"""Plays of what stands around the work: the processes' own lives, the worker's broker, beat."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
import urllib.request
from contextlib import suppress
from typing import Any

from celery_message import message
from machine import Machine
from mishaps import wait_until


def processes(machine: Machine) -> None:
    """The writer's process from its start to its SIGTERM, attended and asked for its health."""
    import claimx.writer

    machine.poll_and_work()
    threading.Thread(target=_end_when_written, args=(machine,), daemon=True).start()
    assert claimx.writer.main() == 0
    machine.close()


def _end_when_written(machine: Machine) -> None:
    """Ask the process for its health, wait for its work to be done, tell it to end."""
    found: list[dict[str, str]] = []

    def announced() -> bool:
        found[:] = machine.runtime.gates.processes()
        return bool(found)

    wait_until(announced)
    with urllib.request.urlopen(f"http://{found[0]['health']}/health/ready", timeout=30) as answer:
        assert answer.status == 200
    wait_until(lambda: not machine.ledger.census().stream_length)
    time.sleep(0.05)  # it waits for more
    os.kill(os.getpid(), signal.SIGTERM)


def worker(machine: Machine) -> None:
    """A real Celery worker meets what is no message; beat loses its lock and takes it again."""
    beat(machine)
    machine.task("poll")
    machine.client.lpush("enrich", b"{no json")
    body = b'[[["x"]], {}, {}]'
    for item in (
        message(b"{", task="claimx.enrich"),
        message(body, task={"no": "name"}),
        message(body, task="claimx.enrich", compression="no such"),
        message(body, task="claimx.gone"),
        message(b'{"no": "task"}'),
    ):
        machine.client.lpush("enrich", json.dumps(item))
    run_worker(machine)


def run_worker(machine: Machine) -> None:
    """Run a worker in this process until nothing lies in the queues and all was acknowledged."""
    from celery.worker import state

    worker = machine.app.WorkController(
        app=machine.app,
        pool="solo",
        concurrency=1,
        loglevel="WARNING",
        without_gossip=True,
        without_mingle=True,
        hostname="play@here",
    )

    def end() -> None:
        client = machine.client
        wait_until(lambda: not client.llen("enrich") and not client.hlen("unacked"))
        state.should_stop = os.EX_OK

    threading.Thread(target=end, daemon=True).start()
    with suppress(SystemExit):
        worker.start()


def beat(machine: Machine) -> None:
    """Tick with RedBeat, lose the lock, and take it again."""
    import redbeat.schedulers

    from claimx.adapters import ticking

    scheduler = redbeat.RedBeatScheduler(app=machine.app)
    redbeat.schedulers.acquire_distributed_beat_lock(sender=_Sender(scheduler))
    tick = ticking.outliving(scheduler)
    tick()
    machine.client.delete(scheduler.lock.name)
    tick()
    tick()
    entry = redbeat.RedBeatSchedulerEntry.from_key("claimx:redbeat:redrive", app=machine.app)
    ticking.sparing(scheduler, lambda _: 0)(entry)
    ticking.sparing(scheduler, lambda _: ticking.MOST_TICKS)(entry)
    scheduler.close()
    machine.client.delete("poll", "control", "maintenance")


class _Sender:
    """What beat's signal names."""

    def __init__(self, scheduler: Any) -> None:
        self.scheduler = scheduler
