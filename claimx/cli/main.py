"""The command line: ``claimx …``; each command is imported when it is asked for."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import threading
from contextlib import suppress
from typing import Any

import click

# name -> (module, attribute, one line of help); importing nothing keeps `claimx --help` quick
_COMMANDS = {
    "demo": ("claimx.cli.demo", "demo", "Run the whole pipeline on embedded stand-ins, once."),
    "up": ("claimx.cli.demo", "up", "Keep the local stack running until Ctrl-C."),
    "sandbox": ("claimx.cli.demo", "sandbox", "Serve the stand-ins alone."),
    "status": ("claimx.cli.status", "status", "Stages, depths, retries, dead letters, invariant."),
    "doctor": ("claimx.cli.doctor", "doctor", "What is wrong, why it matters, what to do."),
    "dlq": ("claimx.cli.dlq", "dlq", "Dead letters: list, show, requeue."),
    "backfill": ("claimx.cli.source", "backfill", "Read a past range of the source, resumably."),
    "reconcile": (
        "claimx.cli.reconcile",
        "reconcile",
        "Source against tables: what is missing, extra or doubled.",
    ),
    "tables": ("claimx.cli.tables", "tables", "The Delta tables: ls, show, diff, history, fold."),
    "poll": ("claimx.cli.source", "poll", "Poll the source once, now."),
    "config": ("claimx.cli.config", "config", "Show or check the settings."),
}


class _Lazy(click.Group):
    def list_commands(self, _context: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, _context: click.Context, name: str) -> click.Command | None:
        if name not in _COMMANDS:
            return None
        from claimx.telemetry import logs

        logs.configure("WARNING", "auto", process="cli")  # standard output is for the data alone
        module, attribute, _ = _COMMANDS[name]
        found: click.Command = getattr(importlib.import_module(module), attribute)
        return found

    def format_commands(self, _context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, _, line) in _COMMANDS.items()])


@click.command(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option("0.1.0", prog_name="claimx")
def cli() -> None:
    """
    Claims events from an Eventhouse, enriched, with their media, into Delta tables.

    Exit codes: 0 ok, 1 failed, 2 usage or refused, 3 nothing matched, 4 configuration,
    5 a dependency is unreachable, 6 partly done, 7 unhealthy, 8 already running, 130 interrupted.
    """


def _open_what_is_closed() -> None:
    """Put nothing in the place of a standard stream that is closed; a socket would take it."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115, PTH123 - until the end


def _give_up_output() -> None:
    """Let what cannot be written go, or Python tries again as it ends, and exits with 120."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _end_as_by_hand() -> Any:
    """
    Take SIGTERM for Ctrl-C, so that a command says how far it is and gives back what it holds.

    Returns what the signal did before, None in a thread, which has no signals.
    """
    if threading.current_thread() is not threading.main_thread():
        return None
    return signal.signal(signal.SIGTERM, signal.default_int_handler)


def main(arguments: list[str] | None = None) -> Any:
    """Run the command line; expected failures become one line and their exit code."""
    from claimx.domain.errors import ClaimXError, Permanent
    from claimx.setting_errors import ConfigurationError

    _open_what_is_closed()
    before = _end_as_by_hand()
    try:
        try:
            return cli.main(args=arguments, prog_name="claimx", standalone_mode=False)
        finally:
            sys.stdout.flush()  # what waits in the buffer fails here, not as Python ends
    except click.exceptions.Exit as leaving:
        sys.exit(leaving.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except ConfigurationError as error:
        for line in error.problems:
            print(f"claimx: {line}", file=sys.stderr)  # noqa: T201 - the terminal is the interface
        sys.exit(4)
    except ClaimXError as error:
        print(f"claimx: {error}", file=sys.stderr)  # noqa: T201 - as above
        sys.exit(1 if isinstance(error, Permanent) else 5)
    except OSError as error:  # what it prints to, as a rule: a disk that is full
        print(f"claimx: {error}", file=sys.stderr)  # noqa: T201 - as above
        _give_up_output()
        sys.exit(1)
    except (KeyboardInterrupt, click.Abort):
        print("claimx: interrupted", file=sys.stderr)  # noqa: T201 - as above
        sys.exit(130)
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)
