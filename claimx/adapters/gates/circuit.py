"""One shared circuit, with what this process last saw of it kept for a quarter of a second."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeAlias

from claimx.adapters.gates.asking import ms
from claimx.domain.circuit import CircuitSettings

Ask: TypeAlias = Callable[..., Any]
"""``ask(script name, keys, arguments)`` -> the script's answer, or None when Redis is away."""

_CLOSED, _OPEN = 0, 1


class RedisCircuit:
    """
    `claimx.domain.ports.gates.Circuit` over Redis.

    While the circuit is closed a verdict is believed for *fresh_seconds*, so a healthy dependency
    costs a round trip in a quarter of a second and not one a call; half-open is always asked.
    A success is reported only when there may be failures to clear.
    """

    def __init__(
        self,
        name: str,
        keys: tuple[str, str],
        ask: Ask,
        settings: CircuitSettings,
        fresh_seconds: float,
    ) -> None:
        self._name = name
        self._keys = keys
        self._ask = ask
        self._settings = settings
        self._fresh = fresh_seconds
        self._believed_until = 0.0
        self._state = _CLOSED
        self._failures = 0
        self._open_until = 0.0

    def permit(self, count: int) -> tuple[int, float]:
        """Return (how many calls may start, seconds until asking again); closed without Redis."""
        now = time.monotonic()
        if now < self._believed_until:
            if self._state == _CLOSED:
                return count, 0.0
            return 0, self._open_until - now
        settings = self._settings
        answer = self._ask(
            "permit",
            self._keys,
            (
                self._name,
                count,
                settings.trials,
                ms(settings.trial_seconds),
                ms(settings.ask_again_seconds),
            ),
        )
        if answer is None:
            return count, 0.0
        granted, wait, state, failures = (int(part) for part in answer)
        self._saw(state, failures, wait / 1000)
        return granted, wait / 1000

    def report(self, successes: int, failures: int) -> None:
        """Report outcomes; an outcome that Redis cannot take is forgotten."""
        if not failures and (not successes or self._plainly_closed()):
            return
        settings = self._settings
        answer = self._ask(
            "report",
            self._keys,
            (
                self._name,
                successes,
                failures,
                settings.failures,
                ms(settings.open_seconds),
                ms(settings.longest),
                settings.needed,
            ),
        )
        if answer is not None:
            state, known_failures, wait = (int(part) for part in answer)
            self._saw(state, known_failures, wait / 1000)

    def give_back(self, count: int) -> None:
        """Hand back trial permits whose calls said nothing either way."""
        if count and not self._plainly_closed():
            self._ask("give_back", self._keys, (self._name, count))

    def _plainly_closed(self) -> bool:
        return (
            self._state == _CLOSED
            and not self._failures
            and time.monotonic() < self._believed_until
        )

    def _saw(self, state: int, failures: int, wait: float) -> None:
        now = time.monotonic()
        self._state, self._failures, self._open_until = state, failures, now + wait
        if state == _CLOSED:
            self._believed_until = now + self._fresh
        elif state == _OPEN:
            self._believed_until = now + min(self._fresh, wait)
        else:
            self._believed_until = 0.0
