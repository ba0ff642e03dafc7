"""
The circuit breaker as arithmetic (domain page, section 2): closed, open, half-open.

Only outcomes come in and only permits go out; nothing is ever called through it. The shared
circuit in Redis (`claimx.adapters.gates`) does the same in its atomic steps, and both pass one
suite.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from claimx.domain.times import seconds_left


class CircuitState(StrEnum):
    """What a circuit does with calls: all, none, a few trials."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


@dataclass(frozen=True, slots=True)
class CircuitSettings:
    """
    When a circuit opens and what closes it; seconds throughout.

    *failures* in a row open it for *open_seconds*; then *trials* calls may start, *successes* of
    them close it (never more than there are trials) and one failure opens it again, each time for
    twice as long up to *longest_open_seconds* (by default always as long as the first time).
    A trial whose caller never came back is handed out anew after *trial_seconds*.
    """

    failures: int = 5
    open_seconds: float = 60.0
    trials: int = 3
    successes: int = 2
    longest_open_seconds: float = 0.0
    trial_seconds: float = 60.0

    @property
    def needed(self) -> int:
        """Trial successes that close it."""
        return min(self.successes, self.trials)

    @property
    def longest(self) -> float:
        """The longest time it stays open."""
        return max(self.open_seconds, self.longest_open_seconds)

    @property
    def ask_again_seconds(self) -> float:
        """When to ask again while all trials are out: soon, but thousands may be asking."""
        return min(self.open_seconds, 5.0)

    def open_for(self, openings: int) -> float:
        """Return how long the *openings*-th opening in a row lasts, the first being 1."""
        return min(self.longest, self.open_seconds * float(2 ** min(max(openings - 1, 0), 16)))


AUTH = "auth"
"""Name of the door that a 401 closes for everybody."""

AUTH_SETTINGS = CircuitSettings(
    failures=1,
    open_seconds=1.0,
    trials=1,
    successes=1,
    longest_open_seconds=30.0,
    trial_seconds=45.0,
)
"""After a 401 one probe at a time asks, at growing distances, until a token is accepted."""


@dataclass(slots=True)
class CircuitBreaker:
    """One circuit in memory; *now* is any clock in seconds. Set back, it holds nothing open."""

    settings: CircuitSettings
    failures: int = 0
    openings: int = 0
    open_until: float = 0.0
    lasts: float = 0.0
    trials: int = 0
    trial_until: float = 0.0
    successes: int = 0

    def state(self, now: float) -> CircuitState:
        """Return the state at *now*."""
        if not self.openings:
            return CircuitState.CLOSED
        is_open = seconds_left(self.open_until, now, self.lasts) > 0
        return CircuitState.OPEN if is_open else CircuitState.HALF_OPEN

    def permit(self, count: int, now: float) -> tuple[int, float]:
        """Return (calls that may start, seconds until asking again is useful)."""
        match self.state(now):
            case CircuitState.CLOSED:
                return count, 0.0
            case CircuitState.OPEN:
                return 0, self.open_until - now
            case CircuitState.HALF_OPEN:
                out = seconds_left(self.trial_until, now, self.settings.trial_seconds)
                if self.trials and not out:
                    self.trials = self.successes = 0
                granted = min(count, self.settings.trials - self.trials)
                if granted:
                    self.trials += granted
                    self.trial_until = now + self.settings.trial_seconds
                return granted, 0.0 if granted == count else self.settings.ask_again_seconds

    def report(self, successes: int, failures: int, now: float) -> None:
        """Take in outcomes, successes first; those of calls from before it opened are ignored."""
        state = self.state(now)
        if state is CircuitState.OPEN or (state is CircuitState.HALF_OPEN and not self.trials):
            return
        if state is CircuitState.HALF_OPEN:
            self.successes = min(self.trials, self.successes + successes)
            if self.successes < self.settings.needed:
                if failures:
                    self._open(now)
                return
            self._close()
        elif successes:
            self.failures = 0
        self.failures += failures
        if self.failures >= self.settings.failures:
            self._open(now)

    def give_back(self, count: int) -> None:
        """Hand back permits whose calls said nothing either way."""
        self.trials = max(self.successes, self.trials - count)

    def _open(self, now: float) -> None:
        self.openings += 1
        self.lasts = self.settings.open_for(self.openings)
        self.open_until = now + self.lasts
        self.trials = self.successes = 0

    def _close(self) -> None:
        self.openings = self.failures = self.trials = self.successes = 0
        self.open_until = 0.0
