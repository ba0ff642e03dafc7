"""
The import that a child process of claimx' worker makes when it first polls.

deltalake does not survive a fork, so each child imports it on first use: some tenths of a second of
CPU. Idle, one child makes all polls; under load the others come to it one by one, in the midst of a
run. It is the start of a process that lives for days, so it is taken off.
"""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path

from claimx.cli.stack import ROOT, Stack, descendants

_LIBRARY = "deltalake"
_PROGRAM = (
    "import time, claimx.processes, claimx.bootstrap; claimx.bootstrap.preload();"
    " begun = time.process_time(); import claimx.adapters.lake; print(time.process_time() - begun)"
)


def loaded(stack: Stack) -> int:
    """Return how many children of the worker have made it."""
    pids = {pid for _, process in stack.started for pid in descendants(process.pid)}
    return sum(_has_library(pid) for pid in pids)


@cache
def seconds() -> float:
    """Return the CPU seconds that it takes one process, measured in one that makes it."""
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", _PROGRAM], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def _has_library(pid: int) -> bool:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes()
        return (
            b" worker" in words.replace(b"\0", b" ")
            and _LIBRARY in Path(f"/proc/{pid}/maps").read_text()
        )
    except OSError:
        return False  # it ended while we looked
