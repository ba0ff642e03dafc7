"""The processes below a process, and their end."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path


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


def kill_all(pids: list[int]) -> None:
    """Kill those that are still there and are ours."""
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue
