"""The processes of one run: started in a folder, stopped in reverse, measured from outside."""

from __future__ import annotations

import os
import signal
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from claimx.cli.stack import ROOT, Stack

_TICK = os.sysconf("SC_CLK_TCK")
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Processes(Stack):
    """A `Stack` on stand-ins that somebody else has started."""

    def run(self, name: str, arguments: list[str]) -> None:
        """Start a process of a contender's."""
        self._start(name, arguments)

    @property
    def failed(self) -> str | None:
        """The name of a process that ended with an error."""
        return next((name for name, process in self.started if process.poll()), None)


@contextmanager
def processes(folder: Path, environment: dict[str, str]) -> Iterator[Processes]:
    """Give the processes of one run, which end with it; signals interrupt it."""
    found = Processes(folder)
    found.environment.pop("REDIS_URL", None)
    os.environ.pop("REDIS_URL", None)  # never somebody's real one
    found.environment.update(environment)
    found.environment["PYTHONPATH"] = f"{ROOT}{os.pathsep}{ROOT / 'bench'}"
    before = {number: signal.signal(number, found.interrupted) for number in _SIGNALS}
    try:
        yield found
    finally:
        found.stop()  # which ignores signals from then on
        for number, handler in before.items():
            signal.signal(number, handler)


class Meter:
    """
    CPU and memory of processes and of all that they start, by what they are.

    *roots* are process ids by name. What a process has used is known up to the last look that saw
    it, so look often where processes are short-lived.
    """

    def __init__(self, roots: dict[int, str]) -> None:
        self._roots = roots
        self._cpu: dict[int, float] = {}
        self._names: dict[int, str] = {}
        self._peaks: dict[int, float] = {}

    def look(self) -> None:
        """Take in what runs now."""
        parents, used = _running()
        for pid in parents:
            above = pid
            while above in parents and above not in self._roots:
                above = parents[above]
            if above not in self._roots:
                continue
            peak, words = _peak(pid), _command(pid)
            self._cpu[pid] = used[pid]
            self._peaks[pid] = max(self._peaks.get(pid, 0.0), peak)
            if name := _named(words, _command(parents[pid]), self._roots[above]):
                self._names[pid] = name

    @property
    def names(self) -> dict[int, str]:
        """What the processes seen so far are, by process id."""
        return dict(self._names)

    @property
    def cpu(self) -> dict[str, float]:
        """Seconds used so far, by name."""
        found: dict[str, float] = defaultdict(float)
        for pid, seconds in self._cpu.items():
            found[self._names.get(pid, "others")] += seconds
        return dict(found)

    @property
    def peaks(self) -> dict[str, float]:
        """The greatest resident megabytes of any one process, by name."""
        found: dict[str, float] = defaultdict(float)
        for pid, peak in self._peaks.items():
            name = self._names.get(pid, "others")
            found[name] = max(found[name], peak)
        return dict(found)

    @property
    def counts(self) -> dict[str, int]:
        """How many processes there were, by name."""
        found: dict[str, int] = defaultdict(int)
        for name in self._names.values():
            found[name] += 1
        return dict(found)


def _running() -> tuple[dict[int, int], dict[int, float]]:
    """Return the parent of every process, and the CPU seconds that it has used."""
    parents: dict[int, int] = {}
    used: dict[int, float] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended while we looked
        parents[int(entry.name)] = int(fields[1])
        used[int(entry.name)] = (int(fields[11]) + int(fields[12])) / _TICK
    return parents, used


def _peak(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), 0.0)


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def _named(words: str, above: str, root: str) -> str:
    """Return what a command line is; a shell's and honcho's own are nobody's work."""
    if words.startswith("/bin/sh"):
        return ""
    if "celery" in words and " worker" in words:
        forked = "celery" in above and " worker" in above and not above.startswith("/bin/sh")
        name = "worker" if root == "pipeline" else root
        return f"{name}: child" if forked else name
    if "celery" in words and " beat" in words:
        return "beat"
    if "claimx.writer" in words:
        return "writer"
    return "" if "honcho" in words else root
