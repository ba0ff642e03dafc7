"""Asking Redis for a gate, and leaving it alone for a moment once it did not answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import redis
import structlog

from claimx.adapters.gates import scripts

log = structlog.get_logger(__name__)

AWAY_SECONDS = 0.5  # after Redis failed to answer, nobody asks it for this long
_SCRIPTS: Mapping[str, str] = {
    "permit": scripts.PERMIT,
    "report": scripts.REPORT,
    "give_back": scripts.GIVE_BACK,
    "state": scripts.CIRCUIT_STATE,
    "take_slots": scripts.TAKE_SLOTS,
    "fair_share": scripts.FAIR_SHARE,
    "renew_slots": scripts.RENEW_SLOTS,
    "take_tokens": scripts.TAKE_TOKENS,
    "lock": scripts.LOCK,
    "unlock": scripts.UNLOCK,
    "mark_known": scripts.MARK_KNOWN,
    "beat": scripts.BEAT,
    "processes": scripts.PROCESSES,
}


class Asking:
    """
    The gates' scripts and commands, each of which has an answer for when Redis gives none.

    *why_away* says why it gave none the last time.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._scripts = {name: client.register_script(text) for name, text in _SCRIPTS.items()}
        self._away_until = 0.0
        self._next_line = 0.0
        self.why_away = ""

    def script(
        self, name: str, keys: Sequence[str], arguments: Sequence[Any], otherwise: Any = None
    ) -> Any:
        """Run a script by its name; *otherwise* as in `attempt`."""
        return self.attempt(lambda: self._scripts[name](keys=keys, args=arguments), otherwise)

    def ask_again(self) -> None:
        """Ask even a Redis that has failed a moment ago."""
        self._away_until = 0.0

    def attempt(self, step: Callable[[], Any], otherwise: Any) -> Any:
        """Run one step; *otherwise* when Redis fails it or failed one a moment ago."""
        if time.monotonic() < self._away_until:
            return otherwise
        try:
            return step()
        except (redis.RedisError, OSError) as error:
            now = time.monotonic()
            self._away_until = now + AWAY_SECONDS
            self.why_away = f"{type(error).__name__}: {str(error)[:200]}"
            if now >= self._next_line:  # an outage is one line in ten seconds
                self._next_line = now + 10.0
                log.warning(
                    "gates without redis", error=type(error).__name__, detail=str(error)[:200]
                )
            return otherwise


def ms(seconds: float) -> int:
    """Return whole milliseconds, at least one: no lease of Redis lasts none."""
    return max(1, round(seconds * 1000))


def text_of(value: bytes | str) -> str:
    """Return what a client that need not decode has answered."""
    return value.decode() if isinstance(value, bytes) else value
