"""
A process that has imported everything and done nothing: it forks one that plays, for each order.

Orders come as lines of JSON on stdin, answers go to stdout. What plays may die by a real SIGKILL;
the zygote never touches Redis, a table or a socket, so what it forks is as good as a new process.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time
import traceback
from functools import partial
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parents[1])]

from clock import Clock  # noqa: E402 - before anything that keeps time.time

CLOCK = Clock()
CLOCK.install()

import points  # noqa: E402
from guard import Guard  # noqa: E402
from sites import code_of  # noqa: E402

GUARD = Guard()
GUARD.post()

LONGEST_SECONDS = 60.0


def prepare(environment: dict[str, str], changed: dict[str, list[str]]) -> None:
    """Import all that a child may need, with its crash points, and some modules *changed*."""
    os.environ.update(environment)
    points.install(partial(code_of, changed=changed))
    import claimx.adapters.cache
    import claimx.adapters.claimx_api
    import claimx.adapters.kusto
    import claimx.adapters.lake
    import claimx.adapters.media_http
    import claimx.adapters.onelake
    import claimx.cli.dlq
    import claimx.cli.main
    import claimx.cli.reconcile
    import claimx.cli.source
    import claimx.processes
    import claimx.sandbox.truth
    import claimx.tasks.operations
    import claimx.tasks.stages
    import claimx.writer
    from claimx.celery import app
    from claimx.telemetry import logs

    logs.configure("INFO", "json", process="play")
    tempfile.gettempdir()  # its first call tries the folder out
    app.loader.import_default_modules()
    app.finalize()
    import finish  # noqa: F401
    import machine
    import plays  # noqa: F401

    machine.make_smaller()
    # the age of a file is by the machine's clock, which nobody moves
    claimx.adapters.cache.DiskCache.__init__.__kwdefaults__["now"] = CLOCK.real


def run(order: dict[str, Any]) -> dict[str, Any]:
    """Carry out one order in a child; returns how it ended."""
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        _play(order)
    status, used = _wait(child, started + LONGEST_SECONDS)
    report = Path(order["report"])
    return {
        "cpu": round(used.ru_utime + used.ru_stime, 3),
        "signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0,
        "exit": os.WEXITSTATUS(status) if os.WIFEXITED(status) else None,
        "seconds": round(time.monotonic() - started, 3),
        "report": json.loads(report.read_text()) if report.exists() else None,
    }


def _wait(child: int, deadline: float) -> tuple[int, Any]:
    while time.monotonic() < deadline:
        found, status, used = os.wait4(child, os.WNOHANG)
        if found:
            return status, used
        time.sleep(0.003)
    os.kill(child, signal.SIGABRT)
    return os.wait4(child, 0)[1:]


def _play(order: dict[str, Any]) -> None:
    """Be the child: act, and leave without any of the zygote's ends."""
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    code = 1
    try:
        found = ACTS[order["act"]](order)
        if found is not None:
            Path(order["report"]).write_text(json.dumps(found))
        code = 0
    except BaseException:  # noqa: BLE001 - whatever it is, the order tells of it
        traceback.print_exc()
        Path(order["report"]).write_text(json.dumps({"failure": traceback.format_exc()}))
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _act(order: dict[str, Any]) -> dict[str, Any] | None:
    from machine import Machine
    from plays import PLAYS

    recorder = None
    if "die" in order:
        points.watch(points.Dying(order["die"], order.get("nth", 1)))
    else:
        recorder = points.Recorder()
        points.watch(recorder)
    machine = Machine(order["environment"], CLOCK)
    if recorder is not None:
        GUARD.stand(machine.client)
    PLAYS[order["play"]].act(machine)
    GUARD.on = False
    return {"met": recorder.met, "unlisted": sorted(GUARD.found)} if recorder else None


def _finish(order: dict[str, Any]) -> dict[str, Any]:
    from finish import differences, finish
    from machine import Machine
    from tiny_world import TinyWorld

    machine = Machine(order["environment"], CLOCK, takeover_seconds=0.0)
    rounds = finish(machine, requeues=order["requeues"], reconciles=order["reconciles"])
    world = TinyWorld(order["world_at"])
    places = Path(order["lake"]), Path(order["media"])
    return {"rounds": rounds, "differences": differences(machine, world, *places)}


ACTS = {"play": _act, "finish": _finish}


def main() -> None:
    """Serve orders until stdin ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # nobody else may write among the answers
    prepare(**json.loads(sys.stdin.readline()))
    answers.write(json.dumps({"ready": True}) + "\n")
    answers.flush()
    for line in sys.stdin:
        answers.write(json.dumps(run(json.loads(line))) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
