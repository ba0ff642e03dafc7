"""The cycle line: every 30 s, what this process did since the last one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

import structlog

log = structlog.get_logger(__name__)

CYCLE_SECONDS = 30.0
_SHOWN = ("processed", "failed", "retried", "dead", "admitted", "flush_rows", "redriven")


def changes(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, int]:
    """Return how much each shown counter grew; one that went back (a new child) counts anew."""
    grown = {}
    for name in _SHOWN:
        now, then = after.get(name, 0.0), before.get(name, 0.0)
        grown[name] = int(now - then if now >= then else now)
    return grown


class CycleLine:
    """Logs the line from a daemon thread until stopped; a failing count never stops it."""

    def __init__(
        self,
        totals: Callable[[], Mapping[str, float]],
        seconds: float = CYCLE_SECONDS,
    ) -> None:
        self._totals = totals
        self._seconds = seconds
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="cycle-line")

    def start(self) -> None:
        """Begin to log."""
        self._thread.start()

    def stop(self) -> None:
        """Log no more."""
        self._stopped.set()

    def _run(self) -> None:
        before: Mapping[str, float] = {}
        while not self._stopped.wait(self._seconds):
            try:
                after = self._totals()
                log.info("cycle", seconds=self._seconds, **changes(before, after))
                before = after
            except Exception:
                log.exception("cycle line failed")
