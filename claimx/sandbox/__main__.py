"""``python -m claimx.sandbox``: serve until terminated, after a line of JSON with the addresses."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from claimx.garbage import settle
from claimx.sandbox.backlog import Backlog
from claimx.sandbox.control import parse_faults
from claimx.sandbox.faults import BadFault
from claimx.sandbox.mixes import EVEN, ORDINARY
from claimx.sandbox.server import Sandbox
from claimx.sandbox.world import World
from claimx.tasks.loop import new_loop

SERVICES = ("api", "media", "kusto", "onelake", "control")


def parser() -> argparse.ArgumentParser:
    """Declare the options."""
    options = argparse.ArgumentParser(
        prog="claimx sandbox",
        description="A local Kusto, ClaimX API, media host and OneLake on loopback ports.",
    )
    add = options.add_argument
    add("--events", type=int, default=5000, help="different events (default 5000)")
    add("--seed", type=int, default=7, help="everything by chance comes from it (default 7)")
    add("--data", type=Path, default=Path("var/sandbox"), help="folder for the OneLake files")
    add("--rate", type=float, default=0.0, help="events a second; 0 releases all at once")
    add("--at", type=float, default=None, help="the world's moment in epoch seconds (default now)")
    add("--backlog", type=int, default=0, help="rows without a handler, long past (default 0)")
    add("--backlog-hours", type=float, default=24.0, help="hours that they lie in (default 24)")
    add("--media-min", type=int, default=1_000, help="smallest media file in bytes")
    add("--media-max", type=int, default=64_000, help="largest media file in bytes")
    add("--latency-ms", type=float, default=0.0, help="API and media answer after 0 to this")
    add("--api-latency-ms", type=float, help="the API alone answers after exactly this instead")
    add("--link-lifetime", type=float, default=3600.0, help="seconds that signed links live")
    add("--faults", default="", help='"typical", or a JSON list of faults')
    add(
        "--mix", choices=(ORDINARY, *EVEN), default=ORDINARY, help="which events (default ordinary)"
    )
    add("--head", type=int, default=0, help="events more, before others that wait for a release")
    add("--no-specials", action="store_true", help="leave out what goes wrong by itself")
    add(
        "--exit-with-parent",
        type=int,
        nargs="?",
        const=os.getppid(),
        metavar="PID",
        help="stop when the starting process is gone; PID says which that is",
    )
    add("--port-file", type=Path, help="write the line there as well, in one step")
    for service in SERVICES:
        add(f"--{service}-port", type=int, default=0, help=argparse.SUPPRESS)
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; 2 for wrong options."""
    options = parser().parse_args(arguments)
    logging.basicConfig(level=os.environ.get("LOG_LEVEL", "WARNING"), stream=sys.stderr)
    try:
        faults = _faults(options.faults)
        described: dict[str, Any] = {
            "seed": options.seed,
            "events": options.events,
            "at": int(time.time() if options.at is None else options.at),
            "rate": options.rate,
            "smallest": options.media_min,
            "largest": options.media_max,
            "specials": not options.no_specials,
            "mix": options.mix,
            "head": options.head,
        }
        world = World(**described)
        backlog = Backlog(options.backlog, world.begins, options.backlog_hours)
    except ValueError as error:
        sys.stderr.write(f"claimx sandbox: {error}\n")
        return 2
    sandbox = Sandbox(
        world,
        options.data,
        faults,
        latency=(0.0, options.latency_ms / 1000),
        link_lifetime=options.link_lifetime,
        backlog=backlog,
        api_seconds=options.api_latency_ms and options.api_latency_ms / 1000,
    )
    settle()  # the world never changes, and to walk it costs milliseconds
    ports = {name: getattr(options, f"{name}_port") for name in SERVICES}
    try:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(_serve(sandbox, ports, described, options))
    except OSError as error:
        sys.stderr.write(f"claimx sandbox: cannot listen: {error}\n")
        return 1
    return 0


def _faults(text: str) -> Any:
    if not text:
        return []
    if text == "typical":
        return parse_faults(text)
    try:
        return parse_faults(json.loads(text))
    except json.JSONDecodeError as error:
        msg = f"--faults must be typical or JSON: {error}"
        raise BadFault(msg) from None


async def _serve(
    sandbox: Sandbox, ports: dict[str, int], described: dict[str, Any], options: argparse.Namespace
) -> None:
    parent, port_file = options.exit_with_parent, options.port_file
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    await sandbox.serve(ports)
    line = json.dumps(
        {
            "environment": sandbox.environment(),
            "control": sandbox.control_url,
            "media": sandbox.media_url,
            "lake_uri": sandbox.lake_uri,
            "media_folder": str(sandbox.media_folder.resolve()),
            "lake_folder": str(sandbox.lake_folder.resolve()),
            "world": described,
            "rows": len(sandbox.world.rows),
            "backlog": options.backlog,
            "pid": os.getpid(),
        }
    )
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
    if port_file is not None:
        fresh = port_file.with_name(port_file.name + ".new")
        fresh.write_text(line)
        fresh.replace(port_file)
    while not stopping.is_set() and parent in (None, os.getppid()):
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), 1.0)
    await sandbox.close()


if __name__ == "__main__":
    sys.exit(main())
