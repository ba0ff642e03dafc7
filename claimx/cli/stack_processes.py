"""The processes below a process, and their end."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

_LOOK_SECONDS = 1.0


def descendants(ancestor: int) -> list[int]:
    """Return the process ids below *ancestor*; honcho puts each child into a session of its own."""
    parents: dict[int, int] = {}
    if Path("/proc/self/stat").exists():
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                # the name in parentheses may hold blanks, so count from its end
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                parents[int(entry.name)] = int(fields[1])
            except (OSError, IndexError, ValueError):
                continue  # it ended while we looked
    else:
        listing = subprocess.run(  # macOS has no /proc
            ["/bin/ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True
        )
        parents = {
            int(a): int(b) for a, b in (line.split() for line in listing.stdout.splitlines())
        }
    found: list[int] = []
    frontier = {ancestor}
    while frontier:
        frontier = {pid for pid, parent in parents.items() if parent in frontier} - set(found)
        found.extend(frontier)
    return found


def end(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """
    End a process with all that is below it; returns False when it had to be killed.

    What is still there after a second is asked itself: honcho, told to end while it starts its
    processes, fails and tells none of them.
    """
    below, asked = set(descendants(process.pid)), set[int]()
    if process.poll() is None:
        process.terminate()
    deadline = time.monotonic() + seconds
    while not (ended := _ends(process)) and time.monotonic() < deadline:
        below |= set(descendants(process.pid))
        signal_all(below - asked, signal.SIGTERM)
        asked |= below
    if not ended:
        below |= set(descendants(process.pid))  # while they can be found
        process.kill()
    signal_all(below, signal.SIGKILL)  # what outlived its parent
    process.wait(5)
    return ended


def _ends(process: subprocess.Popen[bytes]) -> bool:
    with suppress(subprocess.TimeoutExpired):
        process.wait(_LOOK_SECONDS)
    return process.poll() is not None


def signal_all(pids: Iterable[int], number: int) -> None:
    """Signal those that are still there and are ours."""
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)
